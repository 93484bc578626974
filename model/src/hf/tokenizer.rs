//! `tokenizer.json`: text to token ids and back.

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::families;
use crate::foreign;
use crate::hf::files;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a Hugging Face directory.
    pub fn from_directory(directory: &Path) -> Result<Self, ModelError> {
        let path = directory.join("tokenizer.json");
        let text = files::read_text(&path, files::MAX_TOKENIZER)?
            .ok_or_else(|| ModelError::Missing { path: path.clone(), needed_for: "the tokenizer" })?;
        Self::from_json(&path, &text)
    }

    /// Reads the text of a `tokenizer.json`; `path` is where it came from, for the errors.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, ModelError> {
        let inner = guarded(path, || {
            let mut inner = tokenizers::Tokenizer::from_bytes(text)?;
            // files often carry the settings of the last training run: rows are packed here, not cut or filled
            inner.with_truncation(None)?;
            inner.with_padding(None);
            Ok(inner)
        })?;
        Ok(Self { path: path.to_path_buf(), inner })
    }

    /// Errors unless this tokenizer is the model's: it has the tokens of the model's family, the same image token, no id past the embedding table.
    pub fn check_model(&self, config: &ModelConfig) -> Result<(), ModelError> {
        let family = families::of(config);
        for token in family.required_tokens {
            self.require(token)?;
        }
        let image_token_id = self.require(family.image_token)?;
        if config.image_token_id != image_token_id {
            return Err(ModelError::field(
                &self.path,
                family.image_token,
                format!("id {} (image_token_id of config.json)", config.image_token_id),
                format!("id {image_token_id}"),
            ));
        }
        let (vocab_size, rows) = (self.vocab_size(), config.text.vocab_size);
        if vocab_size > rows {
            let expected = format!("ids below {rows} (text_config.vocab_size of config.json)");
            let got = format!("id {}", vocab_size - 1);
            return Err(ModelError::field(&self.path, "vocabulary", expected, got));
        }
        Ok(())
    }

    /// The token ids of `text`, in which special tokens are recognised; none is added at the ends.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = guarded(&self.path, || self.inner.encode(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`. Bytes that are not UTF-8 become U+FFFD; ids without a token are left out.
    pub fn decode(&self, ids: &[u32], special_tokens: SpecialTokens) -> Result<String, ModelError> {
        guarded(&self.path, || self.inner.decode(ids, special_tokens == SpecialTokens::Skip))
    }

    /// The text of `ids`, and which bytes of it each token completes: ranges in order that together cover the text. A
    /// token with a part of a character has an empty range, unless it completes the character or ends the text.
    pub fn decode_with_ranges(&self, ids: &[u32], special_tokens: SpecialTokens) -> Result<(String, Vec<Range<usize>>), ModelError> {
        let mut detokenizer = self.detokenizer(special_tokens);
        let (mut text, mut ranges) = (String::new(), Vec::with_capacity(ids.len()));
        for &id in ids {
            let start = text.len();
            text += &detokenizer.push(id)?;
            ranges.push(start..text.len());
        }
        text += &detokenizer.finish()?;
        if let Some(last) = ranges.last_mut() {
            last.end = text.len();
        }
        Ok((text, ranges))
    }

    /// Decodes one token at a time.
    pub fn detokenizer(&self, special_tokens: SpecialTokens) -> Detokenizer<'_> {
        Detokenizer { tokenizer: self, special_tokens, ids: Vec::new(), emitted: 0 }
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Every token in the vocabulary's own spelling, by its id.
    pub(crate) fn tokens_by_id(&self) -> HashMap<u32, String> {
        self.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect()
    }

    /// The id of `token`, if it is one token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token with this id, in the vocabulary's own spelling.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    fn require(&self, token: &str) -> Result<u32, ModelError> {
        self.token_to_id(token)
            .ok_or_else(|| ModelError::field(&self.path, token, "a token of a vision-language model", "no such token in the vocabulary"))
    }
}

/// Whether decoding shows tokens such as `<end_of_utterance>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are part of the text.
    Keep,
    /// They are left out.
    Skip,
}

/// Turns tokens into text as they come, and gives out whole characters only.
#[derive(Clone, Debug)]
pub struct Detokenizer<'a> {
    tokenizer: &'a Tokenizer,
    special_tokens: SpecialTokens,
    /// The tokens of the last piece of text, as context for the decoder, and those not given out yet.
    ids: Vec<u32>,
    /// How many of `ids` have been given out.
    emitted: usize,
}

impl Detokenizer<'_> {
    /// The text that `id` completes; empty while a character is still incomplete.
    pub fn push(&mut self, id: u32) -> Result<String, ModelError> {
        self.ids.push(id);
        let text = self.pending()?;
        // the decoder writes U+FFFD for the bytes of a character whose rest has not come yet
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.ids.drain(..self.emitted);
        self.emitted = self.ids.len();
        Ok(text)
    }

    /// What is left at the end, an incomplete character as U+FFFD.
    pub fn finish(self) -> Result<String, ModelError> {
        self.pending()
    }

    fn pending(&self) -> Result<String, ModelError> {
        let decode = |ids: &[u32]| self.tokenizer.decode(ids, self.special_tokens);
        let (before, text) = (decode(&self.ids[..self.emitted])?, decode(&self.ids)?);
        match text.strip_prefix(&before) {
            Some(new) => Ok(new.to_string()),
            None => Err(ModelError::Tokenizer {
                path: self.tokenizer.path.clone(),
                message: format!("decoding {text:?} does not continue {before:?}"),
            }),
        }
    }
}

/// Errors and panics of the tokenizer's crate: what its file says may be more than it checks.
fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, ModelError> {
    let error = |message: String| ModelError::Tokenizer { path: path.to_path_buf(), message };
    match foreign::contain(run) {
        Ok(result) => result.map_err(|failed| error(failed.to_string())),
        Err(panic) => Err(error(format!("the tokenizer cannot do what its file asks for ({panic})"))),
    }
}
