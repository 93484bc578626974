//! A training state on disk. Training resumed from it gives the same bits as training that never stopped.
//!
//! ```text
//! step-120/
//!   config.json, model.safetensors, tokenizer.json, ...   a Hugging Face directory, adapters merged in
//!   adapter/                                              if adapters are trained, the same as PEFT keeps them, for the model they were trained on
//!   trainer.safetensors                                   weights.{name} of all that is trained, optimizer.{name} of its state
//!   trainer.json                                          [`Progress`], and a checksum of the file above
//! ```
//!
//! The trained weights are there twice: adapters cannot be told from a merged matrix, and the directory alone must load
//! anywhere. A directory is written whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use flate2::Crc;
use percept_engine::safetensors::{self, Checkpoint};
use percept_engine::{DType, Device, Tensor};
use percept_model::{Model, ModelError, ModelFiles, atomic};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::records::files;
use crate::records::run::crc32;
use crate::training::optimise::Optimizer;
use crate::training::tensors::{bytes_of, write_bytes};
use crate::training::world::World;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps that are done.
    pub step: u64,
    /// Problems that were taken from the source.
    pub problems: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step after which it was made.
    pub step: u64,
    /// Its accuracy, 0 to 1.
    pub accuracy: f64,
}

const ADAPTER: &str = "adapter";
const TENSORS: &str = "trainer.safetensors";
const PROGRESS: &str = "trainer.json";

/// `trainer.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    progress: Progress,
    /// CRC-32 of `trainer.safetensors`, because that format has no checksum of its own.
    tensors_crc32: u32,
    /// CRC-32 of `progress`; none in checkpoints of versions that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress_crc32: Option<u32>,
}

/// What the optimiser updates, and its whole state.
pub struct Trained {
    weights: Vec<(String, Tensor)>,
    state: BTreeMap<String, Tensor>,
}

impl Trained {
    /// Those of an optimiser. All ranks must ask for it; the first is sure to get it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of(optimizer: &Optimizer) -> Result<Trained, TrainError> {
        Ok(Trained { weights: optimizer.parameters(), state: optimizer.state()? })
    }
}

/// Writes model, what the optimiser updates, its state, and progress to `directory`.
///
/// # Errors
/// Those of the disk and the device; a directory that was there is then untouched.
pub fn save(directory: &Path, model: &Model, files: &ModelFiles, trained: &Trained, progress: &Progress) -> Result<(), TrainError> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    tensors.extend(trained.weights.iter().map(|(name, tensor)| (format!("weights.{name}"), tensor.clone())));
    tensors.extend(trained.state.iter().map(|(name, tensor)| (format!("optimizer.{name}"), tensor.clone())));
    atomic::write_directory(directory, |new| {
        model.save(new, files)?;
        if model.has_lora() {
            model.save_adapter(&new.join(ADAPTER), files.directory())?;
        }
        let path = new.join(TENSORS);
        safetensors::save(&path, &tensors, HashMap::new())?;
        let tensors_crc32 = crc32(&path).map_err(|error| ModelError::Io { path: path.clone(), source: error })?;
        let saved = Saved { progress: progress.clone(), tensors_crc32, progress_crc32: Some(crc32_of(progress)) };
        let text = serde_json::to_string_pretty(&saved).expect("plain data");
        atomic::write_file(&new.join(PROGRESS), format!("{text}\n").as_bytes())
    })?;
    Ok(())
}

/// Puts what [`save`] wrote into an optimiser of the same configuration and the weights that it updates.
///
/// # Errors
/// If a file is missing, damaged, or of another model or optimiser; then nothing has changed.
pub fn restore(directory: &Path, optimizer: &mut Optimizer) -> Result<Progress, TrainError> {
    let Saved { progress, tensors_crc32, .. } = read_saved(directory)?;
    let path = directory.join(TENSORS);
    let wrong = |problem: String| TrainError::Saved { path: path.clone(), problem };
    let found = crc32(&path).map_err(|error| wrong(error.to_string()))?;
    if found != tensors_crc32 {
        return Err(wrong(format!("damaged: expected CRC-32 {tensors_crc32:08x}, got {found:08x}")));
    }
    let checkpoint = Checkpoint::open(&path)?;
    let host = Device::cpu();
    let load = |name: String, shape: &[usize], dtype: DType| -> Result<Tensor, TrainError> {
        if !checkpoint.is_finite(&name) {
            return Err(wrong(format!("{name}: expected numbers, got NaN or infinity")));
        }
        let saved = checkpoint.load(&name, shape, &host)?;
        if saved.dtype() == dtype {
            return Ok(saved);
        }
        Err(wrong(format!("{name}: expected {dtype}, got {}", saved.dtype())))
    };
    let weights = optimizer.parameters();
    let load_weight = |(name, own): &(String, Tensor)| load(format!("weights.{name}"), own.shape(), own.dtype());
    let saved_weights = weights.iter().map(load_weight).collect::<Result<Vec<_>, _>>()?;
    let mut state = BTreeMap::new();
    for (name, (shape, dtype)) in optimizer.state_shapes() {
        let saved = load(format!("optimizer.{name}"), &shape, dtype)?;
        state.insert(name, saved);
    }
    let known = weights.len() + state.len();
    let saved = checkpoint.names().count();
    if saved != known {
        return Err(wrong(format!("expected {known} tensors, got {saved}: another choice of what is trained")));
    }
    optimizer.load_state(&path, state)?;
    for ((_, own), saved) in weights.iter().zip(&saved_weights) {
        write_bytes(own, &bytes_of(saved)?);
    }
    Ok(progress)
}

/// Gives all ranks what the first has: what the optimiser updates, its state, and progress. Ranks on other machines need not see its files.
///
/// # Errors
/// Those of the device.
pub fn share(world: &World, optimizer: &mut Optimizer, progress: &mut Progress) -> Result<(), TrainError> {
    let own = serde_json::to_vec(progress).expect("plain data");
    *progress = serde_json::from_slice(&world.from_first("the progress of the run", || own)).expect("what a rank sends is whole");
    Ok(optimizer.share(world)?)
}

/// Compares the ranks' weights, and what the optimiser keeps of them unless it is shared out.
///
/// # Errors
/// The first tensor that a rank has otherwise than the first rank; those of the device.
pub fn compare(world: &World, optimizer: &Optimizer, step: u64) -> Result<(), TrainError> {
    if world.size() == 1 {
        return Ok(());
    }
    let names = optimizer.common();
    let mut sums = Vec::new();
    for (_, tensor) in &names {
        let mut crc = Crc::new();
        crc.update(&bytes_of(tensor)?);
        sums.extend(crc.sum().to_le_bytes());
    }
    let all = world.gather("the checksums of the weights", sums);
    for (rank, of_rank) in all.iter().enumerate() {
        let mut pairs = names.iter().zip(all[0].as_chunks::<4>().0.iter().zip(of_rank.as_chunks::<4>().0));
        if let Some(((name, _), (first, other))) = pairs.find(|(_, (first, other))| first != other) {
            let (expected, got) = (u32::from_le_bytes(*first), u32::from_le_bytes(*other));
            return Err(TrainError::Drift { rank, step, name: name.clone(), expected, got });
        }
    }
    Ok(())
}

/// The progress of a checkpoint.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_progress(directory: &Path) -> Result<Progress, TrainError> {
    Ok(read_saved(directory)?.progress)
}

fn read_saved(directory: &Path) -> Result<Saved, TrainError> {
    let path = directory.join(PROGRESS);
    let read = files::read_to_string(&path).map_err(|error| error.to_string());
    let parsed = read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
    let checked = parsed.and_then(|saved: Saved| {
        let found = crc32_of(&saved.progress);
        match saved.progress_crc32.filter(|expected| *expected != found) {
            Some(expected) => Err(format!("progress: damaged: expected CRC-32 {expected:08x}, got {found:08x}")),
            None => Ok(saved),
        }
    });
    let named = checked.and_then(|saved| match step_of_name(directory).filter(|step| *step != saved.progress.step) {
        Some(step) => Err(format!(
            "progress.step: expected {step}, as the folder is named, got {}: a checkpoint under another's name",
            saved.progress.step
        )),
        None => Ok(saved),
    });
    named.map_err(|problem| TrainError::Saved { path, problem })
}

/// N of a folder `step-N`.
fn step_of_name(directory: &Path) -> Option<u64> {
    directory.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

fn crc32_of(progress: &Progress) -> u32 {
    let mut crc = Crc::new();
    crc.update(&serde_json::to_vec(progress).expect("plain data"));
    crc.sum()
}

/// Whether all weights and all of the optimiser's state in a checkpoint are finite.
///
/// # Errors
/// If its tensors cannot be read.
pub fn is_finite(directory: &Path) -> Result<bool, TrainError> {
    let checkpoint = Checkpoint::open(&directory.join(TENSORS))?;
    Ok(checkpoint.names().all(|name| checkpoint.is_finite(name)))
}
