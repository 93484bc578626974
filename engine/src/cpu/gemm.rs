//! Matrix products on the CPU. In f32, on x86-64 with AVX2 or AVX-512, the kernels are our own (`x86/`: start with `x86/tile.rs`); elsewhere, and in f64, they are those
//! of the `gemm` crates (`portable.rs`).

mod matrix;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Other processors have no kernels of ours.
#[cfg(not(target_arch = "x86_64"))]
mod x86 {
    use super::matrix::{Block, Form, Threads};

    pub(super) fn multiply<T>(_: Threads, _: &Form<f32>, _: Block<f32>, _: Block<T>, _: &mut [f32]) -> bool {
        false
    }
}

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Float;
use crate::dtype::Element;
use matrix::Form;
pub use matrix::{Block, Order, Threads};

/// A float type with matrix products, of matrices that lie in their slices and have elements.
pub trait Product: Right<Self> + Sized {
    /// With a right side in half precision, whose elements are widened on the way.
    fn multiply_half<H: Half>(threads: Threads, form: &Form<Self>, a: Block<Self>, b: Block<H>, c: &mut [Self]);
}

/// What the right side of a product in `F` can be stored as: `F` itself, or halves.
pub trait Right<F>: Element {
    /// The product with a right side of this type.
    fn multiply(threads: Threads, form: &Form<F>, a: Block<F>, b: Block<Self>, c: &mut [F]);
}

impl Product for f32 {
    fn multiply_half<H: Half>(threads: Threads, form: &Form<f32>, a: Block<f32>, b: Block<H>, c: &mut [f32]) {
        if !x86::multiply(threads, form, a, b, c) {
            portable::multiply_half(threads, form, a, b, c);
        }
    }
}

impl Product for f64 {
    fn multiply_half<H: Half>(threads: Threads, form: &Form<f64>, a: Block<f64>, b: Block<H>, c: &mut [f64]) {
        portable::multiply_half(threads, form, a, b, c);
    }
}

impl Right<f32> for f32 {
    fn multiply(threads: Threads, form: &Form<f32>, a: Block<f32>, b: Block<f32>, c: &mut [f32]) {
        if !x86::multiply(threads, form, a, b, c) {
            portable::multiply(portable::f32_kernel(), threads, form, a, b, c);
        }
    }
}

impl Right<f64> for f64 {
    fn multiply(threads: Threads, form: &Form<f64>, a: Block<f64>, b: Block<f64>, c: &mut [f64]) {
        portable::multiply(portable::f64_kernel(), threads, form, a, b, c);
    }
}

impl<F: Product> Right<F> for f16 {
    fn multiply(threads: Threads, form: &Form<F>, a: Block<F>, b: Block<f16>, c: &mut [F]) {
        F::multiply_half(threads, form, a, b, c);
    }
}

impl<F: Product> Right<F> for bf16 {
    fn multiply(threads: Threads, form: &Form<F>, a: Block<F>, b: Block<bf16>, c: &mut [F]) {
        F::multiply_half(threads, form, a, b, c);
    }
}

/// The product of two matrices on the calling thread, scaled, into `c` or added to a share of it: `c = alpha a b + beta c`,
/// `[m, k] [k, n] -> [m, n]`. The rows of `c` lie `c_stride` apart. With `beta` 0, `c` is not read.
///
/// # Panics
/// If a matrix reaches past its slice.
#[track_caller]
pub fn multiply<F: Float, T: Right<F>>(sizes: [usize; 3], alpha: F, a: Block<F>, b: Block<T>, beta: F, c: &mut [F], c_stride: usize) {
    multiply_on(Threads::One, Order::Fastest, sizes, alpha, a, b, beta, c, c_stride);
}

/// [`multiply`] on as many threads as it may use. A right side in half precision is never widened as a whole.
///
/// # Panics
/// If a matrix reaches past its slice.
#[track_caller]
pub fn multiply_on<F: Float, T: Right<F>>(
    threads: Threads,
    order: Order,
    [m, n, k]: [usize; 3],
    alpha: F,
    a: Block<F>,
    b: Block<T>,
    beta: F,
    c: &mut [F],
    c_stride: usize,
) {
    let form = Form { m, n, k, alpha, beta, c_stride, order };
    if form.check(&a, &b, c) {
        T::multiply(threads, &form, a, b, c);
    }
}

/// A 16-bit float that widens to f32.
pub trait Half: Element {
    /// Widens a slice into another of the same length, exactly.
    fn widen(from: &[Self], to: &mut [f32]);
    /// Rounds a slice into another of the same length, to nearest, ties to even.
    fn narrow(from: &[f32], to: &mut [Self]);
    /// The same value in f32.
    fn to_f32(self) -> f32;
}

impl Half for f16 {
    fn widen(from: &[f16], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
    fn narrow(from: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(from);
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
    fn narrow(from: &[f32], to: &mut [bf16]) {
        from.iter().zip(to).for_each(|(from, to)| *to = bf16::from_f32(*from));
    }
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}
