//! ToR: token reweighting (arXiv 2603.25077), on the base of GRPO.
//!
//! Two kinds of token decide a response: those at which the policy hesitates, where it reasons, and those that depend on the picture, where it perceives. Only they take part in the policy
//! loss, the former with full weight:
//!
//! ```text
//! T_r = the share ρ_r of all tokens of the update with the largest entropy of the distribution cut to the most probable 95 %
//! T_p = the share ρ_p of them with the largest |ℓ_t − ℓ∅_t|
//! w_t = 1 on T_r,  λ on T_p without T_r,  0 elsewhere
//! loss = Σ w_t·L_t / number of all tokens + β · mean k3(π_θ ‖ π_ref)
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | ℓ, ℓ∅ | log-probabilities of the sampled tokens under the policy that sampled them, with the picture and without |
//! | ρ_r, ρ_p, λ | `reasoning_fraction`, `perception_fraction`, `perception_weight` |
//! | the cut entropy | [`Measure::NucleusEntropy`] |
//!
//! Departures: no code is published. Without the picture the words around it stay, at their positions ([`Shown::Hidden`]). The shares are of an update's tokens; with several updates a step the paper takes
//! them of the whole step.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, weighted_policy_terms};
use super::selection::largest;
use super::signal::{Measure, Signal, Weighing};
use super::term::Term;
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use super::{Method, Preset};

/// The table `[method.tor]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tor {
    /// Share of the tokens that count as reasoning (ρ_r), 0 to 1. Default 0.3 (the paper's).
    pub reasoning_fraction: f64,
    /// Share of the tokens that count as perception (ρ_p), 0 to 1. Default 0.3 (the paper's).
    pub perception_fraction: f64,
    /// Weight of a token of perception that is not one of reasoning (λ), 0 or more. Default 0.5 (the paper's).
    pub perception_weight: f64,
}

impl Default for Tor {
    fn default() -> Self {
        Self { reasoning_fraction: 0.3, perception_fraction: 0.3, perception_weight: 0.5 }
    }
}

impl Method for Tor {
    fn check(&self) -> Result<(), String> {
        for (name, share) in [("reasoning_fraction", self.reasoning_fraction), ("perception_fraction", self.perception_fraction)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name}: expected 0 to 1, got {share}"));
            }
        }
        if !(self.perception_weight >= 0.0 && self.perception_weight.is_finite()) {
            return Err(format!("perception_weight: expected 0 or more, got {}", self.perception_weight));
        }
        Ok(())
    }

    fn preset(preset: Preset) -> Option<Value> {
        (preset == Preset::Paper).then(|| json!({ "group_size": 12 }))
    }

    fn views(&self, _: Moment) -> Vec<ViewUse> {
        vec![ViewUse {
            view: View::Removed,
            shown: Shown::Hidden,
            drawn: Drawn::PerPrompt,
            gradient: ViewGradient::Stops,
            seen_by: SeenBy::All,
            divergences: Vec::new(),
        }]
    }

    /// Every response, also one without an advantage: the shares are of all tokens.
    fn trains(&self, _: &Signal) -> bool {
        true
    }

    fn measures(&self) -> Vec<Measure> {
        vec![Measure::NucleusEntropy]
    }

    fn weighs(&self) -> bool {
        true
    }

    fn weigh(&self, responses: &[&Signal], _: Moment, _: u64) -> Weighing {
        let (mut hesitation, mut dependency) = (Vec::new(), Vec::new());
        for signal in responses {
            let [original, without] =
                [View::Original, View::Removed].map(|view| signal.on(view).expect("every response is read with the picture and without"));
            hesitation.extend_from_slice(original.measure(Measure::NucleusEntropy));
            dependency.extend(original.log_probs.iter().zip(&without.log_probs).map(|(with, without)| (with - without).abs()));
        }
        let count = |share: f64| (share * hesitation.len() as f64).ceil() as usize;
        let reasoning = largest(&hesitation, count(self.reasoning_fraction));
        let perception = largest(&dependency, count(self.perception_fraction));
        let weight = |(&reasons, &perceives): (&bool, &bool)| match (reasons, perceives) {
            (true, _) => 1.0,
            (false, true) => self.perception_weight as f32,
            (false, false) => 0.0,
        };
        let mut weights = reasoning.iter().zip(&perception).map(weight);
        let mut weighing = Weighing::even(responses.len());
        for (signal, of_response) in responses.iter().zip(&mut weighing.responses) {
            let tokens = signal.on(View::Original).map_or(0, |reading| reading.log_probs.len());
            of_response.tokens = weights.by_ref().take(tokens).collect();
        }
        weighing
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        weighted_policy_terms(batch, policy)
    }
}
