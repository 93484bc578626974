//! A matrix product with a bias and an adapter, if there are any.

use crate::layers::lora::Adapter;
use crate::layers::norms::RmsNorm;
use crate::layers::weights::Weight;
use percept_engine::Tensor;
use percept_engine::ops::{Epilogue, FusedLinear};

/// `x Wᵀ + b`, plus the adapter's low-rank product. `[tokens, in] -> [tokens, out]`
#[derive(Clone)]
pub(crate) struct Linear {
    /// `[out, ..]`; what follows the first axis is `in`, row-major.
    pub(super) weight: Weight,
    pub(super) bias: Option<Weight>,
    pub(super) adapter: Option<Adapter>,
}

impl Linear {
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let out = self.weight.dim(0);
        let weight = self.weight.reshape(&[out, self.weight.len() / out]);
        let mut y = x.matmul(&weight.t());
        if let Some(bias) = &self.bias {
            y = y.add(bias);
        }
        if let Some(adapter) = &self.adapter {
            y = y.add(&adapter.forward(x));
        }
        y
    }

    /// The layer for few tokens; none if it has an adapter.
    pub(crate) fn few(&self) -> Option<FewTokens> {
        let out = self.weight.dim(0);
        let weight = || self.weight.reshape(&[out, self.weight.len() / out]);
        self.adapter.is_none().then(|| FewTokens { weight: weight(), bias: self.bias.as_deref().cloned() })
    }
}

/// Linear layers without adapters, as a decoder that writes a token reads them: one kernel computes them, the norm before them and what follows them.
pub(crate) struct FewTokens {
    /// `[out, in]`
    pub(super) weight: Tensor,
    /// `[out]`
    pub(super) bias: Option<Tensor>,
}

impl FewTokens {
    /// No gradient. `[tokens, in] -> [tokens, out]`, with SwiGLU half as many
    pub(crate) fn forward(&self, x: &Tensor, norm: Option<&RmsNorm>, epilogue: Epilogue<'_>) -> Tensor {
        let norm = norm.map(|norm| (&*norm.weight, norm.eps));
        x.fused_linear(FusedLinear { norm, weight: &self.weight, bias: self.bias.as_ref(), epilogue })
    }
}
