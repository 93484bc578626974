//! The low-rank product of LoRA (Hu et al. 2021, arXiv 2106.09685) beside a linear layer.

use percept_engine::Tensor;

/// The low-rank product beside one weight.
#[derive(Clone)]
pub(crate) struct Adapter {
    /// A, `[rank, in]`
    pub(crate) down: Tensor,
    /// B, `[out, rank]`
    pub(crate) up: Tensor,
    /// What the product is multiplied by: `alpha / rank`.
    pub(crate) scale: f64,
}

impl Adapter {
    /// `[tokens, in] -> [tokens, out]`
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        // scaled where it is narrow
        x.matmul(&self.down.t()).mul_scalar(self.scale as f32).matmul(&self.up.t())
    }

    /// What is to be added to the weight. `-> [out, in]`
    pub(crate) fn product(&self) -> Tensor {
        self.up.matmul(&self.down).mul_scalar(self.scale as f32)
    }
}
