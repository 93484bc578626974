//! Norms over the last axis.

use crate::layers::weights::Weight;
use percept_engine::Tensor;

/// Mean 0 and variance 1 along the last axis, then a scale and a bias. `[tokens, hidden] -> [tokens, hidden]`
#[derive(Clone)]
pub(crate) struct LayerNorm {
    pub(super) weight: Weight,
    pub(super) bias: Weight,
    pub(super) eps: f32,
}

impl LayerNorm {
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(&self.weight, &self.bias, self.eps)
    }
}

/// Mean square 1 along the last axis, then a scale. `[tokens, hidden] -> [tokens, hidden]`
#[derive(Clone)]
pub(crate) struct RmsNorm {
    pub(crate) weight: Weight,
    pub(crate) eps: f32,
}

impl RmsNorm {
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.rms_norm(&self.weight, self.eps)
    }

    /// The sum of two tensors, and its norm. `[tokens, hidden], [tokens, hidden] -> sum, normed`
    pub(crate) fn forward_sum(&self, x: &Tensor, other: &Tensor) -> [Tensor; 2] {
        x.add_rms_norm(other, &self.weight, self.eps)
    }
}
