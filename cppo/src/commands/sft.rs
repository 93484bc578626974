//! `percept sft`: trains a new model on reference responses, measures it, and writes a Hugging Face directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::Outcome;
use crate::config::{ConfigError, OptimConfig, RolloutConfig};
use crate::prompts::{Encoder, test_prompts};
use crate::rollout::rollout;
use crate::sft::{Sft, SftConfig, WarmStart};
use crate::tasks::{Task, TaskConfig};
use anyhow::Result;
use percept_engine::{DType, Device};
use percept_model::{Model, ModelConfig, ModelFiles};
use serde::{Deserialize, Serialize};

/// Arguments of `percept sft`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A TOML file; see configs/sft-digits.toml.
    config: PathBuf,
    /// Write the model here, in place of the file's `out`.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SftFile {
    /// Of the weights. Default 0.
    seed: u64,
    /// Size of the new model. Default `tiny`.
    preset: Preset,
    /// Tokenizer and chat template. Default `assets/tiny-tokenizer`.
    tokenizer: PathBuf,
    /// Where the model goes. Default `runs/sft`.
    out: PathBuf,
    /// Problems of the test split it is measured on afterwards. Default 500.
    eval_problems: u64,
    /// The problems.
    task: TaskConfig,
    /// Length of the training.
    sft: SftConfig,
    /// The optimiser.
    optim: OptimConfig,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Preset {
    Tiny,
    Small,
}

impl Default for SftFile {
    fn default() -> Self {
        Self {
            seed: 0,
            preset: Preset::Tiny,
            tokenizer: "assets/tiny-tokenizer".into(),
            out: "runs/sft".into(),
            eval_problems: 500,
            task: TaskConfig::default(),
            sft: SftConfig::default(),
            optim: OptimConfig::default(),
        }
    }
}

impl SftFile {
    fn load(path: &Path) -> Result<SftFile, ConfigError> {
        let origin = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.into(), source })?;
        let file: SftFile = toml::from_str(&text).map_err(|error| ConfigError::Syntax { origin: origin(), problem: error.to_string() })?;
        for (section, outcome) in [("sft", file.sft.check()), ("optim", file.optim.check())] {
            outcome.map_err(|problem| ConfigError::Range { origin: origin(), problem: format!("{section}.{problem}") })?;
        }
        Ok(file)
    }
}

/// Prints every tenth step, and the accuracy at the end.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let file = SftFile::load(&args.config)?;
    let task = Task::new(&file.task)?;
    let config = match file.preset {
        Preset::Tiny => ModelConfig::tiny(),
        Preset::Small => ModelConfig::small(),
    };
    let device = Device::best();
    writeln!(out, "device: {device}")?;
    let encoder = Encoder::new(ModelFiles::read_with_config(&file.tokenizer, config.clone())?)?;
    let model = Model::random(&config, &device, file.seed, DType::F32);

    if file.sft.warm_start_steps > 0 {
        let mut warm_start = WarmStart::new(&model, &encoder, &task, &file.sft, &file.optim, file.seed)?;
        for step in 1..=file.sft.warm_start_steps {
            print_step(out, "warm start", step, file.sft.warm_start_steps, &warm_start.step()?)?;
        }
    }
    let mut sft = Sft::new(&model, &encoder, &task, &file.sft, &file.optim);
    for step in 1..=file.sft.steps {
        print_step(out, "sft", step, file.sft.steps, &sft.step()?)?;
    }

    let folder = args.out.as_ref().unwrap_or(&file.out);
    model.save(folder, encoder.files())?;
    for (decoding, temperature) in [("greedy", 0.0), ("sampled", 1.0)] {
        let prompts = test_prompts(&task, 0..file.eval_problems);
        let groups = rollout(&model, &encoder, prompts, 1, &RolloutConfig { temperature, ..RolloutConfig::default() }, file.seed)?;
        let right: f32 = groups.iter().flat_map(|group| &group.responses).map(|response| response.reward.accuracy).sum();
        writeln!(out, "{decoding} accuracy: {:.1} % of {} test problems", 100.0 * right / groups.len() as f32, groups.len())?;
    }
    writeln!(out, "{}", folder.display())?;
    Ok(Outcome::Done)
}

/// Every tenth step, and the last.
fn print_step(out: &mut dyn Write, phase: &str, step: u64, steps: u64, metrics: &[(&str, f64)]) -> Result<()> {
    if step.is_multiple_of(10) || step == steps {
        let values: Vec<String> = metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        writeln!(out, "{phase} {step}/{steps}: {}", values.join("  "))?;
    }
    Ok(())
}
