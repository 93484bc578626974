//! PAPO: Perception-Aware Policy Optimization (Wang et al. 2025, arXiv 2507.06448), with GRPO underneath (PAPO-G).
//!
//! A policy that looks at the picture should answer differently when much of it is blackened. So the divergence between the policy on the picture I
//! and the policy on a masked picture I⁻ is made larger, on all tokens of all responses. As that can also be had by a policy that falls apart,
//! the probability of the sampled tokens is kept up:
//!
//! ```text
//! loss = GRPO's − γ · mean k3(ℓ_t, ℓ⁻_t) + η · mean(−ℓ_t)                                   means over all tokens of the update
//! ```
//!
//! ℓ⁻ is read once for a step, under the policy that sampled the responses, and is a constant. Where ℓ = ℓ⁻ the term has no gradient, and none where a limit
//! of [`k3`] is reached.
//!
//! | symbol | here |
//! |---|---|
//! | I⁻ | [`View::Removed`]: patches of `views.patch_pixels`, each black with probability `views.patch_probability` (the paper: 14 pixels, 0.6), drawn once for a prompt |
//! | ℓ, ℓ⁻ | log-probabilities of the sampled tokens on I and I⁻ |
//! | γ, η | `perception_coef`, `entropy_coef` |
//!
//! Departures: none from the released code with its defaults. The paper's second penalty, on the entropy of the policy on I⁻, is a constant there and is left out.
//! The mask is laid over the picture before it is resized.

use serde::{Deserialize, Serialize};

use super::Method;
use super::divergence::k3;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::signal::Signal;
use super::term::{Over, Term};
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use crate::problems::views::{Perturbation, PerturbationSet, Removing};

/// The table `[method.papo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Papo {
    /// γ: weight of the divergence that is made larger, 0 or more. Default 0.02 (the paper's, for 3B with a reference policy).
    pub perception_coef: f64,
    /// η: weight of the negative log-probability of the sampled tokens, 0 or more. Default 0 (the paper's, for 3B with a reference policy; 0.03 without one).
    pub entropy_coef: f64,
}

impl Default for Papo {
    fn default() -> Self {
        Self { perception_coef: 0.02, entropy_coef: 0.0 }
    }
}

impl Method for Papo {
    fn check(&self) -> Result<(), String> {
        for (name, value) in [("perception_coef", self.perception_coef), ("entropy_coef", self.entropy_coef)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("{name}: expected 0 or more, got {value}"));
            }
        }
        Ok(())
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig { clip_high: 0.3, ..PolicyConfig::default() }
    }

    fn views(&self, _: Moment) -> Vec<ViewUse> {
        vec![ViewUse {
            view: View::Removed,
            shown: Shown::Perturbed(PerturbationSet::Only(Perturbation::Removing(Removing::PatchMask))),
            drawn: Drawn::PerPrompt,
            gradient: ViewGradient::Stops,
            seen_by: SeenBy::All,
            divergences: Vec::new(),
        }]
    }

    /// All of them: the perception term is on every token.
    fn trains(&self, _: &Signal) -> bool {
        true
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = policy_terms(batch, policy);
        let log_probs = batch.log_probs();
        let term = |name, weight, per_token| Term { name, weight, per_token: Some(per_token), over: Over::Tokens, metrics: Vec::new() };
        terms.push(term("perception_kl", -self.perception_coef, k3(&log_probs, &batch.read_log_probs(View::Removed))));
        terms.push(term("entropy_penalty", self.entropy_coef, log_probs.neg()));
        terms
    }
}
