//! How far apart two distributions of a token are: at the sampled token, or over the whole vocabulary.

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
}

impl Divergence {
    /// All measures.
    pub const ALL: [Divergence; 3] = [Divergence::K3, Divergence::K1, Divergence::Full];
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
    d.exp().sub(&d).add_scalar(-1.0).clamp(-K3_LIMIT, K3_LIMIT)
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

/// The KL divergence over the whole vocabulary, `Σ_v p_v (log p_v − log p'_v)`, from the hidden states of both and the head's weight
/// `[vocab, hidden]`. `hidden [tokens, hidden], other_hidden [tokens, hidden] -> [tokens]`
///
/// # Panics
/// If the shapes do not fit, or the temperature is not positive.
#[track_caller]
pub fn full_kl(hidden: &Tensor, other_hidden: &Tensor, weight: &Tensor, temperature: f32) -> Tensor {
    linear_kl(Head { hidden, weight }, Head { hidden: other_hidden, weight }, temperature)
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
