//! The decoder while it writes tokens: the same in six launches a layer, ten with adapters.

use super::{Decoder, DecoderLayer};
use crate::layers::attention::Attention;
use crate::layers::cache::KvCache;
use crate::layers::few_tokens::FewTokensLinear;
use crate::layers::norms::RmsNorm;
use percept_engine::ops::{Epilogue, RopeTable, Segments};
use percept_engine::{Indices, Tensor};

/// One block of the decoder: a norm goes along with the product behind it, the gate and the addition to the residual stream with that before it.
struct FewTokensLayer<'a> {
    input_layernorm: &'a RmsNorm,
    qkv: FewTokensLinear,
    attention: &'a Attention,
    out_proj: FewTokensLinear,
    post_attention_layernorm: &'a RmsNorm,
    gate_and_up: FewTokensLinear,
    down_proj: FewTokensLinear,
}

/// All blocks of a decoder, and the norm behind them.
pub(crate) struct FewTokensDecoder<'a> {
    layers: Vec<FewTokensLayer<'a>>,
    pub(crate) norm: &'a RmsNorm,
}

impl Decoder {
    /// The same decoder for few tokens. None if layers that read the same do not lie in order.
    pub(crate) fn few(&self) -> Option<FewTokensDecoder<'_>> {
        let layers = self.layers.iter().map(DecoderLayer::few).collect::<Option<_>>()?;
        Some(FewTokensDecoder { layers, norm: &self.norm })
    }
}

impl DecoderLayer {
    fn few(&self) -> Option<FewTokensLayer<'_>> {
        let [qkv, out_proj] = self.attention.few()?;
        let [gate_and_up, down_proj] = self.mlp.few()?;
        let Self { input_layernorm, attention, post_attention_layernorm, .. } = self;
        Some(FewTokensLayer { input_layernorm, qkv, attention, out_proj, post_attention_layernorm, gate_and_up, down_proj })
    }
}

impl FewTokensDecoder<'_> {
    /// What [`Decoder::forward_cached`] gives, to rounding, before the final norm. `[tokens, hidden] -> [tokens, hidden]`
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
            let qkv = layer.qkv.forward(&x, Some(layer.input_layernorm), Epilogue::None);
            let mixed = layer.attention.mix_cached(&qkv, rope, segments, cache, rows);
            x = layer.out_proj.forward(&mixed, None, Epilogue::Add(&x));
            let gated = layer.gate_and_up.forward(&x, Some(layer.post_attention_layernorm), Epilogue::Swiglu);
            x = layer.down_proj.forward(&gated, None, Epilogue::Add(&x));
        }
        x
    }
}
