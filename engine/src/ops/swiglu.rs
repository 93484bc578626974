//! The gated activation of a SwiGLU block (Shazeer 2020, arXiv 2002.05202).

use crate::cpu::parallel::{for_row_blocks, for_row_blocks_of};
use crate::cpu::{CpuArgs, Float};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params { len: u32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "swiglu.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

impl Tensor {
    /// This tensor, the gate, goes through the SiLU activation and scales `up` element by element: `silu(gate) · up`. `[..], [..] -> [..]`
    ///
    /// # Panics
    /// If the shapes differ, or a tensor is not f32.
    #[track_caller]
    pub fn swiglu(&self, up: &Tensor) -> Tensor {
        super::assert_arithmetic("swiglu", &[self, up]);
        assert!(self.shape() == up.shape(), "swiglu: shapes differ: gate {:?} and up {:?}", self.shape(), up.shape());
        let params = Params { len: self.len() as u32 };
        let groups = self.len().div_ceil(ELEMENTS_PER_GROUP);
        let (gate, saved_up) = (self.detach().contiguous(), up.detach().contiguous());
        let like = |x: &Tensor| Tensor::uninit(x.device(), x.shape(), x.dtype(), "swiglu");
        let y = like(self);
        FORWARD.launch(&params).input(&gate).input(&saved_up).output(&y).groups(groups).run();
        y.with_grad("swiglu", [self, up], move |dy| {
            let (dgate, dup) = (like(&gate), like(&gate));
            let dy = dy.contiguous();
            BACKWARD.launch(&params).input(&gate).input(&saved_up).input(&dy).output(&dgate).output(&dup).groups(groups).run();
            [Some(dgate), Some(dup)]
        })
    }
}

fn forward<F: Float>(_: &Params, mut args: CpuArgs) {
    let (gate, up) = (args.input::<F>(0), args.input::<F>(1));
    parallel!(for_row_blocks(args.output::<F>(0), 1), |start, y| {
        for ((y, &gate), &up) in y.iter_mut().zip(&gate[start..]).zip(&up[start..]) {
            *y = gate.silu() * up;
        }
    });
}

fn backward<F: Float>(_: &Params, mut args: CpuArgs) {
    let (gate, up, dy) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2));
    parallel!(for_row_blocks_of([(args.output::<F>(0), 1), (args.output::<F>(1), 1)]), |start, [dgate, dup]| {
        let inputs = gate[start..].iter().zip(&up[start..]).zip(&dy[start..]);
        for ((dgate, dup), ((&gate, &up), &dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
            let s = gate.sigmoid();
            *dgate = dy * up * s * (F::ONE + gate * (F::ONE - s));
            *dup = dy * gate * s;
        }
    });
}
