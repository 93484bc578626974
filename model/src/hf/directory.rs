//! A Hugging Face directory without its weights: the JSON files, the tokenizer and the chat template.

use crate::hf::{atomic, json};
use crate::image::ImageProcessorConfig;
use crate::{ChatTemplate, GenerationConfig, ModelConfig, ModelError, Tokenizer};
use serde_json::{Map, Value, json};
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
    /// `image_processor` of `processor_config.json`, or `preprocessor_config.json`; written to both.
    pub image_processor: ImageProcessorConfig,
    /// The two files above as they were read, for the keys that Percept does not use.
    processor_files: [(&'static str, Map<String, Value>); 2],
    /// Name and contents of the files that are written back as they were.
    verbatim: Vec<(&'static str, Vec<u8>)>,
}

/// Class of the processor in transformers, for directories that do not name one.
const PROCESSOR_CLASS: &str = "Idefics3Processor";

/// Files that Percept reads, or another program needs, and never changes. All are optional here; what is missing and
/// needed is reported by the one who needs it.
const VERBATIM: [&str; 8] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
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
        let image_processor = ImageProcessorConfig::from_directory(directory)?;
        Self::read_with(directory, config, image_processor)
    }

    /// A new model of `config` with the tokenizer, chat template and other files of `directory`, whose own
    /// `config.json`, if there is one, is not read. Without settings of an image processor, pictures are not cut into
    /// tiles.
    pub fn read_with_config(directory: &Path, config: ModelConfig) -> Result<Self, ModelError> {
        let image_processor = match ImageProcessorConfig::from_directory(directory) {
            Err(ModelError::Missing { .. }) => {
                let side = config.vision.image_size;
                ImageProcessorConfig { do_image_splitting: false, ..ImageProcessorConfig::new(4 * side, side) }
            }
            settings => settings?,
        };
        Self::read_with(directory, config, image_processor)
    }

    fn read_with(directory: &Path, config: ModelConfig, image_processor: ImageProcessorConfig) -> Result<Self, ModelError> {
        let tokenizer = Tokenizer::from_directory(directory)?;
        tokenizer.check_model(&config)?;
        check_image_seq_len(directory, &config)?;
        check_tile_size(directory, &config, &image_processor)?;
        let generation = GenerationConfig::from_file(&directory.join("generation_config.json"), &config)?;
        let object = |name| Ok::<_, ModelError>((name, json::read_object(&directory.join(name))?.unwrap_or_default()));
        Ok(Self {
            chat_template: ChatTemplate::from_directory(directory)?,
            processor_files: [object("processor_config.json")?, object("preprocessor_config.json")?],
            verbatim: read_verbatim(directory)?,
            config,
            generation,
            tokenizer,
            image_processor,
        })
    }

    /// Writes all files into `directory`, each whole or not at all.
    pub fn write(&self, directory: &Path) -> Result<(), ModelError> {
        for (name, contents) in &self.verbatim {
            atomic::write_file(&directory.join(name), contents)?;
        }
        let [(processor_name, mut processor), (preprocessor_name, mut preprocessor)] = self.processor_files.clone();
        let settings = json!(self.image_processor);
        // transformers 5 reads the settings from the one, 4.5x from the other
        overlay(processor.entry("image_processor").or_insert_with(|| json!({})), &settings);
        processor.insert("image_seq_len".into(), self.config.image_seq_len().into());
        processor.entry("processor_class").or_insert_with(|| PROCESSOR_CLASS.into());
        preprocessor.entry("processor_class").or_insert_with(|| PROCESSOR_CLASS.into());
        let mut preprocessor = Value::Object(preprocessor);
        overlay(&mut preprocessor, &settings);
        let json_files = [
            ("config.json", self.config.to_json().into()),
            ("generation_config.json", self.generation.to_json().into()),
            (processor_name, processor.into()),
            (preprocessor_name, preprocessor),
        ];
        for (name, value) in json_files {
            atomic::write_file(&directory.join(name), format!("{value:#}\n").as_bytes())?;
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

/// Tiles have the size that the vision tower's positions were made for.
fn check_tile_size(directory: &Path, config: &ModelConfig, image_processor: &ImageProcessorConfig) -> Result<(), ModelError> {
    let (tile, side) = (image_processor.max_image_size.longest_edge, config.vision.image_size);
    if tile == side {
        return Ok(());
    }
    let expected = format!("{side} (vision_config.image_size of config.json)");
    let processor = json::read_object(&directory.join("processor_config.json"))?;
    let newer = processor.is_some_and(|map| map.contains_key("image_processor"));
    let path = directory.join(if newer { "processor_config.json" } else { "preprocessor_config.json" });
    Err(ModelError::field(&path, "max_image_size.longest_edge", expected, tile))
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

/// Puts the fields of the object `fields` over those of the object `value`.
fn overlay(value: &mut Value, fields: &Value) {
    if let (Value::Object(map), Value::Object(fields)) = (value, fields) {
        map.extend(fields.clone());
    }
}
