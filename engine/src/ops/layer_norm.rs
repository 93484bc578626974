//! LayerNorm over the last axis (Ba et al. 2016, arXiv 1607.06450).

use crate::cpu::parallel::{for_costly_rows, for_row_blocks, for_row_blocks_of};
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

kernel_params! {
    struct Params { rows: u32, cols: u32, eps: f32, rows_per_block: u32 }
}

const SHADER: Shader = wgsl!("common/row_reduce.wgsl", "layer_norm.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
static WEIGHT_PARTIALS: Kernel = kernel!(SHADER, "weight_partials", Params, weight_partials);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD, &WEIGHT_PARTIALS];

impl Tensor {
    /// Each row of the last axis is shifted to mean 0 and scaled to variance 1 (of the population), then scaled by `weight [n]` and shifted by
    /// `bias [n]`: `(x - mean) / sqrt(variance + eps) · weight + bias`. `[.., n] -> [.., n]`
    ///
    /// # Panics
    /// If weight or bias are not as long as the last axis, or a tensor is not f32.
    #[track_caller]
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f32) -> Tensor {
        super::assert_arithmetic("layer_norm", &[self, weight, bias]);
        let (rows, cols) = super::rows_and_cols("layer_norm", self);
        for (what, tensor) in [("weight", weight), ("bias", bias)] {
            assert!(tensor.shape() == [cols], "layer_norm: {what} {:?} for rows of {:?} ({cols} columns)", tensor.shape(), self.shape());
        }

        let params = Params { rows: rows as u32, cols: cols as u32, eps, rows_per_block: super::ROWS_PER_BLOCK as u32 };
        let (x, w, b) = (self.detach().contiguous(), weight.detach().contiguous(), bias.detach().contiguous());
        let (needs_dx, needs_dw, needs_db) = (self.requires_grad(), weight.requires_grad(), bias.requires_grad());
        let y = Tensor::uninit(x.device(), x.shape(), x.dtype(), "layer_norm");
        let stats = Tensor::uninit(x.device(), &[rows, 2], x.dtype(), "layer_norm"); // mean and 1/deviation
        FORWARD.launch(&params).input(&x).input(&w).input(&b).output(&y).output(&stats).groups(rows).run();

        y.with_grads_in_place("layer_norm", &[self, weight, bias], move |dy, places| {
            let dy = dy.contiguous();
            let dx = needs_dx.then(|| {
                let dx = Tensor::uninit(x.device(), x.shape(), x.dtype(), "layer_norm");
                BACKWARD.launch(&params).input(&x).input(&w).input(&stats).input(&dy).output(&dx).groups(rows).run();
                dx
            });
            if !needs_dw && !needs_db {
                return vec![dx, None, None];
            }
            let blocks = rows.div_ceil(super::ROWS_PER_BLOCK);
            let partials = Tensor::uninit(x.device(), &[blocks, 2, cols], x.dtype(), "layer_norm");
            let groups = (blocks * cols).div_ceil(super::LANES_PER_ROW);
            WEIGHT_PARTIALS.launch(&params).input(&x).input(&stats).input(&dy).output(&partials).groups(groups).run();
            let places = match needs_dw && needs_db {
                true => places.of_run(&[1, 2]),
                false => None,
            };
            let sums = partials.sum_first_axis(places.as_ref()).reshape(&[2, cols]);
            let [dw, db] = [0, 1].map(|i| sums.slice(0, i, 1).reshape(&[cols]));
            vec![dx, needs_dw.then_some(dw), needs_db.then_some(db)]
        })
    }
}

fn forward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, weight, bias) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2));
    let (cols, count) = (params.cols as usize, F::of(params.cols.into()));
    parallel!(for_row_blocks_of([(args.output::<F>(0), cols), (args.output::<F>(1), 2)]), |first, [rows, stats]| {
        let x = x[first * cols..].chunks(cols);
        for ((y, stats), x) in rows.chunks_mut(cols).zip(stats.chunks_mut(2)).zip(x) {
            let mean = reduce::sum(x) / count;
            // the mean first: Σ x² - n · mean² cancels
            let r = F::ONE / (reduce::sum_sq_about(x, mean) / count + F::of(params.eps.into())).sqrt();
            let columns = x.iter().zip(weight).zip(bias);
            y.iter_mut().zip(columns).for_each(|(y, ((&x, &w), &b))| *y = (x - mean) * r * w + b);
            stats.copy_from_slice(&[mean, r]);
        }
    });
}

fn backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, weight, stats, dy) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2), args.input::<F>(3));
    let (cols, count) = (params.cols as usize, F::of(params.cols.into()));
    parallel!(for_row_blocks(args.output::<F>(0), cols), |first, rows| {
        let (x, dy) = (x[first * cols..].chunks(cols), dy[first * cols..].chunks(cols));
        let mut normed = vec![F::ZERO; cols];
        for (((dx, x), dy), stats) in rows.chunks_mut(cols).zip(x).zip(dy).zip(stats[2 * first..].chunks(2)) {
            let [mean, r] = [stats[0], stats[1]];
            normed.iter_mut().zip(x).for_each(|(normed, &x)| *normed = (x - mean) * r);
            dx.iter_mut().zip(dy).zip(weight).for_each(|((g, &dy), &w)| *g = dy * w);
            let (mean_g, mean_gx) = (reduce::sum(dx) / count, reduce::dot(dx, &normed) / count);
            dx.iter_mut().zip(&normed).for_each(|(dx, &normed)| *dx = r * (*dx - mean_g - normed * mean_gx));
        }
    });
}

fn weight_partials<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, stats, dy) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2));
    let (cols, rows_per_block) = (params.cols as usize, params.rows_per_block as usize);
    parallel!(for_costly_rows(args.output::<F>(0), 2 * cols, cols * rows_per_block), |first_block, blocks| {
        for (block, sums) in blocks.chunks_mut(2 * cols).enumerate() {
            sums.fill(F::ZERO);
            let (dweight, dbias) = sums.split_at_mut(cols);
            let first = (first_block + block) * rows_per_block;
            let (x, dy) = (x[first * cols..].chunks(cols), dy[first * cols..].chunks(cols));
            for ((x, dy), stats) in x.zip(dy).zip(stats[2 * first..].chunks(2)).take(rows_per_block) {
                let [mean, r] = [stats[0], stats[1]];
                dweight.iter_mut().zip(x).zip(dy).for_each(|((sum, &x), &dy)| *sum += dy * (x - mean) * r);
                dbias.iter_mut().zip(dy).for_each(|(sum, &dy)| *sum += dy);
            }
        }
    });
}
