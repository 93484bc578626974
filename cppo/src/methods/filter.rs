//! Which groups are worth an update: those whose responses are neither all right nor all wrong (the dynamic sampling of DAPO, arXiv 2503.14476).
//!
//! A group in which every response is as good as the others has no advantages and teaches nothing; responses to a fresh prompt take its place:
//!
//! ```text
//! keep a group where  low < mean accuracy of its responses < high
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | low, high | `accuracy_above`, `accuracy_below` |
//!
//! The limits are those of the common implementations (EasyR1, PAPO).

use serde::{Deserialize, Serialize};

use crate::problems::reward::Reward;

/// Which groups a step keeps, and how often it replaces the others. Where too few are kept after the last time, the step does with those it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupFilter {
    /// Groups with a mean accuracy above this are kept, 0 to 1. Default 0.01.
    pub accuracy_above: f64,
    /// Groups with a mean accuracy below this are kept, 0 to 1. Default 0.99.
    pub accuracy_below: f64,
    /// How many times a step samples as many prompts again, at most. Default 20.
    pub max_refills: usize,
}

impl Default for GroupFilter {
    fn default() -> Self {
        Self { accuracy_above: 0.01, accuracy_below: 0.99, max_refills: 20 }
    }
}

impl GroupFilter {
    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        let (above, below) = (self.accuracy_above, self.accuracy_below);
        if !(0.0..=1.0).contains(&below) {
            return Err(format!("filter.accuracy_below: expected 0 to 1, got {below:e}"));
        }
        if !(0.0 <= above && above < below) {
            return Err(format!("filter.accuracy_above: expected 0 or more and below filter.accuracy_below ({below}), got {above:e}"));
        }
        Ok(())
    }

    /// Whether a group is worth an update. `rewards [group_size]`
    pub fn keeps(&self, rewards: &[Reward]) -> bool {
        let accuracy = rewards.iter().map(|reward| f64::from(reward.accuracy)).sum::<f64>() / rewards.len() as f64;
        self.accuracy_above < accuracy && accuracy < self.accuracy_below
    }
}
