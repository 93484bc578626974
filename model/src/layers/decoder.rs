//! The decoder: a transformer like Llama (Touvron et al. 2023, arXiv 2302.13971) on packed tokens: grouped-query attention with rotary positions, and
//! SwiGLU, each behind an RMSNorm.
//!
//! Which tokens see which, and at which angles, is not the decoder's business: both come in as [`Segments`] and [`RopeTable`].

pub(crate) mod few_tokens;

use crate::config::{Bias, ModelConfig, TextConfig};
use crate::layers::activations::Activations;
use crate::layers::attention::{Attention, AttentionShape, Projections};
use crate::layers::cache::KvCache;
use crate::layers::mlp::SwigluMlp;
use crate::layers::norms::RmsNorm;
use crate::layers::scope::Scope;
use crate::layers::weights::Weight;
use percept_engine::ops::{RopeTable, Segments};
use percept_engine::{DType, Indices, Tensor};

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
        let head = if config.tie_word_embeddings {
            model.tied_embedding(head, (scope, "embed_tokens"));
            embed_tokens.clone()
        } else {
            model.embedding(head, table)
        };
        Self { embed_tokens, layers, norm, head }
    }

    /// Hidden states after the final norm. `[tokens, hidden] -> [tokens, hidden]`
    pub(crate) fn forward(&self, embeddings: &Tensor, rope: &RopeTable, segments: &Segments, activations: Activations) -> Tensor {
        let mut stream = Stream::of(embeddings);
        for layer in &self.layers {
            stream = match activations {
                Activations::Keep => layer.forward(stream, |x| layer.attention.forward(x, Some(rope), segments)),
                Activations::Recompute => {
                    let (layer, rope, segments) = (layer.clone(), rope.clone(), segments.clone());
                    let layer =
                        move |x: &Tensor| layer.forward(Stream::of(x), |x| layer.attention.forward(x, Some(&rope), &segments)).value();
                    Stream::of(&activations.run(&stream.value(), layer))
                }
            };
        }
        stream.normed(&self.norm)[1].clone()
    }

    /// Shows `visit` the hidden states before each layer, and those after the final norm. `[tokens, hidden]`
    pub(crate) fn visit_hidden(&self, embeddings: &Tensor, rope: &RopeTable, segments: &Segments, visit: &mut dyn FnMut(&Tensor)) {
        let mut x = embeddings.clone();
        for layer in &self.layers {
            visit(&x);
            x = layer.forward(Stream::of(&x), |x| layer.attention.forward(x, Some(rope), segments)).value();
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
        let mut stream = Stream::of(embeddings);
        for (layer, cache) in self.layers.iter().zip(cache.layers()) {
            stream = layer.forward(stream, |x| layer.attention.forward_cached(x, rope, segments, cache, rows));
        }
        stream.normed(&self.norm)[1].clone()
    }
}

/// The residual stream between two blocks: `x`, and what the last block adds to it. The next norm does the addition, in its own kernel.
///
/// It is never f16, whatever the weights are stored as: single channels of large models grow beyond 65,504.
struct Stream {
    x: Tensor,
    added: Option<Tensor>,
}

impl Stream {
    fn of(x: &Tensor) -> Self {
        assert!(x.dtype() != DType::F16, "the residual stream: f16 ends at 65,504");
        Self { x: x.clone(), added: None }
    }

    fn value(self) -> Tensor {
        match self.added {
            Some(added) => self.x.add(&added),
            None => self.x,
        }
    }

    /// The value and its norm.
    fn normed(self, norm: &RmsNorm) -> [Tensor; 2] {
        match self.added {
            Some(added) => norm.forward_sum(&self.x, &added),
            None => [self.x.clone(), norm.forward(&self.x)],
        }
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
            projections: Projections::Apart,
            bias: config.qkv_bias,
            out: ("o_proj", Bias::No),
        };
        Self {
            input_layernorm: scope.rms_norm("input_layernorm", hidden, eps),
            attention: Attention::new(&attention, &scope.at("self_attn")),
            post_attention_layernorm: scope.rms_norm("post_attention_layernorm", hidden, eps),
            mlp: SwigluMlp::new(hidden, config.intermediate_size, Bias::No, &scope.at("mlp")),
        }
    }

    /// `attend` is the layer's attention, with or without a cache.
    fn forward(&self, stream: Stream, attend: impl Fn(&Tensor) -> Tensor) -> Stream {
        let [x, normed] = stream.normed(&self.input_layernorm);
        let [x, normed] = Stream { x, added: Some(attend(&normed)) }.normed(&self.post_attention_layernorm);
        Stream { x, added: Some(self.mlp.forward(&normed)) }
    }
}
