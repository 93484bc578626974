//! The section `method`: which algorithm, with the fields of its parts side by side.

use serde::{Deserialize, Serialize};

use crate::losses::{ContrastiveConfig, PolicyConfig};
use crate::selection::SelectionConfig;

/// The algorithm. In TOML all fields stand in one table: `method.clip_low`, `method.cpl_coef`, `method.perception_fraction`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)] // unknown keys are refused by `config::load`: serde cannot do both this and `flatten`
pub struct MethodConfig {
    /// Which method. Default `cppo`.
    pub name: Method,
    /// G: responses per prompt, at least 2. Default 8.
    pub group_size: usize,
    /// Limits of the policy's change: `clip_low`, `clip_high`, `dual_clip`, `kl_coef`.
    #[serde(flatten)]
    pub policy: PolicyConfig,
    /// The contrastive perception loss (`cppo` only): `cpl_coef`, `cpl_temperature`, `divergence`, `objective`.
    #[serde(flatten)]
    pub contrastive: ContrastiveConfig,
    /// The choice of perception tokens (`cppo` only): `perception_fraction`, `selection`, `gate`, `min_delta_entropy`, `detector`.
    #[serde(flatten)]
    pub selection: SelectionConfig,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self {
            name: Method::Cppo,
            group_size: 8,
            policy: PolicyConfig::default(),
            contrastive: ContrastiveConfig::default(),
            selection: SelectionConfig::default(),
        }
    }
}

impl MethodConfig {
    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.group_size < 2 {
            return Err(format!("group_size: expected at least 2, got {}", self.group_size));
        }
        self.policy.check()?;
        self.contrastive.check()?;
        self.selection.check()
    }
}

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Contrastive Perception Policy Optimization (arXiv 2601.00501).
    Cppo,
    /// Group Relative Policy Optimization (arXiv 2402.03300).
    Grpo,
}

impl Method {
    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Method::Cppo => "cppo",
            Method::Grpo => "grpo",
        }
    }
}
