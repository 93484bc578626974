//! The state of a batch that is being decoded.

use super::{Completion, Finish, GenerationOptions, GenerationRequest};
use crate::error::ModelError;
use crate::layers::cache::KvCache;
use crate::model::{FewTokens, Model};
use crate::packing::{PackedPrompt, Packing};
use percept_engine::ops::{Mask, RowRule, Segment, Segments, with_row_rule};
use percept_engine::{Indices, RopeTable, Tensor};
use std::num::NonZeroUsize;

/// Steps between looks at the tokens on a GPU: few while most sequences may still be short, then more.
const GPU_CHECKS: [usize; 2] = [8, 16];

pub(super) struct Decoding<'a> {
    model: &'a Model,
    few: FewTokens<'a>,
    options: &'a GenerationOptions,
    cache: KvCache,
    /// Sequences in the batch, in the order of its rows.
    running: Vec<Sequence>,
    /// Random streams of the running sequences, `[running]` u32.
    streams: Tensor,
    /// Rotations at all positions that new tokens can have, from `first_position` on.
    rope: RopeTable,
    first_position: u32,
    /// Hidden states that predict their next tokens, `[running, hidden]`, if they are known already.
    hidden: Option<Tensor>,
    /// Last tokens of the running sequences, `[running]` u32.
    last: Option<Tensor>,
    /// Tokens drawn so far.
    step: usize,
    /// Completions of all sequences, in the order of the requests.
    completions: Vec<Completion>,
}

/// A sequence in the batch.
#[derive(Clone)]
struct Sequence {
    /// Its place in the completions.
    index: usize,
    stream: u32,
    /// Its prompt, whose rows in the cache are those of the packed batch.
    prompt: PackedPrompt,
    /// Its first own row in the cache.
    first_row: usize,
}

impl<'a> Decoding<'a> {
    /// Encodes the prompts.
    #[track_caller]
    pub(super) fn start(model: &'a Model, requests: &[GenerationRequest], options: &'a GenerationOptions) -> Result<Self, ModelError> {
        let (mut packing, mut prompts) = (Packing::new(model.config()), Vec::new());
        for request in requests {
            prompts.push(packing.prompt(request.prompt, request.pictures)?);
        }
        let prompt_tokens = packing.tokens();
        let own_rows = options.max_new_tokens.saturating_sub(1);
        let mut running = Vec::new();
        let mut last_prompt_rows = Vec::new();
        for (request, prompt) in requests.iter().zip(&prompts) {
            for stream in request.streams.clone() {
                let index = running.len();
                let first_row = prompt_tokens + index * own_rows;
                running.push(Sequence { index, stream, prompt: prompt.clone(), first_row });
                last_prompt_rows.push(prompt.rows.end as u32 - 1);
            }
        }
        let completions = vec![Completion { tokens: Vec::new(), log_probs: Vec::new(), finish: Finish::Length }; running.len()];
        if options.max_new_tokens == 0 {
            running.clear();
        }
        let rows = if running.is_empty() { 0 } else { prompt_tokens + running.len() * own_rows };
        let cache = model.new_cache(rows, options.kv_cache);
        let hidden = (!running.is_empty()).then(|| {
            let hidden = prefill(model, packing, &cache);
            hidden.index_select(&Indices::new(model.device(), &last_prompt_rows, &[last_prompt_rows.len()]))
        });
        let streams = streams_of(model, &running);
        let next = || running.iter().map(|sequence: &Sequence| sequence.prompt.next_position);
        let (first_position, last) = (next().min().unwrap_or(0), next().max().unwrap_or(0));
        let rope = model.rope(&model.text_positions(first_position..last + own_rows as u32));
        Ok(Self {
            model,
            few: model.few_tokens(),
            options,
            cache,
            running,
            streams,
            rope,
            first_position,
            hidden,
            last: None,
            step: 0,
            completions,
        })
    }

    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    pub(super) fn completions(&self) -> &[Completion] {
        &self.completions
    }

    pub(super) fn into_completions(self) -> Vec<Completion> {
        self.completions
    }

    /// Ends all sequences here.
    pub(super) fn interrupt(&mut self) {
        for sequence in self.running.drain(..) {
            self.completions[sequence.index].finish = Finish::Interrupted;
        }
    }

    /// A few steps, then a look at what they drew: the finished sequences leave.
    pub(super) fn advance(&mut self) -> Result<(), ModelError> {
        let [first, later] = GPU_CHECKS;
        let default = match () {
            () if self.model.device().is_cpu() => 1,
            () if self.step < later => first,
            () => later,
        };
        let check_every = self.options.check_every.map_or(default, NonZeroUsize::get);
        let steps = check_every.min(self.options.max_new_tokens - self.step);
        let (tokens, log_probs): (Vec<Tensor>, Vec<Tensor>) = (0..steps).map(|_| self.draw()).unzip();
        let joined = [tokens, log_probs].map(|drawn| Tensor::concat(&drawn.iter().collect::<Vec<_>>(), 0)); // [steps · running]
        let drawn = Tensor::to_f64_vecs(&joined.each_ref())?;
        let (tokens, log_probs) = (&drawn[0], &drawn[1]);

        let batch = self.running.len();
        let mut staying = Vec::new();
        for (row, sequence) in self.running.iter().enumerate() {
            let completion = &mut self.completions[sequence.index];
            let drawn = (0..steps).map(|step| step * batch + row);
            let stop = drawn.clone().position(|i| self.options.stop_tokens.contains(&(tokens[i] as u32)));
            // what was drawn after a stop token is dropped
            for i in drawn.take(stop.map_or(steps, |at| at + 1)) {
                completion.tokens.push(tokens[i] as u32);
                completion.log_probs.push(log_probs[i] as f32);
            }
            match stop {
                Some(_) => completion.finish = Finish::Stop,
                None => staying.push(row as u32),
            }
        }
        if self.step == self.options.max_new_tokens {
            staying.clear();
        }
        self.keep(&staying);
        Ok(())
    }

    /// Draws the next token of every running sequence. `-> (tokens [running] u32, log_probs [running])`
    fn draw(&mut self) -> (Tensor, Tensor) {
        let hidden = self.hidden.take();
        let logits = with_row_rule(RowRule::Few, || hidden.map_or_else(|| self.read_last(), |hidden| self.model.head().logits(&hidden))); // [running, vocab]
        let (tokens, log_probs) = logits.sample(&self.streams, self.step as u32, &self.options.sampling);
        self.step += 1;
        self.last = Some(tokens.clone());
        (tokens, log_probs)
    }

    /// Runs the last tokens through the decoder. `-> logits [running, vocab]`
    fn read_last(&self) -> Tensor {
        let tokens = self.last.as_ref().expect("every sequence has drawn a token");
        let (batch, before) = (self.running.len(), self.step - 1);
        let segment = |(query, sequence): (usize, &Sequence)| Segment {
            query: query..query + 1,
            keys: sequence.first_row..sequence.first_row + self.step,
            prefix: Some(sequence.prompt.rows.clone()),
            mask: Mask::Causal,
        };
        let segments = Segments::new(self.running.iter().enumerate().map(segment).collect(), batch, self.cache.rows());
        let rows: Vec<u32> = self.running.iter().map(|sequence| (sequence.first_row + before) as u32).collect();
        let positions: Vec<u32> =
            self.running.iter().map(|sequence| sequence.prompt.next_position + before as u32 - self.first_position).collect();
        let rope = self.rope.select(&Indices::new(self.model.device(), &positions, &[batch]));

        let embeddings = self.model.embed_tokens(&Indices::on_device(tokens));
        let rows = Indices::new(self.model.device(), &rows, &[batch]);
        self.few.logits_cached(&embeddings, &rope, &segments, &self.cache, &rows)
    }

    /// Keeps these rows of the batch, which are in order.
    fn keep(&mut self, staying: &[u32]) {
        if staying.len() == self.running.len() {
            return;
        }
        self.running = staying.iter().map(|&row| self.running[row as usize].clone()).collect();
        self.streams = streams_of(self.model, &self.running);
        let staying = Indices::new(self.model.device(), staying, &[staying.len()]);
        self.last = self.last.take().map(|tokens| tokens.index_select(&staying));
    }
}

/// Hidden states of all prompts, and their keys and values in the first rows of the cache. `-> [prompt tokens, hidden]`
fn prefill(model: &Model, packing: Packing, cache: &KvCache) -> Tensor {
    let batch = packing.into_batch(model);
    let tokens = batch.tokens();
    let segments = Segments::new(batch.segments().list().to_vec(), tokens, cache.rows());
    let rows: Vec<u32> = (0..tokens as u32).collect();
    let rows = Indices::new(model.device(), &rows, &[tokens]);
    with_row_rule(RowRule::Many, || model.hidden_cached(&model.embed(&batch), &model.rope(batch.positions()), &segments, cache, &rows))
}

fn streams_of(model: &Model, running: &[Sequence]) -> Tensor {
    let streams: Vec<u32> = running.iter().map(|sequence| sequence.stream).collect();
    Tensor::from_slice(model.device(), &streams, &[streams.len()])
}
