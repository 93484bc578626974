//! Where the model of a command is: a directory, a run of which the best checkpoint is meant, or an adapter on a base.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use percept_model::ModelPlace;

use crate::error::TrainError;
use crate::records::run::{RunFolder, followed};
use crate::training::checkpoint::read_progress;

/// The directory that `path` means. For the folder of a run it is the best of its checkpoints, or else the last, and `say` is told which.
///
/// # Errors
/// If the run has no checkpoint, or one that is damaged.
pub(super) fn checkpoint_of(path: &Path, say: &mut dyn Write) -> Result<PathBuf> {
    let path = &followed(path);
    let Some(run) = RunFolder::open(path).ok().filter(|run| !run.path().join("config.json").exists()) else {
        return Ok(path.to_path_buf());
    };
    let saved = run.checkpoints()?;
    let Some(&last) = saved.last() else {
        return Err(TrainError::Saved { path: path.clone(), problem: "the run has no checkpoint yet".into() }.into());
    };
    let best = read_progress(&run.checkpoint(last))?.best.map(|best| best.step);
    let (step, which) = match best {
        Some(best) if saved.contains(&best) => (best, "the best checkpoint of the run"),
        Some(_) => (last, "the last checkpoint of the run, whose best evaluation was before the training"),
        None => (last, "the last checkpoint of the run"),
    };
    let checkpoint = run.checkpoint(step);
    // nothing ends because nobody reads what it says
    let _ = writeln!(say, "model: {}, {which}", checkpoint.display());
    Ok(checkpoint)
}

/// The same with an adapter and its base, of which `say` is also told.
///
/// # Errors
/// As [`checkpoint_of`] and [`ModelPlace::find`].
pub(super) fn find(path: &Path, base: Option<&Path>, say: &mut dyn Write) -> Result<ModelPlace> {
    let place = ModelPlace::find(&checkpoint_of(path, say)?, base)?;
    if place.adapter.is_some() {
        let _ = writeln!(say, "model: {place}");
    }
    Ok(place)
}
