//! A Hugging Face directory without its weights: the JSON files, the tokenizer and the chat template.

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::families;
use crate::hf::atomic;
use crate::hf::chat::ChatTemplate;
use crate::hf::files;
use crate::hf::generation_config::GenerationConfig;
use crate::hf::json::{self, Fields};
use crate::hf::place::ModelPlace;
use crate::hf::tokenizer::Tokenizer;
use crate::image::{ImageError, ImageProcessor, ImageSplitting, Patches};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Everything in a model directory but its weights.
///
/// The weights are read and written beside it, by the names of [`crate::parameter_shapes`]; to save both at once, call
/// [`ModelFiles::write`] inside [`atomic::write_directory`].
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The directory that was read.
    directory: PathBuf,
    /// `config.json`.
    pub config: ModelConfig,
    /// `generation_config.json`.
    pub generation: GenerationConfig,
    /// `tokenizer.json`.
    pub tokenizer: Tokenizer,
    /// `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`.
    pub chat_template: ChatTemplate,
    /// `image_processor` of `processor_config.json`, or `preprocessor_config.json`, completed by defaults; written to both.
    image_settings: Map<String, Value>,
    /// The two files above as they were read, for the keys that Percept does not use.
    processor_files: [(&'static str, Map<String, Value>); 2],
    /// Name and contents of the files that are written back as they were.
    verbatim: Vec<(&'static str, Vec<u8>)>,
}

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

impl ImageProcessor {
    /// The image processor of a model directory, of which nothing else is read.
    ///
    /// # Errors
    /// If its settings are missing, or one is out of range.
    pub fn from_directory(directory: &Path, config: &ModelConfig) -> Result<Self, ModelError> {
        let settings = required_image_settings(directory, config)?;
        Ok((families::of(config).image_processor)(config, &settings)?)
    }
}

impl ModelFiles {
    /// Reads a directory that transformers or Percept saved. For that of an adapter, the files of its base model are read, see [`ModelPlace::find`].
    ///
    /// Errors name the file that is missing, damaged or in conflict with another: the tokenizer's ids must be the
    /// model's, and `image_seq_len` of `processor_config.json` what the configuration's sizes give.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        let directory = &ModelPlace::find(directory, None)?.base;
        let config = ModelConfig::from_file(&directory.join("config.json"))?;
        let image_settings = required_image_settings(directory, &config)?;
        Self::read_with(directory, config, image_settings)
    }

    /// A new model of `config` with the tokenizer, chat template and other files of `directory`, whose own
    /// `config.json`, if there is one, is not read. Without settings of an image processor, pictures are not cut into
    /// tiles.
    pub fn read_with_config(directory: &Path, config: ModelConfig) -> Result<Self, ModelError> {
        let image_settings = match read_image_settings(directory, &config)? {
            Some(settings) => settings,
            None => (families::of(&config).image_settings)(&config, None)?,
        };
        Self::read_with(directory, config, image_settings)
    }

    fn read_with(directory: &Path, config: ModelConfig, image_settings: Map<String, Value>) -> Result<Self, ModelError> {
        let tokenizer = Tokenizer::from_directory(directory)?;
        tokenizer.check_model(&config)?;
        check_image_seq_len(directory, &config)?;
        let generation = GenerationConfig::from_file(&directory.join("generation_config.json"), &config)?;
        let object = |name| Ok::<_, ModelError>((name, json::read_object(&directory.join(name))?.unwrap_or_default()));
        Ok(Self {
            directory: directory.to_path_buf(),
            chat_template: ChatTemplate::from_directory(directory)?,
            processor_files: [object("processor_config.json")?, object("preprocessor_config.json")?],
            verbatim: read_verbatim(directory)?,
            config,
            generation,
            tokenizer,
            image_settings,
        })
    }

    /// The directory from which the files were read.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The image processor that the settings describe.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn image_processor(&self) -> Result<ImageProcessor, ImageError> {
        (families::of(&self.config).image_processor)(&self.config, &self.image_settings)
    }

    /// The settings of the image processor under transformers' keys, completed by defaults.
    pub fn image_settings(&self) -> &Map<String, Value> {
        &self.image_settings
    }

    /// Whether pictures are cut into tiles.
    pub fn image_splitting(&self) -> ImageSplitting {
        let splits = self.image_settings.get(SPLITTING).and_then(Value::as_bool).unwrap_or(false);
        if splits { ImageSplitting::Tiles } else { ImageSplitting::Whole }
    }

    /// The same files, but pictures are cut into tiles, or not, as `splitting` says.
    pub fn with_image_splitting(mut self, splitting: ImageSplitting) -> Self {
        self.image_settings.insert(SPLITTING.into(), (splitting == ImageSplitting::Tiles).into());
        self
    }

    /// Token ids of a rendered prompt, in which each picture's token is replaced by all the tokens that the picture takes.
    ///
    /// # Errors
    /// If the text has not one image token for each picture, or the pictures alone take more tokens than the model has positions; those of the tokenizer.
    pub fn encode_prompt(&self, text: &str, pictures: &[Patches]) -> Result<Vec<u32>, ModelError> {
        let (family, context) = (families::of(&self.config), self.config.text.max_position_embeddings);
        let grids = pictures.iter().flat_map(Patches::grids).map(|&grid| (family.visual_grid)(&self.config, grid));
        let prompt_tokens: usize = grids.map(|[rows, cols]| rows * cols).sum();
        if prompt_tokens > context {
            return Err(ModelError::Context { prompt_tokens, new_tokens: 0, context });
        }
        self.tokenizer.encode(&(family.expand_prompt)(&self.config, text, pictures)?)
    }

    /// Tokens that no response may have, in order: those that stand for pictures and films or mark them, and ids of the embedding table that the tokenizer does
    /// not know. Those that end a response may be said whatever they are. For [`Model::suppress_tokens`](crate::Model::suppress_tokens).
    pub fn tokens_never_said(&self) -> Vec<u32> {
        let family = families::of(&self.config);
        let known = self.tokenizer.tokens_by_id();
        let ends = |id: &u32| self.generation.eos_token_ids.contains(id);
        let may_be_said = |id: &u32| ends(id) || known.get(id).is_some_and(|token| !(family.is_only_for_prompts)(token));
        (0..self.config.text.vocab_size as u32).filter(|id| !may_be_said(id)).collect()
    }

    /// Writes all files into `directory`, each whole or not at all.
    pub fn write(&self, directory: &Path) -> Result<(), ModelError> {
        for (name, contents) in &self.verbatim {
            atomic::write_file(&directory.join(name), contents)?;
        }
        let [(processor_name, mut processor), (preprocessor_name, mut preprocessor)] = self.processor_files.clone();
        let settings = Value::Object(self.image_settings.clone());
        let family = families::of(&self.config);
        // transformers 5 reads the settings from the one, 4.5x from the other
        overlay(processor.entry("image_processor").or_insert_with(|| json!({})), &settings);
        if let Some(length) = (family.image_seq_len)(&self.config) {
            processor.insert("image_seq_len".into(), length.into());
        }
        for file in [&mut processor, &mut preprocessor] {
            file.entry("processor_class").or_insert_with(|| family.processor_class.into());
        }
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

/// The key of transformers' image processors that cut pictures into tiles.
const SPLITTING: &str = "do_image_splitting";

fn required_image_settings(directory: &Path, config: &ModelConfig) -> Result<Map<String, Value>, ModelError> {
    let missing =
        || ModelError::Missing { path: directory.join("preprocessor_config.json"), needed_for: "the settings of the image processor" };
    read_image_settings(directory, config)?.ok_or_else(missing)
}

/// The settings of the image processor: `image_processor` in `processor_config.json`, where transformers 5 saves them, or else
/// `preprocessor_config.json`. `None` if neither file has any.
fn read_image_settings(directory: &Path, config: &ModelConfig) -> Result<Option<Map<String, Value>>, ModelError> {
    let settings = |fields: &Fields| {
        let settings = (families::of(config).image_settings)(config, Some(fields))?;
        // what a processor cannot be made of is known here by its file
        match (families::of(config).image_processor)(config, &settings) {
            Err(ImageError::Config { field, expected, got }) => Err(fields.error(field, &expected, got)),
            Err(error) => Err(fields.error("(all settings)", "those of an image processor", error)),
            Ok(_) => Ok(Some(settings)),
        }
    };
    let newer = directory.join("processor_config.json");
    if let Some(map) = json::read_object(&newer)?
        && let Some(section) = Fields::new(&newer, &map).section("image_processor")?
    {
        return settings(&section);
    }
    let older = directory.join("preprocessor_config.json");
    match json::read_object(&older)? {
        Some(map) => settings(&Fields::new(&older, &map)),
        None => Ok(None),
    }
}

/// The processor of transformers expands prompts by the file's number: one that differs from the vision tower's would
/// make the two disagree.
fn check_image_seq_len(directory: &Path, config: &ModelConfig) -> Result<(), ModelError> {
    let path = directory.join("processor_config.json");
    let map = json::read_object(&path)?.unwrap_or_default();
    let fields = Fields::new(&path, &map);
    match (fields.positive("image_seq_len")?, (families::of(config).image_seq_len)(config)) {
        (Some(length), Some(expected)) if length != expected => {
            Err(fields.error("image_seq_len", &format!("{expected} (from config.json)"), length))
        }
        _ => Ok(()),
    }
}

fn read_verbatim(directory: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, ModelError> {
    let mut found = Vec::new();
    for name in VERBATIM {
        let path = directory.join(name);
        if let Some(contents) = files::read(&path, files::MAX_TOKENIZER)? {
            found.push((name, contents));
        }
    }
    Ok(found)
}

/// Puts the fields of the object `fields` over those of the object `value`.
fn overlay(value: &mut Value, fields: &Value) {
    if let (Value::Object(map), Value::Object(fields)) = (value, fields) {
        map.extend(fields.clone());
    }
}
