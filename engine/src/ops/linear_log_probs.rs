//! The fused head: log-probabilities and entropies of given tokens, without the logits of more than a chunk of rows.
//!
//! With z = h·Wᵀ / temperature, lse = ln Σ e^z and p = e^(z - lse), for the target t of each row:
//!
//! ```text
//! log_prob = z_t - lse                 d log_prob / dz_v = [v = t] - p_v
//! entropy  = lse - Σ p_v z_v           d entropy  / dz_v = -p_v (z_v - lse + entropy)
//! ```
//!
//! Forward and backward go through the rows in chunks; the backward computes a chunk's logits again, turns them into their gradient in place,
//! gives its rows of dh and adds its product to dW (in the order of the chunks, so the result is the same every time).

use crate::autograd::with_grads_of_in_place;
use crate::cpu::parallel::{for_costly_rows_of, for_row_blocks};
use crate::cpu::{CpuArgs, Float, reduce};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;
use super::head::Head;
use super::matmul::{add_gradient, gradient_into};

kernel_params! {
    /// A chunk of `rows` rows of logits, the first of which is row `first_row` of the outputs.
    struct Params { rows: u32, vocab: u32, first_row: u32, inverse_temperature: f32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "common/row_reduce.wgsl", "linear_log_probs.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

impl Tensor {
    /// The log-probability of each target and the entropy of its distribution, in nats, under a head `[vocab, hidden]` and logits divided
    /// by `temperature`. `hidden [tokens, hidden], targets [tokens] u32 -> (log_probs [tokens], entropy [tokens])`
    ///
    /// Gradients flow to hidden and the head's weight from both outputs; `[tokens, vocab]` never exists. A target that the head suppresses has no probability: its
    /// log-probability is below -1e29.
    ///
    /// # Panics
    /// If shapes or types do not fit, or the temperature is not positive.
    #[track_caller]
    pub fn linear_log_probs(&self, head: &Head, targets: &Tensor, temperature: f32) -> (Tensor, Tensor) {
        assert_head("linear_log_probs", self, head, temperature);
        assert!(
            targets.shape() == [self.shape()[0]] && targets.dtype() == DType::U32,
            "linear_log_probs: hidden {:?} needs targets u32 [tokens], got {} {:?}",
            self.shape(),
            targets.dtype(),
            targets.shape()
        );
        let (hidden, saved_head, targets) = (self.detach().contiguous(), head.detach(), targets.contiguous());
        let tokens = hidden.shape()[0];
        let new = || Tensor::uninit(self.device(), &[tokens], self.dtype(), "linear_log_probs");
        let (log_probs, entropy, lse) = (new(), new(), new());
        let params = move |chunk: &Chunk, vocab: usize| Params {
            rows: chunk.rows as u32,
            vocab: vocab as u32,
            first_row: chunk.first as u32,
            inverse_temperature: 1.0 / temperature,
        };
        let vocab = head.weight().dim(0);
        for chunk in chunks(tokens, vocab) {
            let logits = saved_head.logits_of(&chunk.of(&hidden));
            let launch = params(&chunk, vocab);
            let launch = FORWARD.launch(&launch).input(&logits).input(&targets);
            launch.output(&log_probs).output(&entropy).output(&lse).groups(chunk.rows).run();
        }
        let (needs_hidden, needs_weight) = (self.requires_grad(), head.weight().requires_grad());
        let saved_entropy = entropy.clone();
        let outputs = with_grads_of_in_place([log_probs, entropy], "linear_log_probs", &[self, head.weight()], move |upstream, places| {
            let head = saved_head;
            let zeros = || Tensor::zeros(hidden.device(), &[tokens], hidden.dtype());
            let [d_log_probs, d_entropy] = [0, 1].map(|i| upstream[i].as_ref().map_or_else(zeros, Tensor::contiguous));
            let mut gradients = HeadGradients::new(&hidden, &head, needs_hidden, needs_weight, || places.of(1));
            for chunk in chunks(tokens, vocab) {
                let logits = head.logits_of(&chunk.of(&hidden));
                let launch = params(&chunk, vocab);
                let launch =
                    BACKWARD.launch(&launch).input(&targets).input(&lse).input(&saved_entropy).input(&d_log_probs).input(&d_entropy);
                launch.output(&logits).groups(logits.len().div_ceil(ELEMENTS_PER_GROUP)).run();
                gradients.add(&chunk, &hidden, &head, &logits);
            }
            gradients.into_vec()
        });
        outputs.into()
    }
}

/// Rows `first .. first + rows` of the tokens.
pub(super) struct Chunk {
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// Logits of one chunk: 4 MiB, unless 64 rows need more.
const CHUNK_ELEMENTS: usize = 1 << 20;

/// Cuts the tokens into chunks of a multiple of 64 rows, which keeps every chunk's rows at an offset that a GPU can bind.
pub(super) fn chunks(tokens: usize, vocab: usize) -> impl Iterator<Item = Chunk> {
    let rows = (CHUNK_ELEMENTS / vocab.max(1) / 64).max(1) * 64;
    (0..tokens).step_by(rows).map(move |first| Chunk { first, rows: rows.min(tokens - first) })
}

impl Chunk {
    pub(super) fn of(&self, x: &Tensor) -> Tensor {
        x.slice(0, self.first, self.rows)
    }
}

/// The gradients of a head's hidden states and weight, summed chunk by chunk.
pub(super) struct HeadGradients {
    hidden: Option<Tensor>,
    weight: Option<Tensor>,
}

impl HeadGradients {
    /// `place` gives memory for that of the weight, zeros, if there is a place for it.
    pub(super) fn new(
        hidden: &Tensor,
        head: &Head,
        needs_hidden: bool,
        needs_weight: bool,
        place: impl FnOnce() -> Option<Tensor>,
    ) -> HeadGradients {
        let d_hidden = || Tensor::uninit(hidden.device(), hidden.shape(), hidden.dtype(), "linear_log_probs");
        let zeros = || Tensor::zeros(hidden.device(), head.weight().shape(), hidden.dtype());
        let d_weight = || place().unwrap_or_else(zeros);
        HeadGradients { hidden: needs_hidden.then(d_hidden), weight: needs_weight.then(d_weight) }
    }

    /// Adds a chunk, each chunk once. As z = h Wᵀ, the gradients are dh = dz W and dW = dzᵀ h.
    pub(super) fn add(&mut self, chunk: &Chunk, hidden: &Tensor, head: &Head, d_logits: &Tensor) {
        if let Some(d_hidden) = &self.hidden {
            gradient_into(&chunk.of(d_hidden), d_logits, head.weight());
        }
        if let Some(d_weight) = &self.weight {
            add_gradient(d_weight, &d_logits.t(), &chunk.of(hidden));
        }
    }

    pub(super) fn into_vec(self) -> Vec<Option<Tensor>> {
        vec![self.hidden, self.weight]
    }
}

#[track_caller]
pub(super) fn assert_head(op: &str, hidden: &Tensor, head: &Head, temperature: f32) {
    super::assert_arithmetic(op, &[hidden]);
    let weight = head.weight();
    assert!(
        hidden.rank() == 2 && hidden.shape()[1] == weight.shape()[1],
        "{op}: hidden {:?} and weight {:?} are not [tokens, hidden] and [vocab, hidden]",
        hidden.shape(),
        weight.shape()
    );
    assert!(temperature > 0.0 && temperature.is_finite(), "{op}: temperature {temperature} is not positive");
}

fn forward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (logits, targets) = (args.input::<F>(0), args.input::<u32>(1));
    let rows = params.first_row as usize..(params.first_row + params.rows) as usize;
    let [log_probs, entropy, lse] = [0, 1, 2].map(|i| &mut args.output::<F>(i)[rows.clone()]);
    let scale = F::of(params.inverse_temperature.into());
    let (targets, vocab) = (&targets[rows], params.vocab as usize);
    parallel!(for_costly_rows_of([(log_probs, 1), (entropy, 1), (lse, 1)], vocab), |first, [log_probs, entropy, lse]| {
        let rows = logits.chunks(vocab).zip(targets).skip(first);
        for (row, (z, &target)) in rows.take(lse.len()).enumerate() {
            let (sum, mean) = softmax_sums(z, scale);
            lse[row] = reduce::max(z) * scale + sum.fast_ln();
            // a target beyond the vocabulary has no probability: NaN is seen, a wrong number is not
            log_probs[row] = z.get(target as usize).map_or(F::of(f64::NAN), |&z| z * scale - lse[row]);
            entropy[row] = lse[row] - mean;
        }
    });
}

/// Sums kept side by side, so that a loop over the vocabulary vectorises.
pub(super) const LANES: usize = 16;

/// Of the scaled logits `z`: the sum of `e^(z - max)`, and the mean of `z` under its softmax.
#[inline(always)]
pub(super) fn softmax_sums<F: Float>(logits: &[F], scale: F) -> (F, F) {
    let largest = reduce::max(logits) * scale;
    let (mut sums, mut weighted) = ([F::ZERO; LANES], [F::ZERO; LANES]);
    for block in logits.chunks(LANES) {
        for ((&logit, sum), weighted) in block.iter().zip(&mut sums).zip(&mut weighted) {
            let z = logit * scale - largest;
            let e = z.fast_exp();
            *sum += e;
            *weighted += e * z.max(F::of(-1e30)); // 0 · -∞ is not a number
        }
    }
    let sum = reduce::sum(&sums);
    (sum, reduce::sum(&weighted) / sum + largest)
}

fn backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let rows = params.first_row as usize..(params.first_row + params.rows) as usize;
    let targets = &args.input::<u32>(0)[rows.clone()];
    let [lse, entropy, d_log_prob, d_entropy] = [1, 2, 3, 4].map(|i| &args.input::<F>(i)[rows.clone()]);
    let scale = F::of(params.inverse_temperature.into());
    let vocab = params.vocab as usize;
    parallel!(for_row_blocks(args.output::<F>(0), vocab), |first, logits| {
        for (row, z) in logits.chunks_mut(vocab).enumerate().map(|(row, z)| (first + row, z)) {
            let (lse, entropy, d_log_prob, d_entropy) = (lse[row], entropy[row], d_log_prob[row], d_entropy[row]);
            for z in z.iter_mut() {
                let log_p = *z * scale - lse;
                let p = log_p.fast_exp();
                *z = -scale * p * (d_log_prob + d_entropy * (log_p.max(F::of(-1e30)) + entropy));
            }
            if let Some(z) = z.get_mut(targets[row] as usize) {
                *z += scale * d_log_prob;
            }
        }
    });
}
