//! Problems from files, in the formats the field uses: JSONL, and Hugging Face parquet as in geometry3k, ViRL39K and verl's sets.
//!
//! | what | columns, the first that is there | forms |
//! |---|---|---|
//! | pictures | `images`, `image` | `{bytes, path}`, a path, a data URI or base64, or a list of any of these |
//! | problem | `problem`, `question`, `prompt` | text, or chat messages (the user's are taken) |
//! | answer | `answer`, `reward_model.ground_truth` | text or a number; of a `\boxed{…}` its content |
//!
//! `<image>` marks in a problem are taken out: a picture goes before its text ([`ImageMarks`]). A row without one of the three, whose marks are not
//! as many as its pictures, or whose picture is missing or cannot be decoded, is bad: it is named, and skipped or refused as configured. Every
//! picture is decoded once when the data are read, so that no run ends at a broken file after a night.

mod config;
mod export;
mod files;
mod jsonl;
mod marks;
mod parquet_rows;
mod row;
mod source;

pub use config::{DataConfig, DataPath, DataSplit, ImageFiles, ImageMarks, OnBadRow};
pub use export::{write_examples, write_problems};
pub use source::ImageSource;

use std::fmt;
use std::path::PathBuf;

use image::RgbImage;
use percept_model::image::DecodeOptions;
use rayon::prelude::*;

use files::{Files, Purpose, extension, files};

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// The rows that can be used, in order.
    pub examples: Vec<Example>,
    /// The rows that were skipped, in order.
    pub bad_rows: Vec<BadRow>,
    /// A sentence for each choice that was made in reading: which of a folder's splits.
    pub notes: Vec<String>,
}

/// A problem from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The pictures, at least one. They could be decoded when the row was read, and are decoded again when asked for.
    pub images: Vec<ImageSource>,
    /// How they are decoded.
    pub decoding: DecodeOptions,
    /// The problem in words.
    pub problem: String,
    /// The right answer, without a box.
    pub answer: String,
    /// Where it stands.
    pub place: RowPlace,
}

impl Example {
    /// The pictures, decoded, RGB, 8 bits. `-> [images][height, width, 3]`
    ///
    /// # Errors
    /// The row, and what is wrong with its picture: it was right when the row was read.
    pub fn pictures(&self) -> Result<Vec<RgbImage>, BadRow> {
        let decoded: Result<_, String> = self.images.iter().map(|image| image.decode(self.decoding)).collect();
        decoded.map_err(|reason| BadRow { place: self.place.clone(), reason })
    }
}

/// The place of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// The file.
    pub path: PathBuf,
    /// Line of a JSONL file or row of a parquet file, from 1.
    pub row: usize,
}

impl fmt::Display for RowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: row {}", self.path.display(), self.row)
    }
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct BadRow {
    /// Where it stands.
    pub place: RowPlace,
    /// The column and what is wrong with it.
    pub reason: String,
}

/// Why no data could be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A picture cannot be decoded or encoded.
    #[error("{place}: {problem}")]
    Image {
        /// The row or the file.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// There are bad rows, and they are refused.
    #[error("{count} of {total} rows cannot be used; the first: {first} (data.on_bad_row = \"skip\" leaves them out)")]
    BadRows {
        /// Number of bad rows.
        count: usize,
        /// Number of all rows.
        total: usize,
        /// The first bad row.
        first: Box<BadRow>,
    },
    /// No row can be used.
    #[error("{path}: no problem to use: {total} rows{}", first.as_ref().map(|row| format!(", all bad; the first: {row}")).unwrap_or_default())]
    Empty {
        /// What was to be read.
        path: DataPath,
        /// Rows read.
        total: usize,
        /// The first bad row, if there is a row.
        first: Option<Box<BadRow>>,
    },
}

/// Reads all problems of `config.path` to train on: of a folder or pattern in which names tell splits, those of `train`, unless
/// `config.split` says otherwise. Pictures in a parquet file, or in base64, stay in memory as they are encoded; others on disk.
///
/// # Errors
/// A file that cannot be read or is not what its name says, no usable row, or a bad row that is refused.
pub fn import(config: &DataConfig) -> Result<Dataset, DataError> {
    read(config, Purpose::Training)
}

/// Reads all problems of `config.path` to measure on them, as [`import`] does; where names tell splits, those of `test`, else of `validation`.
///
/// # Errors
/// Those of [`import`].
pub fn import_to_measure(config: &DataConfig) -> Result<Dataset, DataError> {
    read(config, Purpose::Measuring)
}

fn read(config: &DataConfig, purpose: Purpose) -> Result<Dataset, DataError> {
    let mut rows = Vec::new();
    let Files { paths, notes } = files(&config.path, config.split, purpose)?;
    for file in paths {
        let left = config.limit.map_or(usize::MAX, |limit| limit - rows.len());
        rows.extend(match extension(&file) {
            Some("parquet") => parquet_rows::read(&file, &row::wanted_columns(config), left)?,
            _ => jsonl::read(&file, left)?,
        });
    }
    let total = rows.len();
    let read: Vec<Result<Example, BadRow>> = rows
        .into_par_iter()
        .map(|(place, record)| {
            let example = record.and_then(|record| row::example(record, &place, config));
            example.map_err(|reason| BadRow { place, reason })
        })
        .collect();
    let mut dataset = Dataset { notes, ..Dataset::default() };
    for result in read {
        match result {
            Ok(example) => dataset.examples.push(example),
            Err(bad) => dataset.bad_rows.push(bad),
        }
    }
    let first = dataset.bad_rows.first().cloned().map(Box::new);
    match (first, dataset.examples.is_empty(), config.on_bad_row) {
        (Some(first), false, OnBadRow::Refuse) => Err(DataError::BadRows { count: dataset.bad_rows.len(), total, first }),
        (first, true, _) => Err(DataError::Empty { path: config.path.clone(), total, first }),
        _ => Ok(dataset),
    }
}
