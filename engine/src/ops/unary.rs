//! Element by element functions of one tensor, `y = f(x)`.

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params { len: u32, a: f32, b: f32 }
}

const SHADER: Shader = wgsl!("unary.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// Which function; the shader knows them by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum UnaryOp {
    Neg = 0,
    Exp = 1,
    Log = 2,
    Tanh = 3,
    Sigmoid = 4,
    Softplus = 5,
    Relu = 6,
    Sqrt = 7,
    Square = 8,
    Abs = 9,
    GeluTanh = 10,
    GeluErf = 11,
    Silu = 12,
    Sin = 13,
    Cos = 14,
    /// a·x + b
    Affine = 15,
    /// within [a, b]
    Clamp = 16,
    Recip = 17,
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $method:ident => $op:ident),* $(,)?) => {
        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $method(&self) -> Tensor {
                unary(self, stringify!($method), UnaryOp::$op, 0.0, 0.0)
            })*
        }
    };
}

unary_methods! {
    /// -x
    neg => Neg,
    /// e^x
    exp => Exp,
    /// Natural logarithm.
    log => Log,
    /// Hyperbolic tangent.
    tanh => Tanh,
    /// 1 / (1 + e^-x)
    sigmoid => Sigmoid,
    /// ln(1 + e^x), without overflow.
    softplus => Softplus,
    /// max(x, 0); the gradient at 0 is 0.
    relu => Relu,
    /// Square root.
    sqrt => Sqrt,
    /// x²
    square => Square,
    /// |x|; the gradient at 0 is 0.
    abs => Abs,
    /// GELU by the tanh approximation (Hendrycks & Gimpel 2016, arXiv 1606.08415), `gelu_pytorch_tanh` in Hugging Face.
    gelu_tanh => GeluTanh,
    /// Exact GELU, x·Φ(x).
    gelu_erf => GeluErf,
    /// SiLU (swish), x·sigmoid(x).
    silu => Silu,
    /// Sine.
    sin => Sin,
    /// Cosine.
    cos => Cos,
    /// 1/x
    recip => Recip,
}

impl Tensor {
    /// `scale · x + shift`
    #[track_caller]
    pub fn affine(&self, scale: f32, shift: f32) -> Tensor {
        unary(self, "affine", UnaryOp::Affine, scale, shift)
    }

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

    /// Limits to `[low, high]`; the gradient is 0 outside.
    ///
    /// # Panics
    /// If `low > high`.
    #[track_caller]
    pub fn clamp(&self, low: f32, high: f32) -> Tensor {
        assert!(low <= high, "clamp: low {low} > high {high}");
        unary(self, "clamp", UnaryOp::Clamp, low, high)
    }
}

#[track_caller]
fn unary(x: &Tensor, name: &'static str, op: UnaryOp, a: f32, b: f32) -> Tensor {
    super::assert_arithmetic(name, &[x]);
    let saved = x.detach().contiguous();
    let y = Tensor::uninit(x.device(), x.shape(), x.dtype(), name);
    let params = Params { len: x.len() as u32, a, b };
    let groups = x.len().div_ceil(ELEMENTS_PER_GROUP);
    let constants = [("OP", f64::from(op as u32))];
    FORWARD.launch(&params).constants(&constants).input(&saved).output(&y).groups(groups).run();
    y.with_grad(name, [x], move |dy| {
        let dy = dy.contiguous();
        let dx = Tensor::uninit(dy.device(), dy.shape(), dy.dtype(), name);
        BACKWARD.launch(&params).constants(&constants).input(&saved).input(&dy).output(&dx).groups(groups).run();
        [Some(dx)]
    })
}

fn forward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, y) = (args.input::<F>(0), args.output::<F>(0));
    // one loop per function, so that each vectorises
    macro_rules! map {
        ($f:expr) => {
            for_row_blocks(y, 1, |start, y| {
                for (y, &x) in y.iter_mut().zip(&x[start..]) {
                    *y = $f(x);
                }
            })
        };
    }
    let (a, b) = (F::of(params.a.into()), F::of(params.b.into()));
    match op(&args) {
        UnaryOp::Neg => map!(|x: F| -x),
        UnaryOp::Exp => map!(F::fast_exp),
        UnaryOp::Log => map!(F::fast_ln),
        UnaryOp::Tanh => map!(F::fast_tanh),
        UnaryOp::Sigmoid => map!(F::sigmoid),
        UnaryOp::Softplus => map!(F::softplus),
        UnaryOp::Relu => map!(|x: F| x.max(F::ZERO)),
        UnaryOp::Sqrt => map!(F::sqrt),
        UnaryOp::Square => map!(|x: F| x * x),
        UnaryOp::Abs => map!(F::abs),
        UnaryOp::GeluTanh => map!(F::gelu_tanh),
        UnaryOp::GeluErf => map!(F::gelu_erf),
        UnaryOp::Silu => map!(F::silu),
        UnaryOp::Sin => map!(F::sin),
        UnaryOp::Cos => map!(F::cos),
        UnaryOp::Affine => map!(|x: F| a * x + b),
        UnaryOp::Clamp => map!(|x: F| x.max(a).min(b)),
        UnaryOp::Recip => map!(|x: F| F::ONE / x),
    }
}

fn backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, dy, dx) = (args.input::<F>(0), args.input::<F>(1), args.output::<F>(0));
    macro_rules! map {
        ($derivative:expr) => {
            for_row_blocks(dx, 1, |start, dx| {
                for ((dx, &dy), &x) in dx.iter_mut().zip(&dy[start..]).zip(&x[start..]) {
                    *dx = dy * $derivative(x);
                }
            })
        };
    }
    let (a, b) = (F::of(params.a.into()), F::of(params.b.into()));
    let step = |on: bool| if on { F::ONE } else { F::ZERO };
    match op(&args) {
        UnaryOp::Neg => map!(|_: F| -F::ONE),
        UnaryOp::Exp => map!(F::fast_exp),
        UnaryOp::Log => map!(|x: F| F::ONE / x),
        UnaryOp::Sqrt => map!(|x: F| F::of(0.5) / x.sqrt()),
        UnaryOp::Recip => map!(|x: F| -F::ONE / (x * x)),
        UnaryOp::Tanh => map!(|x: F| {
            let t = x.fast_tanh();
            F::ONE - t * t
        }),
        UnaryOp::Sigmoid => map!(|x: F| {
            // not s·(1 - s), which cancels for large x
            let e = (-x.abs()).fast_exp();
            e / ((F::ONE + e) * (F::ONE + e))
        }),
        UnaryOp::Softplus => map!(F::sigmoid),
        UnaryOp::Relu => map!(|x: F| step(x > F::ZERO)),
        UnaryOp::Square => map!(|x: F| x + x),
        UnaryOp::Abs => map!(|x: F| step(x > F::ZERO) - step(x < F::ZERO)),
        UnaryOp::GeluTanh => map!(|x: F| {
            let t = gelu_inner(x).fast_tanh();
            let inner_slope = F::of(GELU_SCALE) * (F::ONE + F::of(3.0 * GELU_CUBIC) * x * x);
            F::of(0.5) * (F::ONE + t) + F::of(0.5) * x * (F::ONE - t * t) * inner_slope
        }),
        UnaryOp::GeluErf => map!(|x: F| {
            let density = F::of(INV_SQRT_2PI) * (F::of(-0.5) * x * x).fast_exp();
            x.normal_cdf() + x * density
        }),
        UnaryOp::Silu => map!(|x: F| {
            let s = x.sigmoid();
            s * (F::ONE + x * (F::ONE - s))
        }),
        UnaryOp::Sin => map!(F::cos),
        UnaryOp::Cos => map!(|x: F| -x.sin()),
        UnaryOp::Affine => map!(|_: F| a),
        UnaryOp::Clamp => map!(|x: F| step(x >= a && x <= b)),
    }
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4; // sqrt(2/π)
const GELU_CUBIC: f64 = 0.044_715;
const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

#[inline(always)]
fn gelu_inner<F: Float>(x: F) -> F {
    F::of(GELU_SCALE) * (x + F::of(GELU_CUBIC) * x * x * x)
}

fn op(args: &CpuArgs) -> UnaryOp {
    const OPS: [UnaryOp; 18] = [
        UnaryOp::Neg,
        UnaryOp::Exp,
        UnaryOp::Log,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Softplus,
        UnaryOp::Relu,
        UnaryOp::Sqrt,
        UnaryOp::Square,
        UnaryOp::Abs,
        UnaryOp::GeluTanh,
        UnaryOp::GeluErf,
        UnaryOp::Silu,
        UnaryOp::Sin,
        UnaryOp::Cos,
        UnaryOp::Affine,
        UnaryOp::Clamp,
        UnaryOp::Recip,
    ];
    OPS[args.constant("OP") as usize]
}
