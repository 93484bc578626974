//! Products of small strided blocks on one thread, for kernels that do their own tiling and threading.
#![allow(unsafe_code)] // the kernels take pointers; the blocks are checked to lie in their slices

use gemm_common::Parallelism;

use crate::cpu::Float;

/// A matrix inside a slice: element (r, c) is `data[r * row_stride + c * col_stride]`.
#[derive(Clone, Copy)]
pub struct Block<'a, F> {
    data: &'a [F],
    row_stride: usize,
    col_stride: usize,
}

impl<'a, F: Float> Block<'a, F> {
    /// Rows `row_stride` apart, each contiguous, from the start of `data`.
    pub fn rows(data: &'a [F], row_stride: usize) -> Block<'a, F> {
        Block { data, row_stride, col_stride: 1 }
    }

    /// Transposed.
    pub fn t(self) -> Block<'a, F> {
        Block { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// `c = alpha a b + beta c`, `[m, k] [k, n] -> [m, n]`; the rows of `c` lie `c_stride` apart. With `beta` 0, `c` is not read.
///
/// # Panics
/// If a block reaches past its slice.
#[track_caller]
pub fn multiply<F: Float>([m, n, k]: [usize; 3], alpha: F, a: Block<F>, b: Block<F>, beta: F, c: &mut [F], c_stride: usize) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        a.holds(m, k) && b.holds(k, n) && (m - 1) * c_stride + n <= c.len() && (m == 1 || n <= c_stride),
        "multiply: [{m}, {k}] [{k}, {n}]: a block reaches past its slice"
    );
    // the kernels write columns: of rows, the transposed product is computed
    let (m, n, a, b, c_row, c_col) = if c_stride > 1 { (n, m, b.t(), a.t(), 1, c_stride) } else { (m, n, a, b, c_stride, 1) };
    // SAFETY: the three blocks lie in their slices, and `c`, borrowed mutably, overlaps neither of the others.
    unsafe {
        F::kernel()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_col as isize,
            c_row as isize,
            beta != F::ZERO,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
