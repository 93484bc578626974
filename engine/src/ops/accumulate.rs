//! Addition in place, for gradients that arrive where there is one already.

use crate::autograd::assert_no_grad;
use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    struct Params { len: u32 }
}

const SHADER: Shader = wgsl!("accumulate.wgsl");
static ACCUMULATE: Kernel = kernel!(SHADER, "accumulate", Params, accumulate);
pub(crate) const KERNELS: &[&Kernel] = &[&ACCUMULATE];

impl Tensor {
    /// Adds another tensor to this packed one, in place. No gradient is recorded. `[..] += [..]`
    ///
    /// # Panics
    /// If shapes or types differ, this tensor is a strided view, both share their memory, or one needs a gradient: call it inside [`no_grad`](crate::no_grad).
    #[track_caller]
    pub fn add_(&self, other: &Tensor) {
        super::assert_arithmetic("add_", &[self, other]);
        assert_no_grad("add_", &[self, other]);
        assert!(self.shape() == other.shape(), "add_: {:?} onto {:?}", other.shape(), self.shape());
        let other = other.detach().contiguous();
        let params = Params { len: self.len() as u32 };
        ACCUMULATE.launch(&params).input(&other).output(self).groups(self.len().div_ceil(ELEMENTS_PER_GROUP)).run();
    }
}

fn accumulate<F: Float>(_: &Params, mut args: CpuArgs) {
    let (x, y) = (args.input::<F>(0), args.output::<F>(0));
    parallel!(for_row_blocks(y, 1), |first, y| {
        y.iter_mut().zip(&x[first..]).for_each(|(y, &x)| *y += x);
    });
}
