//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use crate::autograd::Gradients;
use crate::cpu::{CpuArgs, Float};
use crate::error::Result;
use crate::kernel::{Kernel, Shader};
use crate::ops::ELEMENTS_PER_GROUP;
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, wgsl};

use super::norm::control;
use super::slots::{ParamGroup, Slots, StepReport, round_into_halves};

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
static STEP: Kernel = kernel!(SHADER, "step_f32", Params, step);
static STEP_HALF: Kernel = kernel!(SHADER, "step_half", Params, step);
pub(crate) const KERNELS: &[&Kernel] = &[&STEP, &STEP_HALF];

/// Settings of [`AdamW`]; those of a group of parameters stand in [`ParamGroup`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean of gradients and of the mean of their squares.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Gradients are scaled down so that their common norm is at most this; infinity for no clipping.
    pub clip_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> AdamWConfig {
        AdamWConfig { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, clip_norm: f64::INFINITY }
    }
}

/// Adam with decoupled weight decay: `w ← w − lr·wd·w − lr·m̂ / (√v̂ + eps)`.
pub struct AdamW {
    config: AdamWConfig,
    slots: Slots,
}

impl AdamW {
    /// State starts at zero.
    ///
    /// # Panics
    /// If there are no parameters, a name or a parameter stands twice, or one is a strided view.
    #[track_caller]
    pub fn new(groups: Vec<ParamGroup>, config: AdamWConfig) -> AdamW {
        AdamW { config, slots: Slots::new("adamw", &["m", "v"], groups) }
    }

    /// Updates every parameter that has a gradient, in place, and returns the norm of their gradients before clipping: a number on the device, `[]`.
    /// If the norm is not finite nothing changes but the count of skipped steps ([`report`](AdamW::report)).
    ///
    /// # Panics
    /// If no parameter has a gradient.
    #[track_caller]
    pub fn step(&mut self, gradients: &Gradients) -> Tensor {
        let AdamWConfig { lr, betas, eps, clip_norm } = self.config;
        let (norm, pairs) = self.slots.prepare(gradients, clip_norm, betas);
        for (slot, gradient) in pairs {
            let lr = lr * slot.lr_scale;
            let params = Params {
                len: gradient.len() as u32,
                lr: lr as f32,
                decay: (lr * slot.weight_decay) as f32,
                beta1: betas[0] as f32,
                beta2: betas[1] as f32,
                one_minus_beta1: (1.0 - betas[0]) as f32,
                one_minus_beta2: (1.0 - betas[1]) as f32,
                eps: eps as f32,
            };
            let dtype = [("DTYPE", f64::from(slot.parameter.dtype().code()))];
            let kernel = if slot.master.is_some() { &STEP_HALF } else { &STEP };
            let mut launch = kernel.launch(&params).constants(&dtype).input(&gradient).input(&self.slots.control);
            launch = launch.output(slot.weights()).output(&slot.moments[0]).output(&slot.moments[1]);
            let mut threads = gradient.len();
            if slot.master.is_some() {
                launch = launch.output(&slot.parameter);
                threads = threads.div_ceil(2);
            }
            launch.groups(threads.div_ceil(ELEMENTS_PER_GROUP)).run();
        }
        norm
    }

    /// The learning rate of the next steps.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// The settings in force.
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// What the last step did. Waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn report(&self) -> Result<StepReport> {
        self.slots.report()
    }

    /// What is updated, by the names of the groups.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.slots.parameters()
    }

    /// The state to save: `{name}.m`, `{name}.v`, `{name}.master` of parameters stored as halves, and `control` (step count, bias corrections).
    /// The tensors are the state itself and change with the next step.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.slots.state()
    }

    /// Restores a saved state, to the same bits. `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Content`](crate::Error::Content) if a tensor is missing, left over or of another shape; then nothing has changed.
    pub fn load_state(&mut self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load_state(path, tensors)
    }
}

/// Elements one task updates.
const BLOCK: usize = 16 * 1024;

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
    let blocks = w.par_chunks_mut(BLOCK).zip(m.par_chunks_mut(BLOCK)).zip(v.par_chunks_mut(BLOCK)).zip(gradient.par_chunks(BLOCK));
    blocks.for_each(|(((w, m), v), gradient)| {
        for i in 0..gradient.len() {
            let g = scale * gradient[i];
            m[i] = beta1 * m[i] + one_minus_beta1 * g;
            v[i] = beta2 * v[i] + one_minus_beta2 * g * g;
            w[i] = w[i] - decay * w[i] - lr * (m[i] / correction1) / ((v[i] / correction2).sqrt() + eps);
        }
    });
    round_into_halves(w, 3, args);
}
