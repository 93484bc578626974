//! Generation: prompts are encoded once, all their sequences are decoded together.
//!
//! ```text
//! rows of the cache   [ prompt A | prompt B | A 0 | A 1 | A 2 | B 0 | B 1 ]      each sequence has max_new_tokens - 1 rows
//! a new token sees      the rows of its prompt, and its own rows up to itself
//! ```
//!
//! Tokens are drawn on the device and go into the next step without passing through the host, which reads them every few steps to find stop tokens.
//! A finished sequence leaves the batch; its rows stay where they are, so nothing is moved. Each draw depends on (seed, stream of the sequence, step)
//! and the sequence's own logits: who else is in the batch makes no difference. On a GPU not even to the last bit, with up to [`FEW_ROWS`](percept_engine::ops::FEW_ROWS) sequences; on the
//! CPU the logits of few and of many sequences differ by rounding.

mod decoding;

use crate::error::ModelError;
use crate::hf::tokenizer::{SpecialTokens, Tokenizer};
use crate::image::Patches;
use crate::model::Model;
use decoding::Decoding;
use percept_engine::ops::Sampling;
use percept_engine::{DType, no_grad};
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};

/// A prompt and how many sequences to draw after it.
#[derive(Clone, Debug)]
pub struct GenerationRequest<'a> {
    /// Token ids.
    pub prompt: &'a [u32],
    /// The pictures that stand in the place of its image tokens, in order.
    pub pictures: &'a [Patches],
    /// Streams of random numbers, one for each sequence. Two sequences with the same prompt, seed and stream are the same.
    pub streams: Range<u32>,
}

/// The rules by which tokens are drawn, and when to stop.
#[derive(Clone, Debug)]
pub struct GenerationOptions {
    /// Longest completion, tokens, the stop token among them.
    pub max_new_tokens: usize,
    /// Temperature, top-k, top-p, seed.
    pub sampling: Sampling,
    /// Tokens that end a sequence: [`crate::GenerationConfig::eos_token_ids`].
    pub stop_tokens: Vec<u32>,
    /// Steps between looks at the drawn tokens. Looking makes a GPU wait; not looking decodes on after the end. `None`: 1 on the CPU, where a look
    /// costs nothing; 8 on a GPU, from the 16th token on 16. Completions do not depend on it.
    pub check_every: Option<NonZeroUsize>,
    /// How cached keys and values are stored: f32, f16 or bf16. Halves take half the memory and are read in half the time where that is what decoding waits for; they round keys by 1 part in 2048, or 1 in
    /// 256, so probabilities are no longer those of the model's forward pass to the last digits. A key or value beyond 65,504 is infinite in f16.
    pub kv_cache: DType,
}

/// What was drawn after a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Token ids; the stop token, if there is one, is the last.
    pub tokens: Vec<u32>,
    /// Log-probability of each token in nats, at the sampling temperature (at 1 for greedy decoding), before top-k and top-p.
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

impl Completion {
    /// Token ids without the stop token.
    pub fn content(&self) -> &[u32] {
        match self.finish {
            Finish::Stop => &self.tokens[..self.tokens.len() - 1],
            Finish::Length | Finish::Interrupted => &self.tokens,
        }
    }
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It drew a stop token.
    Stop,
    /// It reached `max_new_tokens`.
    Length,
    /// The caller of [`stream`] had enough.
    Interrupted,
}

/// Draws completions: `[request][stream]`.
///
/// Memory: the cache ([`GenerationOptions::kv_cache`]) holds every prompt once and `max_new_tokens` rows for each sequence; split a batch that does not fit. Of a model with adapters, a copy of the weights they stand
/// beside ([`Model::merged_for_decoding`]).
///
/// # Errors
/// [`ModelError::Context`] if a prompt leaves no room for `max_new_tokens`; as [`crate::Packing::prompt`] for prompts that do not fit their pictures;
/// those of the device.
///
/// # Panics
/// If the sampling settings are out of range ([`percept_engine::Tensor::sample`]), or the cache's type is none of the three.
#[track_caller]
pub fn generate(model: &Model, requests: &[GenerationRequest], options: &GenerationOptions) -> Result<Vec<Vec<Completion>>, ModelError> {
    let flat = decode(model, requests, options, |_| ControlFlow::Continue(()))?;
    let mut flat = flat.into_iter();
    Ok(requests.iter().map(|request| flat.by_ref().take(request.streams.len()).collect()).collect())
}

/// Draws one completion, the first stream's, and hands out its text as it comes, whole characters at a time and without special tokens. `on_text` ends
/// the completion by [`ControlFlow::Break`].
///
/// # Errors
/// As [`generate`], and if the tokens cannot be decoded.
///
/// # Panics
/// As [`generate`], and if the request has no stream.
#[track_caller]
pub fn stream(
    model: &Model,
    tokenizer: &Tokenizer,
    request: &GenerationRequest,
    options: &GenerationOptions,
    mut on_text: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<Completion, ModelError> {
    assert!(!request.streams.is_empty(), "stream: a sequence needs a stream: {:?}", request.streams);
    let start = request.streams.start;
    let request = GenerationRequest { streams: start..start + 1, ..request.clone() };
    let mut detokenizer = tokenizer.detokenizer(SpecialTokens::Skip);
    let mut failure = None;
    let mut given_out = 0;
    let completions = decode(model, &[request], options, |completions| {
        let drawn = &completions[0].tokens[given_out..];
        given_out += drawn.len();
        for &token in drawn {
            match detokenizer.push(token) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => on_text(&text)?,
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let rest = detokenizer.finish()?;
    if !rest.is_empty() {
        // the end of the text: there is nothing left to break off
        let _ = on_text(&rest);
    }
    Ok(completions.into_iter().next().expect("one sequence"))
}

/// All sequences in order; `on_check` sees them after each look at the tokens.
#[track_caller]
fn decode(
    model: &Model,
    requests: &[GenerationRequest],
    options: &GenerationOptions,
    mut on_check: impl FnMut(&[Completion]) -> ControlFlow<()>,
) -> Result<Vec<Completion>, ModelError> {
    let context = model.config().text.max_position_embeddings;
    for request in requests {
        let (prompt_tokens, new_tokens) = (request.prompt.len(), options.max_new_tokens);
        if prompt_tokens.saturating_add(new_tokens) > context {
            return Err(ModelError::Context { prompt_tokens, new_tokens, context });
        }
    }
    let merged = model.merged_for_decoding()?;
    let model = merged.as_ref().unwrap_or(model);
    no_grad(|| {
        let mut decoding = Decoding::start(model, requests, options)?;
        while decoding.is_running() {
            decoding.advance()?;
            if on_check(decoding.completions()).is_break() {
                decoding.interrupt();
            }
        }
        Ok(decoding.into_completions())
    })
}
