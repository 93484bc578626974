//! Constant tensors.

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::device::Device;
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params { words: u32, bits: u32 }
}

const SHADER: Shader = wgsl!("fill.wgsl");
static FILL: Kernel = kernel!(SHADER, "fill", Params, fill);
pub(crate) const KERNELS: &[&Kernel] = &[&FILL];

impl Tensor {
    /// A tensor that holds `value` everywhere. `-> shape`
    #[track_caller]
    pub fn full(device: &Device, shape: &[usize], value: f64, dtype: DType) -> Tensor {
        let y = Tensor::uninit(device, shape, dtype, "full");
        y.fill_(value);
        y
    }

    /// Overwrites every element with `value`, in place. No gradient is recorded.
    #[track_caller]
    pub fn fill_(&self, value: f64) {
        // 32 bits at a time: halves are filled in pairs, an f64 is known by its f32 (the oracle is filled with small constants only)
        let pair = |half: u16| u32::from(half) << 16 | u32::from(half);
        let bits = match self.dtype() {
            DType::F32 | DType::F64 => (value as f32).to_bits(),
            DType::F16 => pair(half::f16::from_f32(value as f32).to_bits()),
            DType::BF16 => pair(half::bf16::from_f32(value as f32).to_bits()),
            DType::U32 => value as u32,
        };
        let words = (self.len() * self.dtype().size_bytes()).div_ceil(4);
        let params = Params { words: words as u32, bits };
        FILL.launch(&params).output(self).groups(words.div_ceil(ELEMENTS_PER_GROUP)).run();
    }
}

fn fill<F: Float>(params: &Params, mut args: CpuArgs) {
    match args.output_dtype(0) {
        DType::F64 => {
            let value = f64::from(f32::from_bits(params.bits));
            parallel!(for_row_blocks(args.output::<f64>(0), 1), |_, y| y.fill(value));
        }
        DType::F16 | DType::BF16 => {
            parallel!(for_row_blocks(args.output_bytes(0), 2), |_, y| y
                .copy_from_slice(&params.bits.to_le_bytes()[..2].repeat(y.len() / 2)));
        }
        DType::F32 => parallel!(for_row_blocks(args.output::<f32>(0), 1), |_, y| y.fill(f32::from_bits(params.bits))),
        DType::U32 => parallel!(for_row_blocks(args.output::<u32>(0), 1), |_, y| y.fill(params.bits)),
    }
}
