// Stands in for cooperative_16.wgsl where there are no cooperative matrices: a tile is its place in workgroup memory, a sum its share of elements.
// Math: C = A B by tiles, in common/cooperative_scalar.wgsl. Layout: tiles of halves in workgroup memory. Dispatch: that of matmul_cooperative.wgsl; a piece, without an entry point.
enable f16;

const SIZE = 16u;
alias Left = u32;
alias Right = u32;
alias Sum = array<f32, SIZE * SIZE / 32u>;
