//! VPPO: Visually-Perceptive Policy Optimization (Huang et al. 2025, arXiv 2510.09285), on the base of DAPO.
//!
//! Few tokens of a response depend on the picture, and not all responses depend on it equally. How much a token depends on it is the divergence between the policy on
//! the picture (I) and on one with many patches blackened (I⁻). Only the tokens that depend most take part in the policy loss, and the advantage of a response grows with
//! its mean dependency:
//!
//! ```text
//! d_t = k3(ℓ_t, ℓ⁻_t)                                           both read once per step, under the policy that sampled the responses
//! m_t = 1 for the ceil(ρ·n) tokens with the largest d_t, else 0
//! S_i = mean d_t,   x_i = (S_i − min S) / (max S − min S)       over all responses of the update
//! Â_i ← Â_i · (low + x_i (high − low)),   high = low + (1 − low) / mean x
//! loss = Σ m_t·L_t / number of all tokens + η · mean(−ℓ_t)
//! ```
//!
//! So the factors of an update have the mean 1, while the masked loss is divided by the number of all tokens: the step gets smaller by about ρ.
//!
//! | symbol | here |
//! |---|---|
//! | I⁻ | [`View::Removed`]: patches of `views.patch_pixels`, each black with probability `views.patch_probability` (the paper: 14 pixels, 0.5), drawn anew for every response |
//! | ρ, low, η | `token_fraction`, `lowest_factor`, `entropy_coef` |
//! | m_t, the factor | [`Weights`] |
//!
//! Departures: the mask is laid over the picture before it is resized. The statistics of the factor are those of the whole update, as in the paper; the released code
//! takes the mean of x over a micro-batch. d is the estimate at the sampled token, as in that code; the paper writes the KL divergence over the vocabulary.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::divergence::Divergence;
use super::filter::GroupFilter;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, weighted_policy_terms};
use super::selection::largest;
use super::signal::{Signal, Weighing, Weights};
use super::term::Term;
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use super::{Method, Preset};
use crate::problems::views::{Perturbation, PerturbationSet, Removing};

/// The table `[method.vppo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vppo {
    /// Share of a response's tokens that take part in the policy loss (ρ), in `(0, 1]`. Default 0.4 (the paper's).
    pub token_fraction: f64,
    /// Factor on the advantage of the response that depends least on the picture (low), 0 to 1. Default 0.9 (the paper's).
    pub lowest_factor: f64,
    /// Weight of the negative log-probability of the sampled tokens (η), 0 or more. Default 0.06 (the paper's, for 7B).
    pub entropy_coef: f64,
    /// Which groups a step keeps.
    pub filter: GroupFilter,
}

impl Default for Vppo {
    fn default() -> Self {
        Self { token_fraction: 0.4, lowest_factor: 0.9, entropy_coef: 0.06, filter: GroupFilter::default() }
    }
}

/// Means of the dependency that lie closer together than this are taken as equal: no factors.
const LEAST_SPREAD: f32 = 1e-6;

impl Method for Vppo {
    fn check(&self) -> Result<(), String> {
        if !(self.token_fraction > 0.0 && self.token_fraction <= 1.0) {
            return Err(format!("token_fraction: expected above 0 and at most 1, got {}", self.token_fraction));
        }
        if !(0.0..=1.0).contains(&self.lowest_factor) {
            return Err(format!("lowest_factor: expected 0 to 1, got {}", self.lowest_factor));
        }
        if !(self.entropy_coef >= 0.0 && self.entropy_coef.is_finite()) {
            return Err(format!("entropy_coef: expected 0 or more, got {}", self.entropy_coef));
        }
        self.filter.check()
    }

    fn preset(preset: Preset) -> Option<Value> {
        (preset == Preset::Paper).then(|| json!({ "group_size": 8 }))
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig::clip_higher()
    }

    fn filter(&self) -> Option<&GroupFilter> {
        Some(&self.filter)
    }

    fn views(&self, _: Moment) -> Vec<ViewUse> {
        vec![ViewUse {
            view: View::Removed,
            shown: Shown::Perturbed(PerturbationSet::Only(Perturbation::Removing(Removing::PatchMask))),
            drawn: Drawn::PerResponse,
            gradient: ViewGradient::Stops,
            seen_by: SeenBy::All,
            divergences: vec![Divergence::K3],
        }]
    }

    /// The entropy penalty is on the tokens of all responses.
    fn trains(&self, response: &Signal) -> bool {
        response.advantage != 0.0 || self.entropy_coef > 0.0
    }

    fn weighs(&self) -> bool {
        true
    }

    fn weigh(&self, responses: &[&Signal], _: Moment, _: u64) -> Weighing {
        let dependencies: Vec<&[f32]> = responses.iter().map(|signal| dependency(signal)).collect();
        let means: Vec<f32> = dependencies.iter().map(|d| d.iter().sum::<f32>() / d.len().max(1) as f32).collect();
        let (lowest, highest) = means.iter().fold((f32::MAX, f32::MIN), |(low, high), &mean| (low.min(mean), high.max(mean)));
        let spread = highest - lowest;
        let factors = match spread > LEAST_SPREAD {
            true => self.factors(&means.iter().map(|mean| (mean - lowest) / spread).collect::<Vec<f32>>()),
            false => vec![1.0; means.len()],
        };
        let mask = |d: &[f32]| largest(d, (self.token_fraction * d.len() as f64).ceil() as usize);
        let tokens = |d: &[f32]| mask(d).into_iter().map(|chosen| f32::from(u8::from(chosen))).collect();
        let weights = dependencies.iter().zip(&factors).map(|(d, &factor)| Weights { tokens: tokens(d), factor });
        let mean = means.iter().map(|&mean| f64::from(mean)).sum::<f64>() / means.len().max(1) as f64;
        Weighing { responses: weights.collect(), metrics: vec![("perception/dependency", mean)] }
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = weighted_policy_terms(batch, policy);
        terms.push(Term::over_tokens("entropy_penalty", self.entropy_coef, batch.log_probs().neg()));
        terms
    }
}

impl Vppo {
    /// Factors with the mean 1 from dependencies `x` between 0 and 1, not all equal. `[responses] -> [responses]`
    fn factors(&self, x: &[f32]) -> Vec<f32> {
        let low = self.lowest_factor as f32;
        let range = (1.0 - low) / (x.iter().sum::<f32>() / x.len() as f32);
        x.iter().map(|x| low + x * range).collect()
    }
}

/// How much each token depends on the picture. `-> [tokens]`
fn dependency(signal: &Signal) -> &[f32] {
    signal.on(View::Removed).expect("every response is read on the masked picture").divergence(Divergence::K3)
}
