//! What can be wrong with the files of a model directory.

use std::path::{Path, PathBuf};

/// An error in a file that describes or accompanies a model; every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that must be there is not.
    #[error("{}: not found ({needed_for})", path.display())]
    Missing {
        /// The file, or the directory in which one of several files was looked for.
        path: PathBuf,
        /// What cannot be done without it.
        needed_for: &'static str,
    },
    /// The directory of a model is not there.
    #[error("{}: expected a model directory, got {got}", path.display())]
    NoDirectory {
        /// Where it should be.
        path: PathBuf,
        /// What is there, and what could be done.
        got: String,
    },
    /// The file is not JSON, or is cut off.
    #[error("{}: invalid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// A field holds something that cannot be used.
    #[error("{}: {field}: expected {expected}, got {got}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, with its section: `text_config.hidden_size`.
        field: String,
        /// What would have been right.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// The tokenizer's file was refused, or a text could not be encoded or decoded.
    #[error("{}: {message}", path.display())]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// What the tokenizer said.
        message: String,
    },
    /// The chat template does not compile, or refuses the messages.
    #[error("{}: chat template: {message}", path.display())]
    ChatTemplate {
        /// The file that holds the template.
        path: PathBuf,
        /// What the template engine said, with the line.
        message: String,
    },
    /// A text and the pictures that go with it do not match.
    #[error("prompt: expected {expected}, got {got}")]
    Prompt {
        /// What the prompt needs.
        expected: String,
        /// What it has.
        got: String,
    },
    /// A prompt and what is to follow it are longer than the positions the model has.
    #[error("prompt of {prompt_tokens} tokens + {new_tokens} new exceeds max_position_embeddings ({context})")]
    Context {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens of the completion, or the most that may be drawn.
        new_tokens: usize,
        /// `text_config.max_position_embeddings`.
        context: usize,
    },
    /// The tensors of a checkpoint are not those of the configuration beside it.
    #[error("{}: {}", path.display(), listed(problems))]
    Weights {
        /// The checkpoint, or its index.
        path: PathBuf,
        /// One for each tensor that is missing, surplus or of another shape.
        problems: Vec<String>,
    },
    /// What the engine reports: an unreadable or damaged checkpoint, memory, the device.
    #[error(transparent)]
    Engine(#[from] percept_engine::Error),
    /// A picture that the model does not take, or a setting of its image processor.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
}

/// The first problems, and how many more there are.
fn listed(problems: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = problems[..problems.len().min(SHOWN)].join("; ");
    if problems.len() > SHOWN {
        text.push_str(&format!("; and {} more", problems.len() - SHOWN));
    }
    text
}

impl ModelError {
    /// An input or output error at `path`.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    /// A field of `path` that is `got` where `expected` should be.
    pub(crate) fn field(path: &Path, field: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Field { path: path.to_path_buf(), field: field.into(), expected: expected.into(), got: got.to_string() }
    }
}
