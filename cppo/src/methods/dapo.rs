//! DAPO: Decoupled Clip and Dynamic Sampling Policy Optimization (Yu et al. 2025, arXiv 2503.14476).
//!
//! GRPO with four changes, of which the token mean is the base of all methods here. There is no tie to a reference policy; the ratio may rise further than it may
//! fall, so that unlikely tokens can become likely; and a group whose responses are all right or all wrong, which teaches nothing, is replaced by responses to a
//! fresh prompt ([`GroupFilter`]):
//!
//! ```text
//! L_t   = −min(ratio·Â, clip(ratio, 1 − ε_low, 1 + ε_high)·Â),   ε_low = 0.2, ε_high = 0.28
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | ε_low, ε_high | `method.clip_low`, `method.clip_high` |
//! | L_max | `method.longest_length` |
//!
//! A response that comes near the longest length, L_max, can be punished for it (the paper's soft overlong punishment, equation 13). Its reward falls over the last share s of that length,
//! and is lower by 1 from there on:
//!
//! ```text
//! R ← R − min(1, max(0, (length − (1 − s)·L_max) / (s·L_max)))
//! ```
//!
//! Departures: the punishment is off by default (s is `overlong_share`, 0.2 in the paper), since the answers here are short. Rewards in records are those without it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::GroupFilter;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::term::Term;
use super::{Method, Preset};

/// The table `[method.dapo]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dapo {
    /// Share of the longest length over which the reward of a long response falls by 1 (s), 0 to 1; 0 for none. Default 0 (the paper's: 0.2).
    pub overlong_share: f64,
    /// Which groups a step keeps.
    pub filter: GroupFilter,
}

impl Method for Dapo {
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.overlong_share) {
            return Err(format!("overlong_share: expected 0 to 1, got {}", self.overlong_share));
        }
        self.filter.check()
    }

    fn preset(preset: Preset) -> Option<Value> {
        (preset == Preset::Paper).then(|| json!({ "group_size": 16, "dapo": { "overlong_share": 0.2 } }))
    }

    fn reward_of_length(&self, tokens: usize, longest: usize) -> f32 {
        let room = self.overlong_share * longest as f64;
        let over = tokens as f64 - (longest as f64 - room);
        if room == 0.0 || over <= 0.0 { 0.0 } else { -(over / room).min(1.0) as f32 }
    }

    fn policy_defaults(&self) -> PolicyConfig {
        PolicyConfig::clip_higher()
    }

    fn filter(&self) -> Option<&GroupFilter> {
        Some(&self.filter)
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        policy_terms(batch, policy)
    }
}
