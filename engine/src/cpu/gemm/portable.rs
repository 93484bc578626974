//! The matrix products of the `gemm-f32` and `gemm-f64` crates, for processors without kernels of ours and for f64. Their usual front, the `gemm` crate, would have kernels
//! for complex numbers and half precision built as well.
#![allow(unsafe_code)] // their kernels take pointers; every matrix was checked to lie in its slice

use gemm_common::Parallelism;

use super::matrix::{Block, Form, Order, Threads};
use super::{Half, Product};
use crate::cpu::parallel::for_chunks;
use crate::cpu::{Float, reduce};
use crate::parallel;

/// Computes `c = alpha c + beta a b`; the arguments are `m, n, k`, then `c` with the distances between its columns and between its rows,
/// whether `c` is read, `a` and `b` likewise with their distances, `alpha`, `beta`, which of the three to conjugate, and the threads.
/// It is fastest when the columns of `c` are contiguous.
pub(super) type Kernel<T> = unsafe fn(
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

/// The kernel of f32 for this processor.
pub(super) fn f32_kernel() -> Kernel<f32> {
    gemm_f32::gemm::f32::get_gemm_fn()
}

/// The kernel of f64 for this processor.
pub(super) fn f64_kernel() -> Kernel<f64> {
    gemm_f64::gemm::f64::get_gemm_fn()
}

/// A product by `kernel`. All matrices lie in their slices, and none is empty.
pub(super) fn multiply<F: Float>(kernel: Kernel<F>, threads: Threads, form: &Form<F>, a: Block<F>, b: Block<F>, c: &mut [F]) {
    let &Form { m, n, k, alpha, beta, c_stride, .. } = form;
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // the kernels write columns: of rows, the transposed product is computed
    let (m, n, a, b, c_row_stride, c_col_stride) = if c_stride > 1 { (n, m, b.t(), a.t(), 1, c_stride) } else { (m, n, a, b, c_stride, 1) };
    // SAFETY: the three matrices lie in their slices; `c`, borrowed mutably, overlaps neither of the others.
    unsafe {
        kernel(
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

/// Elements of a converted panel: it stays in the second-level caches of a few cores.
const PANEL_ELEMENTS: usize = 256 * 1024;

/// Elements that one task widens.
const WIDEN_ELEMENTS: usize = 8 * 1024;

/// The product with a right side in half precision. Panels of its columns are widened into scratch, never the whole matrix.
pub(super) fn multiply_half<F: Product + Float, H: Half>(threads: Threads, form: &Form<F>, a: Block<F>, b: Block<H>, c: &mut [F]) {
    let &Form { m, n, k, order, .. } = form;
    if m <= FEW_ROWS && order == Order::Fastest && a.col_stride == 1 && b.row_stride == 1 {
        return multiply_few_rows(form, a, b, c);
    }
    let width = (PANEL_ELEMENTS / k.max(1)).clamp(64, n.max(64)).min(n);
    let mut scratch = vec![F::ZERO; width * k];
    for start in (0..n).step_by(width) {
        let columns = width.min(n - start);
        let widened = widen([k, columns], b.columns_from(start), &mut scratch[..columns * k]);
        F::multiply(threads, &Form { n: columns, ..*form }, a, widened, &mut c[start..]);
    }
}

/// With so few rows a widened panel would be read hardly more often than it is written.
const FEW_ROWS: usize = 4;

/// [`multiply_half`] for decoding: each column of the right side, a weight's row, is widened piece by piece on the way into its dot products.
fn multiply_few_rows<F: Float, H: Half>(form: &Form<F>, a: Block<F>, b: Block<H>, c: &mut [F]) {
    let &Form { m, n, k, alpha, beta, c_stride, .. } = form;
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
    parallel!(for_chunks(&mut products, columns_per_task * m), |task, products| {
        products.chunks_mut(m).enumerate().for_each(|(i, sums)| column(task * columns_per_task + i, sums));
    });
    for row in 0..m {
        for (out, product) in c[row * c_stride..][..n].iter_mut().zip(products[row..].iter().step_by(m)) {
            *out = if beta == F::ZERO { alpha * *product } else { beta * *out + alpha * *product };
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
        parallel!(for_chunks(to, length * lines_per_task), |task, lines| {
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
