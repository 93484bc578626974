//! `percept export`: a model as a directory of its own, adapters merged.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use percept_engine::Device;
use percept_model::{Model, ModelFiles, Precision};

use super::outcome::Outcome;
use super::place;
use crate::error::TrainError;

/// Arguments of `percept export`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The model: the directory of a PEFT adapter, a run (its best checkpoint, else the last), a checkpoint, or any Hugging Face directory of an Idefics3 or SmolVLM model.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The model on which the adapter was trained. Default: what `adapter_config.json` says.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Where to: a new directory, which transformers and Percept load without the adapter.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Weights keep the type in which they are stored. What was written where is said on `out`, what is read on `errors`.
pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    if args.out.exists() {
        let problem = format!("--out: expected a directory that is not there yet, got {}", args.out.display());
        return Err(TrainError::Unsupported(problem).into());
    }
    let place = place::find(&args.model, args.base.as_deref(), errors)?;
    let files = ModelFiles::read(&place.base)?;
    let model = Model::load_from(&place, &Device::cpu(), Precision::AsStored)?;
    let merged = if model.has_lora() { ", the adapter merged" } else { "" };
    model.save(&args.out, &files)?;
    writeln!(out, "model: {}{merged}", args.out.display())?;
    Ok(Outcome::Done)
}
