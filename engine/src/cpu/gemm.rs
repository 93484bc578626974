//! Matrix products on the CPU. In f32, on x86-64 with AVX2 or AVX-512, the kernels are our own (`x86/`: start with `x86/tile.rs`); elsewhere, and in f64, they are those
//! of the `gemm` crates (`portable.rs`).

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Other processors have no kernels of ours.
#[cfg(not(target_arch = "x86_64"))]
mod x86 {
    use super::{Block, Form, Threads};

    pub(super) fn multiply<T>(_: Threads, _: &Form<f32>, _: Block<f32>, _: Block<T>, _: &mut [f32]) -> bool {
        false
    }
}

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Float;
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

    /// From row `first` on; nothing if that is past the end.
    fn rows_from(self, first: usize) -> Block<'a, T> {
        self.t().columns_from(first).t()
    }

    /// The same elements under the name that their type has where it is known.
    fn cast<U: Element>(self) -> Block<'a, U>
    where
        T: Element,
    {
        Block { data: bytemuck::cast_slice(self.data), row_stride: self.row_stride, col_stride: self.col_stride }
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
    /// All of them.
    All,
}

/// The sizes of a product `c = alpha a b + beta c`, `[m, k] [k, n] -> [m, n]`, and its scales. The rows of `c` lie `c_stride` apart; with `beta` 0,
/// `c` is not read.
#[derive(Clone, Copy)]
pub struct Form<F> {
    m: usize,
    n: usize,
    k: usize,
    alpha: F,
    beta: F,
    c_stride: usize,
}

impl<F> Form<F> {
    /// Checks that the matrices lie in their slices. A product without elements has nothing to check; false is returned.
    #[track_caller]
    fn check<T>(&self, a: &Block<F>, b: &Block<T>, c: &[F]) -> bool {
        let &Form { m, n, k, c_stride, .. } = self;
        if m == 0 || n == 0 {
            return false;
        }
        assert!(
            a.holds(m, k) && b.holds(k, n) && (m - 1) * c_stride + n <= c.len() && (m == 1 || n <= c_stride),
            "gemm: [{m}, {k}] [{k}, {n}]: a matrix reaches past its slice"
        );
        true
    }
}

/// A float type with matrix products, of matrices that lie in their slices and have elements.
pub trait Product: Sized {
    /// With both sides of this type.
    fn multiply(threads: Threads, form: &Form<Self>, a: Block<Self>, b: Block<Self>, c: &mut [Self]);
    /// With a right side in half precision, whose elements are widened on the way.
    fn multiply_half<H: Half>(form: &Form<Self>, a: Block<Self>, b: Block<H>, c: &mut [Self]);
}

impl Product for f32 {
    fn multiply(threads: Threads, form: &Form<f32>, a: Block<f32>, b: Block<f32>, c: &mut [f32]) {
        if !x86::multiply(threads, form, a, b, c) {
            portable::multiply(portable::f32_kernel(), threads, form, a, b, c);
        }
    }
    fn multiply_half<H: Half>(form: &Form<f32>, a: Block<f32>, b: Block<H>, c: &mut [f32]) {
        if !x86::multiply(Threads::All, form, a, b, c) {
            portable::multiply_half(form, a, b, c);
        }
    }
}

impl Product for f64 {
    fn multiply(threads: Threads, form: &Form<f64>, a: Block<f64>, b: Block<f64>, c: &mut [f64]) {
        portable::multiply(portable::f64_kernel(), threads, form, a, b, c);
    }
    fn multiply_half<H: Half>(form: &Form<f64>, a: Block<f64>, b: Block<H>, c: &mut [f64]) {
        portable::multiply_half(form, a, b, c);
    }
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
    let form = Form { m, n, k, alpha, beta, c_stride };
    if form.check(&a, &b, c) {
        F::multiply(threads, &form, a, b, c);
    }
}

/// The product `c = a b + beta c` on all threads, with a right side in half precision, which is never widened as a whole.
///
/// # Panics
/// If a matrix reaches past its slice.
#[track_caller]
pub fn multiply_half<F: Float, H: Half>([m, n, k]: [usize; 3], a: Block<F>, b: Block<H>, beta: F, c: &mut [F], c_stride: usize) {
    let form = Form { m, n, k, alpha: F::ONE, beta, c_stride };
    if form.check(&a, &b, c) {
        F::multiply_half(&form, a, b, c);
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
