//! Stochastic gradient descent with momentum.

use crate::cpu::parallel::for_row_blocks_of;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::{kernel, kernel_params, parallel, wgsl};

use super::norm::control;
use super::optimiser::{Optimiser, Update, UpdateRule, round_into_halves};

kernel_params! {
    struct Params { len: u32, lr: f32, decay: f32, momentum: f32 }
}

const SHADER: Shader = wgsl!("common/half.wgsl", "sgd.wgsl");
static STEP: Kernel = kernel!(SHADER, "step_f32", Params, step).overriding(&[("DTYPE", &[DType::F32.code()])]);
static STEP_HALF: Kernel = kernel!(SHADER, "step_half", Params, step).overriding(&[("DTYPE", DType::HALF_CODES)]);
pub(crate) const KERNELS: &[&Kernel] = &[&STEP, &STEP_HALF];

/// Settings of [`Sgd`]; those of a group of parameters stand in [`ParamGroup`](super::ParamGroup).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last velocity that is kept; 0 for plain gradient descent.
    pub momentum: f64,
    /// Gradients are scaled down so that their common norm is at most this; infinity for no clipping.
    pub clip_norm: f64,
}

/// Gradient descent with momentum. The velocity m of a parameter follows its gradients g, `m ← momentum·m + g`, and the parameter the velocity,
/// `w ← w − lr·weight_decay·w − lr·m`.
pub type Sgd = Optimiser<SgdConfig>;

impl UpdateRule for SgdConfig {
    const NAME: &'static str = "sgd";
    const MOMENTS: &'static [&'static str] = &["m"];

    fn lr(&mut self) -> &mut f64 {
        &mut self.lr
    }

    fn clip_norm(&self) -> f64 {
        self.clip_norm
    }

    fn betas(&self) -> [f64; 2] {
        [0.0; 2]
    }

    fn update(&self, update: Update<'_>) {
        let [lr, decay] = update.lr_and_decay(self.lr);
        let params = Params { len: update.len(), lr, decay, momentum: self.momentum as f32 };
        update.launch([&STEP, &STEP_HALF], &params);
    }
}

fn step<F: Float>(params: &Params, mut args: CpuArgs) {
    let (gradient, control) = (args.input::<F>(0), args.input::<F>(1));
    let (w, m) = (args.output::<F>(0), args.output::<F>(1));
    if control[control::TAKEN] == F::ZERO {
        return;
    }
    let [lr, decay, momentum] = [params.lr, params.decay, params.momentum].map(|value| F::of(f64::from(value)));
    let scale = control[control::SCALE];
    parallel!(for_row_blocks_of([(&mut *w, 1), (m, 1)]), |first, [w, m]| {
        for (i, &gradient) in gradient[first..][..w.len()].iter().enumerate() {
            m[i] = momentum * m[i] + scale * gradient;
            w[i] = w[i] - decay * w[i] - lr * m[i];
        }
    });
    round_into_halves(w, 2, args);
}
