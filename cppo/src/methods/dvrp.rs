//! DVRP: Differential Visual Reasoning Policy (Yan et al. 2026, arXiv 2601.06801), with GRPO underneath.
//!
//! A policy that looks at the picture should answer differently when much of it is blackened (I⁻), and alike when it is only noisy (I⁺). So the divergence from the policy
//! on I⁻ is made larger and that from the policy on I⁺ smaller, on all tokens of all responses; a further term keeps up the probability of the sampled tokens:
//!
//! ```text
//! loss = GRPO's − λ_nec · mean k3(ℓ_t, ℓ⁻_t) + λ_rob · mean k3(ℓ_t, ℓ⁺_t) + η · mean(−ℓ_t)     means over all tokens of the update
//! ```
//!
//! ℓ⁻ and ℓ⁺ are read once per step, under the policy that sampled the responses, and are constants. The noise on I⁺ falls over the run, from a stage of a diffusion schedule
//! to none:
//!
//! ```text
//! stage = floor(start · (1 − sigmoid(steepness · (t − midpoint) / T)))                        at step t = 0, 1, ... of T
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | I⁻ | [`View::Removed`]: patches of `views.patch_pixels`, each black with probability `views.patch_probability` (the paper: 14 pixels, 0.6), drawn once per prompt |
//! | I⁺ | [`View::Preserved`]: noise ([`Perturbation::Diffused`]), drawn once per prompt |
//! | λ_nec, λ_rob, η | `necessity_coef`, `robustness_coef`, `entropy_coef` |
//! | start, midpoint, steepness | `noise_start`, `noise_midpoint`, `noise_steepness` |
//!
//! Departures: no code is published. The paper gives start and midpoint; the steepness is NoisyRollout's (arXiv 2504.13055), whose schedule it adopts. The entropies of the policy on the
//! two views, which have no gradient, are left out. The mask is laid over the picture before it is resized.

use serde::{Deserialize, Serialize};

use super::Method;
use super::divergence::k3;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::signal::Signal;
use super::term::Term;
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use crate::problems::views::diffusion::STAGES;
use crate::problems::views::{Perturbation, PerturbationSet, Removing};

/// The table `[method.dvrp]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dvrp {
    /// Weight of the divergence that is made larger (λ_nec), 0 or more. Default 0.01 (the paper's).
    pub necessity_coef: f64,
    /// Weight of the divergence that is made smaller (λ_rob), 0 or more. Default 0.01 (the paper's).
    pub robustness_coef: f64,
    /// Weight of the negative log-probability of the sampled tokens (η), 0 or more. Default 0.05 (the paper's).
    pub entropy_coef: f64,
    /// Stage of the noise at the start of a run, 0 to 999. Default 500 (the paper's).
    pub noise_start: u16,
    /// Step at which the stage has fallen by half. Default 10 (the paper's).
    pub noise_midpoint: f64,
    /// How sharply it falls there, above 0. Default 30 (NoisyRollout's).
    pub noise_steepness: f64,
}

impl Default for Dvrp {
    fn default() -> Self {
        Self {
            necessity_coef: 0.01,
            robustness_coef: 0.01,
            entropy_coef: 0.05,
            noise_start: 500,
            noise_midpoint: 10.0,
            noise_steepness: 30.0,
        }
    }
}

impl Method for Dvrp {
    fn check(&self) -> Result<(), String> {
        let coefs = [
            ("necessity_coef", self.necessity_coef),
            ("robustness_coef", self.robustness_coef),
            ("entropy_coef", self.entropy_coef),
            ("noise_midpoint", self.noise_midpoint),
        ];
        for (name, value) in coefs {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("{name}: expected 0 or more, got {value}"));
            }
        }
        if self.noise_start >= STAGES {
            return Err(format!("noise_start: expected 0 to {}, got {}", STAGES - 1, self.noise_start));
        }
        if !(self.noise_steepness > 0.0 && self.noise_steepness.is_finite()) {
            return Err(format!("noise_steepness: expected above 0, got {}", self.noise_steepness));
        }
        Ok(())
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() }
    }

    fn views(&self, moment: Moment) -> Vec<ViewUse> {
        let masked = Perturbation::Removing(Removing::PatchMask);
        let noised = Perturbation::Diffused(self.stage(moment));
        [(View::Removed, masked), (View::Preserved, noised)]
            .map(|(view, how)| ViewUse {
                view,
                shown: Shown::Perturbed(PerturbationSet::Only(how)),
                drawn: Drawn::PerPrompt,
                gradient: ViewGradient::Stops,
                seen_by: SeenBy::All,
                divergences: Vec::new(),
            })
            .into()
    }

    /// Every response has a gradient, because the divergences are on every token.
    fn trains(&self, _: &Signal) -> bool {
        true
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = policy_terms(batch, policy);
        let log_probs = batch.log_probs();
        terms.push(Term::over_tokens("necessity_kl", -self.necessity_coef, k3(&log_probs, &batch.read_log_probs(View::Removed))));
        terms.push(Term::over_tokens("robustness_kl", self.robustness_coef, k3(&log_probs, &batch.read_log_probs(View::Preserved))));
        terms.push(Term::over_tokens("entropy_penalty", self.entropy_coef, log_probs.neg()));
        terms
    }
}

impl Dvrp {
    /// The stage of the noise at a moment of a run.
    pub fn stage(&self, moment: Moment) -> u16 {
        (f64::from(self.noise_start) * moment.falling(self.noise_midpoint, self.noise_steepness)) as u16
    }
}
