//! Conversion of storage types.

use half::{bf16, f16};

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::{DType, Element};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params { len: u32 }
}

const SHADER: Shader = wgsl!("common/half.wgsl", "cast.wgsl");
static CAST: Kernel = kernel!(SHADER, "convert", Params, convert).overriding(&[("FROM", DType::CODES), ("TO", DType::FLOAT_CODES)]);
pub(crate) const KERNELS: &[&Kernel] = &[&CAST];

impl Tensor {
    /// The same values stored as f32, f16 or bf16, rounded to nearest, ties to even; too large for the type becomes infinity, NaN stays NaN, u32 is
    /// exact below 2²⁴. `[..] -> [..]`
    ///
    /// The gradient passes as it is, in f32: gradients of halves are not rounded. The oracle's f64 stays f64: it is rounded to the values that a
    /// half can hold, and a cast to f32 leaves it alone.
    ///
    /// # Panics
    /// If asked for u32 or f64.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Tensor {
        assert!(
            matches!(dtype, DType::F32 | DType::F16 | DType::BF16),
            "cast: {} {:?} to {dtype}: only f32, f16 and bf16 can be cast to",
            self.dtype(),
            self.shape()
        );
        let is_oracle = self.dtype() == DType::F64;
        if self.dtype() == dtype || (is_oracle && dtype == DType::F32) {
            return self.clone();
        }
        let y = Tensor::uninit(self.device(), self.shape(), if is_oracle { DType::F64 } else { dtype }, "cast");
        let constants = [("FROM", f64::from(self.dtype().code())), ("TO", f64::from(dtype.code()))];
        let groups = self.len().div_ceil(2 * ELEMENTS_PER_GROUP);
        let params = Params { len: self.len() as u32 };
        CAST.launch(&params).constants(&constants).input(&self.detach().contiguous()).output(&y).groups(groups).run();
        y.with_grad("cast", [self], |dy| [Some(dy.cast(DType::F32))])
    }
}

fn convert<F: Float>(_: &Params, args: CpuArgs) {
    use DType::*;
    match (args.input_dtype(0), args.output_dtype(0)) {
        (F32, F16) => map(args, f16::from_f32),
        (F32, BF16) => map(args, bf16::from_f32),
        (F16, F32) => map(args, f16::to_f32),
        (F16, BF16) => map(args, |x: f16| bf16::from_f32(x.to_f32())),
        (BF16, F32) => map(args, bf16::to_f32),
        (BF16, F16) => map(args, |x: bf16| f16::from_f32(x.to_f32())),
        (U32, F32) => map(args, |x: u32| x as f32),
        (U32, F16) => map(args, |x: u32| f16::from_f32(x as f32)),
        (U32, BF16) => map(args, |x: u32| bf16::from_f32(x as f32)),
        (F64, F64) if args.constant("TO") as u32 == F16.code() => map(args, |x: f64| f16::from_f32(x as f32).to_f64()),
        (F64, F64) => map(args, |x: f64| bf16::from_f32(x as f32).to_f64()),
        (from, to) => unreachable!("cast refuses {from} to {to}"),
    }
}

#[inline(always)]
fn map<A: Element, B: Element>(mut args: CpuArgs, f: impl Fn(A) -> B + Sync) {
    let x = args.input::<A>(0);
    parallel!(for_row_blocks(args.output::<B>(0), 1), |start, y| y.iter_mut().zip(&x[start..]).for_each(|(y, &x)| *y = f(x)));
}
