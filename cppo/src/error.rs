//! What can go wrong in training: in the model and its files, in the data, on the device, in what was saved.

use std::path::PathBuf;

use percept_model::ModelError;
use percept_model::image::ImageError;

use crate::problems::data::BadRow;

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model, its files, or a prompt that does not fit it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device, or a file of tensors.
    #[error(transparent)]
    Engine(#[from] percept_engine::Error),
    /// The settings of the image processor.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A row whose picture cannot be decoded.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// There is nothing to train on.
    #[error("{}: no problems to train on", path.display())]
    Empty {
        /// The data.
        path: PathBuf,
    },
    /// A saved state that is not this run's.
    #[error("{}: {problem}", path.display())]
    Saved {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The loss, or what the model says, is NaN or infinite.
    #[error("{what} is not a number")]
    NotANumber {
        /// Of what.
        what: String,
    },
    /// A choice that the model at hand does not allow.
    #[error("{0}")]
    Unsupported(String),
}
