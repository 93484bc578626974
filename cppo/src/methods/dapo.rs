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
//!
//! Departures: no penalty on overlong responses.

use serde::{Deserialize, Serialize};

use super::Method;
use super::filter::GroupFilter;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::term::Term;

/// The table `[method.dapo]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dapo {
    /// Which groups a step keeps.
    pub filter: GroupFilter,
}

impl Method for Dapo {
    fn check(&self) -> Result<(), String> {
        self.filter.check()
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
