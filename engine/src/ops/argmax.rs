//! The index of the largest element of each row.

use crate::autograd::assert_no_grad;
use crate::cpu::parallel::for_costly_rows;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

kernel_params! {
    struct Params { rows: u32, cols: u32 }
}

const SHADER: Shader = wgsl!("argmax.wgsl");
static ARGMAX: Kernel = kernel!(SHADER, "argmax", Params, argmax);
pub(crate) const KERNELS: &[&Kernel] = &[&ARGMAX];

impl Tensor {
    /// The index (u32) of the largest element along the last axis; of equal ones, the first. `[.., n] -> [..]`
    ///
    /// # Panics
    /// If the last axis is empty or missing, the tensor is not f32, or it needs a gradient.
    #[track_caller]
    pub fn argmax(&self) -> Tensor {
        super::assert_arithmetic("argmax", &[self]);
        assert_no_grad("argmax", &[self]);
        let (rows, cols) = super::rows_and_cols("argmax", self);
        assert!(cols > 0, "argmax: over no elements: {:?}", self.shape());
        let y = Tensor::uninit(self.device(), &self.shape()[..self.rank() - 1], DType::U32, "argmax");
        let params = Params { rows: rows as u32, cols: cols as u32 };
        ARGMAX.launch(&params).input(&self.contiguous()).output(&y).groups(rows).run();
        y
    }
}

fn argmax<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, cols) = (args.input::<F>(0), params.cols as usize);
    parallel!(for_costly_rows(args.output::<u32>(0), 1, cols), |first, rows| {
        for (y, x) in rows.iter_mut().zip(x[first * cols..].chunks(cols)) {
            *y = (1..cols).fold(0, |best, col| if x[col] > x[best] { col } else { best }) as u32;
        }
    });
}
