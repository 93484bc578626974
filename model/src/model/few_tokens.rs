//! A model that writes tokens.

use super::Model;
use crate::layers::cache::KvCache;
use crate::layers::decoder::few_tokens::FewTokensDecoder;
use percept_engine::ops::{RopeTable, Segments, are_best_fused};
use percept_engine::{Indices, Tensor, no_grad};
use std::cell::OnceCell;

/// A model as it writes tokens, with everything made ready that does not change meanwhile: [`Model::few_tokens`]. While it is there, the weights must not be trained.
pub struct FewTokens<'a> {
    model: &'a Model,
    /// Made when it is needed. None if the layers are not laid out for it.
    decoder: OnceCell<Option<FewTokensDecoder<'a>>>,
}

impl Model {
    /// The model for writing tokens, one of each of some sequences at a time.
    pub fn few_tokens(&self) -> FewTokens<'_> {
        FewTokens { model: self, decoder: OnceCell::new() }
    }
}

impl FewTokens<'_> {
    /// The logits behind [`Model::hidden_cached`], in fewer launches if the tokens are few. Suppressed tokens have none to speak of. `embeddings [tokens, hidden] -> [tokens, vocab]`
    pub fn logits_cached(&self, embeddings: &Tensor, rope: &RopeTable, segments: &Segments, cache: &KvCache, rows: &Indices) -> Tensor {
        no_grad(|| {
            let embeddings = embeddings.detach();
            let are_few = are_best_fused(embeddings.device(), embeddings.dim(0));
            let Some(Some(decoder)) = are_few.then(|| self.decoder.get_or_init(|| self.model.network.decoder.few())) else {
                return self.model.head.logits(&self.model.hidden_cached(&embeddings, rope, segments, cache, rows));
            };
            let x = decoder.forward_cached(&embeddings, rope, segments, cache, rows);
            self.model.head.fused_logits(&x, (&decoder.norm.weight, decoder.norm.eps))
        })
    }
}
