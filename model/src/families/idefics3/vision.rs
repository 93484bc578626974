//! The vision tower: SigLIP's ViT (Zhai et al. 2023, arXiv 2303.15343) without pooling, as in transformers' `Idefics3VisionTransformer`.

use super::config::VisionConfig;
use crate::config::Bias;
use crate::image::Grid;
use crate::layers::activations::Activations;
use crate::layers::attention::{Attention, AttentionShape, Projections};
use crate::layers::linear::Linear;
use crate::layers::mlp::GeluMlp;
use crate::layers::norms::LayerNorm;
use crate::layers::patches::PatchBatch;
use crate::layers::scope::Scope;
use crate::layers::weights::Weight;
use percept_engine::ops::Segments;
use percept_engine::{Indices, Tensor};

/// Makes one vector of each patch of a picture.
pub(super) struct VisionTower {
    patches_per_side: usize,
    patch_embedding: Linear,
    /// `[patches_per_side², hidden]`
    position_embedding: Weight,
    layers: Vec<VisionLayer>,
    post_layernorm: LayerNorm,
}

impl VisionTower {
    pub(super) fn new(config: &VisionConfig, scope: &Scope) -> Self {
        let (hidden, patch, side) = (config.hidden_size, config.patch_size, config.patches_per_side());
        let embeddings = scope.at("embeddings");
        let patch_embedding = embeddings.linear("patch_embedding", &[hidden, config.num_channels, patch, patch], Bias::Yes);
        let position_embedding = embeddings.embedding("position_embedding", [side * side, hidden]);
        let layers = (0..config.num_hidden_layers).map(|layer| VisionLayer::new(config, &scope.at("encoder.layers").at(layer))).collect();
        let post_layernorm = scope.layer_norm("post_layernorm", hidden, config.layer_norm_eps);
        Self { patches_per_side: side, patch_embedding, position_embedding, layers, post_layernorm }
    }

    /// `-> [patches, hidden]`
    pub(super) fn forward(&self, pictures: &PatchBatch, activations: Activations) -> Tensor {
        let embedded = self.patch_embedding.forward(pictures.patches());
        let mut x = pictures.by_grid(&embedded, |run, embedded| {
            let ([rows, cols], hidden) = (run.grid, embedded.dim(1));
            let positions = Indices::new(embedded.device(), &position_ids(run.grid, self.patches_per_side), &[rows * cols]);
            let positioned = embedded.reshape(&[run.pictures, rows * cols, hidden]).add(&self.position_embedding.embedding(&positions));
            positioned.reshape(&[run.rows.len(), hidden])
        });
        let segments = pictures.segments();
        for layer in &self.layers {
            let (layer, segments) = (layer.clone(), segments.clone());
            x = activations.run(&x, move |x| layer.forward(x, &segments));
        }
        self.post_layernorm.forward(&x)
    }
}

/// Rows of the position table for a grid of patches, row by row. A picture of fewer patches than the table has per side spreads over it:
/// patch `i` of `n` takes the position of the patch of the full grid in which it begins.
///
/// In f32 and in this order, as `Idefics3VisionEmbeddings` of transformers ≥ 5.0 has it: rounding decides where a patch begins.
fn position_ids([rows, cols]: Grid, per_side: usize) -> Vec<u32> {
    let begins = |patch: usize| (patch as f64 / per_side as f64) as f32;
    let position = |i: usize, n: usize| {
        let at = (i as f32 * (1.0 / n as f32)).min(1.0 - 1e-6);
        (1..per_side).take_while(|&patch| begins(patch) <= at).count() as u32
    };
    let row = |r: usize| (0..cols).map(move |c| position(r, rows) * per_side as u32 + position(c, cols));
    (0..rows).flat_map(row).collect()
}

/// One block of the tower: attention and an MLP, each behind a LayerNorm.
#[derive(Clone)]
struct VisionLayer {
    layer_norm1: LayerNorm,
    attention: Attention,
    layer_norm2: LayerNorm,
    mlp: GeluMlp,
}

impl VisionLayer {
    fn new(config: &VisionConfig, scope: &Scope) -> Self {
        let (hidden, heads, eps) = (config.hidden_size, config.num_attention_heads, config.layer_norm_eps);
        let attention = AttentionShape {
            hidden,
            heads,
            kv_heads: heads,
            head_dim: config.head_dim(),
            projections: Projections::Apart,
            bias: Bias::Yes,
            out: ("out_proj", Bias::Yes),
        };
        Self {
            layer_norm1: scope.layer_norm("layer_norm1", hidden, eps),
            attention: Attention::new(&attention, &scope.at("self_attn")),
            layer_norm2: scope.layer_norm("layer_norm2", hidden, eps),
            mlp: GeluMlp::new(hidden, config.intermediate_size, &scope.at("mlp")),
        }
    }

    /// `[patches, hidden] -> [patches, hidden]`
    fn forward(&self, x: &Tensor, segments: &Segments) -> Tensor {
        let x = x.add(&self.attention.forward(&self.layer_norm1.forward(x), None, segments));
        x.add(&self.mlp.forward(&self.layer_norm2.forward(&x)))
    }
}

#[cfg(test)]
mod tests {
    use super::position_ids;

    #[test]
    fn a_full_grid_takes_every_position_in_order() {
        for side in [1, 2, 7, 8, 16, 27, 32, 64] {
            let expected: Vec<u32> = (0..(side * side) as u32).collect();
            assert_eq!(position_ids([side, side], side), expected, "{side}");
        }
    }

    #[test]
    fn a_smaller_grid_spreads_over_the_table() {
        assert_eq!(position_ids([2, 4], 8), [0, 2, 4, 6, 32, 34, 36, 38]);
        assert_eq!(position_ids([1, 3], 4), [0, 1, 2]);
    }
}
