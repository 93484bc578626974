//! DAPO: Decoupled Clip and Dynamic Sampling Policy Optimization (Yu et al. 2025, arXiv 2503.14476).
//!
//! GRPO with four changes, of which the token mean is the base of all methods here. There is no tie to a reference policy; the ratio may rise further than it may
//! fall, so that unlikely tokens can become likely; and a group whose responses are all right or all wrong, which teaches nothing, is replaced by responses to a
//! fresh prompt:
//!
//! ```text
//! L_t   = −min(ratio·Â, clip(ratio, 1 − ε_low, 1 + ε_high)·Â),   ε_low = 0.2, ε_high = 0.28
//! keep a group where  low < mean accuracy of its responses < high
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | ε_low, ε_high | `method.clip_low`, `method.clip_high` |
//! | low, high | `accuracy_above`, `accuracy_below` |
//!
//! Departures: no penalty on overlong responses; where too few groups are kept after `max_refills` rounds, the step does with those it has. The limits of the
//! accuracy are those of the common implementations (EasyR1, PAPO).

use serde::{Deserialize, Serialize};

use super::Method;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::term::Term;
use crate::problems::reward::Reward;

/// The table `[method.dapo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dapo {
    /// Groups with a mean accuracy above this are kept, 0 to 1. Default 0.01.
    pub accuracy_above: f64,
    /// Groups with a mean accuracy below this are kept, 0 to 1. Default 0.99.
    pub accuracy_below: f64,
    /// How many times a step samples as many prompts again, at most. Default 20.
    pub max_refills: usize,
}

impl Default for Dapo {
    fn default() -> Self {
        Self { accuracy_above: 0.01, accuracy_below: 0.99, max_refills: 20 }
    }
}

impl Method for Dapo {
    fn check(&self) -> Result<(), String> {
        let (above, below) = (self.accuracy_above, self.accuracy_below);
        if !(0.0 <= above && above < below && below <= 1.0) {
            return Err(format!(
                "accuracy_above: expected 0 or more and below accuracy_below, which is at most 1; got {above} and {below}"
            ));
        }
        Ok(())
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig { clip_high: 0.28, kl_coef: 0.0, ..PolicyConfig::default() }
    }

    fn keeps(&self, rewards: &[Reward]) -> bool {
        let accuracy = rewards.iter().map(|reward| f64::from(reward.accuracy)).sum::<f64>() / rewards.len() as f64;
        self.accuracy_above < accuracy && accuracy < self.accuracy_below
    }

    fn refills(&self) -> usize {
        self.max_refills
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        policy_terms(batch, policy)
    }
}
