//! The configuration of a run: one nested TOML file, every field with a default.
//!
//! | section | says | fields |
//! |---|---|---|
//! | `run` | where results go, seed, device | [`RunConfig`] |
//! | `model` | the starting checkpoint, and which part of it is trained | [`ModelConfig`] |
//! | `task` | problems that are drawn | [`TaskConfig`] |
//! | `data` | problems from files, in place of the task's | [`DataConfig`] |
//! | `views` | the perturbed pictures | [`ViewsConfig`] |
//! | `method` | the algorithm | [`MethodConfig`] |
//! | `reward` | entries `[[reward]]`: what a response is worth | [`RewardConfig`] |
//! | `rollout` | how responses are sampled | [`RolloutConfig`] |
//! | `optim` | AdamW and its schedule | [`OptimConfig`] |
//! | `train` | length, micro-batches, what is saved and when | [`TrainConfig`] |
//! | `eval` | how the model is measured | [`EvalConfig`] |
//!
//! An unknown key is an error that names the nearest known one. `--set method.group_size=4` overrides a field; the value is TOML, and
//! a bare word is text. All settings of a run are written to its `config.toml`, which reads back to the same settings.

use percept_engine::DType;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::load::Settings;
use super::method::MethodConfig;
use super::model::ModelConfig;
use super::optim::OptimConfig;
use super::run::RunConfig;
use crate::problems::data::DataConfig;
use crate::problems::reward::{self, RewardConfig};
use crate::problems::tasks::{Task, TaskConfig};
use crate::problems::views::ViewsConfig;

/// Everything that decides what a run does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where results go, seed, device.
    pub run: RunConfig,
    /// The starting checkpoint, and which part of it is trained.
    pub model: ModelConfig,
    /// Problems that are drawn. Not used if `data` is given.
    pub task: TaskConfig,
    /// Problems from files, in place of the task's. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataConfig>,
    /// The perturbed pictures.
    pub views: ViewsConfig,
    /// The algorithm.
    pub method: MethodConfig,
    /// What a response is worth: the weighted sum of these. Default: none, which means 0.9 · accuracy + 0.1 · format.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reward: Vec<RewardConfig>,
    /// How responses are sampled.
    pub rollout: RolloutConfig,
    /// AdamW and its schedule.
    pub optim: OptimConfig,
    /// Length, micro-batches, what is saved and when.
    pub train: TrainConfig,
    /// How the model is measured.
    pub eval: EvalConfig,
}

/// How responses are sampled. The losses divide logits by the same temperature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Prompts per step; each gets `method.group_size` responses. Default 32.
    pub prompts_per_step: usize,
    /// A response is cut after this many tokens. Default 48.
    pub max_new_tokens: usize,
    /// Temperature: logits are divided by it. Above 0. Default 1.
    pub temperature: f32,
    /// Sample only from the most probable tokens that together have this probability, in (0, 1]. Default 1: all tokens.
    pub top_p: f32,
    /// At most this many sequences are decoded side by side, and further ones after them: memory for keys and values against speed. What is sampled does not depend on it, but for rounding. Default 1024.
    pub sequences_at_once: usize,
    /// How the keys and values of earlier tokens are kept while responses are written, in rollouts and in measurements: as `f32`, or with half the memory as `f16` or `bf16`. Halves are rounded, so that responses can differ
    /// from those with `f32`, and are drawn with slightly other probabilities than the model's. Updates read the responses again, in f32 whatever stands here. Default `f32`.
    pub kv_cache: CachePrecision,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            prompts_per_step: 32,
            max_new_tokens: 48,
            temperature: 1.0,
            top_p: 1.0,
            sequences_at_once: 1024,
            kv_cache: CachePrecision::F32,
        }
    }
}

/// How cached keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePrecision {
    /// As they are computed, 4 bytes a number.
    F32,
    /// 2 bytes a number, rounded by at most 1 part in 2048. Keys and values beyond 65,504 become infinite: a model that has such needs `bf16`.
    F16,
    /// 2 bytes a number, rounded by at most 1 part in 256, in the range of `f32`.
    Bf16,
}

impl From<CachePrecision> for DType {
    fn from(precision: CachePrecision) -> DType {
        match precision {
            CachePrecision::F32 => DType::F32,
            CachePrecision::F16 => DType::F16,
            CachePrecision::Bf16 => DType::BF16,
        }
    }
}

/// Length, micro-batches, what is saved and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of steps; each samples responses and updates the weights. Default 400.
    pub steps: u64,
    /// Updates per step, each on an equal share of the step's prompts; must divide `rollout.prompts_per_step`. Default 1.
    pub updates_per_step: usize,
    /// Largest number of tokens that go through the model at once (a micro-batch). Gradients of micro-batches are summed. Default 16384.
    pub micro_batch_tokens: usize,
    /// How gradients are added, which decides whether their bits depend on the number of ranks. Default `auto`.
    pub reduce: Reduce,
    /// Steps between comparisons of the ranks' weights, of which a run with one rank has none to make; 0: never. Default 50.
    pub compare_ranks_every: u64,
    /// Steps between checkpoints; there is always one at the end, and with 0 only that. Default 50.
    pub save_every: u64,
    /// Number of checkpoints to keep besides the best one, at least 1. Default 2.
    pub keep_checkpoints: usize,
    /// Number of prompts whose responses are written to `samples.jsonl` each time. Default 4.
    pub sample_prompts: usize,
    /// Steps between samples, which are also written at the first and the last step; 0: never. Default 20.
    pub sample_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 400,
            updates_per_step: 1,
            micro_batch_tokens: 16384,
            reduce: Reduce::Auto,
            compare_ranks_every: 50,
            save_every: 50,
            keep_checkpoints: 2,
            sample_prompts: 4,
            sample_every: 20,
        }
    }
}

/// How the gradients of an update are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduce {
    /// `exact` for a run that begins under `mpirun`, else `fast`.
    Auto,
    /// Each group goes through the model by itself, and gradients are added along a fixed tree: the same bits for 1, 2, 4, 8, … ranks, with or without `mpirun`, at any `micro_batch_tokens` that holds a group. It needs more passes, and memory for a few more sets of gradients.
    Exact,
    /// Groups are packed into micro-batches, and MPI adds the gradients of the ranks in an order of its own.
    Fast,
}

/// How the model is measured, during training and by `percept eval`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Number of problems of the test split before the first and after the last step. Default 1000.
    pub problems: usize,
    /// Number of problems for evaluations in between. Default 200.
    pub problems_during_training: usize,
    /// Steps between evaluations; 0: only before the first and after the last step. Default 40.
    pub every: u64,
    /// Sampled responses per problem (the N of avg@N), besides one greedy response. Default 4.
    pub samples: usize,
    /// Temperature: logits are divided by it. Above 0. Default 1.
    pub temperature: f32,
    /// With `data` but without `eval.data`: this many of the problems, the same for every seed, are kept back from training and measured on. Default 0: nothing is measured.
    pub holdout: usize,
    /// Problems from files to evaluate on. Default: none, which means the task's test split or, with `data`, those of `eval.holdout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataConfig>,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { problems: 1000, problems_during_training: 200, every: 40, samples: 4, temperature: 1.0, holdout: 0, data: None }
    }
}

impl Settings for Config {
    fn every_key() -> Table {
        let data = DataConfig::with_every_key();
        let mut config = Config::default();
        config.run.name = Some(String::new());
        config.model = ModelConfig::with_every_key();
        config.task = TaskConfig::with_every_key();
        config.data = Some(data.clone());
        config.eval.data = Some(data);
        let mut table = Table::try_from(config).expect("a configuration is a table");
        table.insert("reward".to_owned(), Value::Array(Vec::new()));
        if let Some(Value::Table(method)) = table.get_mut("method") {
            for (name, own) in MethodConfig::every_table() {
                method.insert(name.to_owned(), Value::try_from(own).expect("the settings of a method are a table"));
            }
        }
        table
    }

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn run_name(&self, seconds: u64) -> String {
        let task = match &self.data {
            Some(data) => data.name(),
            None => self.task.name(),
        };
        self.run.name_or(self.method.own.name(), &task, seconds)
    }

    fn check(&self) -> Result<(), String> {
        let section = |name: &'static str| move |problem: String| format!("{name}.{problem}");
        Task::new(&self.task).map_err(|e| e.to_string())?; // the message already begins with `task.`
        self.model.check().map_err(section("model"))?;
        self.views.check().map_err(section("views"))?;
        self.method.check().map_err(section("method"))?;
        reward::check(&self.reward)?; // each message begins with `reward: `
        self.optim.check().map_err(section("optim"))?;
        let (rollout, train, eval) = (&self.rollout, &self.train, &self.eval);
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let updates = train.updates_per_step;
        self.run.check().map_err(section("run"))?;
        let checks = [
            (rollout.prompts_per_step > 0, "rollout.prompts_per_step: expected at least 1", rollout.prompts_per_step.to_string()),
            (rollout.max_new_tokens > 0, "rollout.max_new_tokens: expected at least 1", rollout.max_new_tokens.to_string()),
            (rollout.sequences_at_once > 0, "rollout.sequences_at_once: expected at least 1", rollout.sequences_at_once.to_string()),
            (positive(rollout.temperature), "rollout.temperature: expected above 0", rollout.temperature.to_string()),
            (rollout.top_p > 0.0 && rollout.top_p <= 1.0, "rollout.top_p: expected above 0 and at most 1", rollout.top_p.to_string()),
            (
                updates > 0 && rollout.prompts_per_step.is_multiple_of(updates),
                "train.updates_per_step: expected a divisor of rollout.prompts_per_step",
                format!("{updates} for {} prompts", rollout.prompts_per_step),
            ),
            (train.micro_batch_tokens > 0, "train.micro_batch_tokens: expected at least 1", train.micro_batch_tokens.to_string()),
            (train.keep_checkpoints > 0, "train.keep_checkpoints: expected at least 1", train.keep_checkpoints.to_string()),
            (eval.samples > 0, "eval.samples: expected at least 1", eval.samples.to_string()),
            (positive(eval.temperature), "eval.temperature: expected above 0", eval.temperature.to_string()),
        ];
        let failed = checks.into_iter().find(|(holds, ..)| !holds);
        failed.map_or(Ok(()), |(_, message, got)| Err(format!("{message}, got {got}")))
    }
}
