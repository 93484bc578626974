//! Which elements of a row reach its k-th largest value.

use crate::autograd::assert_no_grad;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, wgsl};

kernel_params! {
    struct Params { rows: u32, cols: u32 }
}

const SHADER: Shader = wgsl!("common/row_reduce.wgsl", "top_k_mask.wgsl");
static TOP_K_MASK: Kernel = kernel!(SHADER, "top_k_mask", Params, top_k_mask);
pub(crate) const KERNELS: &[&Kernel] = &[&TOP_K_MASK];

impl Tensor {
    /// Marks the largest elements of each row: 1 where an element is at least the `k`-th largest, else 0. Ties are kept, so there may be more than
    /// `k` ones. A `k` of 0 selects nothing, a `k` beyond the length of the row everything. Elements of -∞ are padding and never selected. `[rows, cols], k [rows] u32 -> [rows, cols]`
    ///
    /// No gradient: a mask is a constant of the loss.
    ///
    /// # Panics
    /// If the shapes do not fit, or an input needs a gradient.
    #[track_caller]
    pub fn top_k_mask(&self, k: &Tensor) -> Tensor {
        super::assert_arithmetic("top_k_mask", &[self]);
        assert!(
            self.rank() == 2 && k.shape() == [self.shape()[0]] && k.dtype() == DType::U32,
            "top_k_mask: x {:?} needs k u32 [rows], got {} {:?}",
            self.shape(),
            k.dtype(),
            k.shape()
        );
        assert_no_grad("top_k_mask", &[self]);
        let (x, k) = (self.contiguous(), k.contiguous());
        let mask = Tensor::uninit(x.device(), x.shape(), x.dtype(), "top_k_mask");
        let params = Params { rows: x.shape()[0] as u32, cols: x.shape()[1] as u32 };
        let groups = if x.is_empty() { 0 } else { x.shape()[0] };
        TOP_K_MASK.launch(&params).input(&x).input(&k).output(&mask).groups(groups).run();
        mask
    }
}

fn top_k_mask<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, k, mask) = (args.input::<F>(0), args.input::<u32>(1), args.output::<F>(0));
    let cols = params.cols as usize;
    let mut sorted = vec![F::ZERO; cols];
    for ((x, &k), mask) in x.chunks(cols).zip(k).zip(mask.chunks_mut(cols)) {
        sorted.copy_from_slice(x);
        sorted.sort_unstable_by(|a, b| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal));
        let threshold = sorted[(k as usize).clamp(1, cols) - 1];
        for (mask, &x) in mask.iter_mut().zip(x) {
            *mask = if k > 0 && x >= threshold && x > F::MINUS_INFINITY { F::ONE } else { F::ZERO };
        }
    }
}
