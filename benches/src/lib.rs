//! Probes: what this machine can do, measured in the same run as what is compared with it.
//!
//! These machines are shared and noisy. Quote ratios of medians that were measured in turn, never a time.
#![allow(unsafe_code)] // the gemm crates take raw pointers

pub mod block;
#[cfg(feature = "model")]
pub mod smolvlm;
pub mod work;

use std::time::Instant;

use rayon::prelude::*;

/// The middle value; of two middle ones the larger.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds of one call.
pub fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Seconds of one f32 product `[512, 512] · [512, 512]` by the `gemm` crate on all threads.
pub fn gemm_512_seconds() -> f64 {
    const N: usize = 512;
    let (a, b, mut c) = (vec![0.5f32; N * N], vec![0.25f32; N * N], vec![0f32; N * N]);
    seconds(|| gemm_crate([N; 3], &mut c, &a, [N, 1], &b, [N, 1]))
}

/// `y = a b` by the `gemm` crate on all threads, `[m, k] [k, n] -> [m, n]`; `y` is row-major, the others have strides of rows and columns.
///
/// # Panics
/// If a matrix is empty or reaches past its slice.
pub fn gemm_crate([m, k, n]: [usize; 3], y: &mut [f32], a: &[f32], a_strides: [usize; 2], b: &[f32], b_strides: [usize; 2]) {
    let holds = |len: usize, sizes: [usize; 2], strides: [usize; 2]| (sizes[0] - 1) * strides[0] + (sizes[1] - 1) * strides[1] < len;
    assert!(y.len() >= m * n && holds(a.len(), [m, k], a_strides) && holds(b.len(), [k, n], b_strides));
    let ([a_row, a_column], [b_row, b_column]) = (a_strides.map(|s| s as isize), b_strides.map(|s| s as isize));
    let (y, threads) = (y.as_mut_ptr(), gemm_common::Parallelism::Rayon(0));
    // SAFETY: the slices hold whole matrices with these strides. What is computed is yᵀ = bᵀ aᵀ, for the kernels write columns.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            n,
            m,
            k,
            y,
            n as isize,
            1,
            false,
            b.as_ptr(),
            b_row,
            b_column,
            a.as_ptr(),
            a_row,
            a_column,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

/// GFLOP/s of a product `[512, 512] · [512, 512]` that took `seconds`.
pub fn gemm_512_gflops(seconds: f64) -> f64 {
    2e-9 * 512f64.powi(3) / seconds
}

/// Seconds to copy `source` to `target` on all threads.
pub fn copy_seconds(source: &[f32], target: &mut [f32]) -> f64 {
    const BLOCK: usize = 1 << 14;
    seconds(|| target.par_chunks_mut(BLOCK).zip(source.par_chunks(BLOCK)).for_each(|(target, source)| target.copy_from_slice(source)))
}
