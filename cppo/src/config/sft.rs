//! The file of `percept sft`: a new model or a checkpoint, and how it is trained on reference responses.

use std::path::PathBuf;

use percept_engine::{DType, Device};
use percept_model::{Model, ModelFiles};
use serde::{Deserialize, Serialize};

use super::{ModelConfig, OptimConfig, RunConfig, Settings};
use crate::error::TrainError;
use crate::prompts::Encoder;
use crate::sft::SftConfig;
use crate::tasks::{Task, TaskConfig};

/// Everything that decides what `percept sft` does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftRunConfig {
    /// A checkpoint to go on from, in place of a new model. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelConfig>,
    /// Size of the new model. Default `tiny`.
    pub preset: Preset,
    /// Tokenizer and chat template of the new model. Default `assets/tiny-tokenizer`.
    pub tokenizer: PathBuf,
    /// The Hugging Face directory that is written at the end. Default `runs/sft`.
    pub out: PathBuf,
    /// Problems of the test split that it is measured on at the end; 0 for none. Default 500.
    pub eval_problems: u64,
    /// Where the run is recorded, seed, device. The default of the name: `sft`, task and time.
    pub run: RunConfig,
    /// The problems.
    pub task: TaskConfig,
    /// Length of the training, batches, checkpoints.
    pub sft: SftConfig,
    /// AdamW and its schedule.
    pub optim: OptimConfig,
}

/// Sizes of new models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// [`percept_model::ModelConfig::tiny`].
    Tiny,
    /// [`percept_model::ModelConfig::small`].
    Small,
}

impl Preset {
    /// The model.
    pub fn model_config(self) -> percept_model::ModelConfig {
        match self {
            Preset::Tiny => percept_model::ModelConfig::tiny(),
            Preset::Small => percept_model::ModelConfig::small(),
        }
    }
}

impl Default for SftRunConfig {
    fn default() -> Self {
        Self {
            model: None,
            preset: Preset::Tiny,
            tokenizer: "assets/tiny-tokenizer".into(),
            out: "runs/sft".into(),
            eval_problems: 500,
            run: RunConfig::default(),
            task: TaskConfig::default(),
            sft: SftConfig::default(),
            optim: OptimConfig::default(),
        }
    }
}

impl SftRunConfig {
    /// The model that is trained, checkpoint or new, and what it reads with.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn open_model(&self, device: &Device) -> Result<(Model, Encoder), TrainError> {
        if let Some(model) = &self.model {
            return Ok((model.load(device, self.run.seed)?, model.encoder()?));
        }
        let config = self.preset.model_config();
        let encoder = Encoder::new(ModelFiles::read_with_config(&self.tokenizer, config.clone())?)?;
        Ok((Model::random(&config, device, self.run.seed, DType::F32), encoder))
    }
}

impl Settings for SftRunConfig {
    fn with_every_key() -> SftRunConfig {
        let run = RunConfig { name: Some(String::new()), ..RunConfig::default() };
        let (model, task) = (Some(ModelConfig::with_every_key()), TaskConfig::with_every_key());
        SftRunConfig { model, run, task, ..SftRunConfig::default() }
    }

    fn check(&self) -> Result<(), String> {
        let section = |name: &'static str| move |problem: String| format!("{name}.{problem}");
        Task::new(&self.task).map_err(|e| e.to_string())?; // says `task.` itself
        self.model.as_ref().map_or(Ok(()), ModelConfig::check).map_err(section("model"))?;
        self.run.check().map_err(section("run"))?;
        self.sft.check().map_err(section("sft"))?;
        self.optim.check().map_err(section("optim"))
    }

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn run_name(&self, seconds: u64) -> String {
        self.run.name_or("sft", &self.task.name(), seconds)
    }
}
