//! The decoder: a transformer like Llama (Touvron et al. 2023, arXiv 2302.13971) on packed tokens: grouped-query attention with rotary positions, and
//! SwiGLU, each behind an RMSNorm.
//!
//! Which tokens see which, and at which angles, is not the decoder's business: both come in as [`Segments`] and [`RopeTable`].

use crate::config::{Bias, ModelConfig, TextConfig};
use crate::layers::activations::Activations;
use crate::layers::attention::{Attention, AttentionShape};
use crate::layers::cache::{KvCache, LayerCache};
use crate::layers::mlp::SwigluMlp;
use crate::layers::norms::RmsNorm;
use crate::layers::scope::Scope;
use crate::layers::weights::Weight;
use percept_engine::ops::{RopeTable, Segments};
use percept_engine::{Indices, Tensor};

/// Embeddings to hidden states.
pub(crate) struct Decoder {
    /// `[vocab, hidden]`
    pub(crate) embed_tokens: Weight,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    /// `[vocab, hidden]`; the embedding table if the head is tied.
    pub(crate) head: Weight,
}

impl Decoder {
    /// `scope` is the decoder's, `head` the name of the head in the scope of the whole model.
    pub(crate) fn new(config: &ModelConfig, scope: &Scope, (model, head): (&Scope, &str)) -> Self {
        let text = &config.text;
        let table = [text.vocab_size, text.hidden_size];
        let embed_tokens = scope.embedding("embed_tokens", table);
        let layers = (0..text.num_hidden_layers).map(|layer| DecoderLayer::new(text, &scope.at("layers").at(layer))).collect();
        let norm = scope.rms_norm("norm", text.hidden_size, text.rms_norm_eps);
        let head = if config.tie_word_embeddings { embed_tokens.clone() } else { model.embedding(head, table) };
        Self { embed_tokens, layers, norm, head }
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

    /// Shows `visit` the hidden states before each layer, and those after the final norm. `[tokens, hidden]`
    pub(crate) fn visit_hidden(&self, embeddings: &Tensor, rope: &RopeTable, segments: &Segments, visit: &mut dyn FnMut(&Tensor)) {
        let mut x = embeddings.clone();
        for layer in &self.layers {
            visit(&x);
            x = layer.forward(&x, rope, segments, None);
        }
        visit(&self.norm.forward(&x));
    }

    /// What [`forward`](Decoder::forward) gives, for new tokens of sequences whose earlier keys and values are cached. Writes the new ones into rows `rows` of the cache; the
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

/// One block of the decoder.
#[derive(Clone)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    attention: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: SwigluMlp,
}

impl DecoderLayer {
    fn new(config: &TextConfig, scope: &Scope) -> Self {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let attention = AttentionShape {
            hidden,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            bias: config.qkv_bias,
            out: ("o_proj", Bias::No),
        };
        Self {
            input_layernorm: scope.rms_norm("input_layernorm", hidden, eps),
            attention: Attention::new(&attention, &scope.at("self_attn")),
            post_attention_layernorm: scope.rms_norm("post_attention_layernorm", hidden, eps),
            mlp: SwigluMlp::new(hidden, config.intermediate_size, &scope.at("mlp")),
        }
    }

    /// `[tokens, hidden] -> [tokens, hidden]`
    fn forward(&self, x: &Tensor, rope: &RopeTable, segments: &Segments, cache: Option<(&LayerCache, &Indices)>) -> Tensor {
        let x = x.add(&self.attention.forward(&self.input_layernorm.forward(x), Some(rope), segments, cache));
        x.add(&self.mlp.forward(&self.post_attention_layernorm.forward(&x)))
    }
}
