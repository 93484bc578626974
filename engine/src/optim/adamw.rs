//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

use crate::cpu::parallel::for_row_blocks_of;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::{kernel, kernel_params, parallel, wgsl};

use super::norm::control;
use super::optimiser::{Optimiser, Update, UpdateRule, round_into_halves};

kernel_params! {
    struct Params {
        len: u32,
        lr: f32,
        decay: f32,
        beta1: f32,
        beta2: f32,
        one_minus_beta1: f32,
        one_minus_beta2: f32,
        eps: f32,
    }
}

const SHADER: Shader = wgsl!("common/half.wgsl", "common/math.wgsl", "adamw.wgsl");
static STEP: Kernel = kernel!(SHADER, "step_f32", Params, step).overriding(&[("DTYPE", &[DType::F32.code()])]);
static STEP_HALF: Kernel = kernel!(SHADER, "step_half", Params, step).overriding(&[("DTYPE", DType::HALF_CODES)]);
pub(crate) const KERNELS: &[&Kernel] = &[&STEP, &STEP_HALF];

/// Settings of [`AdamW`]; those of a group of parameters stand in [`ParamGroup`](super::ParamGroup).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// How much of the running mean of the gradients, and of that of their squares, each step keeps.
    pub betas: [f64; 2],
    /// Added to the root of the mean square, so that tiny gradients do not become huge steps.
    pub eps: f64,
    /// Gradients are scaled down so that their common norm is at most this; infinity for no clipping.
    pub clip_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> AdamWConfig {
        AdamWConfig { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, clip_norm: f64::INFINITY }
    }
}

/// Adam with decoupled weight decay. With the means m and v of a parameter's gradients and of their squares, both corrected for their start at
/// zero, a step is `w ← w − lr·weight_decay·w − lr·m / (√v + eps)`.
pub type AdamW = Optimiser<AdamWConfig>;

impl UpdateRule for AdamWConfig {
    const NAME: &'static str = "adamw";
    const MOMENTS: &'static [&'static str] = &["m", "v"];

    fn lr(&mut self) -> &mut f64 {
        &mut self.lr
    }

    fn clip_norm(&self) -> f64 {
        self.clip_norm
    }

    fn betas(&self) -> [f64; 2] {
        self.betas
    }

    fn update(&self, update: Update<'_>) {
        let [lr, decay] = update.lr_and_decay(self.lr);
        let [beta1, beta2] = self.betas;
        let params = Params {
            len: update.len(),
            lr,
            decay,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            eps: self.eps as f32,
        };
        update.launch([&STEP, &STEP_HALF], &params);
    }
}

fn step<F: Float>(params: &Params, mut args: CpuArgs) {
    let (gradient, control) = (args.input::<F>(0), args.input::<F>(1));
    let (w, m, v) = (args.output::<F>(0), args.output::<F>(1), args.output::<F>(2));
    if control[control::TAKEN] == F::ZERO {
        return;
    }
    let [lr, decay, beta1, beta2, one_minus_beta1, one_minus_beta2, eps] =
        [params.lr, params.decay, params.beta1, params.beta2, params.one_minus_beta1, params.one_minus_beta2, params.eps]
            .map(|value| F::of(f64::from(value)));
    let [scale, correction1, correction2] = [control::SCALE, control::CORRECTION1, control::CORRECTION2].map(|at| control[at]);
    parallel!(for_row_blocks_of([(&mut *w, 1), (m, 1), (v, 1)]), |first, [w, m, v]| {
        for (i, &gradient) in gradient[first..][..w.len()].iter().enumerate() {
            let g = scale * gradient;
            m[i] = beta1 * m[i] + one_minus_beta1 * g;
            v[i] = beta2 * v[i] + one_minus_beta2 * g * g;
            w[i] = w[i] - decay * w[i] - lr * (m[i] / correction1) / ((v[i] / correction2).sqrt() + eps);
        }
    });
    round_into_halves(w, 3, args);
}
