//! The pictures on which a response is read, and how a method uses them.

use serde::{Deserialize, Serialize};

use super::divergence::Divergence;
use crate::problems::views::{Perturbation, PerturbationSet};

/// Which picture a response is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The picture of the problem, on which the response was sampled (I).
    Original,
    /// A perturbed picture that still holds the information needed to answer (I⁺).
    Preserved,
    /// A perturbed picture that has lost this information (I⁻).
    Removed,
}

impl View {
    /// All views.
    pub const ALL: [View; 3] = [View::Original, View::Preserved, View::Removed];

    /// The name used in records.
    pub fn name(self) -> &'static str {
        match self {
            View::Original => "original",
            View::Preserved => "preserved",
            View::Removed => "removed",
        }
    }
}

/// How far a run has come, for settings that change over the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The step, counted from 1.
    pub step: u64,
    /// Number of steps of the whole run.
    pub steps: u64,
}

impl Moment {
    /// Share of the run that lies behind: steps before this one over all steps.
    pub fn passed(&self) -> f64 {
        self.step.saturating_sub(1) as f64 / self.steps.max(1) as f64
    }

    /// From 1 to 0 over the run, one half at step `midpoint` (counted from 0): `1 − sigmoid(steepness · (t − midpoint) / T)`.
    pub fn falling(&self, midpoint: f64, steepness: f64) -> f64 {
        let passed = self.step.saturating_sub(1) as f64 - midpoint;
        1.0 / (1.0 + (steepness * passed / self.steps.max(1) as f64).exp())
    }
}

/// A picture besides the original that some responses of every group are sampled on. All are trained on the original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RolloutView {
    /// How the picture is made, anew for every prompt.
    pub how: Perturbation,
    /// Share of the group that is sampled on it, rounded down to whole responses: the last ones.
    pub share: f64,
}

/// A picture besides the original that a method reads responses on.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewUse {
    /// Which view it is.
    pub view: View,
    /// How the picture is shown.
    pub shown: Shown,
    /// How often it is drawn.
    pub drawn: Drawn,
    /// Whether the loss is differentiated through it.
    pub gradient: ViewGradient,
    /// Which responses are read on it.
    pub seen_by: SeenBy,
    /// Divergences between the original and this picture that [`weigh`](super::Method::weigh) needs.
    pub divergences: Vec<Divergence>,
}

/// How a picture is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// With a perturbation drawn from this set.
    Perturbed(PerturbationSet),
    /// Not at all: no other token sees the visual tokens. The other tokens keep their positions.
    Hidden,
}

/// How often a perturbed picture is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// Once per prompt and epoch; the responses share it.
    PerPrompt,
    /// Anew for every response.
    PerResponse,
}

/// Whether the loss is differentiated through what is read on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewGradient {
    /// Yes: the picture takes part in the forward and backward pass of every update.
    Flows,
    /// No: responses are read once, before the first update of a step, and what was read is a constant.
    Stops,
}

/// Which responses are read on a perturbed picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenBy {
    /// Those with a positive advantage. This is exact if the loss is zero on all others.
    Rewarded,
    /// All that take part in the update.
    All,
}

impl SeenBy {
    /// Whether a response with this advantage is among them.
    pub fn includes(self, advantage: f32) -> bool {
        match self {
            SeenBy::Rewarded => advantage > 0.0,
            SeenBy::All => true,
        }
    }
}
