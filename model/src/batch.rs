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

use crate::image::Tiles;
use crate::{Model, ModelConfig, ModelError};
use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{Indices, Tensor};
use std::ops::Range;

/// A packed batch in the making.
pub struct Packing<'a> {
    config: &'a ModelConfig,
    ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
    /// Rows of the tokens that visual tokens replace, in order.
    image_rows: Vec<usize>,
    pictures: usize,
    /// Side of the pictures in pixels, once there is one.
    edge: usize,
    pixels: Vec<f32>,
}

/// A prompt in a packed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedPrompt {
    /// Its rows.
    pub rows: Range<usize>,
}

/// Where the tokens of one or more responses are predicted: the hidden state at `rows[i]` gives the distribution of `targets[i]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseRows {
    /// Rows of the packed hidden states.
    pub rows: Vec<u32>,
    /// Token ids of the responses.
    pub targets: Vec<u32>,
}

impl ResponseRows {
    /// Number of response tokens.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Several responses, one after the other.
    pub fn concat<'r>(responses: impl IntoIterator<Item = &'r ResponseRows>) -> ResponseRows {
        let mut all = ResponseRows::default();
        for response in responses {
            all.rows.extend(&response.rows);
            all.targets.extend(&response.targets);
        }
        all
    }
}

impl<'a> Packing<'a> {
    /// Nothing packed yet.
    pub fn new(config: &'a ModelConfig) -> Self {
        Self {
            config,
            ids: Vec::new(),
            positions: Vec::new(),
            segments: Vec::new(),
            image_rows: Vec::new(),
            pictures: 0,
            edge: 0,
            pixels: Vec::new(),
        }
    }

    /// Tokens packed so far.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Appends a prompt. The tiles of its pictures, in order, replace its `<image>` tokens.
    ///
    /// # Errors
    /// If it is empty or longer than the context, or its `<image>` tokens are not as many as the tiles give.
    ///
    /// # Panics
    /// If the pictures are not all of one size.
    #[track_caller]
    pub fn prompt(&mut self, tokens: &[u32], pictures: &[Tiles<f32>]) -> Result<PackedPrompt, ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::Prompt { expected: "at least one token".into(), got: "none".into() });
        }
        let image_rows: Vec<usize> =
            (0..tokens.len()).filter(|&i| tokens[i] == self.config.image_token_id).map(|i| self.ids.len() + i).collect();
        let visual_tokens: usize = pictures.iter().map(|tiles| tiles.shape()[0] * self.visual_tokens(tiles.edge)).sum();
        if image_rows.len() != visual_tokens {
            return Err(ModelError::Prompt {
                expected: format!("{visual_tokens} <image> tokens for {} pictures", pictures.len()),
                got: format!("{} <image> tokens", image_rows.len()),
            });
        }
        let rows = self.append(tokens, 0)?;
        for tiles in pictures {
            assert!(
                self.pictures == 0 || self.edge == tiles.edge,
                "prompt: the pictures of a batch have one size: {} and {} pixels",
                self.edge,
                tiles.edge
            );
            self.edge = tiles.edge;
            self.pictures += tiles.shape()[0];
            self.pixels.extend(&tiles.values);
        }
        self.image_rows.extend(image_rows);
        self.segments.push(Segment { query: rows.clone(), keys: rows.clone(), prefix: None, mask: Mask::Causal });
        Ok(PackedPrompt { rows })
    }

    /// Appends a response that sees the whole prompt and itself up to each token.
    ///
    /// # Errors
    /// If prompt and response are longer than the context.
    pub fn response(&mut self, prompt: &PackedPrompt, tokens: &[u32]) -> Result<ResponseRows, ModelError> {
        let rows = self.append(&tokens[..tokens.len().saturating_sub(1)], prompt.rows.len())?;
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
    ///
    /// # Panics
    /// As [`prompt`](Packing::prompt).
    #[track_caller]
    pub fn row(&mut self, prompt: &[u32], pictures: &[Tiles<f32>], response: &[u32]) -> Result<ResponseRows, ModelError> {
        let prompt = self.prompt(prompt, pictures)?;
        let rows = self.append(&response[..response.len().saturating_sub(1)], prompt.rows.len())?;
        let segment = self.segments.last_mut().expect("the prompt's");
        segment.query.end = rows.end;
        segment.keys.end = rows.end;
        Ok(predictions(&prompt, rows, response))
    }

    /// The batch on the device of the model.
    pub fn into_batch(self, model: &Model) -> PackedBatch {
        let (device, dtype) = (model.device(), model.arithmetic_dtype());
        let tokens = self.ids.len();
        // `<image>` tokens have no embedding: their rows come from the pictures
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
        let channels = self.config.vision.num_channels;
        let pictures = (self.pictures > 0).then(|| {
            let shape = [self.pictures, channels, self.edge, self.edge];
            Tensor::from_f32(device, &self.pixels, &shape, dtype)
        });
        PackedBatch {
            text_ids: Indices::new(device, &text_ids, &[text_ids.len()]),
            source: pictures.is_some().then(|| Indices::new(device, &source, &[tokens])),
            pictures,
            positions: self.positions,
            segments: Segments::new(self.segments, tokens, tokens),
        }
    }

    fn append(&mut self, tokens: &[u32], first_position: usize) -> Result<Range<usize>, ModelError> {
        let (length, context) = (first_position + tokens.len(), self.config.text.max_position_embeddings);
        if length > context {
            let (expected, got) = (format!("at most {context} tokens (max_position_embeddings)"), format!("{length}"));
            return Err(ModelError::Prompt { expected, got });
        }
        let start = self.ids.len();
        self.ids.extend(tokens);
        self.positions.extend((first_position..length).map(|position| position as u32));
        Ok(start..self.ids.len())
    }

    /// Visual tokens of a square picture.
    fn visual_tokens(&self, edge: usize) -> usize {
        (edge / self.config.vision.patch_size / self.config.scale_factor).pow(2)
    }
}

/// A response's tokens but the last stand at `rows`; the prompt's last token predicts the first of them, each token the next.
fn predictions(prompt: &PackedPrompt, rows: Range<usize>, response: &[u32]) -> ResponseRows {
    let first = (!response.is_empty()).then_some(prompt.rows.end - 1);
    ResponseRows { rows: first.into_iter().chain(rows).map(|row| row as u32).collect(), targets: response.to_vec() }
}

/// Tokens, positions, pictures, and who sees whom.
#[derive(Clone)]
pub struct PackedBatch {
    /// Ids of the tokens that are not visual, in order.
    pub(crate) text_ids: Indices,
    /// For each token, its row in `[text embeddings | visual tokens]`; `None` if there are no pictures.
    pub(crate) source: Option<Indices>,
    pictures: Option<Tensor>,
    positions: Vec<u32>,
    segments: Segments,
}

impl PackedBatch {
    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }

    /// All pictures, `[pictures, channels, height, width]`, if there are any.
    pub fn pictures(&self) -> Option<&Tensor> {
        self.pictures.as_ref()
    }

    /// Each token's position in its sequence.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Who sees whom.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }
}
