// Stands in for cooperative_16.wgsl where there are no cooperative matrices: a tile is its place in workgroup memory, a sum its share of elements.
// A piece, without an entry point: the operations are in common/cooperative_scalar.wgsl, math, layout and dispatch in matmul_cooperative.wgsl.
enable f16;

const SIZE = 16u;
alias Left = u32;
alias Right = u32;
alias Sum = array<f32, SIZE * SIZE / 32u>;
