//! How far apart two distributions of a token are: at the sampled token, or over the whole vocabulary.

use std::ops::Range;

use percept_engine::{Head, Tensor, linear_kl};
use serde::{Deserialize, Serialize};

/// A measure of how far apart two distributions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// An estimate at the sampled token that is never negative, [`k3`] (the authors' verl recipe).
    #[default]
    K3,
    /// The difference of log-probabilities at the sampled token, [`k1`] (the authors' AReaL recipe).
    K1,
    /// The KL divergence over the whole vocabulary, [`full_kl`].
    Full,
    /// The Jensen–Shannon divergence over the whole vocabulary, [`jensen_shannon`].
    JensenShannon,
}

impl Divergence {
    /// All measures.
    pub const ALL: [Divergence; 4] = [Divergence::K3, Divergence::K1, Divergence::Full, Divergence::JensenShannon];
}

/// Schulman's k3 estimate of the KL divergence of two policies: `exp(d) − d − 1`, where d = ℓ' − ℓ is the difference of the token's log-probabilities.
/// It is never negative, and unbiased for KL(π ‖ π') if tokens are drawn from π. d is limited to ±20 and the
/// result to ±10. `log_probs [tokens], other_log_probs [tokens] -> [tokens]`
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn k3(log_probs: &Tensor, other_log_probs: &Tensor) -> Tensor {
    assert_same_shape("k3", "log_probs and other_log_probs", log_probs, other_log_probs);
    let d = other_log_probs.sub(log_probs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT);
    d.exp_remainder().clamp(-K3_LIMIT, K3_LIMIT)
}

/// The k1 estimate: the difference of log-probabilities, `ℓ − ℓ'`, limited to ±20. Also unbiased, but it can be negative.
/// `log_probs [tokens], other_log_probs [tokens] -> [tokens]`
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn k1(log_probs: &Tensor, other_log_probs: &Tensor) -> Tensor {
    assert_same_shape("k1", "log_probs and other_log_probs", log_probs, other_log_probs);
    log_probs.sub(other_log_probs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
}

/// The KL divergence over the whole vocabulary, `Σ_v p_v (log p_v − log p'_v)`, from the hidden states of both and the head
/// that reads them. `hidden [tokens, hidden], other_hidden [tokens, hidden] -> [tokens]`
///
/// # Panics
/// If the shapes do not fit, or the temperature is not positive.
#[track_caller]
pub fn full_kl(hidden: &Tensor, other_hidden: &Tensor, head: &Head, temperature: f32) -> Tensor {
    linear_kl((hidden, head), (other_hidden, head), temperature)
}

/// Tokens whose distributions are in memory at once.
const TOKENS_AT_ONCE: usize = 512;

/// The Jensen–Shannon divergence over the whole vocabulary, `½ KL(p ‖ m) + ½ KL(p' ‖ m)` with `m = ½ (p + p')`, from the hidden states of both and the head
/// that reads them. It is symmetric, between 0 and ln 2, and the mutual information in nats between a token drawn from either distribution and which one it was (Lin 1991, "Divergence
/// measures based on the Shannon entropy"). `hidden [tokens, hidden], other_hidden [tokens, hidden] -> [tokens]`
pub fn jensen_shannon(hidden: &Tensor, other_hidden: &Tensor, head: &Head, temperature: f32) -> Tensor {
    let of_rows = |rows: Range<usize>| {
        let [p, q] = [hidden, other_hidden].map(|hidden| distributions(hidden, head, temperature, rows.clone()));
        let log_mean = p.add(&q).affine(0.5, TINY).log();
        let half = |p: &Tensor| p.mul(&p.add_scalar(TINY).log().sub(&log_mean)).sum(&[1]);
        half(&p).add(&half(&q)).mul_scalar(0.5)
    };
    by_rows(hidden, of_rows)
}

/// The entropy of each token's distribution when only the most probable tokens that together have the probability `top_p` are kept, and scaled to one: nats. The least probability that is
/// kept is found by bisection. `hidden [tokens, hidden] -> [tokens]`
pub fn nucleus_entropy(hidden: &Tensor, head: &Head, temperature: f32, top_p: f32) -> Tensor {
    let of_rows = |rows: Range<usize>| {
        let p = distributions(hidden, head, temperature, rows);
        let wide = |bound: &Tensor| bound.reshape(&[bound.len(), 1]);
        // a share of the probability of at least top_p lies above `low`, less of it above `high`
        let (mut low, mut high) = (p.max(&[1]).mul_scalar(0.0), p.max(&[1]));
        for _ in 0..BISECTIONS {
            let middle = low.add(&high).mul_scalar(0.5);
            let mass = p.mul(&p.gt(&wide(&middle))).sum(&[1]);
            let is_enough = mass.gt(&mass.affine(0.0, top_p - 1e-6));
            low = is_enough.mul(&middle.sub(&low)).add(&low);
            high = middle.sub(&high).mul(&is_enough.affine(-1.0, 1.0)).add(&high);
        }
        let kept = p.mul(&p.gt(&wide(&low)));
        let mass = kept.sum(&[1]);
        let surprise = kept.mul(&kept.add_scalar(TINY).log()).sum(&[1]).neg();
        surprise.div(&mass).add(&mass.log())
    };
    by_rows(hidden, of_rows)
}

/// Keeps logarithms of zero away; a probability below it counts as none.
const TINY: f32 = 1e-20;

/// Halvings of an interval of probabilities, down to the rounding of f32.
const BISECTIONS: usize = 40;

/// The distributions of some rows. `-> [rows, vocab]`
fn distributions(hidden: &Tensor, head: &Head, temperature: f32, rows: Range<usize>) -> Tensor {
    head.distribution(&hidden.slice(0, rows.start, rows.len()), temperature)
}

/// `of` for blocks of rows, one after the other. `hidden [tokens, hidden] -> [tokens]`
fn by_rows(hidden: &Tensor, of: impl Fn(Range<usize>) -> Tensor) -> Tensor {
    let tokens = hidden.dim(0);
    if tokens == 0 {
        return Tensor::zeros(hidden.device(), &[0], hidden.dtype());
    }
    let blocks: Vec<Tensor> = (0..tokens).step_by(TOKENS_AT_ONCE).map(|first| of(first..(first + TOKENS_AT_ONCE).min(tokens))).collect();
    Tensor::concat(&blocks.iter().collect::<Vec<_>>(), 0)
}

/// Largest absolute value of k3.
pub(super) const K3_LIMIT: f32 = 10.0;

/// Largest absolute difference of log-probabilities; larger ones are limited to it before they are exponentiated.
pub(super) const LOG_RATIO_LIMIT: f32 = 20.0;

#[track_caller]
pub(super) fn assert_same_shape(op: &str, names: &str, a: &Tensor, b: &Tensor) {
    assert!(
        a.shape() == b.shape(),
        "{op}: {names} differ in shape: {:?} and {:?} ({} and {} tokens)",
        a.shape(),
        b.shape(),
        a.len(),
        b.len()
    );
}
