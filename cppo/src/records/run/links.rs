//! `checkpoints/best` and `checkpoints/last`: names that stay while the checkpoints behind them change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use percept_model::atomic;

use super::{CHECKPOINTS, RunError, RunFolder, UNFINISHED};

impl RunFolder {
    /// Points `checkpoints/last` at the last checkpoint, and `checkpoints/best` at that of the step `best`; without one there is no `best`. They are relative symbolic links. Where the
    /// system or the disk has none they are files that hold the checkpoint's name, which [`followed`] understands.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn link_checkpoints(&self, best: Option<u64>) -> Result<(), RunError> {
        let saved = self.checkpoints()?;
        self.link("last", saved.last().copied())?;
        self.link("best", best.filter(|best| saved.contains(best)))
    }

    fn link(&self, name: &str, step: Option<u64>) -> Result<(), RunError> {
        let folder = self.path().join(CHECKPOINTS);
        let path = folder.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            return Ok(()); // what somebody made of a link by copying the run: theirs
        }
        let Some(step) = step else {
            return remove_if_there(&path).map_err(|error| RunError::io(&path, error));
        };
        let target = format!("step-{step}");
        // made aside and renamed, so that there is always one; what a killed process leaves aside is removed like other unfinished files
        let aside = folder.join(format!("{UNFINISHED}link-{name}"));
        let linked = remove_if_there(&aside).and_then(|()| symlink(&target, &aside)).and_then(|()| fs::rename(&aside, &path));
        match linked {
            Ok(()) => Ok(()),
            Err(_) => Ok(atomic::write_file(&path, format!("{target}\n").as_bytes())?),
        }
    }
}

/// The checkpoint that a file `best` or `last` stands for where there are no links; any other path is what it is.
pub fn followed(path: &Path) -> PathBuf {
    let is_short = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() < 64);
    let name = if is_short { fs::read_to_string(path).ok() } else { None };
    let name = name.as_deref().map(str::trim).filter(|name| name.strip_prefix("step-").is_some_and(|step| step.parse::<u64>().is_ok()));
    name.map_or(path.to_path_buf(), |name| path.with_file_name(name))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn symlink(target: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// Windows lets only some users make links.
#[cfg(not(unix))]
fn symlink(_: &str, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
