// Cooperative matrices of 16x16, f16 times f16 into f32 (NVIDIA, AMD, Intel).
// A piece, without an entry point: the operations are in common/cooperative.wgsl, math, layout and dispatch in matmul_cooperative.wgsl.
enable f16;
enable wgpu_cooperative_matrix;

const SIZE = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
