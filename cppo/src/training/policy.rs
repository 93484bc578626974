//! The model that is trained, and what it reads with: from a checkpoint, or new.

use std::path::{Path, PathBuf};

use percept_engine::{DType, Device};
use percept_model::image::ImageSplitting;
use percept_model::{Activations, Model, ModelError, ModelFiles, Precision};

use crate::config::shipped::locate;
use crate::config::{ModelConfig, SftRunConfig, WeightPrecision};
use crate::error::TrainError;
use crate::problems::prompts::Encoder;

/// Loads the configured checkpoint as the policy that is trained. `seed` decides the adapters' initial values. The adapter of a PEFT directory is merged: training goes on with all weights.
///
/// # Errors
/// As [`Model::load`], and if there should be adapters on top of an adapter.
pub fn load_policy(config: &ModelConfig, device: &Device, seed: u64) -> Result<Model, ModelError> {
    let precision = match config.precision {
        WeightPrecision::Float32 => Precision::Float32,
        WeightPrecision::AsStored => Precision::AsStored,
    };
    let mut model = Model::load(&directory(&config.path)?, device, precision)?;
    if model.has_lora() {
        if config.lora.is_some() {
            let expected =
                "the directory of a whole model: adapters are saved for a model on the disk (percept export merges the one there is)";
            let (path, field, got) = (config.path.clone(), "model.lora".into(), "an adapter".into());
            return Err(ModelError::Field { path, field, expected: expected.into(), got });
        }
        model.merge_lora()?;
        model.unfreeze();
    }
    Ok(prepared(model, config, seed))
}

/// The model as the configuration trains it: what is frozen, with which adapters, and what layers keep for the backward pass.
pub fn prepared(mut model: Model, config: &ModelConfig, seed: u64) -> Model {
    if config.freeze_vision {
        model.freeze_vision();
    }
    if let Some(lora) = &config.lora {
        model.add_lora(&lora.adapters(seed));
    }
    model.set_activations(if config.gradient_checkpointing { Activations::Recompute } else { Activations::Keep });
    model
}

/// What turns questions into the tokens and pixels that the configured checkpoint reads.
///
/// # Errors
/// If a file of the checkpoint is missing or damaged.
pub fn load_encoder(config: &ModelConfig) -> Result<Encoder, TrainError> {
    let mut files = ModelFiles::read(&directory(&config.path)?)?;
    if let Some(split) = config.do_image_splitting {
        files = files.with_image_splitting(if split { ImageSplitting::Tiles } else { ImageSplitting::Whole });
    }
    Ok(Encoder::new(files)?.with_instruction(&config.instruction))
}

/// The model of supervised training, checkpoint or new, and what it reads with.
///
/// # Errors
/// If a file is missing or damaged.
pub fn open_for_sft(config: &SftRunConfig, device: &Device) -> Result<(Model, Encoder), TrainError> {
    if let Some(model) = &config.model {
        return Ok(silenced(load_policy(model, device, config.run.seed)?, load_encoder(model)?));
    }
    let sizes = config.preset.model_config();
    let encoder = Encoder::new(ModelFiles::read_with_config(&directory(&config.tokenizer)?, sizes.clone())?)?;
    Ok(silenced(Model::random(&sizes, device, config.run.seed, DType::F32), encoder))
}

/// The model gives no token that only prompts have.
fn silenced(mut model: Model, encoder: Encoder) -> (Model, Encoder) {
    model.suppress_tokens(encoder.never_said());
    (model, encoder)
}

/// The directory on disk behind a path of a configuration: what the program brings along is unpacked.
///
/// # Errors
/// If it cannot be unpacked.
pub fn directory(path: &Path) -> Result<PathBuf, ModelError> {
    locate(path).map_err(|error| ModelError::Io { path: path.to_owned(), source: error })
}
