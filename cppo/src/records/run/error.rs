//! What can go wrong with a run's folder.

use std::path::{Path, PathBuf};

use percept_model::ModelError;

use crate::problems::data::DataError;

/// Why a run's folder cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or folder cannot be read or written: no space, no permission, not there.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A new run would overwrite an old one.
    #[error("{}: this run exists already: continue it with --resume, or choose another name with --set run.name=…", path.display())]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// A process is at work on the run.
    #[error("{}: another process is at work on this run", path.display())]
    Busy {
        /// Its folder.
        path: PathBuf,
    },
    /// A run would go on with something else than it began with.
    #[error("{}: not what this run began with:\n  {}", path.display(), differences.join("\n  "))]
    Changed {
        /// Its folder.
        path: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
    /// Data that can no longer be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A line that is not what it should be.
    #[error("{}: line {line}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// An atomic write failed.
    #[error(transparent)]
    Write(#[from] ModelError),
}

impl RunError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> RunError {
        RunError::Io { path: path.to_owned(), source }
    }
}
