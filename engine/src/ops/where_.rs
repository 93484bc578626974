//! Choice between two tensors, element by element.

use crate::cpu::parallel::for_strided_rows;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::{DType, Element};
use crate::kernel::{Kernel, Shader};
use crate::layout::{MAX_AXES, broadcast_shapes, collapse, first_axis, pad_axes};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params {
        len: u32,
        condition_offset: u32,
        a_offset: u32,
        b_offset: u32,
        first: u32,
        shape: [u32; MAX_AXES],
        condition_strides: [u32; MAX_AXES],
        a_strides: [u32; MAX_AXES],
        b_strides: [u32; MAX_AXES],
    }
}

const SHADER: Shader = wgsl!("where.wgsl");
static WHERE: Kernel = kernel!(SHADER, "where_nonzero", Params, where_nonzero).overriding(&[("FLOAT", &[0, 1])]);
pub(crate) const KERNELS: &[&Kernel] = &[&WHERE];

impl Tensor {
    /// `a` where this condition (u32 or f32) is not 0, else `b`. Shapes broadcast. The condition receives no gradient.
    ///
    /// # Panics
    /// If the shapes do not broadcast, the condition is a half, or `a` and `b` are not f32.
    #[track_caller]
    pub fn where_(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let condition = self.detach();
        let (a_shape, b_shape) = (a.shape().to_vec(), b.shape().to_vec());
        let (needs_a, needs_b) = (a.requires_grad(), b.requires_grad());
        choose(self, a, b).with_grad("where", [a, b], move |dy| {
            let zero = Tensor::zeros(dy.device(), &[], dy.dtype());
            let da = needs_a.then(|| choose(&condition, dy, &zero).sum_to(&a_shape));
            [da, needs_b.then(|| choose(&condition, &zero, dy).sum_to(&b_shape))]
        })
    }
}

#[track_caller]
fn choose(condition: &Tensor, a: &Tensor, b: &Tensor) -> Tensor {
    super::assert_arithmetic("where", &[a, b]);
    assert!(condition.device() == a.device(), "where: tensors on different devices: {} and {}", condition.device(), a.device());
    assert!(!condition.dtype().is_half(), "where: the condition must be u32 or f32: {} {:?}", condition.dtype(), condition.shape());
    let of_values = broadcast_shapes(a.shape(), b.shape());
    let Some(shape) = of_values.and_then(|shape| broadcast_shapes(condition.shape(), &shape)) else {
        panic!("where: shapes do not broadcast: {:?}, {:?} and {:?}", condition.shape(), a.shape(), b.shape())
    };
    let layouts = [condition, a, b].map(|x| x.layout().broadcast_to(&shape).expect("the common shape"));
    let (axes, strides) = collapse(layouts.each_ref());
    let [condition_strides, a_strides, b_strides] = strides.map(|strides| pad_axes(&strides, 0));
    let [condition_offset, a_offset, b_offset] = layouts.map(|layout| layout.offset as u32);
    let y = Tensor::uninit(a.device(), &shape, a.dtype(), "where");
    let len = y.len() as u32;
    let (first, shape) = (first_axis(&axes), pad_axes(&axes, 1));
    let params = Params { len, condition_offset, a_offset, b_offset, first, shape, condition_strides, a_strides, b_strides };
    let constants = [("FLOAT", f64::from(u8::from(condition.dtype().is_float())))];
    let groups = y.len().div_ceil(ELEMENTS_PER_GROUP);
    WHERE.launch(&params).constants(&constants).strided(condition).strided(a).strided(b).output(&y).groups(groups).run();
    y
}

fn where_nonzero<F: Float>(params: &Params, args: CpuArgs) {
    match args.input_dtype(0) {
        DType::U32 => map::<F, u32>(params, args, 0),
        DType::F32 => map::<F, f32>(params, args, 0.0),
        _ => map::<F, f64>(params, args, 0.0),
    }
}

fn map<F: Float, C: Element + PartialEq>(params: &Params, mut args: CpuArgs, zero: C) {
    let (condition, a, b) = (args.input::<C>(0), args.input::<F>(1), args.input::<F>(2));
    let strides = [&params.condition_strides[..], &params.a_strides[..], &params.b_strides[..]];
    let offsets = [params.condition_offset, params.a_offset, params.b_offset];
    let [c_step, a_step, b_step] = strides.map(|strides| strides[MAX_AXES - 1] as usize);
    parallel!(for_strided_rows(args.output::<F>(0), &params.shape, strides, offsets), |[c_at, a_at, b_at], row| {
        for (i, y) in row.iter_mut().enumerate() {
            *y = if condition[c_at + i * c_step] != zero { a[a_at + i * a_step] } else { b[b_at + i * b_step] };
        }
    });
}
