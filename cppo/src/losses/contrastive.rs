//! The contrastive perception loss: near the view that keeps the information, far from the one that does not.

use percept_engine::Tensor;
use serde::{Deserialize, Serialize};

use super::divergence::K3_LIMIT;
use super::{Divergence, assert_same_shape};

/// The contrastive perception loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveConfig {
    /// λ: weight of the loss, 0 or more. Default 0.01 (the paper's).
    pub cpl_coef: f64,
    /// τ: divergences are divided by this, above 0. Default 0.1 (the paper's).
    pub cpl_temperature: f64,
    /// How D⁺ and D⁻ are computed. Default `k3`.
    pub divergence: Divergence,
    /// What is minimised. Default `contrastive`.
    pub objective: Objective,
}

impl Default for ContrastiveConfig {
    fn default() -> Self {
        Self { cpl_coef: 0.01, cpl_temperature: 0.1, divergence: Divergence::K3, objective: Objective::Contrastive }
    }
}

impl ContrastiveConfig {
    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(self.cpl_coef >= 0.0 && self.cpl_coef.is_finite()) {
            return Err(format!("cpl_coef: expected 0 or more, got {}", self.cpl_coef));
        }
        if !(self.cpl_temperature > 0.0 && self.cpl_temperature.is_finite()) {
            return Err(format!("cpl_temperature: expected above 0, got {}", self.cpl_temperature));
        }
        Ok(())
    }
}

/// What is minimised at the perception tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// `softplus((D⁺ − D⁻)/τ)`: InfoNCE with one positive and one negative.
    #[default]
    Contrastive,
    /// `D⁺` alone (ablation).
    PreserveOnly,
    /// `−D⁻` alone, D⁻ limited to ±10 (ablation).
    RemoveOnly,
    /// As `contrastive`, without the policy loss (ablation).
    CplOnly,
}

/// The loss of each perception token. `d_preserved [tokens], d_removed [tokens] -> [tokens]`
///
/// `softplus(x/τ)` is `−log(e^{−D⁺/τ} / (e^{−D⁺/τ} + e^{−D⁻/τ}))`.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn contrastive_loss(d_preserved: &Tensor, d_removed: &Tensor, config: &ContrastiveConfig) -> Tensor {
    assert_same_shape("contrastive_loss", "d_preserved and d_removed", d_preserved, d_removed);
    match config.objective {
        Objective::Contrastive | Objective::CplOnly => {
            d_preserved.sub(d_removed).mul_scalar((1.0 / config.cpl_temperature) as f32).softplus()
        }
        Objective::PreserveOnly => d_preserved.clone(),
        Objective::RemoveOnly => d_removed.clamp(-K3_LIMIT, K3_LIMIT).neg(),
    }
}
