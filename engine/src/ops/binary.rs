//! Element by element functions of two tensors, with NumPy broadcasting.

use crate::cpu::parallel::for_strided_rows;
use crate::cpu::{CpuArgs, Float};
use crate::kernel::{Kernel, Shader};
use crate::layout::{MAX_AXES, broadcast_shapes, collapse, pad_axes};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params {
        len: u32,
        a_offset: u32,
        b_offset: u32,
        shape: [u32; MAX_AXES],
        a_strides: [u32; MAX_AXES],
        b_strides: [u32; MAX_AXES],
    }
}

const SHADER: Shader = wgsl!("binary.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD];

/// Which function; the shader knows them by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum BinaryOp {
    Add = 0,
    Sub = 1,
    Mul = 2,
    Div = 3,
    Max = 4,
    Min = 5,
    Gt = 6,
    Ge = 7,
    Eq = 8,
}

impl Tensor {
    /// `a + b`. Shapes broadcast.
    #[track_caller]
    pub fn add(&self, rhs: &Tensor) -> Tensor {
        let (a, b) = (self.shape().to_vec(), rhs.shape().to_vec());
        binary("add", BinaryOp::Add, self, rhs).with_grad("add", [self, rhs], move |dy| [Some(dy.sum_to(&a)), Some(dy.sum_to(&b))])
    }

    /// `a - b`. Shapes broadcast.
    #[track_caller]
    pub fn sub(&self, rhs: &Tensor) -> Tensor {
        let (a, b) = (self.shape().to_vec(), rhs.shape().to_vec());
        binary("sub", BinaryOp::Sub, self, rhs).with_grad("sub", [self, rhs], move |dy| [Some(dy.sum_to(&a)), Some(dy.neg().sum_to(&b))])
    }

    /// `a · b`, element by element. Shapes broadcast.
    #[track_caller]
    pub fn mul(&self, rhs: &Tensor) -> Tensor {
        let (a, b) = (self.detach(), rhs.detach());
        let (needs_a, needs_b) = (self.requires_grad(), rhs.requires_grad());
        binary("mul", BinaryOp::Mul, self, rhs).with_grad("mul", [self, rhs], move |dy| {
            [needs_a.then(|| dy.mul(&b).sum_to(a.shape())), needs_b.then(|| dy.mul(&a).sum_to(b.shape()))]
        })
    }

    /// `a / b`. Shapes broadcast.
    #[track_caller]
    pub fn div(&self, rhs: &Tensor) -> Tensor {
        let (a, b) = (self.detach(), rhs.detach());
        let (needs_a, needs_b) = (self.requires_grad(), rhs.requires_grad());
        binary("div", BinaryOp::Div, self, rhs).with_grad("div", [self, rhs], move |dy| {
            let da = dy.div(&b);
            let db = needs_b.then(|| da.mul(&a).div(&b).neg().sum_to(b.shape()));
            [needs_a.then(|| da.sum_to(a.shape())), db]
        })
    }

    /// The larger, element by element. Shapes broadcast; equal elements share the gradient equally, as in PyTorch.
    #[track_caller]
    pub fn maximum(&self, rhs: &Tensor) -> Tensor {
        extremum("maximum", BinaryOp::Max, self, rhs)
    }

    /// The smaller, element by element. Shapes broadcast; equal elements share the gradient equally, as in PyTorch.
    #[track_caller]
    pub fn minimum(&self, rhs: &Tensor) -> Tensor {
        extremum("minimum", BinaryOp::Min, self, rhs)
    }

    /// 1 where `a > b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
    #[track_caller]
    pub fn gt(&self, rhs: &Tensor) -> Tensor {
        binary("gt", BinaryOp::Gt, self, rhs)
    }

    /// 1 where `a >= b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
    #[track_caller]
    pub fn ge(&self, rhs: &Tensor) -> Tensor {
        binary("ge", BinaryOp::Ge, self, rhs)
    }

    /// 1 where `a < b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
    #[track_caller]
    pub fn lt(&self, rhs: &Tensor) -> Tensor {
        binary("lt", BinaryOp::Gt, rhs, self)
    }

    /// 1 where `a <= b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
    #[track_caller]
    pub fn le(&self, rhs: &Tensor) -> Tensor {
        binary("le", BinaryOp::Ge, rhs, self)
    }

    /// 1 where `a == b`, else 0, in the inputs' type. Shapes broadcast. No gradient flows.
    #[track_caller]
    pub fn eq(&self, rhs: &Tensor) -> Tensor {
        binary("eq", BinaryOp::Eq, self, rhs)
    }

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
fn extremum(name: &'static str, op: BinaryOp, a: &Tensor, b: &Tensor) -> Tensor {
    let (saved_a, saved_b) = (a.detach(), b.detach());
    binary(name, op, a, b).with_grad(name, [a, b], move |dy| {
        let (a, b) = (saved_a, saved_b);
        // (a ≥ b) + (a > b) is 2, 1 or 0: twice the share of the larger one
        let share = a.ge(&b).add(&a.gt(&b)).mul_scalar(0.5);
        let share_a = if op == BinaryOp::Max { share } else { share.affine(-1.0, 1.0) };
        let da = dy.mul(&share_a);
        let db = dy.sub(&da);
        [Some(da.sum_to(a.shape())), Some(db.sum_to(b.shape()))]
    })
}

#[track_caller]
fn binary(name: &'static str, op: BinaryOp, a: &Tensor, b: &Tensor) -> Tensor {
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
        shape: pad_axes(&axes, 1),
        a_strides: pad_axes(&a_strides, 0),
        b_strides: pad_axes(&b_strides, 0),
    };
    let constants = [("OP", f64::from(op as u32)), ("LINEAR", f64::from(u8::from(linear)))];
    let groups = y.len().div_ceil(ELEMENTS_PER_GROUP);
    FORWARD.launch(&params).constants(&constants).strided(a).strided(b).output(&y).groups(groups).run();
    y
}

fn forward<F: Float>(params: &Params, args: CpuArgs) {
    let step = |on: bool| if on { F::ONE } else { F::ZERO };
    match args.constant("OP") as u32 {
        0 => map::<F>(params, args, |a, b| a + b),
        1 => map::<F>(params, args, |a, b| a - b),
        2 => map::<F>(params, args, |a, b| a * b),
        3 => map::<F>(params, args, |a, b| a / b),
        4 => map::<F>(params, args, F::max),
        5 => map::<F>(params, args, F::min),
        6 => map::<F>(params, args, |a, b| step(a > b)),
        7 => map::<F>(params, args, |a, b| step(a >= b)),
        _ => map::<F>(params, args, |a, b| step(a == b)),
    }
}

#[inline(always)]
fn map<F: Float>(params: &Params, mut args: CpuArgs, f: impl Fn(F, F) -> F + Sync) {
    let (a, b, y) = (args.input::<F>(0), args.input::<F>(1), args.output::<F>(0));
    let (a_stride, b_stride) = (params.a_strides[MAX_AXES - 1] as usize, params.b_strides[MAX_AXES - 1] as usize);
    let strides = [&params.a_strides[..], &params.b_strides[..]];
    for_strided_rows(y, &params.shape, strides, [params.a_offset, params.b_offset], |[a_at, b_at], row| {
        let (a, b) = (&a[a_at..], &b[b_at..]);
        // the common rows get loops that vectorise
        match (a_stride, b_stride) {
            (1, 1) => row.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b)),
            (1, 0) => row.iter_mut().zip(a).for_each(|(y, &a)| *y = f(a, b[0])),
            (0, 1) => row.iter_mut().zip(b).for_each(|(y, &b)| *y = f(a[0], b)),
            _ => row.iter_mut().enumerate().for_each(|(i, y)| *y = f(a[i * a_stride], b[i * b_stride])),
        }
    });
}
