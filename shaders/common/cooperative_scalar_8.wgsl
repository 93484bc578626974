// Stands in for cooperative_8.wgsl where there are no cooperative matrices: a tile is its place in workgroup memory, a sum its share of elements.
enable f16;

const SIZE = 8u;
alias Left = u32;
alias Right = u32;
alias Sum = array<f32, SIZE * SIZE / 32u>;
