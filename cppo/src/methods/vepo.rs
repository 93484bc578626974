//! VEPO (arXiv 2606.03937), on the base of GRPO without a reference policy.
//!
//! The tokens worth training are those at which the policy hesitates, and of which what it says changes when the picture is noisy. So every token gets a score, and only a fifth of a
//! response's tokens take part in the policy loss:
//!
//! ```text
//! J_t  = Jensen–Shannon divergence of π_old(· | I) and π_old(· | Ĩ),   ΔH_t = H̃_t − H_t
//! s_t  = (1 − (1 − Ĵ_t)^α · (1 − |ΔH|^_t)^(1−α)) · Ĥ_t                    ^: scaled to 0 … 1 over the response
//! m_t  = 1 for the max(1, ceil(ρ·n)) tokens with the largest s_t, else 0
//! loss = Σ m_t·L_t / Σ m_t
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | Ĩ | [`View::Removed`]: Gaussian noise of `views.noise_std` on normalised pixels (the paper: 2), drawn once per prompt |
//! | H, H̃ | entropies on I and Ĩ |
//! | α, ρ | `divergence_share`, `token_fraction` |
//!
//! Departures: pixels with noise are cut to their range, as every picture here. The released code adds the noise once per response to a shared picture, so that its strength is several times
//! that of the paper; not copied. The other scores of its ablation are left out.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::divergence::Divergence;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, weighted_policy_terms};
use super::selection::largest;
use super::signal::{Signal, Weighing};
use super::term::{Over, Term};
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use super::{Method, Preset};
use crate::problems::views::{Perturbation, PerturbationSet, Removing};

/// The table `[method.vepo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vepo {
    /// How much the divergence counts beside the change of the entropy (α), 0 to 1. Default 0.7 (the paper's).
    pub divergence_share: f64,
    /// Share of a response's tokens that take part in the policy loss (ρ), in `(0, 1]`. Default 0.2 (the paper's).
    pub token_fraction: f64,
}

impl Default for Vepo {
    fn default() -> Self {
        Self { divergence_share: 0.7, token_fraction: 0.2 }
    }
}

impl Method for Vepo {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.divergence_share) {
            return Err(format!("divergence_share: expected 0 to 1, got {}", self.divergence_share));
        }
        if !(self.token_fraction > 0.0 && self.token_fraction <= 1.0) {
            return Err(format!("token_fraction: expected above 0 and at most 1, got {}", self.token_fraction));
        }
        Ok(())
    }

    fn preset(preset: Preset) -> Option<Value> {
        (preset == Preset::Paper).then(|| json!({ "group_size": 12 }))
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() }
    }

    fn views(&self, _: Moment) -> Vec<ViewUse> {
        vec![ViewUse {
            view: View::Removed,
            shown: Shown::Perturbed(PerturbationSet::Only(Perturbation::Removing(Removing::GaussianNoise))),
            drawn: Drawn::PerPrompt,
            gradient: ViewGradient::Stops,
            seen_by: SeenBy::All,
            divergences: vec![Divergence::JensenShannon],
        }]
    }

    /// Every response: the chosen tokens of those without an advantage count in the divisor.
    fn trains(&self, _: &Signal) -> bool {
        true
    }

    fn weighs(&self) -> bool {
        true
    }

    fn weigh(&self, responses: &[&Signal], _: Moment, _: u64) -> Weighing {
        let mut weighing = Weighing::even(responses.len());
        for (signal, weights) in responses.iter().zip(&mut weighing.responses) {
            weights.tokens = self.mask(signal);
        }
        weighing
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = weighted_policy_terms(batch, policy);
        // a base that is a mean over responses stays one
        if terms[0].over == Over::Tokens {
            terms[0].over = Over::Selected;
        }
        terms
    }
}

impl Vepo {
    /// 1 for the tokens with the largest score, 0 for the others. `-> [tokens]`
    fn mask(&self, signal: &Signal) -> Vec<f32> {
        let (Some(original), Some(noisy)) = (signal.on(View::Original), signal.on(View::Removed)) else { return Vec::new() };
        let shift: Vec<f32> = original.entropy.iter().zip(&noisy.entropy).map(|(h, noisy)| (noisy - h).abs()).collect();
        let [divergence, shift, entropy] = [noisy.divergence(Divergence::JensenShannon), &shift, &original.entropy].map(scaled);
        let alpha = self.divergence_share;
        let score = |t: usize| ((1.0 - (1.0 - divergence[t]).powf(alpha) * (1.0 - shift[t]).powf(1.0 - alpha)) * entropy[t]) as f32;
        let scores: Vec<f32> = (0..entropy.len()).map(score).collect();
        let count = ((self.token_fraction * scores.len() as f64).ceil() as usize).max(1);
        largest(&scores, count).into_iter().map(|chosen| f32::from(u8::from(chosen))).collect()
    }
}

/// Values between 0 and 1, the least and the largest of a response; all 0 where they are equal.
fn scaled(values: &[f32]) -> Vec<f64> {
    let (least, largest) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)));
    values.iter().map(|value| f64::from(value - least) / (f64::from(largest - least) + 1e-8)).collect()
}
