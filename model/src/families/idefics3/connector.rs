//! The connector: fewer, wider vectors of a grid of patches, projected into the decoder's space (transformers' `Idefics3Connector`).

use crate::ModelConfig;
use crate::layers::weights::{Linear, Weights};
use percept_engine::Tensor;

/// Patch features to visual tokens.
pub(crate) struct Connector {
    scale_factor: usize,
    proj: Linear,
}

impl Connector {
    pub(crate) fn new(config: &ModelConfig, weights: &Weights) -> Self {
        Self { scale_factor: config.scale_factor, proj: weights.at("model.connector.modality_projection").linear("proj") }
    }

    /// `[pictures, rows·cols, vision hidden] -> [pictures·rows·cols / scale_factor², text hidden]`
    pub(crate) fn forward(&self, patches: &Tensor, grid: [usize; 2]) -> Tensor {
        let joined = patches.pixel_shuffle(grid, self.scale_factor); // [pictures, visual tokens, scale_factor²·vision hidden]
        self.proj.forward(&joined.reshape(&[joined.dim(0) * joined.dim(1), joined.dim(2)]))
    }
}
