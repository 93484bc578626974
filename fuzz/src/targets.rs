//! What reads files of strangers, as functions of a file's bytes.

mod data;
mod model;
mod run;
mod text;

use std::fmt::Display;
use std::path::Path;

/// A reader under test.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Makes good files: which file, and its bytes.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
    /// Prepares an empty folder, and gives what puts bytes in the place of a file and reads it.
    pub open: fn(&Path) -> Reader,
}

/// Reads a file of this name with these bytes.
pub type Reader = Box<dyn FnMut(&str, &[u8]) -> Verdict>;

/// What came of it. A panic is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was read.
    Read,
    /// It was refused by an error that says what the file is called.
    Refused,
    /// It was refused by an error that does not.
    Nameless(String),
}

impl Verdict {
    /// The verdict of a result whose error must contain `name`.
    pub fn of<T>(result: Result<T, impl Display>, name: &str) -> Verdict {
        match result.map_err(|error| error.to_string()) {
            Ok(_) => Verdict::Read,
            Err(error) if error.contains(name) => Verdict::Refused,
            Err(error) => Verdict::Nameless(error),
        }
    }

    /// The worse of two.
    pub fn and(self, other: Verdict) -> Verdict {
        match (self, other) {
            (nameless @ Verdict::Nameless(_), _) | (_, nameless @ Verdict::Nameless(_)) => nameless,
            (Verdict::Refused, _) | (_, Verdict::Refused) => Verdict::Refused,
            _ => Verdict::Read,
        }
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    model::SAFETENSORS,
    model::MODEL,
    model::TOKENIZER,
    model::TEMPLATE,
    model::ADAPTER,
    model::PICTURE,
    data::JSONL,
    data::PARQUET,
    data::PREDICTIONS,
    text::CONFIGURATION,
    text::ANSWER,
    run::RUN,
    run::CHECKPOINT,
];

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Vec<u8> {
    let path = repository().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
