//! Prompts and responses packed along one token axis, each prompt encoded once for all its responses.
//!
//! ```text
//! tokens    [ prompt(I)      | prompt(I⁺)     | response 1 on I | response 2 on I | response 1 on I⁺ ]
//! sees        itself, causal   itself, causal   prompt(I), itself prompt(I), itself  prompt(I⁺), itself
//! position    0..              0..              after prompt(I)   after prompt(I)    after prompt(I⁺)
//! ```
//!
//! The last token of a response predicts nothing and is left out; its first token is predicted by the last token of the prompt, which all responses
//! of that prompt share. [`ResponseRows`] keeps account of that.

pub(crate) mod batch;

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::families;
use crate::families::family::Family;
use crate::image::Patches;
use crate::model::Model;
use crate::positions::Positions;
use batch::{PackedBatch, ResponseRows};
use percept_engine::Indices;
use percept_engine::ops::{Mask, Segment, Segments};
use std::ops::Range;

/// A packed batch in the making.
pub struct Packing<'a> {
    config: &'a ModelConfig,
    family: &'static Family,
    ids: Vec<u32>,
    positions: Positions,
    segments: Vec<Segment>,
    /// Rows of the tokens that visual tokens replace, in order.
    image_rows: Vec<usize>,
    pictures: Vec<Patches>,
}

/// A prompt in a packed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedPrompt {
    /// Its rows.
    pub rows: Range<usize>,
    /// Position of the token after it.
    pub(crate) next_position: u32,
}

impl<'a> Packing<'a> {
    /// Nothing packed yet.
    pub fn new(config: &'a ModelConfig) -> Self {
        let family = families::of(config);
        Self {
            config,
            family,
            ids: Vec::new(),
            positions: Positions::of_text(family.position_rows, []),
            segments: Vec::new(),
            image_rows: Vec::new(),
            pictures: Vec::new(),
        }
    }

    /// Tokens packed so far.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Appends a prompt. The visual tokens of its pictures, in order, replace its image tokens.
    ///
    /// # Errors
    /// If it is empty or longer than the context, or its image tokens are not as many as the pictures give.
    pub fn prompt(&mut self, tokens: &[u32], pictures: &[Patches]) -> Result<PackedPrompt, ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::Prompt { expected: "at least one token".into(), got: "none".into() });
        }
        let image_rows: Vec<usize> =
            (0..tokens.len()).filter(|&i| tokens[i] == self.config.image_token_id).map(|i| self.ids.len() + i).collect();
        let grids = pictures.iter().flat_map(Patches::grids);
        let visual_tokens: usize = grids.map(|&grid| (self.family.visual_grid)(self.config, grid)).map(|[rows, cols]| rows * cols).sum();
        if image_rows.len() != visual_tokens {
            let image_token = self.family.image_token;
            return Err(ModelError::Prompt {
                expected: format!("{visual_tokens} {image_token} tokens for {} pictures", pictures.len()),
                got: format!("{} {image_token} tokens", image_rows.len()),
            });
        }
        self.check_length(tokens.len())?;
        let placed = (self.family.positions)(self.config, tokens, pictures);
        let rows = self.append(tokens, &placed.positions);
        self.image_rows.extend(image_rows);
        self.pictures.extend_from_slice(pictures);
        self.segments.push(Segment { query: rows.clone(), keys: rows.clone(), prefix: None, mask: Mask::Causal });
        Ok(PackedPrompt { rows, next_position: placed.next })
    }

    /// Appends a prompt whose visual tokens no other token sees: they are left out, and the others stand where they would stand with them. As if attention
    /// to the pictures were masked in every layer.
    ///
    /// # Errors
    /// As [`prompt`](Packing::prompt), and if it ends with an image token.
    pub fn prompt_hiding_pictures(&mut self, tokens: &[u32], pictures: &[Patches]) -> Result<PackedPrompt, ModelError> {
        let image_token = self.config.image_token_id;
        if tokens.last().is_none_or(|last| *last == image_token) {
            return Err(ModelError::Prompt { expected: "a token after the pictures".into(), got: "none".into() });
        }
        self.check_length(tokens.len())?;
        let placed = (self.family.positions)(self.config, tokens, pictures);
        let seen: Vec<usize> = (0..tokens.len()).filter(|&i| tokens[i] != image_token).collect();
        let text: Vec<u32> = seen.iter().map(|&i| tokens[i]).collect();
        let rows = self.append(&text, &placed.positions.at(&seen));
        self.segments.push(Segment { query: rows.clone(), keys: rows.clone(), prefix: None, mask: Mask::Causal });
        Ok(PackedPrompt { rows, next_position: placed.next })
    }

    /// Appends a response that sees the whole prompt and itself up to each token.
    ///
    /// # Errors
    /// If prompt and response are longer than the context.
    pub fn response(&mut self, prompt: &PackedPrompt, tokens: &[u32]) -> Result<ResponseRows, ModelError> {
        let rows = self.append_response(prompt, tokens)?;
        if !rows.is_empty() {
            let prefix = Some(prompt.rows.clone());
            self.segments.push(Segment { query: rows.clone(), keys: rows.clone(), prefix, mask: Mask::Causal });
        }
        Ok(predictions(prompt, rows, tokens))
    }

    /// Appends a prompt and its one response as one causal sequence: what [`prompt`](Packing::prompt) and [`response`](Packing::response) give, but
    /// with the prompt encoded for this response alone.
    ///
    /// # Errors
    /// As those of both.
    pub fn row(&mut self, prompt: &[u32], pictures: &[Patches], response: &[u32]) -> Result<ResponseRows, ModelError> {
        let prompt = self.prompt(prompt, pictures)?;
        let rows = self.append_response(&prompt, response)?;
        let segment = self.segments.last_mut().expect("the prompt's");
        segment.query.end = rows.end;
        segment.keys.end = rows.end;
        Ok(predictions(&prompt, rows, response))
    }

    /// The batch on the device of the model.
    ///
    /// # Panics
    /// If the patches of two pictures are not of the same width.
    #[track_caller]
    pub fn into_batch(self, model: &Model) -> PackedBatch {
        let device = model.device();
        let tokens = self.ids.len();
        // image tokens have no embedding: their rows come from the pictures
        let mut source = vec![0u32; tokens];
        let mut text_ids = Vec::with_capacity(tokens - self.image_rows.len());
        let mut images = self.image_rows.iter().copied().peekable();
        for (row, &id) in self.ids.iter().enumerate() {
            if images.next_if_eq(&row).is_none() {
                source[row] = text_ids.len() as u32;
                text_ids.push(id);
            }
        }
        for (i, &row) in self.image_rows.iter().enumerate() {
            source[row] = (text_ids.len() + i) as u32;
        }
        let pictures = model.patch_batch(&self.pictures);
        PackedBatch {
            text_ids: Indices::new(device, &text_ids, &[text_ids.len()]),
            source: pictures.is_some().then(|| Indices::new(device, &source, &[tokens])),
            pictures,
            positions: self.positions,
            segments: Segments::new(self.segments, tokens, tokens),
        }
    }

    /// The tokens of a response but the last, which predicts nothing.
    fn append_response(&mut self, prompt: &PackedPrompt, response: &[u32]) -> Result<Range<usize>, ModelError> {
        let read = &response[..response.len().saturating_sub(1)];
        self.check_length(prompt.rows.len() + read.len())?;
        let positions = (prompt.next_position..).take(read.len());
        Ok(self.append(read, &Positions::of_text(self.family.position_rows, positions)))
    }

    fn append(&mut self, tokens: &[u32], positions: &Positions) -> Range<usize> {
        let start = self.ids.len();
        self.ids.extend(tokens);
        self.positions.extend(positions);
        start..self.ids.len()
    }

    fn check_length(&self, length: usize) -> Result<(), ModelError> {
        let context = self.config.text.max_position_embeddings;
        if length > context {
            let (expected, got) = (format!("at most {context} tokens (max_position_embeddings)"), format!("{length}"));
            return Err(ModelError::Prompt { expected, got });
        }
        Ok(())
    }
}

/// A response's tokens but the last stand at `rows`; the prompt's last token predicts the first of them, each token the next.
fn predictions(prompt: &PackedPrompt, rows: Range<usize>, response: &[u32]) -> ResponseRows {
    let first = (!response.is_empty()).then_some(prompt.rows.end - 1);
    ResponseRows { rows: first.into_iter().chain(rows).map(|row| row as u32).collect(), targets: response.to_vec() }
}
