//! Softmax and log-softmax over the last axis.

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

kernel_params! {
    struct Params { rows: u32, cols: u32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "common/row_reduce.wgsl", "softmax.wgsl");
static SOFTMAX: Kernel = kernel!(SHADER, "softmax", Params, softmax);
static SOFTMAX_BACKWARD: Kernel = kernel!(SHADER, "softmax_backward", Params, softmax_backward);
static LOG_SOFTMAX: Kernel = kernel!(SHADER, "log_softmax", Params, log_softmax);
static LOG_SOFTMAX_BACKWARD: Kernel = kernel!(SHADER, "log_softmax_backward", Params, log_softmax_backward);
pub(crate) const KERNELS: &[&Kernel] = &[&SOFTMAX, &SOFTMAX_BACKWARD, &LOG_SOFTMAX, &LOG_SOFTMAX_BACKWARD];

impl Tensor {
    /// Turns each row of the last axis into probabilities: `e^x`, divided by the row's sum of `e^x`. `[.., n] -> [.., n]`
    ///
    /// # Panics
    /// If there is no axis, or the tensor is not f32.
    #[track_caller]
    pub fn softmax(&self) -> Tensor {
        over_rows("softmax", &SOFTMAX, &SOFTMAX_BACKWARD, self)
    }

    /// The logarithms of the [`softmax`](Tensor::softmax), without its overflows: `x`, minus the logarithm of the row's sum of `e^x`.
    /// `[.., n] -> [.., n]`
    ///
    /// # Panics
    /// As [`softmax`](Tensor::softmax).
    #[track_caller]
    pub fn log_softmax(&self) -> Tensor {
        over_rows("log_softmax", &LOG_SOFTMAX, &LOG_SOFTMAX_BACKWARD, self)
    }
}

#[track_caller]
fn over_rows(name: &'static str, forward: &'static Kernel, backward: &'static Kernel, x: &Tensor) -> Tensor {
    super::assert_arithmetic(name, &[x]);
    let (rows, cols) = super::rows_and_cols(name, x);
    let params = Params { rows: rows as u32, cols: cols as u32 };
    let y = Tensor::uninit(x.device(), x.shape(), x.dtype(), name);
    forward.launch(&params).input(&x.detach().contiguous()).output(&y).groups(rows).run();
    let saved_y = y.clone(); // both gradients are functions of the output
    y.with_grad(name, [x], move |dy| {
        let dx = Tensor::uninit(dy.device(), dy.shape(), dy.dtype(), name);
        backward.launch(&params).input(&saved_y).input(&dy.contiguous()).output(&dx).groups(rows).run();
        [Some(dx)]
    })
}

fn softmax<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, y, cols) = (args.input::<F>(0), args.output::<F>(0), params.cols as usize);
    parallel!(for_row_blocks(y, cols), |first, rows| {
        for (y, x) in rows.chunks_mut(cols).zip(x[first * cols..].chunks(cols)) {
            let largest = reduce::max(x); // max first: exp overflows f32 above 88.7
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x - largest).fast_exp();
            }
            let scale = F::ONE / reduce::sum(y);
            y.iter_mut().for_each(|y| *y *= scale);
        }
    });
}

fn softmax_backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (y, dy, dx, cols) = (args.input::<F>(0), args.input::<F>(1), args.output::<F>(0), params.cols as usize);
    parallel!(for_row_blocks(dx, cols), |first, rows| {
        let (y, dy) = (y[first * cols..].chunks(cols), dy[first * cols..].chunks(cols));
        for ((dx, y), dy) in rows.chunks_mut(cols).zip(y).zip(dy) {
            let total = reduce::dot(dy, y);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, &y), &dy)| *dx = y * (dy - total));
        }
    });
}

fn log_softmax<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, y, cols) = (args.input::<F>(0), args.output::<F>(0), params.cols as usize);
    parallel!(for_row_blocks(y, cols), |first, rows| {
        for (y, x) in rows.chunks_mut(cols).zip(x[first * cols..].chunks(cols)) {
            let largest = reduce::max(x);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x - largest).fast_exp();
            }
            let log_sum = reduce::sum(y).fast_ln();
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - largest - log_sum);
        }
    });
}

fn log_softmax_backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (y, dy, dx, cols) = (args.input::<F>(0), args.input::<F>(1), args.output::<F>(0), params.cols as usize);
    parallel!(for_row_blocks(dx, cols), |first, rows| {
        let (y, dy) = (y[first * cols..].chunks(cols), dy[first * cols..].chunks(cols));
        for ((dx, y), dy) in rows.chunks_mut(cols).zip(y).zip(dy) {
            let total = reduce::sum(dy);
            for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = dy - y.fast_exp() * total;
            }
        }
    });
}
