//! A Hugging Face directory without its weights: the JSON files, the tokenizer and the chat template.

use crate::{ChatTemplate, GenerationConfig, ModelConfig, ModelError, Tokenizer, atomic, json};
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// Everything in a model directory but its weights.
///
/// The weights are read and written beside it, by the names of [`crate::parameter_shapes`]; to save both at once, call
/// [`ModelFiles::write`] inside [`atomic::write_directory`].
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// `config.json`.
    pub config: ModelConfig,
    /// `generation_config.json`.
    pub generation: GenerationConfig,
    /// `tokenizer.json`.
    pub tokenizer: Tokenizer,
    /// `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`.
    pub chat_template: ChatTemplate,
    /// Name and contents of the files that are written back as they were.
    verbatim: Vec<(&'static str, Vec<u8>)>,
}

/// Files that Percept reads, or another program needs, and never changes. All are optional here; what is missing and
/// needed is reported by the one who needs it.
const VERBATIM: [&str; 10] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
];

impl ModelFiles {
    /// Reads a directory that transformers or Percept saved.
    ///
    /// Errors name the file that is missing, damaged or in conflict with another: the tokenizer's ids must be the
    /// model's, and `image_seq_len` of `processor_config.json` what the configuration's sizes give.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        let config = ModelConfig::from_file(&directory.join("config.json"))?;
        Self::read_with_config(directory, config)
    }

    /// A new model of `config` with the tokenizer, chat template and other files of `directory`, whose own
    /// `config.json`, if there is one, is not read.
    pub fn read_with_config(directory: &Path, config: ModelConfig) -> Result<Self, ModelError> {
        let tokenizer = Tokenizer::from_directory(directory)?;
        tokenizer.check_model(&config)?;
        check_image_seq_len(directory, &config)?;
        let generation = GenerationConfig::from_file(&directory.join("generation_config.json"), &config)?;
        Ok(Self {
            chat_template: ChatTemplate::from_directory(directory)?,
            verbatim: read_verbatim(directory)?,
            config,
            generation,
            tokenizer,
        })
    }

    /// Writes all files into `directory`, each whole or not at all.
    pub fn write(&self, directory: &Path) -> Result<(), ModelError> {
        for (name, contents) in &self.verbatim {
            atomic::write_file(&directory.join(name), contents)?;
        }
        let json_files = [("config.json", self.config.to_json()), ("generation_config.json", self.generation.to_json())];
        for (name, map) in json_files {
            atomic::write_file(&directory.join(name), pretty(map).as_bytes())?;
        }
        Ok(())
    }
}

/// The processor of transformers expands prompts by the file's number: one that differs from the vision tower's would
/// make the two disagree.
fn check_image_seq_len(directory: &Path, config: &ModelConfig) -> Result<(), ModelError> {
    let path = directory.join("processor_config.json");
    let map = json::read_object(&path)?.unwrap_or_default();
    let fields = json::Fields::new(&path, &map);
    match fields.positive("image_seq_len")? {
        Some(length) if length != config.image_seq_len() => {
            let expected = format!("{} (from config.json)", config.image_seq_len());
            Err(fields.error("image_seq_len", &expected, length))
        }
        _ => Ok(()),
    }
}

fn read_verbatim(directory: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, ModelError> {
    let mut files = Vec::new();
    for name in VERBATIM {
        let path = directory.join(name);
        match fs::read(&path) {
            Ok(contents) => files.push((name, contents)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ModelError::io(&path, error)),
        }
    }
    Ok(files)
}

fn pretty(map: Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(map))
}
