// Cooperative matrices of 8x8, f16 times f16 into f32 (Apple).
// Math: C = A B by tiles, in common/cooperative.wgsl. Layout: tiles of halves in workgroup memory. Dispatch: that of matmul_cooperative.wgsl; a piece, without an entry point.
enable f16;
enable wgpu_cooperative_matrix;

const SIZE = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
