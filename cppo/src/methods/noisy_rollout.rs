//! NoisyRollout (Liu et al. 2025, arXiv 2504.13055), on the base of GRPO.
//!
//! A policy explores more if some of its responses are to a picture that it sees badly. So half of every group is sampled on the picture with noise; rewards and advantages are those of the
//! whole group, and all responses are then trained on the clean picture, as if they had been sampled there:
//!
//! ```text
//! o_1 … o_{G/2} ~ π_old(· | q, I),   o_{G/2+1} … o_G ~ π_old(· | q, Ĩ),   Ĩ = noise(I, stage)
//! stage = floor(start · (1 − sigmoid(steepness · (t/T − midpoint))))                          at step t = 0, 1, ... of T
//! loss  = GRPO's without a reference policy, with ratios of π(o | q, I) to π_old(o | q, I) for all o,  − η · mean(−ℓ_t)
//! ```
//!
//! There is no correction for the half that the policy on the clean picture did not sample: off-policy by design.
//!
//! | symbol | here |
//! |---|---|
//! | Ĩ | noise of a stage of a diffusion schedule ([`Perturbation::Diffused`]), drawn once per prompt |
//! | start, midpoint, steepness | `noise_start`, `noise_midpoint`, `noise_steepness` |
//! | η | `entropy_bonus` |
//!
//! Departures: the mean of the loss is over the tokens of the whole update; the released code weighs every micro-batch alike. The paper freezes the vision tower; here that is
//! `model.freeze_vision`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::signal::Signal;
use super::term::Term;
use super::view::{Moment, RolloutView};
use super::{Method, Preset};
use crate::problems::views::Perturbation;
use crate::problems::views::diffusion::STAGES;

/// The table `[method.noisy_rollout]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoisyRollout {
    /// Share of a group that is sampled on the noisy picture, 0 to 1; rounded down to whole responses. Default 0.5 (the paper's).
    pub noisy_share: f64,
    /// Stage of the noise at the start of a run, 0 to 999. Default 500 (the paper's, for Geometry3K).
    pub noise_start: u16,
    /// Where in the run the stage has fallen by half, as a share of its steps. Default 2/3 (the paper's: step 40 of 60).
    pub noise_midpoint: f64,
    /// How sharply it falls there, above 0. Default 30 (the paper's).
    pub noise_steepness: f64,
    /// Weight of the bonus on the negative log-probability of the sampled tokens (η), 0 or more. Default 0.001 (the paper's).
    pub entropy_bonus: f64,
}

impl Default for NoisyRollout {
    fn default() -> Self {
        Self { noisy_share: 0.5, noise_start: 500, noise_midpoint: 2.0 / 3.0, noise_steepness: 30.0, entropy_bonus: 1e-3 }
    }
}

impl Method for NoisyRollout {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.noisy_share) {
            return Err(format!("noisy_share: expected 0 to 1, got {}", self.noisy_share));
        }
        if self.noise_start >= STAGES {
            return Err(format!("noise_start: expected 0 to {}, got {}", STAGES - 1, self.noise_start));
        }
        if !(0.0..=1.0).contains(&self.noise_midpoint) {
            return Err(format!("noise_midpoint: expected 0 to 1, got {}", self.noise_midpoint));
        }
        if !(self.noise_steepness > 0.0 && self.noise_steepness.is_finite()) {
            return Err(format!("noise_steepness: expected above 0, got {}", self.noise_steepness));
        }
        if !(self.entropy_bonus >= 0.0 && self.entropy_bonus.is_finite()) {
            return Err(format!("entropy_bonus: expected 0 or more, got {}", self.entropy_bonus));
        }
        Ok(())
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() }
    }

    fn preset(preset: Preset) -> Option<Value> {
        // 12 responses: 6 clean and 6 noisy
        (preset == Preset::Paper).then(|| json!({ "group_size": 12 }))
    }

    fn rollout_view(&self, moment: Moment) -> Option<RolloutView> {
        Some(RolloutView { how: Perturbation::Diffused(self.stage(moment)), share: self.noisy_share })
    }

    /// The entropy bonus is on the tokens of all responses.
    fn trains(&self, response: &Signal) -> bool {
        response.advantage != 0.0 || self.entropy_bonus > 0.0
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = policy_terms(batch, policy);
        terms.push(Term::over_tokens("entropy_bonus", -self.entropy_bonus, batch.log_probs().neg()));
        terms
    }
}

impl NoisyRollout {
    /// The stage of the noise at a moment of a run.
    pub fn stage(&self, moment: Moment) -> u16 {
        let midpoint = self.noise_midpoint * moment.steps as f64;
        (f64::from(self.noise_start) * moment.falling(midpoint, self.noise_steepness)) as u16
    }
}
