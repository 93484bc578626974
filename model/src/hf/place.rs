//! Where a model stands on disk: one directory, or that of an adapter and that of the model it was trained on.

use crate::error::ModelError;
use crate::hf::adapter::{CONFIG, config::AdapterConfig};
use std::fmt;
use std::path::{Path, PathBuf};

/// The directory of a model's weights and other files, and perhaps that of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPlace {
    /// A Hugging Face directory. Tokenizer, chat template and image processor are its, too.
    pub base: PathBuf,
    /// A PEFT directory whose adapter stands beside the weights.
    pub adapter: Option<PathBuf>,
}

impl ModelPlace {
    /// The place that `path` means. The directory of an adapter means the adapter on the model `base`; without one, on the model in the same directory, else on that of
    /// `base_model_name_or_path` in its `adapter_config.json`.
    ///
    /// # Errors
    /// If a directory is not there (a name on the Hub gets the command that downloads it), or there is a `base` for something else than an adapter.
    pub fn find(path: &Path, base: Option<&Path>) -> Result<Self, ModelError> {
        require_directory(path, path.to_str())?;
        let config = path.join(CONFIG);
        match (config.is_file(), base) {
            (false, None) => Ok(Self { base: path.to_path_buf(), adapter: None }),
            (false, Some(base)) => {
                let needed_for = "a base model is given, which only an adapter has";
                require_directory(base, base.to_str())?;
                Err(ModelError::Missing { path: config, needed_for })
            }
            (true, base) => {
                let base = match base {
                    Some(base) => {
                        require_directory(base, base.to_str())?;
                        base.to_path_buf()
                    }
                    None if path.join("config.json").exists() => path.to_path_buf(),
                    None => named_base(&config)?,
                };
                if base != path && base.join(CONFIG).exists() {
                    let expected = "a base model without an adapter of its own (percept export merges it)";
                    return Err(ModelError::field(&config, "base_model_name_or_path", expected, base.display()));
                }
                Ok(Self { base, adapter: Some(path.to_path_buf()) })
            }
        }
    }
}

impl fmt::Display for ModelPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.adapter {
            None => write!(f, "{}", self.base.display()),
            Some(adapter) => write!(f, "the adapter in {} on {}", adapter.display(), self.base.display()),
        }
    }
}

/// The base that an `adapter_config.json` names, from where the program runs, as in transformers.
fn named_base(config: &Path) -> Result<PathBuf, ModelError> {
    const EXPECTED: &str = "a directory, or give the base model's with --base";
    let Some(name) = AdapterConfig::from_file(config)?.base else {
        return Err(ModelError::field(config, "base_model_name_or_path", EXPECTED, "nothing"));
    };
    let path = PathBuf::from(&name);
    if path.is_dir() {
        return Ok(path);
    }
    let got = format!("{name}, which is not there{}", download(&name).map_or(String::new(), |command| format!("; {command}")));
    Err(ModelError::field(config, "base_model_name_or_path", EXPECTED, got))
}

fn require_directory(path: &Path, name: Option<&str>) -> Result<(), ModelError> {
    if path.is_dir() {
        return Ok(());
    }
    let got = if path.exists() { "something else" } else { "nothing" };
    let got = match name.filter(|_| !path.exists()).and_then(download) {
        Some(command) => format!("{got}; {command}"),
        None => got.to_string(),
    };
    Err(ModelError::NoDirectory { path: path.to_path_buf(), got })
}

/// How to get what looks like the name of a model on the Hub.
fn download(name: &str) -> Option<String> {
    let is_word = |word: &str| {
        !word.is_empty() && !word.starts_with(['.', '-']) && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let (owner, model) = name.split_once('/')?;
    // where people put what they have downloaded
    let is_folder = ["models", "checkpoints", "runs"].contains(&owner);
    (!is_folder && is_word(owner) && is_word(model))
        .then(|| format!("if it is a model on the Hub, download it first: hf download {name} --local-dir {model}"))
}
