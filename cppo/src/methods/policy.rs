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
//! That is the base loss `token`, GRPO's. The others ([`Base`]) have, with n the length of a response:
//!
//! ```text
//! dr_grpo   Â = r − mean(r), and the sum of L over tokens divided by (responses · longest length)      Liu et al. 2025, arXiv 2503.20783
//! gspo      ratio = exp(mean_t (ℓ_t − ℓ_old_t)) for all tokens of a response; mean over responses of the mean over tokens    Zheng et al. 2025, arXiv 2507.18071, equation 5
//! cispo     L_t = −Â · sg[clip(ratio_t, 1 − ε_low, 1 + ε_high)] · ℓ_t                                    MiniMax 2025, arXiv 2506.13585, equation 4
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | ℓ, ℓ_old, ℓ_ref | log-probabilities of the sampled tokens: `log_probs`, `old_log_probs`, `reference_log_probs` |
//! | Â | `advantages`, one per token |
//! | ε_low, ε_high, c, β | `clip_low`, `clip_high`, `dual_clip`, `kl_coef` |
//! | longest length | `longest_length` |
//! | sg | a constant, no gradient |

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
    /// The loss that a method builds on. Default `token`.
    pub base: Base,
    /// The longest length of a response that counts, tokens: what `dr_grpo` divides sums over tokens by, and beyond which a punishment of length is full. Default 48, as `rollout.max_new_tokens`.
    pub longest_length: usize,
    /// The ratio is clipped at 1 minus this from below (ε_low), in `[0, 1]`. Default 0.2.
    pub clip_low: f64,
    /// The ratio is clipped at 1 plus this from above (ε_high), 0 or more. Default 0.2 (DAPO: 0.28).
    pub clip_high: f64,
    /// With a negative advantage, the loss is at most this times the advantage's size (c), above 1. Default 3.
    pub dual_clip: f64,
    /// Weight of the divergence from the reference policy (β), 0 or more; with 0 there is no reference model. Default 0.01 (the paper's).
    pub kl_coef: f64,
}

/// The loss that a method builds on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// The clipped ratio of every token, and the mean over tokens.
    #[default]
    Token,
    /// Without division by the standard deviation of the rewards and by the length of responses.
    DrGrpo,
    /// The clipped ratio of whole responses. Ratios of responses move less: clip at 0.0003 and 0.0004.
    Gspo,
    /// Every token keeps its gradient; the ratio is a clipped, constant weight.
    Cispo,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { base: Base::Token, longest_length: 48, clip_low: 0.2, clip_high: 0.2, dual_clip: 3.0, kl_coef: 0.01 }
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
            (self.longest_length > 0, "longest_length: expected at least 1", self.longest_length as f64),
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

/// The loss of CISPO: every token has a gradient, with the clipped ratio as its weight. Shapes as [`policy_loss`].
fn clipped_weight_loss(log_probs: &Tensor, old_log_probs: &Tensor, advantages: &Tensor, config: &PolicyConfig) -> PolicyLoss {
    let ratio = log_probs.detach().sub(old_log_probs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp();
    let weight = ratio.clamp((1.0 - config.clip_low) as f32, (1.0 + config.clip_high) as f32).mul(advantages);
    PolicyLoss { loss: log_probs.mul(&weight).neg(), ratio }
}

/// The term `policy_loss` and, with a reference policy, the term `kl`, both over all response tokens of the update. The first also gives the metric
/// `clip_ratio`: the share of all response tokens whose ratio is clipped.
pub fn policy_terms(batch: &MicroBatch<'_>, config: &PolicyConfig) -> Vec<Term> {
    let (log_probs, advantages) = (batch.log_probs(), batch.advantages());
    let old = batch.old_log_probs();
    let policy = match config.base {
        Base::Token | Base::DrGrpo => policy_loss(&log_probs, &old, &advantages, config),
        Base::Gspo => {
            // the mean of a response takes the place of each of its tokens, with its gradient
            let shift = batch.mean_over_responses(&log_probs.sub(&old));
            policy_loss(&old.add(&shift), &old, &advantages, config)
        }
        Base::Cispo => clipped_weight_loss(&log_probs, &old, &advantages, config),
    };
    let (over, loss) = match config.base {
        Base::Token | Base::Cispo => (Over::Tokens, policy.loss),
        Base::DrGrpo => (Over::Responses, policy.loss.mul_scalar(1.0 / config.longest_length as f32)),
        Base::Gspo => (Over::Responses, policy.loss.mul(&batch.shares_of_responses())),
    };
    let mut terms = vec![Term { name: "policy_loss", weight: 1.0, over, metrics: Vec::new(), per_token: Some(loss) }];
    let clipped = is_clipped(&policy.ratio, &advantages, config);
    // a share of tokens, whatever the loss is a mean over
    let clipped = if over == Over::Responses { clipped.mul(&batch.shares_of_responses()) } else { clipped };
    terms[0].metrics.push(("clip_ratio", clipped));
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
    let sizes = weights.abs();
    // a mean over tokens, whatever the loss is a mean over
    let sizes = if terms[0].over == Over::Responses { sizes.mul(&batch.shares_of_responses()) } else { sizes };
    terms[0].metrics.push(("policy_weight", sizes));
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
