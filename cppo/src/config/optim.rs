//! The section `optim`: AdamW and the learning rate over time.

use serde::{Deserialize, Serialize};

/// AdamW (arXiv 1711.05101) and the learning rate over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate after the warm-up, 0 or more. Default 1e-6 (for pretrained models of billions of parameters; small ones want more).
    pub learning_rate: f64,
    /// Decay rates of the running mean of gradients (β₁) and of their squares (β₂), each in [0, 1). Default `[0.9, 0.999]`.
    pub betas: [f64; 2],
    /// Added to the root of the mean square, so that nothing is divided by 0 (ε). Above 0. Default 1e-8.
    pub epsilon: f64,
    /// Weight decay, decoupled from the gradient, 0 or more. Default 0.01.
    pub weight_decay: f64,
    /// Largest norm of all gradients together, above 0; larger ones are scaled down to it. Default 1.
    pub max_grad_norm: f64,
    /// Steps over which the learning rate rises linearly from 0. Default 5.
    pub warmup_steps: u64,
    /// What the learning rate does after that. Default `constant`.
    pub schedule: Schedule,
    /// Where `cosine` ends, as a share of the learning rate, 0 to 1. Default 0.1.
    pub final_fraction: f64,
    /// Whether the ranks of `mpirun` share out what the optimiser keeps (two numbers for each trained weight), so that each has a part of it (ZeRO stage 1). The bits are the same, and as many are
    /// sent. Without ranks it changes nothing. Default false.
    pub shard: bool,
}

/// The learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays the same.
    Constant,
    /// It falls along half a cosine wave to `final_fraction` at the last step.
    Cosine,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-6,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            warmup_steps: 5,
            schedule: Schedule::Constant,
            final_fraction: 0.1,
            shard: false,
        }
    }
}

impl OptimConfig {
    /// The learning rate of `step`, counted from 1, of `steps`.
    pub fn learning_rate_at(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps as f64;
        }
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Cosine => {
                // step 1 is the first without a warm-up
                let start = self.warmup_steps.max(1);
                let done = (step - start) as f64 / steps.saturating_sub(start).max(1) as f64;
                let wave = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done.min(1.0)));
                self.learning_rate * (self.final_fraction + (1.0 - self.final_fraction) * wave)
            }
        }
    }

    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let positive = |value: f64| value > 0.0 && !value.is_nan();
        let checks = [
            (not_negative(self.learning_rate), "learning_rate: expected 0 or more", self.learning_rate.to_string()),
            (
                self.betas.iter().all(|beta| (0.0..1.0).contains(beta)),
                "betas: expected two numbers from 0 to below 1",
                format!("{:?}", self.betas),
            ),
            (positive(self.epsilon), "epsilon: expected above 0", self.epsilon.to_string()),
            (not_negative(self.weight_decay), "weight_decay: expected 0 or more", self.weight_decay.to_string()),
            (positive(self.max_grad_norm), "max_grad_norm: expected above 0", self.max_grad_norm.to_string()),
            ((0.0..=1.0).contains(&self.final_fraction), "final_fraction: expected 0 to 1", self.final_fraction.to_string()),
        ];
        let failed = checks.into_iter().find(|(holds, ..)| !holds);
        failed.map_or(Ok(()), |(_, message, got)| Err(format!("{message}, got {got}")))
    }
}
