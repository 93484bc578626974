//! The gated activation of a SwiGLU block (Shazeer 2020, arXiv 2002.05202).

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    /// Elements of the result in all, and in each row.
    struct Params { len: u32, cols: u32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "swiglu.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

impl Tensor {
    /// The first half of each row, the gate, goes through the SiLU activation and scales the second half element by element: `silu(gate) · up`. `[.., 2n] -> [.., n]`
    ///
    /// # Panics
    /// If the last axis is of odd length, or the tensor is not f32.
    #[track_caller]
    pub fn swiglu(&self) -> Tensor {
        super::assert_arithmetic("swiglu", &[self]);
        let (_, width) = super::rows_and_cols("swiglu", self);
        assert!(width.is_multiple_of(2), "swiglu: rows are a gate and as many values: {:?} has rows of {width}", self.shape());
        let x = self.detach().contiguous();
        let mut shape = x.shape().to_vec();
        *shape.last_mut().expect("an axis") /= 2;
        let y = Tensor::uninit(x.device(), &shape, x.dtype(), "swiglu");
        let params = Params { len: y.len() as u32, cols: (width / 2) as u32 };
        let groups = y.len().div_ceil(ELEMENTS_PER_GROUP);
        FORWARD.launch(&params).input(&x).output(&y).groups(groups).run();
        y.with_grad("swiglu", [self], move |dy| {
            let dx = Tensor::uninit(x.device(), x.shape(), x.dtype(), "swiglu");
            BACKWARD.launch(&params).input(&x).input(&dy.contiguous()).output(&dx).groups(groups).run();
            [Some(dx)]
        })
    }
}

fn forward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, cols) = (args.input::<F>(0), params.cols as usize);
    parallel!(for_row_blocks(args.output::<F>(0), cols), |first, rows| {
        for (y, x) in rows.chunks_mut(cols).zip(x.chunks(2 * cols).skip(first)) {
            let (gate, up) = x.split_at(cols);
            for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
                *y = gate.silu() * up;
            }
        }
    });
}

fn backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, dy, cols) = (args.input::<F>(0), args.input::<F>(1), params.cols as usize);
    parallel!(for_row_blocks(args.output::<F>(0), 2 * cols), |first, rows| {
        let inputs = x.chunks(2 * cols).zip(dy.chunks(cols)).skip(first);
        for (dx, (x, dy)) in rows.chunks_mut(2 * cols).zip(inputs) {
            let ((dgate, dup), (gate, up)) = (dx.split_at_mut(cols), x.split_at(cols));
            for ((dgate, dup), ((&gate, &up), &dy)) in dgate.iter_mut().zip(dup).zip(gate.iter().zip(up).zip(dy)) {
                let s = gate.sigmoid();
                *dgate = dy * up * s * (F::ONE + gate * (F::ONE - s));
                *dup = dy * gate * s;
            }
        }
    });
}
