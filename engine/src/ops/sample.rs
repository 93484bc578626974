//! Categorical sampling from logits, on the device.

use crate::autograd::assert_no_grad;
use crate::cpu::parallel::for_costly_rows;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::random::{key, philox, unit};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

kernel_params! {
    struct Params {
        rows: u32,
        vocab: u32,
        inverse_temperature: f32,
        is_greedy: u32,
        top_k: u32,
        top_p: f32,
        seed: [u32; 2],
        step: u32,
    }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "common/philox.wgsl", "common/row_reduce.wgsl", "sample.wgsl");
static SAMPLE: Kernel = kernel!(SHADER, "sample", Params, sample);
pub(crate) const KERNELS: &[&Kernel] = &[&SAMPLE];

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by: above 1 draws more evenly, below 1 more sharply. 0 takes the largest.
    pub temperature: f32,
    /// Draws from this many of the largest logits only; `None` for all. Ties with the last are kept.
    pub top_k: Option<u32>,
    /// Of those, draws from the smallest set of the largest that has at least this share of the probability; 1 for all (Holtzman et al. 2019, arXiv 1904.09751).
    pub top_p: f32,
    /// The seed of the random draws.
    pub seed: u64,
}

impl Sampling {
    /// Always takes the most likely token.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: None, top_p: 1.0, seed: 0 };

    /// Draws from the model's own distribution: temperature 1, nothing cut.
    pub const fn plain(seed: u64) -> Sampling {
        Sampling { temperature: 1.0, top_k: None, top_p: 1.0, seed }
    }
}

impl Tensor {
    /// Draws one index per row, with the probabilities that its logits mean: `[rows, vocab], streams [rows] u32 -> (tokens [rows] u32, log_probs [rows])`.
    ///
    /// The draw of a row is a function of (seed, its stream, `step`) and its logits alone, so sequences may leave the batch without changing the
    /// others. `log_probs` is the log-probability of the token in nats at the sampling temperature (at 1 for greedy), before top-k and top-p.
    ///
    /// # Panics
    /// If the shapes do not fit, the vocabulary is empty, temperature is negative or top-p is not in (0, 1], or an input needs a gradient.
    #[track_caller]
    pub fn sample(&self, streams: &Tensor, step: u32, sampling: &Sampling) -> (Tensor, Tensor) {
        super::assert_arithmetic("sample", &[self]);
        assert!(
            self.rank() == 2 && self.shape()[1] > 0 && streams.shape() == [self.shape()[0]] && streams.dtype() == DType::U32,
            "sample: logits {:?} need streams u32 [rows], got {} {:?}",
            self.shape(),
            streams.dtype(),
            streams.shape()
        );
        let Sampling { temperature, top_k, top_p, seed } = *sampling;
        assert!(temperature >= 0.0 && temperature.is_finite(), "sample: temperature {temperature} is not a number from 0 up");
        assert!(top_p > 0.0 && top_p <= 1.0, "sample: top_p {top_p} is not in (0, 1]");
        assert!(top_k != Some(0), "sample: top_k 0 leaves nothing to draw from");
        assert_no_grad("sample", &[self]);
        let (logits, streams) = (self.contiguous(), streams.contiguous());
        let [rows, vocab] = [self.shape()[0], self.shape()[1]];
        let tokens = Tensor::uninit(self.device(), &[rows], DType::U32, "sample");
        let log_probs = Tensor::uninit(self.device(), &[rows], self.dtype(), "sample");
        let is_greedy = temperature == 0.0;
        let params = Params {
            rows: rows as u32,
            vocab: vocab as u32,
            inverse_temperature: if is_greedy { 1.0 } else { 1.0 / temperature },
            is_greedy: u32::from(is_greedy),
            top_k: top_k.unwrap_or(0),
            top_p: if is_greedy { 1.0 } else { top_p },
            seed: key(seed),
            step,
        };
        SAMPLE.launch(&params).input(&logits).input(&streams).output(&tokens).output(&log_probs).groups(rows).run();
        (tokens, log_probs)
    }
}

fn sample<F: Float>(params: &Params, mut args: CpuArgs) {
    let (logits, streams) = (args.input::<F>(0), args.input::<u32>(1));
    let (tokens, log_probs) = (args.output::<u32>(0), args.output::<F>(1));
    let vocab = params.vocab as usize;
    let mut drawn = vec![(0, F::ZERO); tokens.len()];
    parallel!(for_costly_rows(&mut drawn, 1, vocab), |first, drawn| {
        let rows = logits.chunks(vocab).zip(streams).skip(first);
        for (drawn, (logits, &stream)) in drawn.iter_mut().zip(rows) {
            *drawn = sample_row(params, logits, stream);
        }
    });
    for (row, (token, log_prob)) in drawn.into_iter().enumerate() {
        (tokens[row], log_probs[row]) = (token, log_prob);
    }
}

#[inline(always)]
fn sample_row<F: Float>(params: &Params, logits: &[F], stream: u32) -> (u32, F) {
    let largest = reduce::max(logits);
    let mut weights = vec![F::ZERO; logits.len()];
    let scale = F::of(params.inverse_temperature.into());
    for (weight, &x) in weights.iter_mut().zip(logits) {
        *weight = ((x - largest) * scale).fast_exp();
    }
    let token = if params.is_greedy == 1 {
        logits.iter().position(|&x| x == largest).unwrap_or(0)
    } else {
        let threshold = cut(params, logits, &weights);
        let kept = |i: usize| logits[i] >= threshold;
        let total: F = (0..logits.len()).filter(|&i| kept(i)).map(|i| weights[i]).sum();
        let target = F::of(unit(philox([params.step, stream, 0, 0], params.seed)[0]).into()) * total;
        let mut cumulative = F::ZERO;
        let crossing = |&i: &usize| {
            cumulative += weights[i];
            cumulative > target
        };
        // rounding may leave the sum a hair below the total: then the last kept one that has a probability
        let possible = |&i: &usize| kept(i) && weights[i] > F::ZERO;
        (0..logits.len()).filter(|&i| kept(i)).find(crossing).unwrap_or_else(|| (0..logits.len()).rfind(possible).unwrap_or(0))
    };
    let log_prob = (logits[token] - largest) * scale - reduce::sum(&weights).fast_ln();
    (token as u32, log_prob)
}

/// The smallest logit that top-k and top-p keep.
#[inline(always)]
fn cut<F: Float>(params: &Params, logits: &[F], weights: &[F]) -> F {
    let top_k = params.top_k as usize;
    if top_k == 0 && params.top_p >= 1.0 {
        return F::MINUS_INFINITY;
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_unstable_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap_or(std::cmp::Ordering::Equal));
    let mut threshold = if top_k > 0 && top_k < order.len() { logits[order[top_k - 1]] } else { F::MINUS_INFINITY };
    if params.top_p < 1.0 {
        let lowest = threshold;
        let kept = order.iter().take_while(|&&i| logits[i] >= lowest);
        let wanted = F::of(params.top_p.into()) * kept.clone().map(|&i| weights[i]).sum();
        let mut mass = F::ZERO;
        for &i in kept {
            mass += weights[i];
            threshold = logits[i];
            if mass >= wanted {
                break;
            }
        }
    }
    threshold
}
