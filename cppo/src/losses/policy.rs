//! The clipped policy loss of GRPO with a dual clip.

use percept_engine::Tensor;
use serde::{Deserialize, Serialize};

use super::{LOG_RATIO_LIMIT, assert_same_shape};

/// Limits of the policy's change, and its tie to the reference policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// ε_low: the ratio is clipped at 1 − ε_low, in `[0, 1]`. Default 0.2.
    pub clip_low: f64,
    /// ε_high: the ratio is clipped at 1 + ε_high, 0 or more. Default 0.2 (DAPO: 0.28).
    pub clip_high: f64,
    /// c: with a negative advantage the loss is at most −c·Â, above 1. Default 3.
    pub dual_clip: f64,
    /// β: weight of the divergence from the reference policy, 0 or more; with 0 there is no reference model. Default 0.01 (the paper's).
    pub kl_coef: f64,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.2, dual_clip: 3.0, kl_coef: 0.01 }
    }
}

impl PolicyConfig {
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
    /// L_t. `[tokens]`
    pub loss: Tensor,
    /// π_θ / π_old, without gradient. `[tokens]`
    pub ratio: Tensor,
}

/// L_t of each token. `log_probs [tokens], old_log_probs [tokens], advantages [tokens] -> [tokens]`
///
/// Gradient flows to `log_probs` alone: for the first update of a batch pass them as `old_log_probs` too.
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
