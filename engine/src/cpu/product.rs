//! The matrix products of the `gemm-f32` and `gemm-f64` crates, by float type. Their usual front, the `gemm` crate, would have kernels
//! for complex numbers and half precision built as well.

use gemm_common::Parallelism;

/// Computes `c = alpha c + beta a b`; the arguments are `m, n, k`, then `c` with the distances between its columns and between its rows,
/// whether `c` is read, `a` and `b` likewise with their distances, `alpha`, `beta`, which of the three to conjugate, and the threads.
/// It is fastest when the columns of `c` are contiguous.
pub type Kernel<T> = unsafe fn(
    usize,
    usize,
    usize,
    *mut T,
    isize,
    isize,
    bool,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    T,
    bool,
    bool,
    bool,
    Parallelism,
);

/// A float type with a matrix product.
pub trait Product: Sized {
    /// The one for this processor.
    fn kernel() -> Kernel<Self>;
}

impl Product for f32 {
    fn kernel() -> Kernel<f32> {
        gemm_f32::gemm::f32::get_gemm_fn()
    }
}

impl Product for f64 {
    fn kernel() -> Kernel<f64> {
        gemm_f64::gemm::f64::get_gemm_fn()
    }
}
