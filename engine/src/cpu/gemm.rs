//! Matrix products on the CPU: the `gemm` crates behind a safe face, and half-precision right sides converted panel by panel.
#![allow(unsafe_code)] // the kernels take raw pointers; `multiply` checks every range before it passes them on

use gemm_common::Parallelism;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::{Float, reduce};
use crate::dtype::Element;

/// A strided matrix in a slice.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    /// Holds element (0, 0) first.
    pub data: &'a [T],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub column_stride: usize,
}

/// How much of the machine a product may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread.
    One,
    /// All of rayon's.
    All,
}

impl<T> Matrix<'_, T> {
    fn t(self) -> Self {
        Matrix { rows: self.columns, columns: self.rows, row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    fn assert_inside(&self) {
        if self.rows > 0 && self.columns > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
            assert!(last < self.data.len(), "gemm: a [{}, {}] matrix ends at {last} of {}", self.rows, self.columns, self.data.len());
        }
    }
}

/// `out += left · right` into rows of `out` that are `out_stride` apart, or `out = left · right` if `keep` is zero.
///
/// # Panics
/// If the shapes do not fit or a matrix leaves its slice.
pub fn multiply<F: Float>(out: &mut [F], out_stride: usize, left: Matrix<'_, F>, right: Matrix<'_, F>, keep: F, threads: Threads) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert_eq!(k, right.rows, "gemm: inner sizes");
    if m == 0 || n == 0 {
        return;
    }
    left.assert_inside();
    right.assert_inside();
    assert!((m - 1) * out_stride + n <= out.len() && (m == 1 || out_stride >= n), "gemm: a [{m}, {n}] product in {} elements", out.len());
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // the kernels write columns: of rows, the transposed product is computed
    let (m, n, left, right, out_row, out_column) =
        if out_stride > 1 { (n, m, right.t(), left.t(), 1, out_stride) } else { (m, n, left, right, out_stride, 1) };
    // SAFETY: the assertions above keep every access of the three matrices inside their slices, `out` is borrowed mutably, and F is f32 or f64.
    unsafe {
        F::kernel()(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_column as isize,
            out_row as isize,
            keep != F::ZERO,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            keep,
            F::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A 16-bit float that widens to f32.
pub trait Half: Element {
    /// Exact; slices have the same length.
    fn widen(from: &[Self], to: &mut [f32]);
    /// Exact.
    fn to_f32(self) -> f32;
}

impl Half for f16 {
    fn widen(from: &[f16], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

impl Half for bf16 {
    fn widen(from: &[bf16], to: &mut [f32]) {
        // the upper half of an f32: this loop vectorises, the crate's keeps NaNs quiet one at a time
        from.iter().zip(to).for_each(|(from, to)| *to = f32::from_bits(u32::from(from.to_bits()) << 16));
    }
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

/// Elements of a converted panel: it stays in the second-level caches of a few cores.
const PANEL_ELEMENTS: usize = 256 * 1024;

/// Elements that one task widens.
const WIDEN_ELEMENTS: usize = 8 * 1024;

/// [`multiply`] with a right side in half precision. Panels of its columns are widened into scratch, never the whole matrix.
pub fn multiply_half<F: Float, H: Half>(out: &mut [F], out_stride: usize, left: Matrix<'_, F>, right: Matrix<'_, H>, keep: F) {
    right.assert_inside();
    let (k, n) = (right.rows, right.columns);
    if left.rows == 0 || n == 0 {
        return;
    }
    if left.rows <= FEW_ROWS && left.column_stride == 1 && right.row_stride == 1 {
        return multiply_few_rows(out, out_stride, left, right, keep);
    }
    let width = (PANEL_ELEMENTS / k.max(1)).clamp(64, n.max(64)).min(n);
    let mut scratch = vec![F::ZERO; width * k];
    for start in (0..n).step_by(width) {
        let columns = width.min(n - start);
        let panel = Matrix { data: right.data.get(start * right.column_stride..).unwrap_or(&[]), columns, ..right };
        let widened = widen(panel, &mut scratch[..columns * k]);
        multiply(&mut out[start..], out_stride, left, widened, keep, Threads::All);
    }
}

/// With so few rows a widened panel would be read hardly more often than it is written.
const FEW_ROWS: usize = 4;

/// [`multiply_half`] for decoding: each column of the right side, a weight's row, is widened piece by piece on the way into its dot products.
fn multiply_few_rows<F: Float, H: Half>(out: &mut [F], out_stride: usize, left: Matrix<'_, F>, right: Matrix<'_, H>, keep: F) {
    const PIECE: usize = 256;
    let (m, k, n) = (left.rows, left.columns, right.columns);
    let column = |index: usize, sums: &mut [F]| {
        let mut widened = [F::ZERO; PIECE];
        let weights = right.data.get(index * right.column_stride..).unwrap_or(&[]);
        sums.fill(F::ZERO);
        for start in (0..k).step_by(PIECE) {
            let widened = &mut widened[..PIECE.min(k - start)];
            widen_line(&weights[start..], 1, widened);
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum += reduce::dot(&left.data[row * left.row_stride + start..][..widened.len()], widened);
            }
        }
    };
    let mut products = vec![F::ZERO; n * m];
    let columns_per_task = (WIDEN_ELEMENTS / k.max(1)).max(1);
    products.par_chunks_mut(columns_per_task * m).enumerate().for_each(|(task, products)| {
        products.chunks_mut(m).enumerate().for_each(|(i, sums)| column(task * columns_per_task + i, sums));
    });
    for row in 0..m {
        for (out, product) in out[row * out_stride..][..n].iter_mut().zip(products[row..].iter().step_by(m)) {
            *out = if keep == F::ZERO { *product } else { keep * *out + *product };
        }
    }
}

/// A widened copy that keeps the order in memory: along k if that is how the weights lie, else along the columns.
fn widen<'a, F: Float, H: Half>(from: Matrix<'_, H>, to: &'a mut [F]) -> Matrix<'a, F> {
    let Matrix { rows, columns, row_stride, column_stride, data } = from;
    let along_rows = row_stride < column_stride;
    let (length, stride, step) = if along_rows { (rows, row_stride, column_stride) } else { (columns, column_stride, row_stride) };
    if !to.is_empty() {
        let lines_per_task = (WIDEN_ELEMENTS / length).max(1);
        to.par_chunks_mut(length * lines_per_task).enumerate().for_each(|(task, lines)| {
            for (line, out) in lines.chunks_mut(length).enumerate() {
                widen_line(&data[(task * lines_per_task + line) * step..], stride, out);
            }
        });
    }
    let (row_stride, column_stride) = if along_rows { (1, rows) } else { (columns, 1) };
    Matrix { data: to, rows, columns, row_stride, column_stride }
}

fn widen_line<F: Float, H: Half>(from: &[H], stride: usize, to: &mut [F]) {
    let mut buffer = [0.0f32; 256];
    if stride != 1 {
        for (i, to) in to.iter_mut().enumerate() {
            *to = F::of(f64::from(from[i * stride].to_f32()));
        }
        return;
    }
    for (from, to) in from[..to.len()].chunks(buffer.len()).zip(to.chunks_mut(buffer.len())) {
        H::widen(from, &mut buffer[..from.len()]);
        // f32 to f64 and back is the identity, and compiles to a copy at F = f32
        to.iter_mut().zip(&buffer).for_each(|(to, &value)| *to = F::of(f64::from(value)));
    }
}
