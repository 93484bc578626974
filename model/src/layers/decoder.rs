//! The decoder: Llama (Touvron et al. 2023, arXiv 2302.13971) on packed tokens: pre-RMSNorm blocks of grouped-query attention with rotary
//! positions, and SwiGLU.
//!
//! Which tokens see which, and at which angles, is not the decoder's business: both come in as [`Segments`] and [`RopeTable`].

use crate::layers::activations::Activations;
use crate::layers::cache::{KvCache, LayerCache};
use crate::layers::weights::{Linear, RmsNorm, Scope, Weights};
use crate::{ModelConfig, TextConfig};
use percept_engine::ops::{RopeTable, Segments};
use percept_engine::{Indices, Tensor};

/// Embeddings to hidden states.
pub(crate) struct Decoder {
    /// `[vocab, hidden]`
    pub(crate) embed_tokens: Tensor,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    /// `[vocab, hidden]`; the embedding table if the head is tied.
    pub(crate) head: Tensor,
}

impl Decoder {
    pub(crate) fn new(config: &ModelConfig, weights: &Weights) -> Self {
        let scope = weights.at("model.text_model");
        let text = &config.text;
        let embed_tokens = scope.at("embed_tokens").tensor("weight");
        let head = if config.tie_word_embeddings { embed_tokens.clone() } else { weights.at("lm_head").tensor("weight") };
        let layers = (0..text.num_hidden_layers).map(|layer| DecoderLayer::new(text, &scope.at("layers").at(layer)));
        Self { embed_tokens, layers: layers.collect(), norm: scope.rms_norm("norm", text.rms_norm_eps), head }
    }

    /// Hidden states after the final norm. `[tokens, hidden] -> [tokens, hidden]`
    pub(crate) fn forward(&self, embeddings: &Tensor, rope: &RopeTable, segments: &Segments, activations: Activations) -> Tensor {
        let mut x = embeddings.clone();
        for layer in &self.layers {
            let (layer, rope, segments) = (layer.clone(), rope.clone(), segments.clone());
            x = activations.run(&x, move |x| layer.forward(x, &rope, &segments, None));
        }
        self.norm.forward(&x)
    }

    /// The same for new tokens of sequences whose earlier keys and values are cached. Writes the new ones into rows `rows` of the cache; the
    /// segments' keys are rows of the cache. No gradient. `[tokens, hidden] -> [tokens, hidden]`
    pub(crate) fn forward_cached(
        &self,
        embeddings: &Tensor,
        rope: &RopeTable,
        segments: &Segments,
        cache: &KvCache,
        rows: &Indices,
    ) -> Tensor {
        let mut x = embeddings.clone();
        for (layer, cache) in self.layers.iter().zip(cache.layers()) {
            x = layer.forward(&x, rope, segments, Some((cache, rows)));
        }
        self.norm.forward(&x)
    }
}

/// A pre-RMSNorm transformer block.
#[derive(Clone)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    attention: Attention,
    post_attention_layernorm: RmsNorm,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl DecoderLayer {
    fn new(config: &TextConfig, scope: &Scope) -> Self {
        Self {
            input_layernorm: scope.rms_norm("input_layernorm", config.rms_norm_eps),
            attention: Attention::new(config, &scope.at("self_attn")),
            post_attention_layernorm: scope.rms_norm("post_attention_layernorm", config.rms_norm_eps),
            gate_proj: scope.at("mlp").linear("gate_proj"),
            up_proj: scope.at("mlp").linear("up_proj"),
            down_proj: scope.at("mlp").linear("down_proj"),
        }
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    fn forward(&self, x: &Tensor, rope: &RopeTable, segments: &Segments, cache: Option<(&LayerCache, &Indices)>) -> Tensor {
        let x = x.add(&self.attention.forward(&self.input_layernorm.forward(x), rope, segments, cache));
        let normed = self.post_attention_layernorm.forward(&x);
        let inner = self.gate_proj.forward(&normed).swiglu(&self.up_proj.forward(&normed));
        x.add(&self.down_proj.forward(&inner))
    }
}

/// Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245).
#[derive(Clone)]
struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
}

impl Attention {
    fn new(config: &TextConfig, scope: &Scope) -> Self {
        Self {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            q_proj: scope.linear("q_proj"),
            k_proj: scope.linear("k_proj"),
            v_proj: scope.linear("v_proj"),
            o_proj: scope.linear("o_proj"),
        }
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    fn forward(&self, x: &Tensor, rope: &RopeTable, segments: &Segments, cache: Option<(&LayerCache, &Indices)>) -> Tensor {
        let split = |y: Tensor, heads: usize| y.reshape(&[x.dim(0), heads, self.head_dim]); // [tokens, heads, head_dim]
        let q = split(self.q_proj.forward(x), self.heads).rope(rope);
        let k = split(self.k_proj.forward(x), self.kv_heads).rope(rope);
        let v = split(self.v_proj.forward(x), self.kv_heads);
        let scale = (self.head_dim as f32).powf(-0.5);
        let mixed = match cache {
            None => q.attention(&k, &v, segments, scale),
            Some((cache, rows)) => {
                cache.keys.write_rows_(rows, &k);
                cache.values.write_rows_(rows, &v);
                q.attention(&cache.keys, &cache.values, segments, scale)
            }
        };
        self.o_proj.forward(&mixed.reshape(&[x.dim(0), self.heads * self.head_dim]))
    }
}
