//! The connector: fewer, wider vectors of a grid of patches, projected into the decoder's space (transformers' `Idefics3Connector`).

use super::config::Idefics3;
use crate::config::{Bias, ModelConfig};
use crate::layers::linear::Linear;
use crate::layers::patches::PatchBatch;
use crate::layers::scope::Scope;
use percept_engine::Tensor;

/// Patch features to visual tokens.
pub(super) struct Connector {
    scale_factor: usize,
    proj: Linear,
}

impl Connector {
    pub(super) fn new(config: &ModelConfig, scope: &Scope) -> Self {
        let own = Idefics3::of(config);
        let shape = [config.text.hidden_size, own.connector_in_features()];
        Self { scale_factor: own.scale_factor, proj: scope.at("modality_projection").linear("proj", &shape, Bias::No) }
    }

    /// `[patches, vision hidden] -> [patches / scale_factor², text hidden]`
    pub(super) fn forward(&self, patches: &Tensor, pictures: &PatchBatch) -> Tensor {
        let joined = pictures.by_grid(patches, |run, patches| {
            let [rows, cols] = run.grid;
            let patches = patches.reshape(&[run.pictures, rows * cols, patches.dim(1)]);
            let joined = patches.pixel_shuffle(run.grid, self.scale_factor); // [pictures, visual tokens, scale_factor²·vision hidden]
            joined.reshape(&[joined.dim(0) * joined.dim(1), joined.dim(2)])
        });
        self.proj.forward(&joined)
    }
}
