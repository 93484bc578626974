//! The file of `percept sft`: a new model or a checkpoint, and how it is trained on reference responses.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::load::Settings;
use super::model::ModelConfig;
use super::optim::OptimConfig;
use super::run::RunConfig;
use super::train::Reduce;
use crate::problems::data::DataConfig;
use crate::problems::tasks::{Task, TaskConfig};

/// Everything that decides what `percept sft` does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftRunConfig {
    /// A checkpoint to start from instead of a new model. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelConfig>,
    /// Size of the new model. Default `tiny`.
    pub preset: Preset,
    /// Tokenizer and chat template of the new model. Default `assets/tiny-tokenizer`.
    pub tokenizer: PathBuf,
    /// The Hugging Face directory that is written at the end. Default `runs/sft`.
    pub out: PathBuf,
    /// Number of problems of the test split that the model is measured on at the end; 0 for none. Default 500.
    pub eval_problems: u64,
    /// Where the run is recorded, seed, device. The default name is `sft`, task and time.
    pub run: RunConfig,
    /// The problems. Not used if `data` is given.
    pub task: TaskConfig,
    /// Problems from files with the responses to learn, in place of the task's. `sft.warm_start_steps` must then be 0. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataConfig>,
    /// Problems from files, with answers, that the model is measured on at the end. Default: none, which means the task's test split; with `data` nothing is measured then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_data: Option<DataConfig>,
    /// Length of the training, batches, checkpoints.
    pub sft: SftConfig,
    /// AdamW and its schedule.
    pub optim: OptimConfig,
}

/// Sizes of new models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A million parameters, as the shipped model ([`percept_model::ModelConfig::tiny`]).
    Tiny,
    /// 15 million parameters, for pictures of 128 × 128 pixels ([`percept_model::ModelConfig::small`]).
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
            data: None,
            eval_data: None,
            sft: SftConfig::default(),
            optim: OptimConfig::default(),
        }
    }
}

impl Settings for SftRunConfig {
    fn every_key() -> Table {
        let run = RunConfig { name: Some(String::new()), ..RunConfig::default() };
        let (model, task) = (Some(ModelConfig::with_every_key()), TaskConfig::with_every_key());
        let (data, eval_data) = (Some(DataConfig::with_every_key()), Some(DataConfig::with_every_key()));
        Table::try_from(SftRunConfig { model, run, task, data, eval_data, ..SftRunConfig::default() }).expect("a configuration is a table")
    }

    fn check(&self) -> Result<(), String> {
        let section = |name: &'static str| move |problem: String| format!("{name}.{problem}");
        Task::new(&self.task).map_err(|e| e.to_string())?; // the message already begins with `task.`
        self.model.as_ref().map_or(Ok(()), ModelConfig::check).map_err(section("model"))?;
        self.run.check().map_err(section("run"))?;
        self.sft.check().map_err(section("sft"))?;
        if self.data.is_some() && self.sft.warm_start_steps > 0 {
            return Err(format!(
                "sft.warm_start_steps: expected 0 with data, whose pictures have no labels, got {}",
                self.sft.warm_start_steps
            ));
        }
        self.optim.check().map_err(section("optim"))
    }

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn run_name(&self, seconds: u64) -> String {
        let problems = self.data.as_ref().map_or_else(|| self.task.name(), DataConfig::name);
        self.run.name_or("sft", &problems, seconds)
    }
}

/// Supervised fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Steps on reference responses. Default 160.
    pub steps: u64,
    /// Problems per step. Default 64.
    pub batch_size: usize,
    /// Largest number of tokens that go through the model at once. Default 16384.
    pub micro_batch_tokens: usize,
    /// How gradients are added, as `train.reduce`: with `exact` a batch is cut into up to 16 equal parts, which 1, 2, 4, … ranks share, to the same bits. Default `auto`.
    pub reduce: Reduce,
    /// Steps of the warm start, in which the vision tower learns from dense labels, before that; 0 for none. Default 600.
    pub warm_start_steps: u64,
    /// Pictures per step of the warm start. Default 64.
    pub warm_start_batch_size: usize,
    /// Learning rate of the warm start. It rises as `optim` says, then falls along a cosine to a tenth. Default 2e-3.
    pub warm_start_learning_rate: f64,
    /// Steps between checkpoints, counted through both phases; there is always one at the end, and with 0 only that. Default 200.
    pub save_every: u64,
    /// Number of checkpoints to keep, at least 1. Default 2.
    pub keep_checkpoints: usize,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            steps: 160,
            batch_size: 64,
            micro_batch_tokens: 16384,
            reduce: Reduce::Auto,
            warm_start_steps: 600,
            warm_start_batch_size: 64,
            warm_start_learning_rate: 2e-3,
            save_every: 200,
            keep_checkpoints: 2,
        }
    }
}

impl SftConfig {
    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        let rate = self.warm_start_learning_rate;
        let checks = [
            (self.batch_size > 0, "batch_size: expected at least 1, got 0".to_owned()),
            (self.micro_batch_tokens > 0, "micro_batch_tokens: expected at least 1, got 0".to_owned()),
            (self.warm_start_batch_size > 0, "warm_start_batch_size: expected at least 1, got 0".to_owned()),
            (rate >= 0.0, format!("warm_start_learning_rate: expected 0 or more, got {rate}")),
            (self.keep_checkpoints > 0, "keep_checkpoints: expected at least 1, got 0".to_owned()),
            (self.steps > 0 || self.warm_start_steps > 0, "steps: expected at least 1 with those of the warm start, got 0".to_owned()),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, message)| Err(message))
    }
}
