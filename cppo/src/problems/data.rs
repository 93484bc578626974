//! Problems from files, in the formats the field uses: JSONL, and Hugging Face parquet as in geometry3k, ViRL39K and verl's sets.
//!
//! | what | columns, the first that is there | forms |
//! |---|---|---|
//! | pictures | `images`, `image` | `{bytes, path}`, a path, or a list of either |
//! | problem | `problem`, `question`, `prompt` | text, or chat messages (the user's are taken) |
//! | answer | `answer`, `reward_model.ground_truth` | text or a number; of a marked one (`\boxed{…}`, `<answer>…</answer>`, `#### …`) its content |
//!
//! `<image>` marks in a problem are taken out: a picture goes before its text. A row without one of the three, or whose picture
//! is missing or cannot be decoded, is bad: it is named, and skipped or refused as configured. Every picture is decoded once when the
//! data are read, so that no run ends at a broken file after a night.

mod export;
mod jsonl;
mod parquet_rows;
mod row;

pub use export::{write_examples, write_problems};

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use percept_model::image::{DecodeOptions, decode};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Where problems come from and what to do with those that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A `.jsonl` or `.parquet` file, or a folder of such files (read in order of their names). No default.
    pub path: PathBuf,
    /// Folder that pictures' paths are relative to. Default: the folder of the file that names them.
    pub image_root: Option<PathBuf>,
    /// What happens to rows that cannot be used. Default `skip`.
    pub on_bad_row: OnBadRow,
    /// A row with more pictures than this is bad. Default 1.
    pub max_images: usize,
    /// Read at most this many rows, bad ones included. Default: all.
    pub limit: Option<usize>,
    /// Column of the pictures, dotted for a field of a struct. Default: by the usual names.
    pub image_column: Option<String>,
    /// Column of the problem. Default: by the usual names.
    pub problem_column: Option<String>,
    /// Column of the answer. Default: by the usual names.
    pub answer_column: Option<String>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            image_root: None,
            on_bad_row: OnBadRow::Skip,
            max_images: 1,
            limit: None,
            image_column: None,
            problem_column: None,
            answer_column: None,
        }
    }
}

/// What happens to rows that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// They are left out, counted and named in [`Dataset::bad_rows`].
    Skip,
    /// Any of them is an error.
    Refuse,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows that can be used, in order.
    pub examples: Vec<Example>,
    /// The rows that were skipped, in order.
    pub bad_rows: Vec<BadRow>,
}

/// A problem from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The pictures, at least one. They could be decoded when the row was read, and are decoded again when asked for.
    pub images: Vec<ImageSource>,
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
        let decoded: Result<_, String> = self.images.iter().map(ImageSource::decode).collect();
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
    #[error("{}: no problem to use: {total} rows{}", path.display(), first.as_ref().map(|row| format!(", all bad; the first: {row}")).unwrap_or_default())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// Rows read.
        total: usize,
        /// The first bad row, if there is a row.
        first: Option<Box<BadRow>>,
    },
}

/// Reads all problems of `config.path`. Pictures in a parquet file stay in memory as they are encoded; others on disk.
///
/// # Errors
/// A file that cannot be read or is not what its name says, no usable row, or a bad row that is refused.
pub fn import(config: &DataConfig) -> Result<Dataset, DataError> {
    let mut rows = Vec::new();
    for file in files(&config.path)? {
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
    let mut dataset = Dataset { examples: Vec::new(), bad_rows: Vec::new() };
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

/// An encoded picture, in memory or on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSource {
    /// PNG or JPEG bytes.
    Bytes(Arc<[u8]>),
    /// A PNG or JPEG file.
    File(PathBuf),
}

impl ImageSource {
    /// The picture, RGB, 8 bits. `-> [height, width, 3]`
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(&self) -> Result<RgbImage, String> {
        let bytes = self.bytes()?;
        decode(&bytes, &self.to_string(), DecodeOptions::default()).map_err(|e| e.to_string())
    }

    fn bytes(&self) -> Result<Arc<[u8]>, String> {
        match self {
            ImageSource::Bytes(bytes) => Ok(bytes.clone()),
            ImageSource::File(path) => std::fs::read(path).map(Into::into).map_err(|e| format!("{self}: {e}")),
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            ImageSource::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The file itself, or the data files directly in a folder, in order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let is_data = |path: &Path| matches!(extension(path), Some("jsonl" | "parquet"));
    let found = match std::fs::metadata(path).map_err(io)?.is_dir() {
        true => {
            let entries = std::fs::read_dir(path).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
            let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| is_data(path)).collect();
            files.sort();
            files
        }
        false => vec![path.to_owned()].into_iter().filter(|path| is_data(path)).collect(),
    };
    match found.is_empty() {
        true => {
            let problem = "expected a .jsonl or .parquet file, or a folder with some".to_owned();
            Err(DataError::Format { path: path.to_owned(), problem })
        }
        false => Ok(found),
    }
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}
