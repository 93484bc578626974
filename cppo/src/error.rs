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
    /// Ranks that should have the same weights have not.
    #[error(
        "step {step}: {name} of rank {rank}: expected CRC-32 {expected:08x}, as rank 0 has, got {got:08x}: the ranks compute differently"
    )]
    Drift {
        /// The rank.
        rank: usize,
        /// The step after which it was seen.
        step: u64,
        /// The weight, or what the optimiser keeps of it.
        name: String,
        /// Checksum on rank 0.
        expected: u32,
        /// Checksum on the rank.
        got: u32,
    },
    /// What another rank says.
    #[error("rank {rank}: {problem}")]
    Rank {
        /// Its number.
        rank: usize,
        /// Its error.
        problem: String,
    },
    /// A setting that this model does not support.
    #[error("{0}")]
    Unsupported(String),
}
