//! RMSNorm over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467), alone and behind the addition of a residual.

use crate::autograd::with_grads_of_in_place;
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
static FORWARD_ADD: Kernel = kernel!(SHADER, "forward_add", Params, forward_add);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
static BACKWARD_ADD: Kernel = kernel!(SHADER, "backward_add", Params, backward_add);
static WEIGHT_PARTIALS: Kernel = kernel!(SHADER, "weight_partials", Params, weight_partials);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &FORWARD_ADD, &BACKWARD, &BACKWARD_ADD, &WEIGHT_PARTIALS];

impl Tensor {
    /// Each row of the last axis is scaled to a mean square of 1, then by `weight [n]`: `x / sqrt(mean(x²) + eps) · weight`. `[.., n] -> [.., n]`
    ///
    /// # Panics
    /// If the weight is not as long as the last axis, or a tensor is not f32.
    #[track_caller]
    pub fn rms_norm(&self, weight: &Tensor, eps: f32) -> Tensor {
        let norm = Norm::new("rms_norm", self, weight, eps);
        let (x, y) = (self.detach().contiguous(), norm.like(self));
        FORWARD.launch(&norm.params).input(&x).input(&norm.weight).output(&y).output(&norm.inverse_rms).groups(norm.rows()).run();
        let (needs_dx, needs_dw) = (self.requires_grad(), weight.requires_grad());
        y.with_grads_in_place("rms_norm", &[self, weight], move |dy, places| {
            let dy = dy.contiguous();
            vec![needs_dx.then(|| norm.input_gradient(&x, &dy, None)), needs_dw.then(|| norm.weight_gradient(&x, &dy, places.of(1)))]
        })
    }

    /// The sum of two tensors, and [`rms_norm`](Tensor::rms_norm) of the sum: what stands between two blocks of a transformer, as one kernel.
    /// `[.., n], [.., n] -> sum [.., n], normed [.., n]`
    ///
    /// # Panics
    /// If the shapes differ, or as [`rms_norm`](Tensor::rms_norm).
    #[track_caller]
    pub fn add_rms_norm(&self, other: &Tensor, weight: &Tensor, eps: f32) -> [Tensor; 2] {
        const OP: &str = "add_rms_norm";
        super::assert_arithmetic(OP, &[self, other]);
        assert!(self.shape() == other.shape(), "{OP}: shapes differ: {:?} and {:?}", self.shape(), other.shape());
        let norm = Norm::new(OP, self, weight, eps);
        let (a, b) = (self.detach().contiguous(), other.detach().contiguous());
        let (sum, y) = (norm.like(self), norm.like(self));
        let launch = FORWARD_ADD.launch(&norm.params).input(&a).input(&b).input(&norm.weight);
        launch.output(&sum).output(&y).output(&norm.inverse_rms).groups(norm.rows()).run();
        let (needs_dx, needs_dw, x) = (self.requires_grad() || other.requires_grad(), weight.requires_grad(), sum.clone());
        with_grads_of_in_place([sum, y], OP, &[self, other, weight], move |upstream, places| {
            let [dsum, dy] = [0, 1].map(|i: usize| upstream[i].as_ref().map(Tensor::contiguous));
            let Some(dy) = dy else { return vec![dsum.clone(), dsum, None] };
            let dx = needs_dx.then(|| norm.input_gradient(&x, &dy, dsum.as_ref()));
            vec![dx.clone(), dx, needs_dw.then(|| norm.weight_gradient(&x, &dy, places.of(2)))]
        })
    }
}

/// What forward and backward share.
struct Norm {
    op: &'static str,
    params: Params,
    weight: Tensor,
    /// 1 / sqrt(mean(x²) + eps) of each row: written by the forward kernel, read by the others. `[rows]`
    inverse_rms: Tensor,
}

impl Norm {
    #[track_caller]
    fn new(op: &'static str, x: &Tensor, weight: &Tensor, eps: f32) -> Norm {
        super::assert_arithmetic(op, &[x, weight]);
        let (rows, cols) = super::rows_and_cols(op, x);
        assert!(weight.shape() == [cols], "{op}: weight {:?} for rows of {:?} ({cols} columns)", weight.shape(), x.shape());
        let params = Params { rows: rows as u32, cols: cols as u32, eps, rows_per_block: super::ROWS_PER_BLOCK as u32 };
        let inverse_rms = Tensor::uninit(x.device(), &[rows], x.dtype(), op);
        Norm { op, params, weight: weight.detach().contiguous(), inverse_rms }
    }

    fn rows(&self) -> usize {
        self.params.rows as usize
    }

    fn like(&self, x: &Tensor) -> Tensor {
        Tensor::uninit(x.device(), x.shape(), x.dtype(), self.op)
    }

    /// dx, and what arrived at the sum directly, if anything did.
    fn input_gradient(&self, x: &Tensor, dy: &Tensor, dsum: Option<&Tensor>) -> Tensor {
        let dx = self.like(x);
        let kernel = if dsum.is_some() { &BACKWARD_ADD } else { &BACKWARD };
        let mut launch = kernel.launch(&self.params).input(x).input(&self.weight).input(&self.inverse_rms).input(dy);
        if let Some(dsum) = dsum {
            launch = launch.input(dsum);
        }
        launch.output(&dx).groups(self.rows()).run();
        dx
    }

    /// In the place of what is in `into`, if that is given.
    fn weight_gradient(&self, x: &Tensor, dy: &Tensor, into: Option<Tensor>) -> Tensor {
        let blocks = self.rows().div_ceil(super::ROWS_PER_BLOCK);
        let partials = Tensor::uninit(x.device(), &[blocks, self.params.cols as usize], x.dtype(), self.op);
        let groups = partials.len().div_ceil(super::LANES_PER_ROW);
        WEIGHT_PARTIALS.launch(&self.params).input(x).input(&self.inverse_rms).input(dy).output(&partials).groups(groups).run();
        partials.sum_first_axis(into.as_ref())
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

fn forward_add<F: Float>(params: &Params, mut args: CpuArgs) {
    let (a, b, weight, cols) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2), params.cols as usize);
    let outputs = [(args.output::<F>(0), cols), (args.output::<F>(1), cols), (args.output::<F>(2), 1)];
    parallel!(for_row_blocks_of(outputs), |first, [sums, rows, inverse_rms]| {
        let (a, b) = (a[first * cols..].chunks(cols), b[first * cols..].chunks(cols));
        for ((((x, y), r), a), b) in sums.chunks_mut(cols).zip(rows.chunks_mut(cols)).zip(inverse_rms).zip(a).zip(b) {
            x.iter_mut().zip(a).zip(b).for_each(|((x, &a), &b)| *x = a + b);
            *r = F::ONE / (reduce::sum_sq(x) / F::of(cols as f64) + F::of(params.eps.into())).sqrt();
            y.iter_mut().zip(&*x).zip(weight).for_each(|((y, &x), &w)| *y = x * *r * w);
        }
    });
}

fn backward<F: Float>(params: &Params, args: CpuArgs) {
    input_gradient::<F>(params, args, None);
}

fn backward_add<F: Float>(params: &Params, args: CpuArgs) {
    let dsum = args.input::<F>(4);
    input_gradient(params, args, Some(dsum));
}

fn input_gradient<F: Float>(params: &Params, mut args: CpuArgs, dsum: Option<&[F]>) {
    let (x, weight, inverse_rms, dy) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2), args.input::<F>(3));
    let cols = params.cols as usize;
    parallel!(for_row_blocks(args.output::<F>(0), cols), |first, rows| {
        let (x, dy) = (x[first * cols..].chunks(cols), dy[first * cols..].chunks(cols));
        for (((dx, x), dy), &r) in rows.chunks_mut(cols).zip(x).zip(dy).zip(&inverse_rms[first..]) {
            dx.iter_mut().zip(dy).zip(weight).for_each(|((g, &dy), &w)| *g = dy * w);
            let along_x = reduce::dot(dx, x) / F::of(cols as f64) * r * r;
            dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = r * (*dx - x * along_x));
        }
        if let Some(dsum) = dsum {
            rows.iter_mut().zip(&dsum[first * cols..]).for_each(|(dx, &dsum)| *dx += dsum);
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
