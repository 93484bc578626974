//! The vision tower: SigLIP's ViT (Zhai et al. 2023, arXiv 2303.15343) without pooling, as in transformers' `Idefics3VisionTransformer`.

use crate::layers::activations::Activations;
use crate::layers::weights::{LayerNorm, Linear, Scope, Weights};
use crate::{ModelConfig, VisionConfig};
use percept_engine::ops::Segments;
use percept_engine::{Indices, Tensor};

/// Pictures to one vector a patch.
pub(crate) struct VisionTower {
    config: VisionConfig,
    patch_embedding: Linear,
    /// `[patches_per_side², hidden]`
    position_embedding: Tensor,
    layers: Vec<VisionLayer>,
    post_layernorm: LayerNorm,
}

impl VisionTower {
    pub(crate) fn new(config: &ModelConfig, weights: &Weights) -> Self {
        let config = &config.vision;
        let scope = weights.at("model.vision_model");
        let layers = (0..config.num_hidden_layers).map(|layer| VisionLayer::new(config, &scope.at("encoder.layers").at(layer)));
        Self {
            config: config.clone(),
            patch_embedding: scope.at("embeddings").linear("patch_embedding"),
            position_embedding: scope.at("embeddings.position_embedding").tensor("weight"),
            layers: layers.collect(),
            post_layernorm: scope.layer_norm("post_layernorm", config.layer_norm_eps),
        }
    }

    /// `[pictures, channels, height, width] -> [pictures, patches, hidden]`
    pub(crate) fn forward(&self, pictures: &Tensor, activations: Activations) -> Tensor {
        let patches = pictures.patchify(self.config.patch_size); // [pictures, patches, channels·patch²]
        let (count, patches_each, hidden) = (patches.dim(0), patches.dim(1), self.config.hidden_size);
        let grid = [pictures.dim(2) / self.config.patch_size, pictures.dim(3) / self.config.patch_size];
        let positions = Indices::new(pictures.device(), &position_ids(grid, self.config.patches_per_side()), &[patches_each]);

        let embedded = self.patch_embedding.forward(&patches.reshape(&[count * patches_each, patches.dim(2)]));
        let embedded = embedded.reshape(&[count, patches_each, hidden]).add(&self.position_embedding.embedding(&positions));
        let mut x = embedded.reshape(&[count * patches_each, hidden]);
        let segments = Segments::bidirectional(&vec![patches_each; count]);
        for layer in &self.layers {
            let (layer, segments) = (layer.clone(), segments.clone());
            x = activations.run(&x, move |x| layer.forward(x, &segments));
        }
        self.post_layernorm.forward(&x).reshape(&[count, patches_each, hidden])
    }
}

/// Rows of the position table for a grid of patches, row by row. A picture of fewer patches than the table has per side spreads over it:
/// patch `i` of `n` takes the position of the patch of the full grid in which it begins.
///
/// In f32 and in this order, as `Idefics3VisionEmbeddings` of transformers ≥ 5.0 has it: rounding decides where a patch begins.
fn position_ids([rows, cols]: [usize; 2], per_side: usize) -> Vec<u32> {
    let begins = |patch: usize| (patch as f64 / per_side as f64) as f32;
    let position = |i: usize, n: usize| {
        let at = (i as f32 * (1.0 / n as f32)).min(1.0 - 1e-6);
        (1..per_side).take_while(|&patch| begins(patch) <= at).count() as u32
    };
    let row = |r: usize| (0..cols).map(move |c| position(r, rows) * per_side as u32 + position(c, cols));
    (0..rows).flat_map(row).collect()
}

/// A pre-LayerNorm transformer block.
#[derive(Clone)]
struct VisionLayer {
    layer_norm1: LayerNorm,
    attention: VisionAttention,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl VisionLayer {
    fn new(config: &VisionConfig, scope: &Scope) -> Self {
        Self {
            layer_norm1: scope.layer_norm("layer_norm1", config.layer_norm_eps),
            attention: VisionAttention::new(config, &scope.at("self_attn")),
            layer_norm2: scope.layer_norm("layer_norm2", config.layer_norm_eps),
            fc1: scope.at("mlp").linear("fc1"),
            fc2: scope.at("mlp").linear("fc2"),
        }
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    fn forward(&self, x: &Tensor, segments: &Segments) -> Tensor {
        let x = x.add(&self.attention.forward(&self.layer_norm1.forward(x), segments));
        let inner = self.fc1.forward(&self.layer_norm2.forward(&x)).gelu_tanh();
        x.add(&self.fc2.forward(&inner))
    }
}

#[derive(Clone)]
struct VisionAttention {
    heads: usize,
    head_dim: usize,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
}

impl VisionAttention {
    fn new(config: &VisionConfig, scope: &Scope) -> Self {
        Self {
            heads: config.num_attention_heads,
            head_dim: config.head_dim(),
            q_proj: scope.linear("q_proj"),
            k_proj: scope.linear("k_proj"),
            v_proj: scope.linear("v_proj"),
            out_proj: scope.linear("out_proj"),
        }
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    fn forward(&self, x: &Tensor, segments: &Segments) -> Tensor {
        let split = |y: Tensor| y.reshape(&[x.dim(0), self.heads, self.head_dim]); // [tokens, heads, head_dim]
        let (q, k, v) = (split(self.q_proj.forward(x)), split(self.k_proj.forward(x)), split(self.v_proj.forward(x)));
        let mixed = q.attention(&k, &v, segments, (self.head_dim as f32).powf(-0.5));
        self.out_proj.forward(&mixed.reshape(&[x.dim(0), self.heads * self.head_dim]))
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
