//! The part of the loss that all methods share: the clipped policy loss with a dual clip, and the divergence from a reference policy.
//!
//! GRPO (arXiv 2402.03300, equation 3) with the dual clip of Ye et al. (arXiv 1912.09729, equation 5) and Schulman's k3 estimator
//! (<http://joschu.net/blog/kl-approx.html>):
//!
//! ```text
//! ratio_t = exp(clamp(ℓ_t − ℓ_old_t, −20, 20))
//! L_t     = −min(ratio_t·Â, clip(ratio_t, 1 − ε_low, 1 + ε_high)·Â),  for Â < 0: min(L_t, −c·Â)        [`policy_loss`]
//! loss    = mean L + β · mean k3(ℓ, ℓ_ref)                                                            [`policy_terms`]
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | ℓ, ℓ_old, ℓ_ref | log-probabilities of the sampled tokens: `log_probs`, `old_log_probs`, `reference_log_probs` |
//! | Â | `advantages`, one per token |
//! | ε_low, ε_high, c, β | `clip_low`, `clip_high`, `dual_clip`, `kl_coef` |

use percept_engine::{Tensor, no_grad};
use serde::{Deserialize, Serialize};

use super::divergence::{LOG_RATIO_LIMIT, assert_same_shape, k3};
use super::micro_batch::MicroBatch;
use super::term::{Over, Term};

/// How far the policy may change in an update, and how strongly it is held near the reference policy. The ratio is that of a token's probabilities
/// after and before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// The ratio is clipped at 1 minus this from below (ε_low), in `[0, 1]`. Default 0.2.
    pub clip_low: f64,
    /// The ratio is clipped at 1 plus this from above (ε_high), 0 or more. Default 0.2 (DAPO: 0.28).
    pub clip_high: f64,
    /// With a negative advantage, the loss is at most this times the advantage's size (c), above 1. Default 3.
    pub dual_clip: f64,
    /// Weight of the divergence from the reference policy (β), 0 or more; with 0 there is no reference model. Default 0.01 (the paper's).
    pub kl_coef: f64,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.2, dual_clip: 3.0, kl_coef: 0.01 }
    }
}

impl PolicyConfig {
    /// The defaults of DAPO (arXiv 2503.14476) and what builds on it: the ratio may rise further than it may fall, and there is no reference policy.
    pub fn clip_higher() -> PolicyConfig {
        PolicyConfig { clip_high: 0.28, kl_coef: 0.0, ..PolicyConfig::default() }
    }

    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        let checks = [
            ((0.0..=1.0).contains(&self.clip_low), "clip_low: expected 0 to 1", self.clip_low),
            (self.clip_high >= 0.0, "clip_high: expected 0 or more", self.clip_high),
            (self.dual_clip > 1.0, "dual_clip: expected above 1", self.dual_clip),
            (self.kl_coef >= 0.0 && self.kl_coef.is_finite(), "kl_coef: expected 0 or more", self.kl_coef),
        ];
        checks.iter().find(|(holds, ..)| !holds).map_or(Ok(()), |(_, message, got)| Err(format!("{message}, got {got}")))
    }
}

/// The loss of each token, and how far its probability has moved.
pub struct PolicyLoss {
    /// The clipped policy loss, L_t. `[tokens]`
    pub loss: Tensor,
    /// Probability of the token now divided by its probability when it was sampled, without gradient. `[tokens]`
    pub ratio: Tensor,
}

/// The clipped policy loss of each token, L_t. `log_probs [tokens], old_log_probs [tokens], advantages [tokens] -> [tokens]`
///
/// Gradient flows to `log_probs` only. For the first update of a batch, pass them as `old_log_probs` too.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn policy_loss(log_probs: &Tensor, old_log_probs: &Tensor, advantages: &Tensor, config: &PolicyConfig) -> PolicyLoss {
    assert_same_shape("policy_loss", "log_probs and old_log_probs", log_probs, old_log_probs);
    assert_same_shape("policy_loss", "log_probs and advantages", log_probs, advantages);
    let (old_log_probs, advantages) = (old_log_probs.detach(), advantages.detach());
    let ratio = log_probs.sub(&old_log_probs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp();
    let clipped = ratio.clamp((1.0 - config.clip_low) as f32, (1.0 + config.clip_high) as f32);
    let loss = ratio.mul(&advantages).minimum(&clipped.mul(&advantages)).neg();

    let limited = loss.minimum(&advantages.mul_scalar(-config.dual_clip as f32));
    let is_negative = advantages.neg().gt(&advantages); // 1 where Â < 0, else 0
    let loss = limited.mul(&is_negative).add(&loss.mul(&is_negative.affine(-1.0, 1.0)));
    PolicyLoss { loss, ratio: ratio.detach() }
}

/// The term `policy_loss` and, with a reference policy, the term `kl`, both over all response tokens of the update. The first also gives the metric
/// `clip_ratio`: the share of all response tokens whose ratio is clipped.
pub fn policy_terms(batch: &MicroBatch<'_>, config: &PolicyConfig) -> Vec<Term> {
    let (log_probs, advantages) = (batch.log_probs(), batch.advantages());
    let policy = policy_loss(&log_probs, &batch.old_log_probs(), &advantages, config);
    let mut terms = vec![Term {
        name: "policy_loss",
        weight: 1.0,
        over: Over::Tokens,
        metrics: vec![("clip_ratio", is_clipped(&policy.ratio, &advantages, config))],
        per_token: Some(policy.loss),
    }];
    if let Some(reference) = &batch.reference_log_probs {
        terms.push(Term::over_tokens("kl", config.kl_coef, k3(&log_probs, reference)));
    }
    terms
}

/// [`policy_terms`] with the policy loss of each token times its weight. The divisor stays the number of all response tokens. The metric `policy_weight` is the
/// mean absolute weight.
pub fn weighted_policy_terms(batch: &MicroBatch<'_>, config: &PolicyConfig) -> Vec<Term> {
    let mut terms = policy_terms(batch, config);
    let weights = batch.weights();
    terms[0].per_token = terms[0].per_token.as_ref().map(|loss| loss.mul(&weights));
    terms[0].metrics.push(("policy_weight", weights.abs()));
    terms
}

/// 1 where the clipped ratio takes the place of the ratio, else 0. `ratio [tokens], advantages [tokens] -> [tokens]`
fn is_clipped(ratio: &Tensor, advantages: &Tensor, config: &PolicyConfig) -> Tensor {
    no_grad(|| {
        let zero = advantages.mul_scalar(0.0);
        let above = ratio.add_scalar(-(1.0 + config.clip_high) as f32).gt(&zero).mul(&advantages.gt(&zero));
        let below = zero.gt(&ratio.add_scalar(-(1.0 - config.clip_low) as f32)).mul(&zero.gt(advantages));
        above.add(&below)
    })
}
