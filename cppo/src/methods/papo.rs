//! PAPO: Perception-Aware Policy Optimization (Wang et al. 2025, arXiv 2507.06448), with GRPO underneath (PAPO-G).
//!
//! A policy that looks at the picture should answer differently when much of it is blackened. So the divergence between the policy on the picture (I)
//! and the policy on a masked picture (I⁻) is made larger, on all tokens of all responses. A policy that falls apart could also achieve that, so
//! a second term keeps up the probability of the sampled tokens:
//!
//! ```text
//! loss = GRPO's − γ · mean k3(ℓ_t, ℓ⁻_t) + η · mean(−ℓ_t)                                   means over all tokens of the update
//! ```
//!
//! ℓ⁻ is read once per step, under the policy that sampled the responses, and is a constant. The divergence has no gradient where ℓ = ℓ⁻ or where a limit
//! of [`k3`] is reached.
//!
//! | symbol | here |
//! |---|---|
//! | I⁻ | [`View::Removed`]: patches of `views.patch_pixels`, each black with probability `views.patch_probability` (the paper: 14 pixels, 0.6), drawn once per prompt |
//! | ℓ, ℓ⁻ | log-probabilities of the sampled tokens on I and I⁻ |
//! | γ, η | `perception_coef`, `entropy_coef` |
//!
//! Departures: none from the released code with its defaults. The paper's second penalty, on the entropy of the policy on I⁻, is a constant in that code and is
//! left out.
//! The mask is laid over the picture before it is resized.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::divergence::k3;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::signal::Signal;
use super::term::Term;
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use super::{Method, Preset};
use crate::problems::views::{Perturbation, PerturbationSet, Removing};

/// The table `[method.papo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Papo {
    /// Weight of the divergence that is made larger (γ), 0 or more. Default 0.02 (the paper's, for 3B with a reference policy).
    pub perception_coef: f64,
    /// Weight of the negative log-probability of the sampled tokens (η), 0 or more. Default 0 (the paper's, for 3B with a reference policy; 0.03 without one).
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

    fn preset(preset: Preset) -> Option<Value> {
        // PAPO-G, 3B
        (preset == Preset::Paper).then(|| json!({ "group_size": 5, "papo": { "perception_coef": 0.02, "entropy_coef": 0.0 } }))
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

    /// Every response has a gradient, because the perception term is on every token.
    fn trains(&self, _: &Signal) -> bool {
        true
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = policy_terms(batch, policy);
        let log_probs = batch.log_probs();
        terms.push(Term::over_tokens("perception_kl", -self.perception_coef, k3(&log_probs, &batch.read_log_probs(View::Removed))));
        terms.push(Term::over_tokens("entropy_penalty", self.entropy_coef, log_probs.neg()));
        terms
    }
}
