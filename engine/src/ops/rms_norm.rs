//! RMSNorm over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467).

use crate::cpu::parallel::{for_costly_rows, for_row_blocks, for_row_blocks_of};
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

kernel_params! {
    struct Params { rows: u32, cols: u32, eps: f32, rows_per_block: u32 }
}

const SHADER: Shader = wgsl!("common/row_reduce.wgsl", "rms_norm.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
static WEIGHT_PARTIALS: Kernel = kernel!(SHADER, "weight_partials", Params, weight_partials);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD, &WEIGHT_PARTIALS];

impl Tensor {
    /// Each row of the last axis is scaled to a mean square of 1, then by `weight [n]`: `x / sqrt(mean(x²) + eps) · weight`. `[.., n] -> [.., n]`
    ///
    /// # Panics
    /// If the weight is not as long as the last axis, or a tensor is not f32.
    #[track_caller]
    pub fn rms_norm(&self, weight: &Tensor, eps: f32) -> Tensor {
        super::assert_arithmetic("rms_norm", &[self, weight]);
        let (rows, cols) = super::rows_and_cols("rms_norm", self);
        assert!(weight.shape() == [cols], "rms_norm: weight {:?} for rows of {:?} ({cols} columns)", weight.shape(), self.shape());

        let params = Params { rows: rows as u32, cols: cols as u32, eps, rows_per_block: super::ROWS_PER_BLOCK as u32 };
        let (x, w) = (self.detach().contiguous(), weight.detach().contiguous());
        let (needs_dx, needs_dw) = (self.requires_grad(), weight.requires_grad());
        let y = Tensor::uninit(x.device(), x.shape(), x.dtype(), "rms_norm");
        let inverse_rms = Tensor::uninit(x.device(), &[rows], x.dtype(), "rms_norm");
        FORWARD.launch(&params).input(&x).input(&w).output(&y).output(&inverse_rms).groups(rows).run();

        y.with_grad("rms_norm", [self, weight], move |dy| {
            let dy = dy.contiguous();
            let dx = needs_dx.then(|| {
                let dx = Tensor::uninit(x.device(), x.shape(), x.dtype(), "rms_norm");
                BACKWARD.launch(&params).input(&x).input(&w).input(&inverse_rms).input(&dy).output(&dx).groups(rows).run();
                dx
            });
            let dw = needs_dw.then(|| {
                let partials = Tensor::uninit(x.device(), &[rows.div_ceil(super::ROWS_PER_BLOCK), cols], x.dtype(), "rms_norm");
                let groups = partials.len().div_ceil(super::LANES_PER_ROW);
                WEIGHT_PARTIALS.launch(&params).input(&x).input(&inverse_rms).input(&dy).output(&partials).groups(groups).run();
                partials.sum(&[0])
            });
            [dx, dw]
        })
    }
}

fn forward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, weight, cols) = (args.input::<F>(0), args.input::<F>(1), params.cols as usize);
    parallel!(for_row_blocks_of([(args.output::<F>(0), cols), (args.output::<F>(1), 1)]), |first, [rows, inverse_rms]| {
        let x = x[first * cols..].chunks(cols);
        for ((y, r), x) in rows.chunks_mut(cols).zip(inverse_rms).zip(x) {
            *r = F::ONE / (reduce::sum_sq(x) / F::of(cols as f64) + F::of(params.eps.into())).sqrt();
            y.iter_mut().zip(x).zip(weight).for_each(|((y, &x), &w)| *y = x * *r * w);
        }
    });
}

fn backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, weight, inverse_rms, dy) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2), args.input::<F>(3));
    let cols = params.cols as usize;
    parallel!(for_row_blocks(args.output::<F>(0), cols), |first, rows| {
        let (x, dy) = (x[first * cols..].chunks(cols), dy[first * cols..].chunks(cols));
        for (((dx, x), dy), &r) in rows.chunks_mut(cols).zip(x).zip(dy).zip(&inverse_rms[first..]) {
            dx.iter_mut().zip(dy).zip(weight).for_each(|((g, &dy), &w)| *g = dy * w);
            let along_x = reduce::dot(dx, x) / F::of(cols as f64) * r * r;
            dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = r * (*dx - x * along_x));
        }
    });
}

fn weight_partials<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, inverse_rms, dy) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2));
    let (cols, rows_per_block) = (params.cols as usize, params.rows_per_block as usize);
    parallel!(for_costly_rows(args.output::<F>(0), cols, cols * rows_per_block), |first_block, blocks| {
        for (block, total) in blocks.chunks_mut(cols).enumerate() {
            total.fill(F::ZERO);
            let first = (first_block + block) * rows_per_block;
            let (x, dy) = (x[first * cols..].chunks(cols), dy[first * cols..].chunks(cols));
            for ((x, dy), &r) in x.zip(dy).zip(&inverse_rms[first..]).take(rows_per_block) {
                total.iter_mut().zip(x).zip(dy).for_each(|((total, &x), &dy)| *total += dy * x * r);
            }
        }
    });
}
