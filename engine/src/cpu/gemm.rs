//! Matrix products on the CPU: the `gemm` crates behind a safe face, and half-precision right sides converted panel by panel.
#![allow(unsafe_code)] // the kernels take pointers; every matrix is checked to lie in its slice before they are passed on

use gemm_common::Parallelism;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::{Float, reduce};
use crate::dtype::Element;

/// A strided matrix in a slice: element (r, c) is `data[r * row_stride + c * col_stride]`. How many rows and columns it has, the product says.
#[derive(Clone, Copy)]
pub struct Block<'a, T> {
    data: &'a [T],
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Block<'a, T> {
    /// A matrix that begins at the start of `data`, with the distances between its rows and between its columns.
    pub fn new(data: &'a [T], row_stride: usize, col_stride: usize) -> Block<'a, T> {
        Block { data, row_stride, col_stride }
    }

    /// A matrix that begins at the start of `data`, with contiguous rows that lie `row_stride` apart.
    pub fn rows(data: &'a [T], row_stride: usize) -> Block<'a, T> {
        Block::new(data, row_stride, 1)
    }

    /// The transposed matrix, in the same slice.
    pub fn t(self) -> Block<'a, T> {
        Block::new(self.data, self.col_stride, self.row_stride)
    }

    /// From column `first` on; nothing if that is past the end.
    fn columns_from(self, first: usize) -> Block<'a, T> {
        Block { data: self.data.get(first * self.col_stride..).unwrap_or(&[]), ..self }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// How much of the machine a product may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Only the calling thread.
    One,
    /// All of rayon's threads.
    All,
}

/// The product of two matrices on the calling thread, scaled, into `c` or added to a share of it: `c = alpha a b + beta c`,
/// `[m, k] [k, n] -> [m, n]`. The rows of `c` lie `c_stride` apart. With `beta` 0, `c` is not read.
///
/// # Panics
/// If a matrix reaches past its slice.
#[track_caller]
pub fn multiply<F: Float>(sizes: [usize; 3], alpha: F, a: Block<F>, b: Block<F>, beta: F, c: &mut [F], c_stride: usize) {
    multiply_on(Threads::One, sizes, alpha, a, b, beta, c, c_stride);
}

/// [`multiply`] on as many threads as it may use.
///
/// # Panics
/// If a matrix reaches past its slice.
#[track_caller]
pub fn multiply_on<F: Float>(
    threads: Threads,
    [m, n, k]: [usize; 3],
    alpha: F,
    a: Block<F>,
    b: Block<F>,
    beta: F,
    c: &mut [F],
    c_stride: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(
        a.holds(m, k) && b.holds(k, n) && (m - 1) * c_stride + n <= c.len() && (m == 1 || n <= c_stride),
        "gemm: [{m}, {k}] [{k}, {n}]: a matrix reaches past its slice"
    );
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // the kernels write columns: of rows, the transposed product is computed
    let (m, n, a, b, c_row_stride, c_col_stride) = if c_stride > 1 { (n, m, b.t(), a.t(), 1, c_stride) } else { (m, n, a, b, c_stride, 1) };
    // SAFETY: the three matrices lie in their slices; `c`, borrowed mutably, overlaps neither of the others.
    unsafe {
        F::kernel()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_col_stride as isize,
            c_row_stride as isize,
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
            parallelism,
        );
    }
}

/// A 16-bit float that widens to f32.
pub trait Half: Element {
    /// Widens a slice into another of the same length, exactly.
    fn widen(from: &[Self], to: &mut [f32]);
    /// The same value in f32.
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

/// The product `c = a b + beta c` on all threads, with a right side in half precision. Panels of its columns are widened into scratch, never the
/// whole matrix.
///
/// # Panics
/// If a matrix reaches past its slice.
#[track_caller]
pub fn multiply_half<F: Float, H: Half>([m, n, k]: [usize; 3], a: Block<F>, b: Block<H>, beta: F, c: &mut [F], c_stride: usize) {
    assert!(b.holds(k, n), "gemm: [{m}, {k}] [{k}, {n}]: the right side reaches past its slice");
    if m == 0 || n == 0 {
        return;
    }
    if m <= FEW_ROWS && a.col_stride == 1 && b.row_stride == 1 {
        return multiply_few_rows([m, n, k], a, b, beta, c, c_stride);
    }
    let width = (PANEL_ELEMENTS / k.max(1)).clamp(64, n.max(64)).min(n);
    let mut scratch = vec![F::ZERO; width * k];
    for start in (0..n).step_by(width) {
        let columns = width.min(n - start);
        let widened = widen([k, columns], b.columns_from(start), &mut scratch[..columns * k]);
        multiply_on(Threads::All, [m, columns, k], F::ONE, a, widened, beta, &mut c[start..], c_stride);
    }
}

/// With so few rows a widened panel would be read hardly more often than it is written.
const FEW_ROWS: usize = 4;

/// [`multiply_half`] for decoding: each column of the right side, a weight's row, is widened piece by piece on the way into its dot products.
fn multiply_few_rows<F: Float, H: Half>([m, n, k]: [usize; 3], a: Block<F>, b: Block<H>, beta: F, c: &mut [F], c_stride: usize) {
    const PIECE: usize = 256;
    let column = |index: usize, sums: &mut [F]| {
        let mut widened = [F::ZERO; PIECE];
        let weights = b.columns_from(index).data;
        sums.fill(F::ZERO);
        for start in (0..k).step_by(PIECE) {
            let widened = &mut widened[..PIECE.min(k - start)];
            widen_line(&weights[start..], 1, widened);
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum += reduce::dot(&a.data[row * a.row_stride + start..][..widened.len()], widened);
            }
        }
    };
    let mut products = vec![F::ZERO; n * m];
    let columns_per_task = (WIDEN_ELEMENTS / k.max(1)).max(1);
    products.par_chunks_mut(columns_per_task * m).enumerate().for_each(|(task, products)| {
        products.chunks_mut(m).enumerate().for_each(|(i, sums)| column(task * columns_per_task + i, sums));
    });
    for row in 0..m {
        for (out, product) in c[row * c_stride..][..n].iter_mut().zip(products[row..].iter().step_by(m)) {
            *out = if beta == F::ZERO { *product } else { beta * *out + *product };
        }
    }
}

/// A widened copy that keeps the order in memory: along the rows' index if that is how the weights lie, else along the columns'.
fn widen<'a, F: Float, H: Half>([rows, columns]: [usize; 2], from: Block<'_, H>, to: &'a mut [F]) -> Block<'a, F> {
    let Block { data, row_stride, col_stride } = from;
    let along_rows = row_stride < col_stride;
    let (length, stride, step) = if along_rows { (rows, row_stride, col_stride) } else { (columns, col_stride, row_stride) };
    if !to.is_empty() {
        let lines_per_task = (WIDEN_ELEMENTS / length).max(1);
        to.par_chunks_mut(length * lines_per_task).enumerate().for_each(|(task, lines)| {
            for (line, out) in lines.chunks_mut(length).enumerate() {
                widen_line(&data[(task * lines_per_task + line) * step..], stride, out);
            }
        });
    }
    if along_rows { Block::new(to, 1, rows) } else { Block::new(to, columns, 1) }
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
