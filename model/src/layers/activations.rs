//! Memory against time: what a layer keeps for its gradient.

use percept_engine::{Tensor, checkpoint};

/// What the layers keep between the forward and the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// Everything their gradients need.
    #[default]
    Keep,
    /// Their inputs; the rest is computed again, layer by layer, during the backward pass (gradient checkpointing). The gradients are the same.
    Recompute,
}

impl Activations {
    /// Runs one layer.
    pub(crate) fn run(self, x: &Tensor, layer: impl Fn(&Tensor) -> Tensor + Send + 'static) -> Tensor {
        match self {
            Self::Keep => layer(x),
            Self::Recompute => checkpoint(&[x], move |inputs| layer(&inputs[0])),
        }
    }
}
