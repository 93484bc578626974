//! The losses of a training step (steps 5, 6, 8 and 9), as functions of log-probabilities per token.
//!
//! CPPO (Rezaei et al. 2026, arXiv 2601.00501), on GRPO (arXiv 2402.03300) with the dual clip of Ye et al. (arXiv 1912.09729) and
//! Schulman's k3 estimator (<http://joschu.net/blog/kl-approx.html>):
//!
//! ```text
//! ratio_t = exp(clamp(ℓ_t − ℓ_old_t, −20, 20))
//! L_t     = −min(ratio_t·Â, clip(ratio_t, 1−ε_low, 1+ε_high)·Â),  for Â < 0: min(L_t, −c·Â)        [`policy_loss`]
//! k3(ℓ, ℓ') = clamp(exp(d) − d − 1, −10, 10) with d = clamp(ℓ' − ℓ, −20, 20)                       [`k3`]
//! D⁺_t = k3(ℓ_t, ℓ⁺_t),  D⁻_t = k3(ℓ_t, ℓ⁻_t),  CPL_t = softplus((D⁺_t − D⁻_t)/τ)                  [`contrastive_loss`]
//! loss = mean L + β · mean k3(ℓ, ℓ_ref) + λ · Σ m·CPL / (Σ m + 1e-8)                               [`total_loss`]
//! ```
//!
//! The first two means are over all response tokens of the update batch, the third over its perception tokens. Gradient flows
//! through ℓ, ℓ⁺ and ℓ⁻; everything else is a constant.
//!
//! | symbol | here |
//! |---|---|
//! | ℓ, ℓ_old, ℓ_ref | `log_probs`, `old_log_probs`, `reference_log_probs` |
//! | ℓ⁺, ℓ⁻ | `log_probs_preserved`, `log_probs_removed` |
//! | Â | `advantages`, one per token |
//! | ε_low, ε_high, c | `clip_low`, `clip_high`, `dual_clip` |
//! | D⁺, D⁻ | `d_preserved`, `d_removed` |
//! | m | the tokens that are given at all; [`crate::selection`] chooses them |
//! | τ, λ, β | `cpl_temperature`, `cpl_coef`, `kl_coef` |
//!
//! Where we depart: nothing by default. The divergence can be k1 (the authors' AReaL recipe; the anchor ℓ then cancels in the
//! margin) or the one over the whole vocabulary, and the objective can be one half of the contrast ([`Divergence`],
//! [`Objective`]). The authors' two recipes disagree on what enters the divergences; the verl recipe is the default.

mod contrastive;
mod divergence;
mod policy;

pub use contrastive::{ContrastiveConfig, Objective, contrastive_loss};
pub use divergence::{Divergence, full_kl, k1, k3};
pub use policy::{PolicyConfig, PolicyLoss, policy_loss};

use percept_engine::Tensor;

/// The sums of a batch, or of a part of it, and what they are divided by: the whole batch's counts.
pub struct LossTerms<'a> {
    /// L of all response tokens. `[tokens]`
    pub policy: &'a Tensor,
    /// k3(ℓ, ℓ_ref) of the same tokens, if there is a reference. `[tokens]`
    pub kl: Option<&'a Tensor>,
    /// CPL of the perception tokens, if there are any. `[perception tokens]`
    pub contrastive: Option<&'a Tensor>,
    /// Number of response tokens of the update batch.
    pub tokens: usize,
    /// Number of perception tokens of the update batch, Σ m.
    pub perception_tokens: usize,
}

/// The loss of step 9, or a micro-batch's share of it: shares of one update batch add up to its loss. `-> []`
pub fn total_loss(terms: &LossTerms<'_>, policy: &PolicyConfig, contrastive: &ContrastiveConfig) -> Tensor {
    let per_token = 1.0 / terms.tokens as f64;
    // `cpl_only` drops the policy loss and keeps the reference KL
    let policy_weight = if contrastive.objective == Objective::CplOnly { 0.0 } else { per_token };
    let mut loss = terms.policy.sum_all().mul_scalar(policy_weight as f32);
    if let Some(kl) = terms.kl {
        loss = loss.add(&kl.sum_all().mul_scalar((policy.kl_coef * per_token) as f32));
    }
    if let Some(cpl) = terms.contrastive {
        let weight = contrastive.cpl_coef / (terms.perception_tokens as f64 + MASK_EPSILON);
        loss = loss.add(&cpl.sum_all().mul_scalar(weight as f32));
    }
    loss
}

/// Added to Σ m: an empty mask gives a loss of 0.
pub const MASK_EPSILON: f64 = 1e-8;

/// Differences of log-probabilities are limited to this, on both sides, before they are exponentiated.
const LOG_RATIO_LIMIT: f32 = 20.0;

#[track_caller]
fn assert_same_shape(op: &str, names: &str, a: &Tensor, b: &Tensor) {
    assert!(
        a.shape() == b.shape(),
        "{op}: {names} differ in shape: {:?} and {:?} ({} and {} tokens)",
        a.shape(),
        b.shape(),
        a.len(),
        b.len()
    );
}
