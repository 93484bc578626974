//! The gradient norm, and the decision how a step is taken, on the device.

use crate::autograd::{Gradients, no_grad};
use crate::cpu::parallel::for_costly_rows;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::Kernel;
use crate::ops::ELEMENTS_PER_GROUP;
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

kernel_params! {
    /// The lengths of the gradients, and where their partial sums begin.
    struct SquaresParams {
        offset: u32, length_0: u32, length_1: u32, length_2: u32, length_3: u32, length_4: u32, length_5: u32, length_6: u32,
    }
}

kernel_params! {
    pub(super) struct Params {
        clip_norm: f32,
        beta1: f32,
        beta2: f32,
        one_minus_beta1: f32,
        one_minus_beta2: f32,
    }
}

static SUM_SQUARES: Kernel = kernel!(wgsl!("sum_squares.wgsl"), "sum_squares", SquaresParams, sum_squares);
static PREPARE: Kernel = kernel!(wgsl!("optim.wgsl"), "prepare", Params, prepare);
pub(crate) const KERNELS: &[&Kernel] = &[&SUM_SQUARES, &PREPARE];

/// Gradients of a launch: with the sums they are the eight buffers that WebGPU allows.
const TOGETHER: usize = 7;
/// How many squares one thread adds up.
const CHUNK: usize = 64;

impl Gradients {
    /// The norm of all gradients together: the root of the sum of all their squares. A number on the device, nothing is read back. `-> []`
    ///
    /// # Panics
    /// If there are no gradients.
    #[track_caller]
    pub fn global_norm(&self) -> Tensor {
        global_norm(&self.parts())
    }

    /// Sums of squares of parts of these gradients, one after the other: each has 64 numbers (the last of a gradient may have fewer), on a GPU from a stretch of 16,384. The root of their sum is the
    /// norm of all, and if a gradient is cut at a multiple of 16,384 its parts are the same. `[elements], .. -> [parts]`
    ///
    /// # Panics
    /// If there are none.
    #[track_caller]
    pub fn partial_squares(gradients: &[Tensor]) -> Tensor {
        assert!(!gradients.is_empty(), "partial_squares: no gradients");
        partial_squares(gradients)
    }
}

/// The norm of all gradients together, in the order given.
#[track_caller]
pub(super) fn global_norm(gradients: &[Tensor]) -> Tensor {
    assert!(!gradients.is_empty(), "global_norm: no gradients");
    no_grad(|| partial_squares(gradients).sum_all().sqrt())
}

/// The sums of squares of parts of the gradients, in their order.
fn partial_squares(gradients: &[Tensor]) -> Tensor {
    let first = &gradients[0];
    let parts_of = |g: &Tensor| g.len().div_ceil(CHUNK);
    let total = gradients.iter().map(parts_of).sum();
    let partials = Tensor::uninit(first.device(), &[total], first.dtype(), "global_norm");
    let mut offset = 0;
    let full: Vec<Tensor> = gradients.iter().filter(|g| !g.is_empty()).map(|g| g.detach().contiguous()).collect();
    for some in full.chunks(TOGETHER) {
        let parts: usize = some.iter().map(parts_of).sum();
        let length = |i: usize| some.get(i).map_or(0, |gradient| gradient.len() as u32);
        let params = SquaresParams {
            offset: offset as u32,
            length_0: length(0),
            length_1: length(1),
            length_2: length(2),
            length_3: length(3),
            length_4: length(4),
            length_5: length(5),
            length_6: length(6),
        };
        // the shortest again in the place of those that are missing, of which nothing is read
        let shortest = some.iter().min_by_key(|gradient| gradient.len()).expect("chunks are not empty");
        let bound = (0..TOGETHER).map(|i| some.get(i).unwrap_or(shortest));
        let launch = bound.fold(SUM_SQUARES.launch(&params), |launch, gradient| launch.input(gradient));
        launch.strided_output(&partials).groups(parts.div_ceil(ELEMENTS_PER_GROUP)).run();
        offset += parts;
    }
    partials
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
    };
    PREPARE.launch(&params).input(norm).output(control).groups(1).run();
}

/// The sums of a part differ from the shader's, not their total: here a part is a contiguous chunk, which the processor's caches like.
fn sum_squares<F: Float>(params: &SquaresParams, mut args: CpuArgs) {
    let SquaresParams { length_0, length_1, length_2, length_3, length_4, length_5, length_6, .. } = *params;
    let mut rest = &mut args.output::<F>(0)[params.offset as usize..];
    for (i, length) in [length_0, length_1, length_2, length_3, length_4, length_5, length_6].into_iter().enumerate() {
        let g = &args.input::<F>(i)[..length as usize];
        let (partials, behind) = rest.split_at_mut(g.len().div_ceil(CHUNK));
        rest = behind;
        parallel!(for_costly_rows(partials, 1, CHUNK), |first, partials| {
            for (partial, chunk) in partials.iter_mut().zip(g.chunks(CHUNK).skip(first)) {
                *partial = reduce::sum_sq(chunk);
            }
        });
    }
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
