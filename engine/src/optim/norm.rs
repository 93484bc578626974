//! The gradient norm, and the decision how a step is taken, on the device.

use crate::autograd::{Gradients, no_grad};
use crate::cpu::parallel::for_costly_rows;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::{Kernel, Shader};
use crate::ops::ELEMENTS_PER_GROUP;
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

kernel_params! {
    /// The first three are for `sum_squares`, the others for `prepare`.
    #[derive(Default)]
    pub(super) struct Params {
        len: u32,
        parts: u32,
        offset: u32,
        clip_norm: f32,
        beta1: f32,
        beta2: f32,
        one_minus_beta1: f32,
        one_minus_beta2: f32,
    }
}

const SHADER: Shader = wgsl!("optim.wgsl");
static SUM_SQUARES: Kernel = kernel!(SHADER, "sum_squares", Params, sum_squares);
static PREPARE: Kernel = kernel!(SHADER, "prepare", Params, prepare);
pub(crate) const KERNELS: &[&Kernel] = &[&SUM_SQUARES, &PREPARE];

/// How many squares one thread adds up.
const CHUNK: usize = 64;

impl Gradients {
    /// The norm of all gradients together: the root of the sum of all their squares. A number on the device, nothing is read back. `-> []`
    ///
    /// # Panics
    /// If there are no gradients.
    #[track_caller]
    pub fn global_norm(&self) -> Tensor {
        global_norm(&self.in_order())
    }
}

/// The norm of all gradients together, in the order given.
#[track_caller]
pub(super) fn global_norm(gradients: &[&Tensor]) -> Tensor {
    let Some(first) = gradients.first() else { panic!("global_norm: no gradients") };
    let parts_of = |g: &Tensor| g.len().div_ceil(CHUNK);
    let total = gradients.iter().map(|g| parts_of(g)).sum();
    let partials = Tensor::uninit(first.device(), &[total], first.dtype(), "global_norm");
    let mut offset = 0;
    for gradient in gradients {
        let parts = parts_of(gradient);
        let params = Params { len: gradient.len() as u32, parts: parts as u32, offset: offset as u32, ..Params::default() };
        let gradient = gradient.detach().contiguous();
        SUM_SQUARES.launch(&params).input(&gradient).strided_output(&partials).groups(parts.div_ceil(ELEMENTS_PER_GROUP)).run();
        offset += parts;
    }
    no_grad(|| partials.sum_all().sqrt())
}

/// What `prepare` leaves on the device for the update kernels; see optim.wgsl.
pub(super) mod control {
    pub(crate) const STEP: usize = 0;
    pub(crate) const SKIPPED: usize = 1;
    pub(crate) const CORRECTION1: usize = 2;
    pub(crate) const CORRECTION2: usize = 3;
    pub(crate) const NORM: usize = 4;
    pub(crate) const SCALE: usize = 5;
    pub(crate) const TAKEN: usize = 6;
    pub(crate) const LEN: usize = 7;
}

/// Counts the step and its bias corrections in `control`, or counts it as skipped if the norm is not finite.
pub(super) fn prepare_step(norm: &Tensor, clip_norm: f64, [beta1, beta2]: [f64; 2], control: &Tensor) {
    let params = Params {
        clip_norm: clip_norm as f32,
        beta1: beta1 as f32,
        beta2: beta2 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        ..Params::default()
    };
    PREPARE.launch(&params).input(norm).output(control).groups(1).run();
}

/// The sums of a part differ from the shader's, not their total: here a part is a contiguous chunk, which the processor's caches like.
fn sum_squares<F: Float>(params: &Params, mut args: CpuArgs) {
    let (g, partials) = (args.input::<F>(0), args.output::<F>(0));
    let partials = &mut partials[params.offset as usize..][..params.parts as usize];
    parallel!(for_costly_rows(partials, 1, CHUNK), |first, partials| {
        for (partial, chunk) in partials.iter_mut().zip(g.chunks(CHUNK).skip(first)) {
            *partial = reduce::sum_sq(chunk);
        }
    });
}

fn prepare<F: Float>(params: &Params, mut args: CpuArgs) {
    let (norm, control) = (args.input::<F>(0)[0], args.output::<F>(0));
    let [clip_norm, beta1, beta2, one_minus_beta1, one_minus_beta2] =
        [params.clip_norm, params.beta1, params.beta2, params.one_minus_beta1, params.one_minus_beta2].map(|v| F::of(f64::from(v)));
    control[control::NORM] = norm;
    control[control::TAKEN] = if norm.is_finite() { F::ONE } else { F::ZERO };
    if !norm.is_finite() {
        control[control::SKIPPED] += F::ONE;
        return;
    }
    control[control::STEP] += F::ONE;
    control[control::CORRECTION1] = control[control::CORRECTION1] * beta1 + one_minus_beta1;
    control[control::CORRECTION2] = control[control::CORRECTION2] * beta2 + one_minus_beta2;
    control[control::SCALE] = if norm > clip_norm { clip_norm / norm } else { F::ONE };
}
