//! PGPO: Perception-Grounded Policy Optimization (Ye et al. 2026, arXiv 2604.01840), on the base of DAPO.
//!
//! The loss of a token weighs the more, the more the token depends on the picture. How much it depends on it is the divergence between the policy that sees the visual
//! tokens and the same policy when no other token does. Small dependencies are scaled down, large ones up, and the sum of a response's weights stays that of ones:
//!
//! ```text
//! s_t = ln(1 + k3(ℓ_t, ℓ⁻_t)),   I_t = (s_t − min s) / (max s − min s)          over the response
//! w_t = I_t / τ                          where I_t < τ
//!       1 + β (I_t − τ) / (1 − τ)        elsewhere
//! w_t ← w_t · n / Σ w
//! loss = mean w_t·L_t
//! ```
//!
//! Where all s are equal, all weights are 1.
//!
//! | symbol | here |
//! |---|---|
//! | ℓ, ℓ⁻ | log-probabilities of the sampled tokens with and without sight of the visual tokens, which keep their positions ([`Shown::Hidden`]) |
//! | τ, β | `threshold`, `slope` |
//! | w | [`Weights::tokens`] |
//!
//! Departures: none from the paper with these defaults. With `threshold_is = "quantile"`, `lowest_weight = 0.1` and `conserve = false` it does what the authors' code in
//! development does: τ is then the importance below which that share of the response's tokens lies.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::divergence::Divergence;
use super::filter::GroupFilter;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, weighted_policy_terms};
use super::signal::{Signal, Weighing, Weights};
use super::term::Term;
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use super::{Method, Preset};

/// The table `[method.pgpo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pgpo {
    /// The importance at which a token's weight, before all are scaled, is 1 (τ), in `(0, 1)`. Default 0.4 (the paper's).
    pub threshold: f64,
    /// What the threshold is. Default `value` (the paper's).
    pub threshold_is: Threshold,
    /// By how much the weight of the most important token is above 1 before all are scaled (β), 0 or more. Default 2 (the paper's).
    pub slope: f64,
    /// No weight is below this before all are scaled, 0 to 1. Default 0 (the paper's).
    pub lowest_weight: f64,
    /// Whether the weights of a response are scaled so that their mean is 1. Default true (the paper's).
    pub conserve: bool,
    /// Which groups a step keeps.
    pub filter: GroupFilter,
}

/// What a threshold on the importance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// A value of the importance, between 0 and 1.
    Value,
    /// The importance that stands at this share of the response's tokens, in ascending order.
    Quantile,
}

impl Default for Pgpo {
    fn default() -> Self {
        Self {
            threshold: 0.4,
            threshold_is: Threshold::Value,
            slope: 2.0,
            lowest_weight: 0.0,
            conserve: true,
            filter: GroupFilter::default(),
        }
    }
}

impl Method for Pgpo {
    fn check(&self) -> Result<(), String> {
        if !(self.threshold > 0.0 && self.threshold < 1.0) {
            return Err(format!("threshold: expected above 0 and below 1, got {}", self.threshold));
        }
        if !(self.slope >= 0.0 && self.slope.is_finite()) {
            return Err(format!("slope: expected 0 or more, got {}", self.slope));
        }
        if !(0.0..=1.0).contains(&self.lowest_weight) {
            return Err(format!("lowest_weight: expected 0 to 1, got {}", self.lowest_weight));
        }
        self.filter.check()
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig::clip_higher()
    }

    fn preset(preset: Preset) -> Option<Value> {
        // the code that the authors have in development
        let code = || json!({ "pgpo": { "threshold_is": "quantile", "lowest_weight": 0.1, "conserve": false } });
        match preset {
            Preset::Default => None,
            Preset::Paper => Some(json!({ "group_size": 5 })),
            Preset::Code => Some(code()),
        }
    }

    fn filter(&self) -> Option<&GroupFilter> {
        Some(&self.filter)
    }

    fn views(&self, _: Moment) -> Vec<ViewUse> {
        vec![ViewUse {
            view: View::Removed,
            shown: Shown::Hidden,
            drawn: Drawn::PerPrompt,
            gradient: ViewGradient::Stops,
            seen_by: SeenBy::All,
            divergences: vec![Divergence::K3],
        }]
    }

    fn weighs(&self) -> bool {
        true
    }

    fn weigh(&self, responses: &[&Signal], _: Moment, _: u64) -> Weighing {
        let of = |signal: &&Signal| {
            let reading = signal.on(View::Removed).expect("every response is read without its picture");
            Weights { tokens: self.weights(reading.divergence(Divergence::K3)), factor: 1.0 }
        };
        Weighing { responses: responses.iter().map(of).collect(), metrics: Vec::new() }
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        weighted_policy_terms(batch, policy)
    }
}

impl Pgpo {
    /// The weights of a response's tokens from how much each depends on the picture. `[tokens] -> [tokens]`
    pub fn weights(&self, dependency: &[f32]) -> Vec<f32> {
        let scores: Vec<f64> = dependency.iter().map(|&d| f64::from(d.max(0.0)).ln_1p()).collect();
        let (least, most) = scores.iter().fold((f64::MAX, f64::MIN), |(least, most), &score| (least.min(score), most.max(score)));
        if scores.is_empty() || most <= least {
            return vec![1.0; scores.len()];
        }
        let importance: Vec<f64> = scores.iter().map(|score| (score - least) / (most - least)).collect();
        let threshold = match self.threshold_is {
            Threshold::Value => self.threshold,
            Threshold::Quantile => {
                let mut ascending = importance.clone();
                ascending.sort_by(f64::total_cmp);
                ascending[(self.threshold * ascending.len() as f64) as usize]
            }
        };
        let weight = |&importance: &f64| {
            let above = if threshold < 1.0 { (importance - threshold) / (1.0 - threshold) } else { 0.0 };
            let weight = if importance < threshold { importance / threshold } else { 1.0 + self.slope * above };
            weight.max(self.lowest_weight)
        };
        let weights: Vec<f64> = importance.iter().map(weight).collect();
        let scale = if self.conserve { weights.len() as f64 / weights.iter().sum::<f64>() } else { 1.0 };
        weights.iter().map(|weight| (scale * weight) as f32).collect()
    }
}
