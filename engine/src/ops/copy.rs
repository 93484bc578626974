//! Copies between strided views: `contiguous` and writing into a view.

use crate::cpu::parallel::for_strided_rows;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::{DType, Element};
use crate::kernel::{Kernel, Shader};
use crate::layout::{MAX_AXES, collapse, first_axis, pad_axes};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    /// A strided view on one side, row-major order on the other; in elements.
    struct Params { len: u32, offset: u32, first: u32, shape: [u32; MAX_AXES], strides: [u32; MAX_AXES] }
}

const SHADER: Shader = wgsl!("copy.wgsl");
static GATHER: Kernel = kernel!(SHADER, "gather", Params, gather);
static GATHER_HALF: Kernel = kernel!(SHADER, "gather_half", Params, gather);
static SCATTER: Kernel = kernel!(SHADER, "scatter", Params, scatter);
pub(crate) const KERNELS: &[&Kernel] = &[&GATHER, &GATHER_HALF, &SCATTER];

impl Tensor {
    /// The same values, packed in row-major order; itself if they are already.
    pub fn contiguous(&self) -> Tensor {
        if self.is_packed() {
            return self.clone();
        }
        let y = Tensor::uninit(self.device(), self.shape(), self.dtype(), "contiguous");
        y.copy_packed_(self);
        y.with_grad("contiguous", [self], |dy| [Some(dy.clone())])
    }

    /// The same values in memory of their own, packed. No gradient is recorded.
    pub fn deep_copy(&self) -> Tensor {
        let y = Tensor::uninit(self.device(), self.shape(), self.dtype(), "deep_copy");
        y.copy_packed_(self);
        y
    }

    /// Overwrites this packed tensor with the values of a view of the same shape and type. No gradient is recorded.
    pub(crate) fn copy_packed_(&self, source: &Tensor) {
        let kernel = if source.dtype().is_half() { &GATHER_HALF } else { &GATHER };
        let words = (source.len() * source.dtype().size_bytes().min(4)).div_ceil(4);
        kernel.launch(&params(source)).strided(source).output(self).groups(words.div_ceil(ELEMENTS_PER_GROUP)).run();
    }

    /// Overwrites this view, in place, with the values of `source`. No gradient is recorded.
    ///
    /// # Panics
    /// If shapes or storage types differ, or the storage type is a half (copy whole tensors instead).
    #[track_caller]
    pub fn copy_from_(&self, source: &Tensor) {
        assert!(
            self.shape() == source.shape() && self.dtype() == source.dtype() && !self.dtype().is_half(),
            "copy_from_: {:?} {} into {:?} {}",
            source.shape(),
            source.dtype(),
            self.shape(),
            self.dtype()
        );
        let source = source.detach().contiguous();
        SCATTER.launch(&params(self)).input(&source).strided_output(self).groups(self.len().div_ceil(ELEMENTS_PER_GROUP)).run();
    }
}

fn params(view: &Tensor) -> Params {
    let (shape, [strides]) = collapse([view.layout()]);
    Params {
        len: view.len() as u32,
        offset: view.layout().offset as u32,
        first: first_axis(&shape),
        shape: pad_axes(&shape, 1),
        strides: pad_axes(&strides, 0),
    }
}

fn gather<F: Float>(params: &Params, args: CpuArgs) {
    match args.input_dtype(0) {
        DType::F32 => gather_as::<f32>(params, args),
        DType::U32 => gather_as::<u32>(params, args),
        DType::F16 => gather_as::<half::f16>(params, args),
        DType::BF16 => gather_as::<half::bf16>(params, args),
        DType::F64 => gather_as::<f64>(params, args),
    }
}

fn gather_as<T: Element>(params: &Params, mut args: CpuArgs) {
    let (x, y) = (args.input::<T>(0), args.output::<T>(0));
    let stride = params.strides[MAX_AXES - 1] as usize;
    parallel!(for_strided_rows(y, &params.shape, [&params.strides], [params.offset]), |[start], row| {
        if stride == 1 {
            return row.copy_from_slice(&x[start..start + row.len()]);
        }
        for (i, y) in row.iter_mut().enumerate() {
            *y = x[start + i * stride];
        }
    });
}

fn scatter<F: Float>(params: &Params, args: CpuArgs) {
    match args.input_dtype(0) {
        DType::F32 => scatter_as::<f32>(params, args),
        DType::U32 => scatter_as::<u32>(params, args),
        DType::F64 => scatter_as::<f64>(params, args),
        half => unreachable!("copy_from_ refuses {half}"),
    }
}

fn scatter_as<T: Element>(params: &Params, mut args: CpuArgs) {
    let (x, y) = (args.input::<T>(0), args.output::<T>(0));
    let (&row_len, outer) = params.shape.split_last().expect("padded to the full number of axes");
    let (&stride, outer_strides) = params.strides.split_last().expect("padded to the full number of axes");
    for (row, values) in x.chunks(row_len as usize).enumerate() {
        let mut rest = row;
        let mut at = params.offset as usize;
        for (&length, &stride) in outer.iter().zip(outer_strides).rev() {
            at += rest % length as usize * stride as usize;
            rest /= length as usize;
        }
        for (i, &value) in values.iter().enumerate() {
            y[at + i * stride as usize] = value;
        }
    }
}
