//! The file of `percept sft`: a new model, and how it is trained on reference responses.

use std::path::PathBuf;

use percept_model::ModelConfig;
use serde::{Deserialize, Serialize};

use super::{OptimConfig, RunConfig, Settings};
use crate::sft::SftConfig;
use crate::tasks::{Task, TaskConfig};

/// Everything that decides what `percept sft` does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftRunConfig {
    /// Size of the new model. Default `tiny`.
    pub preset: Preset,
    /// Tokenizer and chat template. Default `assets/tiny-tokenizer`.
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
    /// [`ModelConfig::tiny`].
    Tiny,
    /// [`ModelConfig::small`].
    Small,
}

impl Preset {
    /// The model.
    pub fn model_config(self) -> ModelConfig {
        match self {
            Preset::Tiny => ModelConfig::tiny(),
            Preset::Small => ModelConfig::small(),
        }
    }
}

impl Default for SftRunConfig {
    fn default() -> Self {
        Self {
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

impl Settings for SftRunConfig {
    fn with_every_key() -> SftRunConfig {
        let run = RunConfig { name: Some(String::new()), ..RunConfig::default() };
        SftRunConfig { run, task: TaskConfig::with_every_key(), ..SftRunConfig::default() }
    }

    fn check(&self) -> Result<(), String> {
        let section = |name: &'static str| move |problem: String| format!("{name}.{problem}");
        Task::new(&self.task).map_err(|e| e.to_string())?; // says `task.` itself
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
