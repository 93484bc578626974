//! Element by element functions of two tensors, with NumPy broadcasting.

use crate::cpu::parallel::for_strided_rows;
use crate::cpu::{CpuArgs, Float};
use crate::kernel::{Kernel, Shader};
use crate::layout::{MAX_AXES, broadcast_shapes, collapse, first_axis, pad_axes};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params {
        len: u32,
        a_offset: u32,
        b_offset: u32,
        first: u32,
        shape: [u32; MAX_AXES],
        a_strides: [u32; MAX_AXES],
        b_strides: [u32; MAX_AXES],
    }
}

const SHADER: Shader = wgsl!("binary.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward).overriding(&[("OP", NUMBERS), ("LINEAR", &[0, 1])]);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD];

/// The functions, one row each. A row holds the documentation of the method; the number of its case in binary.wgsl and its name; f; and the function
/// that attaches the gradient.
///
/// `binary_ops!(make)` hands the rows to the macro `make`: one makes the methods and the CPU kernel of them, another the rows of the op table.
macro_rules! binary_ops {
    ($make:ident) => {
        $make! {
            /// `a + b`. Shapes broadcast.
            0 add: |a, b| a + b, add_gradient;
            /// `a - b`. Shapes broadcast.
            1 sub: |a, b| a - b, sub_gradient;
            /// `a · b`, element by element. Shapes broadcast.
            2 mul: |a, b| a * b, mul_gradient;
            /// `a / b`. Shapes broadcast.
            3 div: |a, b| a / b, div_gradient;
            /// The larger, element by element. Shapes broadcast; equal elements share the gradient equally, as in PyTorch.
            4 maximum: F::max, maximum_gradient;
            /// The smaller, element by element. Shapes broadcast; equal elements share the gradient equally, as in PyTorch.
            5 minimum: F::min, minimum_gradient;
            /// 1 where `a > b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
            6 gt: |a, b| step(a > b), no_gradient;
            /// 1 where `a >= b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
            7 ge: |a, b| step(a >= b), no_gradient;
            /// 1 where `a == b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
            8 eq: |a, b| step(a == b), no_gradient;
            /// 1 where `a < b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
            9 lt: |a, b| step(a < b), no_gradient;
            /// 1 where `a <= b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
            10 le: |a, b| step(a <= b), no_gradient;
        }
    };
}
pub(crate) use binary_ops;

macro_rules! methods_and_kernel {
    ($($(#[$doc:meta])* $number:literal $name:ident: $f:expr, $gradient:ident;)*) => {
        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $name(&self, rhs: &Tensor) -> Tensor {
                $gradient(binary(stringify!($name), $number, self, rhs), self, rhs)
            })*
        }

        /// Numbers of the rows.
        pub(crate) const NUMBERS: &[u32] = &[$($number),*];

        fn forward<F: Float>(params: &Params, args: CpuArgs) {
            match args.constant("OP") as u32 {
                $($number => map::<F>(params, args, $f),)*
                number => unreachable!("no function has the number {number}"),
            }
        }
    };
}
binary_ops!(methods_and_kernel);

fn add_gradient(y: Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    let (a_shape, b_shape) = (a.shape().to_vec(), b.shape().to_vec());
    y.with_grads_in_place("add", &[a, b], move |dy, places| {
        // a bias: its gradient is the sum over the rows
        let rows = dy.rank() > 1 && b_shape.len() == 1 && dy.dim(-1) == b_shape[0];
        let db = match if rows { places.of(1) } else { None } {
            Some(place) => dy.reshape(&[dy.len() / b_shape[0], b_shape[0]]).sum_first_axis(Some(&place)).reshape(&b_shape),
            None => dy.sum_to(&b_shape),
        };
        vec![Some(dy.sum_to(&a_shape)), Some(db)]
    })
}

fn sub_gradient(y: Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    let (a_shape, b_shape) = (a.shape().to_vec(), b.shape().to_vec());
    y.with_grad("sub", [a, b], move |dy| [Some(dy.sum_to(&a_shape)), Some(dy.neg().sum_to(&b_shape))])
}

fn mul_gradient(y: Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    let (saved_a, saved_b) = (a.detach(), b.detach());
    let (needs_a, needs_b) = (a.requires_grad(), b.requires_grad());
    y.with_grad("mul", [a, b], move |dy| {
        let (a, b) = (saved_a, saved_b);
        [needs_a.then(|| dy.mul(&b).sum_to(a.shape())), needs_b.then(|| dy.mul(&a).sum_to(b.shape()))]
    })
}

fn div_gradient(y: Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    let (saved_a, saved_b) = (a.detach(), b.detach());
    let (needs_a, needs_b) = (a.requires_grad(), b.requires_grad());
    y.with_grad("div", [a, b], move |dy| {
        let (a, b) = (saved_a, saved_b);
        let da = dy.div(&b);
        let db = needs_b.then(|| da.mul(&a).div(&b).neg().sum_to(b.shape()));
        [needs_a.then(|| da.sum_to(a.shape())), db]
    })
}

fn maximum_gradient(y: Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    extremum_gradient("maximum", y, a, b, |share| share)
}

fn minimum_gradient(y: Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    extremum_gradient("minimum", y, a, b, |share| share.affine(-1.0, 1.0))
}

/// `share_of_a` turns the share of the larger one in dy into that of a.
fn extremum_gradient(name: &'static str, y: Tensor, a: &Tensor, b: &Tensor, share_of_a: fn(Tensor) -> Tensor) -> Tensor {
    let (saved_a, saved_b) = (a.detach(), b.detach());
    y.with_grad(name, [a, b], move |dy| {
        let (a, b) = (saved_a, saved_b);
        // (a ≥ b) + (a > b) is 2, 1 or 0: twice the share where a is the larger
        let share = a.ge(&b).add(&a.gt(&b)).mul_scalar(0.5);
        let da = dy.mul(&share_of_a(share));
        let db = dy.sub(&da);
        [Some(da.sum_to(a.shape())), Some(db.sum_to(b.shape()))]
    })
}

fn no_gradient(y: Tensor, _: &Tensor, _: &Tensor) -> Tensor {
    y
}

impl Tensor {
    /// Sums the axes along which `shape` was broadcast to this tensor's shape.
    pub(crate) fn sum_to(&self, shape: &[usize]) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        let new_axes = self.rank() - shape.len();
        let axes: Vec<isize> = (0..self.rank())
            .filter(|&axis| axis < new_axes || shape[axis - new_axes] != self.shape()[axis])
            .map(|axis| axis as isize)
            .collect();
        self.sum(&axes).reshape(shape)
    }
}

#[track_caller]
fn binary(name: &'static str, number: u32, a: &Tensor, b: &Tensor) -> Tensor {
    super::assert_arithmetic(name, &[a, b]);
    let Some(shape) = broadcast_shapes(a.shape(), b.shape()) else {
        panic!("{name}: shapes do not broadcast: {:?} and {:?}", a.shape(), b.shape())
    };
    let broadcast = |x: &Tensor| x.layout().broadcast_to(&shape).expect("the common shape");
    let (a_layout, b_layout) = (broadcast(a), broadcast(b));
    let y = Tensor::uninit(a.device(), &shape, a.dtype(), name);
    let (axes, [a_strides, b_strides]) = collapse([&a_layout, &b_layout]);
    let linear = a_layout.is_contiguous() && b_layout.is_contiguous();
    let params = Params {
        len: y.len() as u32,
        a_offset: a_layout.offset as u32,
        b_offset: b_layout.offset as u32,
        first: first_axis(&axes),
        shape: pad_axes(&axes, 1),
        a_strides: pad_axes(&a_strides, 0),
        b_strides: pad_axes(&b_strides, 0),
    };
    let constants = [("OP", f64::from(number)), ("LINEAR", f64::from(u8::from(linear)))];
    let groups = y.len().div_ceil(ELEMENTS_PER_GROUP);
    FORWARD.launch(&params).constants(&constants).strided(a).strided(b).output(&y).groups(groups).run();
    y
}

#[inline(always)]
fn step<F: Float>(on: bool) -> F {
    if on { F::ONE } else { F::ZERO }
}

#[inline(always)]
fn map<F: Float>(params: &Params, mut args: CpuArgs, f: impl Fn(F, F) -> F + Sync) {
    let (a, b, y) = (args.input::<F>(0), args.input::<F>(1), args.output::<F>(0));
    let (a_stride, b_stride) = (params.a_strides[MAX_AXES - 1] as usize, params.b_strides[MAX_AXES - 1] as usize);
    let strides = [&params.a_strides[..], &params.b_strides[..]];
    parallel!(for_strided_rows(y, &params.shape, strides, [params.a_offset, params.b_offset]), |[a_at, b_at], row| {
        let (a, b) = (&a[a_at..], &b[b_at..]);
        // the common rows get loops that vectorise
        match (a_stride, b_stride) {
            (1, 1) => {
                for ((y, &a), &b) in row.iter_mut().zip(a).zip(b) {
                    *y = f(a, b);
                }
            }
            (1, 0) => {
                for (y, &a) in row.iter_mut().zip(a) {
                    *y = f(a, b[0]);
                }
            }
            (0, 1) => {
                for (y, &b) in row.iter_mut().zip(b) {
                    *y = f(a[0], b);
                }
            }
            _ => {
                for (i, y) in row.iter_mut().enumerate() {
                    *y = f(a[i * a_stride], b[i * b_stride]);
                }
            }
        }
    });
}
