//! Stochastic gradient descent with momentum.

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
    struct Params { len: u32, lr: f32, decay: f32, momentum: f32 }
}

const SHADER: Shader = wgsl!("common/half.wgsl", "sgd.wgsl");
static STEP: Kernel = kernel!(SHADER, "step_f32", Params, step);
static STEP_HALF: Kernel = kernel!(SHADER, "step_half", Params, step);
pub(crate) const KERNELS: &[&Kernel] = &[&STEP, &STEP_HALF];

/// Settings of [`Sgd`]; those of a group of parameters stand in [`ParamGroup`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last velocity that is kept; 0 for plain gradient descent.
    pub momentum: f64,
    /// Gradients are scaled down so that their common norm is at most this; infinity for no clipping.
    pub clip_norm: f64,
}

/// `m ← momentum·m + g`, `w ← w − lr·wd·w − lr·m`.
pub struct Sgd {
    config: SgdConfig,
    slots: Slots,
}

impl Sgd {
    /// Velocities start at zero.
    ///
    /// # Panics
    /// As [`AdamW::new`](super::AdamW::new).
    #[track_caller]
    pub fn new(groups: Vec<ParamGroup>, config: SgdConfig) -> Sgd {
        Sgd { config, slots: Slots::new("sgd", &["m"], groups) }
    }

    /// As [`AdamW::step`](super::AdamW::step).
    ///
    /// # Panics
    /// If no parameter has a gradient.
    #[track_caller]
    pub fn step(&mut self, gradients: &Gradients) -> Tensor {
        let SgdConfig { lr, momentum, clip_norm } = self.config;
        let (norm, pairs) = self.slots.prepare(gradients, clip_norm, [0.0; 2]);
        for (slot, gradient) in pairs {
            let lr = lr * slot.lr_scale;
            let params =
                Params { len: gradient.len() as u32, lr: lr as f32, decay: (lr * slot.weight_decay) as f32, momentum: momentum as f32 };
            let dtype = [("DTYPE", f64::from(slot.parameter.dtype().code()))];
            let kernel = if slot.master.is_some() { &STEP_HALF } else { &STEP };
            let mut launch = kernel.launch(&params).constants(&dtype).input(&gradient).input(&self.slots.control);
            launch = launch.output(slot.weights()).output(&slot.moments[0]);
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
    pub fn config(&self) -> &SgdConfig {
        &self.config
    }

    /// What the last step did. Waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn report(&self) -> Result<StepReport> {
        self.slots.report()
    }

    /// The state to save: `{name}.m`, `{name}.master` of parameters stored as halves, and `control`.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.slots.state()
    }

    /// Restores a saved state, to the same bits. `path` is named in errors.
    ///
    /// # Errors
    /// As [`AdamW::load_state`](super::AdamW::load_state).
    pub fn load_state(&mut self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.slots.load_state(path, tensors)
    }
}

/// Elements one task updates.
const BLOCK: usize = 16 * 1024;

fn step<F: Float>(params: &Params, mut args: CpuArgs) {
    let (gradient, control) = (args.input::<F>(0), args.input::<F>(1));
    let (w, m) = (args.output::<F>(0), args.output::<F>(1));
    if control[control::TAKEN] == F::ZERO {
        return;
    }
    let [lr, decay, momentum] = [params.lr, params.decay, params.momentum].map(|value| F::of(f64::from(value)));
    let scale = control[control::SCALE];
    w.par_chunks_mut(BLOCK).zip(m.par_chunks_mut(BLOCK)).zip(gradient.par_chunks(BLOCK)).for_each(|((w, m), gradient)| {
        for i in 0..gradient.len() {
            m[i] = momentum * m[i] + scale * gradient[i];
            w[i] = w[i] - decay * w[i] - lr * m[i];
        }
    });
    round_into_halves(w, 2, args);
}
