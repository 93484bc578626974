//! How a command ends, and whose fault an error is.

use std::process::ExitCode;

use percept_model::ModelError;
use percept_model::image::ImageError;

use super::interrupt;
use crate::config::ConfigError;
use crate::error::TrainError;
use crate::problems::data::DataError;
use crate::studies::inspect::InspectError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should. Exit code 0.
    Done,
    /// It could not. Exit code 1.
    Failed,
    /// It was asked for something that cannot be: usage, configuration, data. Exit code 2.
    BadInput,
    /// Somebody asked it to stop (Ctrl-C, SIGTERM, SIGHUP): it saved what it had, and can go on. Exit code 130, as shells report it.
    Interrupted,
}

impl Outcome {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::BadInput => 2,
            Outcome::Interrupted => interrupt::EXIT_CODE,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome.code())
    }
}

/// An error, and below it what can be done about it.
#[derive(Debug, thiserror::Error)]
#[error("{}\n{advice}", in_words(error))]
pub(super) struct Advised {
    pub(super) error: anyhow::Error,
    pub(super) advice: String,
    pub(super) outcome: Outcome,
}

/// An error with its causes, each said once: many errors say what caused them in their own words.
pub(super) fn in_words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(|cause| format!("{cause:#}")) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// Whether the output was closed by whoever read it.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_closed = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(is_closed))
}

/// Whether the fault lies in what the program was given.
pub(super) fn outcome_of(error: &anyhow::Error) -> Outcome {
    use percept_engine::Error as EngineError;
    let is_file = |error: &EngineError| matches!(error, EngineError::File { .. } | EngineError::Content { .. });
    let is_input = |error: &ModelError| match error {
        ModelError::Engine(error) => is_file(error),
        _ => true,
    };
    if let Some(advised) = error.downcast_ref::<Advised>() {
        return advised.outcome;
    }
    let inspect = error.downcast_ref::<InspectError>();
    let train = match inspect {
        Some(InspectError::Train(error)) => Some(error),
        _ => error.downcast_ref::<TrainError>(),
    };
    let is_bad_input = match (error.downcast_ref::<ModelError>(), train) {
        (Some(error), _) | (_, Some(TrainError::Model(error))) => is_input(error),
        (_, Some(TrainError::Engine(error))) => is_file(error),
        (_, Some(TrainError::NotANumber { .. } | TrainError::Drift { .. })) => false,
        (_, Some(_)) => true,
        (None, None) if inspect.is_some() => !matches!(inspect, Some(InspectError::NotFinite { .. })),
        (None, None) => error.is::<ConfigError>() || error.is::<DataError>() || error.is::<ImageError>(),
    };
    if is_bad_input { Outcome::BadInput } else { Outcome::Failed }
}
