//! `generation_config.json`: how a model is meant to be sampled.

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::hf::json::{self, Fields};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Stop tokens and sampling defaults of a model. Keys that Percept does not use are kept and written back.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a response.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills rows.
    pub pad_token_id: Option<u32>,
    /// First token of a prompt. Files may have a wrong one: the chat template writes the right one.
    pub bos_token_id: Option<u32>,
    /// Whether to sample; otherwise the most probable token is taken.
    pub do_sample: bool,
    /// Logits are divided by this; above 0.
    pub temperature: Option<f64>,
    /// Only the `top_k` most probable tokens are drawn from; 0 is no limit.
    pub top_k: Option<usize>,
    /// Only the most probable tokens that together reach this probability are drawn from; in (0, 1].
    pub top_p: Option<f64>,
    /// Longest response, tokens.
    pub max_new_tokens: Option<usize>,
    /// The file this was read from, empty if there was none.
    loaded: Map<String, Value>,
}

impl GenerationConfig {
    /// Reads a `generation_config.json`. Without the file the tokens come from `config.json`, as in transformers.
    pub fn from_file(path: &Path, config: &ModelConfig) -> Result<Self, ModelError> {
        match json::read_object(path)? {
            Some(map) => Self::from_map(path, map),
            None => Ok(Self::from_config(config)),
        }
    }

    /// Greedy decoding with the token ids of the text model.
    pub fn from_config(config: &ModelConfig) -> Self {
        Self {
            eos_token_ids: config.text.eos_token_ids.clone(),
            pad_token_id: config.text.pad_token_id,
            bos_token_id: config.text.bos_token_id,
            do_sample: false,
            temperature: None,
            top_k: None,
            top_p: None,
            max_new_tokens: None,
            loaded: Map::new(),
        }
    }

    /// The contents of a `generation_config.json`: the file this was read from with the fields of `self` put over it.
    pub fn to_json(&self) -> Map<String, Value> {
        let eos_token_id = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => (*one).into(),
            several => several.into(),
        };
        let fields = json!({
            "eos_token_id": eos_token_id,
            "pad_token_id": self.pad_token_id,
            "bos_token_id": self.bos_token_id,
            "do_sample": self.do_sample,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
        });
        let mut map = self.loaded.clone();
        for (name, value) in fields.as_object().into_iter().flatten() {
            match value {
                // an absent key stays absent: transformers gives null and absence different meanings for some
                Value::Null => map.remove(name),
                value => map.insert(name.clone(), value.clone()),
            };
        }
        map
    }

    fn from_map(path: &Path, loaded: Map<String, Value>) -> Result<Self, ModelError> {
        let fields = Fields::new(path, &loaded);
        let within = |name: &str, expected: &str, holds: fn(f64) -> bool| match fields.number(name)? {
            Some(number) if !holds(number) => Err(fields.error(name, expected, number)),
            number => Ok(number),
        };
        let config = Self {
            eos_token_ids: fields.token_ids("eos_token_id")?,
            pad_token_id: fields.token_id("pad_token_id")?,
            bos_token_id: fields.token_id("bos_token_id")?,
            do_sample: fields.flag("do_sample")?.unwrap_or(false),
            temperature: within("temperature", "a number above 0", |t| t as f32 > 0.0 && (t as f32).is_finite())?,
            top_k: fields.count("top_k")?,
            top_p: within("top_p", "a number above 0, at most 1", |p| p as f32 > 0.0 && p <= 1.0)?,
            max_new_tokens: fields.positive("max_new_tokens")?,
            loaded: Map::new(),
        };
        Ok(Self { loaded, ..config })
    }
}
