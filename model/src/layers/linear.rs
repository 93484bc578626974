//! A matrix product with a bias and an adapter, if there are any.

use crate::layers::lora::Adapter;
use crate::layers::weights::Weight;
use percept_engine::Tensor;

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
        let mut y = x.matmul(&self.matrix().t());
        if let Some(bias) = &self.bias {
            y = y.add(bias);
        }
        if let Some(adapter) = &self.adapter {
            y = y.add(&adapter.forward(x));
        }
        y
    }

    /// Its weight as `[out, in]`.
    pub(super) fn matrix(&self) -> Tensor {
        let out = self.weight.dim(0);
        self.weight.reshape(&[out, self.weight.len() / out])
    }
}
