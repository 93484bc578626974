//! The pictures on which a response is read, and what a method asks of them.

use serde::{Deserialize, Serialize};

use super::divergence::Divergence;
use crate::problems::views::PerturbationSet;

/// Which picture a response is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The picture of the problem, on which the response was sampled: I.
    Original,
    /// A perturbed picture that still holds the information needed to answer: I⁺.
    Preserved,
    /// A perturbed picture that has lost it: I⁻.
    Removed,
}

impl View {
    /// All of them.
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

/// How far a run has come, for what changes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The step, counted from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
}

/// A further picture that a method reads responses on.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewUse {
    /// What the picture is called in the pass.
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
    /// Perturbed, by a perturbation that is drawn from this.
    Perturbed(PerturbationSet),
    /// Not at all: no other token sees the visual tokens. The others stay where they are.
    Hidden,
}

/// How often a perturbed picture is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// Once for a prompt and epoch; its responses share it.
    PerPrompt,
    /// Anew for every response.
    PerResponse,
}

/// Whether the loss is differentiated through what is read on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewGradient {
    /// It is: the picture takes part in the forward and backward pass of every update.
    Flows,
    /// It is not: responses are read once, before the first update of a step, and what was read is a constant.
    Stops,
}

/// Which responses are read on a perturbed picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenBy {
    /// Those with a positive advantage. Exact for a loss that is zero on all others.
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
