//! PEPO: Perception-Exploration Policy Optimization (arXiv 2603.22847), on the base of GRPO.
//!
//! A response's tokens are not weighed alike: those whose hidden states resemble the picture's perceive, those with a large entropy explore, and both deserve more of the loss. No second picture
//! is needed. The weights come in slowly, over the run:
//!
//! ```text
//! V_t = the mean over layers and visual tokens of the cosine between the hidden states of token t and of the visual token
//! g_t = 1 + ε·tanh(V̂_t + Ĥ_t − mean(V̂ + Ĥ))          ^: scaled to 0 … 1 over the response
//! w_t = n · softmax_t(V_t·g_t / κ)
//! loss = mean ((1 − p) + p·w_t)·L_t + β · mean k3(π_θ ‖ π_ref)
//! ```
//!
//! The weights of a response add up to the number of its tokens, n, so that the step is not smaller than GRPO's. In the first step p is 0, and the loss is GRPO's.
//!
//! | symbol | here |
//! |---|---|
//! | V | [`Measure::PictureSimilarity`] |
//! | H | entropy of the distribution that the token was drawn from, nats |
//! | ε, κ | `strength`, `softmax_temperature` |
//! | p | steps before this one over all steps of the run |
//!
//! Departures: hidden states are read in a forward pass of their own, without gradient, before the update. Where a prompt has no picture all V are 0 and all weights 1; the released code takes other tokens for the
//! picture there.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, weighted_policy_terms};
use super::signal::{Measure, Signal, Weighing};
use super::term::Term;
use super::view::{Moment, View};
use super::{Method, Preset};

/// The table `[method.pepo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pepo {
    /// By how much similarity and entropy together change a token's similarity (ε), 0 to 1. Default 0.05 (the paper's).
    pub strength: f64,
    /// The softmax over a response's tokens divides by it (κ), above 0. Default 1.8 (the paper's).
    pub softmax_temperature: f64,
}

impl Default for Pepo {
    fn default() -> Self {
        Self { strength: 0.05, softmax_temperature: 1.8 }
    }
}

impl Method for Pepo {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.strength) {
            return Err(format!("strength: expected 0 to 1, got {}", self.strength));
        }
        if !(self.softmax_temperature > 0.0 && self.softmax_temperature.is_finite()) {
            return Err(format!("softmax_temperature: expected above 0, got {}", self.softmax_temperature));
        }
        Ok(())
    }

    fn preset(preset: Preset) -> Option<Value> {
        (preset == Preset::Paper).then(|| json!({ "group_size": 8 }))
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig { kl_coef: 0.001, ..PolicyConfig::default() }
    }

    fn measures(&self) -> Vec<Measure> {
        vec![Measure::PictureSimilarity]
    }

    fn weighs(&self) -> bool {
        true
    }

    fn weigh(&self, responses: &[&Signal], moment: Moment, _: u64) -> Weighing {
        let share = moment.passed();
        let mut weighing = Weighing::even(responses.len());
        for (signal, weights) in responses.iter().zip(&mut weighing.responses) {
            let Some(reading) = signal.on(View::Original) else { continue };
            let weighed = self.weights(reading.measure(Measure::PictureSimilarity), &reading.entropy);
            weights.tokens = weighed.into_iter().map(|weight| (1.0 - share + share * weight) as f32).collect();
        }
        weighing
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        weighted_policy_terms(batch, policy)
    }
}

impl Pepo {
    /// The weights of a response's tokens (w), which add up to their number. `[tokens], [tokens] -> [tokens]`
    fn weights(&self, similarity: &[f32], entropy: &[f32]) -> Vec<f64> {
        let both: Vec<f64> = scaled(similarity).zip(scaled(entropy)).map(|(similarity, entropy)| similarity + entropy).collect();
        let mean = both.iter().sum::<f64>() / both.len().max(1) as f64;
        let gate = |both: f64| 1.0 + self.strength * (both - mean).tanh();
        let logits: Vec<f64> = similarity
            .iter()
            .zip(&both)
            .map(|(&similarity, &both)| f64::from(similarity) * gate(both) / self.softmax_temperature)
            .collect();
        let largest = logits.iter().copied().fold(f64::MIN, f64::max);
        let exponentials: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
        let scale = exponentials.len() as f64 / exponentials.iter().sum::<f64>();
        exponentials.iter().map(|exponential| scale * exponential).collect()
    }
}

/// Values between 0 and 1, the least and the largest of a response.
fn scaled(values: &[f32]) -> impl Iterator<Item = f64> {
    let (least, largest) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)));
    let range = f64::from(largest - least).max(1e-6);
    values.iter().map(move |value| f64::from(value - least) / range)
}
