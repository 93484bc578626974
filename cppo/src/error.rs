//! What can go wrong in training: the model and its files, the data, the device, or a saved state.

use std::path::PathBuf;

use percept_model::ModelError;
use percept_model::image::ImageError;

use crate::problems::data::BadRow;
use crate::problems::reward::RewardError;

/// Why training cannot continue.
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
    /// A reward that cannot be computed.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// There is nothing to train on.
    #[error("{}: no problems to train on", path.display())]
    Empty {
        /// The file or folder with the data.
        path: PathBuf,
    },
    /// A saved state that is damaged, or belongs to another run.
    #[error("{}: {problem}", path.display())]
    Saved {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The loss or an output of the model is NaN or infinite.
    #[error("{what} is not a number")]
    NotANumber {
        /// The value that is not a number.
        what: String,
    },
    /// A setting that this model does not support.
    #[error("{0}")]
    Unsupported(String),
}
