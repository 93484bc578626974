//! Element by element functions of one tensor, `y = f(x)`.

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params { len: u32, a: f32, b: f32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "unary.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward).overriding(&[("OP", NUMBERS)]);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward).overriding(&[("OP", NUMBERS)]);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// The functions, one row each. A row holds the documentation of the method; the number of its case in unary.wgsl, its name, and its parameters with
/// the values that the tests give them; f; f′; the ranges from which the tests draw x (away from kinks; narrow ones show the error of small results);
/// and, where there is one, a condition on the parameters with the message if it does not hold.
///
/// `unary_ops!(make)` hands the rows to the macro `make`: one makes the methods and the CPU kernels of them, another the rows of the op table.
macro_rules! unary_ops {
    ($make:ident) => {
        $make! {
            /// -x
            0 neg(): |x| -x, |_| -F::ONE, on [-2.0..2.0];
            /// e^x
            1 exp(): F::fast_exp, F::fast_exp, on [-3.0..3.0, -16.0..-9.0];
            /// Natural logarithm.
            2 log(): F::fast_ln, |x| F::ONE / x, on [0.1..3.0, 0.999..1.001];
            /// Hyperbolic tangent.
            3 tanh(): F::fast_tanh, tanh_slope, on [-4.0..4.0, -1e-3..1e-3];
            /// 1 / (1 + e^-x)
            4 sigmoid(): F::sigmoid, sigmoid_slope, on [-9.0..9.0, -16.0..-9.0];
            /// ln(1 + e^x), without overflow.
            5 softplus(): F::softplus, F::sigmoid, on [-9.0..9.0, -16.0..-9.0];
            /// max(x, 0); the gradient at 0 is 0.
            6 relu(): |x| x.max(F::ZERO), |x| step(x > F::ZERO), on [0.1..2.0, -2.0..-0.1];
            /// Square root.
            7 sqrt(): F::sqrt, |x| F::of(0.5) / x.sqrt(), on [0.2..4.0];
            /// x²
            8 square(): |x| x * x, |x| x + x, on [-2.0..2.0];
            /// |x|; the gradient at 0 is 0.
            9 abs(): F::abs, sign, on [-2.0..-0.1, 0.1..2.0];
            /// GELU by the tanh approximation (Hendrycks & Gimpel 2016, arXiv 1606.08415), `gelu_pytorch_tanh` in Hugging Face.
            10 gelu_tanh(): F::gelu_tanh, gelu_tanh_slope, on [-4.0..4.0];
            /// Exact GELU, x·Φ(x).
            11 gelu_erf(): F::gelu_erf, gelu_erf_slope, on [-4.0..4.0];
            /// SiLU (swish), x·sigmoid(x).
            12 silu(): F::silu, silu_slope, on [-6.0..6.0];
            /// Sine.
            13 sin(): F::sin, F::cos, on [-3.0..3.0, -1e-3..1e-3, 100.0..110.0];
            /// Cosine.
            14 cos(): F::cos, |x| -x.sin(), on [-3.0..3.0, 1.57..1.571, -1010.0..-1000.0];
            /// `scale · x + shift`
            15 affine(scale = 1.5, shift = -0.25): |x| scale * x + shift, |_| scale, on [-2.0..2.0];
            /// Limits to `[low, high]`; the gradient is 0 outside.
            ///
            /// # Panics
            /// If `low > high`.
            16 clamp(low = -1.0, high = 0.5): |x| x.max(low).min(high), |x| step(x >= low && x <= high), on [-0.9..0.4, 0.6..2.0],
                where low <= high, "clamp: low {low} > high {high}";
            /// 1/x
            17 recip(): |x| F::ONE / x, |x| -F::ONE / (x * x), on [0.5..3.0];
            /// e^x − 1 − x: how far the exponential is above its tangent at 0. About x²/2 near 0, where the difference itself would be rounding.
            18 exp_remainder(): exp_remainder, |x| x + exp_remainder(x), on [-3.0..3.0, -1e-3..1e-3, -9.0..-3.0];
        }
    };
}
pub(crate) use unary_ops;

macro_rules! methods_and_kernels {
    ($($(#[$doc:meta])* $number:literal $name:ident($($parameter:ident = $_value:expr),*): $f:expr, $slope:expr, on $_ranges:tt
        $(, where $holds:expr, $message:literal)?;)*) => {
        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $name(&self $(, $parameter: f32)*) -> Tensor {
                $(assert!($holds, $message);)?
                unary(self, stringify!($name), $number, &[$($parameter),*])
            })*
        }

        /// Numbers of the rows.
        pub(crate) const NUMBERS: &[u32] = &[$($number),*];

        #[allow(unused_variables)] // a slope may not need all parameters
        fn forward<F: Float>(params: &Params, args: CpuArgs) {
            match args.constant("OP") as u32 {
                $($number => {
                    let [$($parameter,)* ..] = params.values::<F>();
                    map::<F>(args, $f);
                })*
                number => unreachable!("no function has the number {number}"),
            }
        }

        #[allow(unused_variables)] // a slope may not need all parameters
        fn backward<F: Float>(params: &Params, args: CpuArgs) {
            match args.constant("OP") as u32 {
                $($number => {
                    let [$($parameter,)* ..] = params.values::<F>();
                    map_backward::<F>(args, $slope);
                })*
                number => unreachable!("no function has the number {number}"),
            }
        }
    };
}
unary_ops!(methods_and_kernels);

impl Tensor {
    /// `x + value`
    #[track_caller]
    pub fn add_scalar(&self, value: f32) -> Tensor {
        self.affine(1.0, value)
    }

    /// `x · value`
    #[track_caller]
    pub fn mul_scalar(&self, value: f32) -> Tensor {
        self.affine(value, 0.0)
    }
}

#[track_caller]
fn unary(x: &Tensor, name: &'static str, number: u32, parameters: &[f32]) -> Tensor {
    super::assert_arithmetic(name, &[x]);
    let saved = x.detach().contiguous();
    let y = Tensor::uninit(x.device(), x.shape(), x.dtype(), name);
    let parameter = |place| parameters.get(place).copied().unwrap_or(0.0);
    let params = Params { len: x.len() as u32, a: parameter(0), b: parameter(1) };
    let groups = x.len().div_ceil(ELEMENTS_PER_GROUP);
    let constants = [("OP", f64::from(number))];
    FORWARD.launch(&params).constants(&constants).input(&saved).output(&y).groups(groups).run();
    y.with_grad(name, [x], move |dy| {
        let dy = dy.contiguous();
        let dx = Tensor::uninit(dy.device(), dy.shape(), dy.dtype(), name);
        BACKWARD.launch(&params).constants(&constants).input(&saved).input(&dy).output(&dx).groups(groups).run();
        [Some(dx)]
    })
}

impl Params {
    fn values<F: Float>(&self) -> [F; 2] {
        [F::of(self.a.into()), F::of(self.b.into())]
    }
}

// A loop for each function, so that each vectorises.
#[inline(always)]
fn map<F: Float>(mut args: CpuArgs, f: impl Fn(F) -> F + Sync) {
    let (x, y) = (args.input::<F>(0), args.output::<F>(0));
    parallel!(for_row_blocks(y, 1), |start, y| {
        for (y, &x) in y.iter_mut().zip(&x[start..]) {
            *y = f(x);
        }
    });
}

#[inline(always)]
fn map_backward<F: Float>(mut args: CpuArgs, slope: impl Fn(F) -> F + Sync) {
    let (x, dy, dx) = (args.input::<F>(0), args.input::<F>(1), args.output::<F>(0));
    parallel!(for_row_blocks(dx, 1), |start, dx| {
        for ((dx, &dy), &x) in dx.iter_mut().zip(&dy[start..]).zip(&x[start..]) {
            *dx = dy * slope(x);
        }
    });
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4; // sqrt(2/π)
const GELU_CUBIC: f64 = 0.044_715;
const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

#[inline(always)]
fn step<F: Float>(on: bool) -> F {
    if on { F::ONE } else { F::ZERO }
}

#[inline(always)]
fn sign<F: Float>(x: F) -> F {
    step::<F>(x > F::ZERO) - step::<F>(x < F::ZERO)
}

#[inline(always)]
fn tanh_slope<F: Float>(x: F) -> F {
    let t = x.fast_tanh();
    F::ONE - t * t
}

#[inline(always)]
fn sigmoid_slope<F: Float>(x: F) -> F {
    // not s·(1 - s), which cancels for large x
    let e = (-x.abs()).fast_exp();
    e / ((F::ONE + e) * (F::ONE + e))
}

#[inline(always)]
fn silu_slope<F: Float>(x: F) -> F {
    let s = x.sigmoid();
    s * (F::ONE + x * (F::ONE - s))
}

#[inline(always)]
fn exp_remainder<F: Float>(x: F) -> F {
    // Taylor's series, from its last term: 2/14! of x¹² is nothing at 1/4, in f64 too
    let series = (3..=13).rev().fold(F::ONE, |series, n| F::ONE + x * series * F::of(1.0 / f64::from(n)));
    if x.abs() < F::of(0.25) { x * x * F::of(0.5) * series } else { x.fast_exp() - F::ONE - x }
}

#[inline(always)]
fn gelu_tanh_slope<F: Float>(x: F) -> F {
    let inner = F::of(GELU_SCALE) * (x + F::of(GELU_CUBIC) * x * x * x);
    let t = inner.fast_tanh();
    let inner_slope = F::of(GELU_SCALE) * (F::ONE + F::of(3.0 * GELU_CUBIC) * x * x);
    F::of(0.5) * (F::ONE + t) + F::of(0.5) * x * (F::ONE - t * t) * inner_slope
}

#[inline(always)]
fn gelu_erf_slope<F: Float>(x: F) -> F {
    let density = F::of(INV_SQRT_2PI) * (F::of(-0.5) * x * x).fast_exp();
    x.normal_cdf() + x * density
}
