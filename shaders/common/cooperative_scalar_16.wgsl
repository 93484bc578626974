// Stands in for cooperative_16.wgsl where there are no cooperative matrices: a tile is its place in workgroup memory, a sum its share of elements.
enable f16;

const SIZE = 16u;
alias Left = u32;
alias Right = u32;
alias Sum = array<f32, SIZE * SIZE / 32u>;
