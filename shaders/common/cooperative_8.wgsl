// Cooperative matrices of 8x8, f16 times f16 into f32 (Apple).
// A piece, without an entry point: the operations are in common/cooperative.wgsl, math, layout and dispatch in matmul_cooperative.wgsl.
enable f16;
enable wgpu_cooperative_matrix;

const SIZE = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
