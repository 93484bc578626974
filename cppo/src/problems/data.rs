//! Problems from files, in the formats the field uses: JSONL, and Hugging Face parquet as in geometry3k, ViRL39K and verl's sets.
//!
//! | what | columns, the first that is there | forms |
//! |---|---|---|
//! | pictures | `images`, `decoded_image`, `image`; else `image_1`, `image_2`, … | `{bytes, path}`, a path, a data URI or base64, or a list of any of these |
//! | problem | `problem`, `question`, `prompt`, `query`, `messages` | text, or chat messages (the user's are taken) |
//! | answer | `answer`, `reward_model.ground_truth`, `label` | text or a number, or a list of one; of a marked one (`\boxed{…}`, `<answer>…</answer>`, `#### …`) its content |
//! | choices | `choices`, `options` | a list of texts: they are put under the problem with letters, and the answer becomes `(B) text` |
//! | response, for supervised training | `response`, `completion` | text; else the assistant's last message in `messages` |
//!
//! `<image>` marks in a problem are taken out: a picture goes before its text ([`ImageMarks`]). A row without one of the three, whose marks are not
//! as many as its pictures, or whose picture is missing or cannot be decoded, is bad: it is named, and skipped or refused as configured. Every
//! picture is decoded once when the data are read, so that no run ends at a broken file after a night.

mod choices;
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

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use flate2::Crc;
use image::RgbImage;
use percept_model::image::DecodeOptions;
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::random::Random;
use files::{Files, extension, files};

/// What data are read for. It decides which split of a folder is taken if the configuration does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To train on rewarded responses: a row needs an answer.
    Training,
    /// To learn responses: a row needs one.
    Responses,
    /// To be measured on: a row needs an answer.
    Measuring,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// The rows that can be used, in order.
    pub examples: Vec<Example>,
    /// The rows that were skipped, in order.
    pub bad_rows: Vec<BadRow>,
    /// A sentence for each choice that was made in reading: which of a folder's splits.
    pub notes: Vec<String>,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
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
    /// The right answer, without a box; empty if none is given, which only [`Purpose::Responses`] allows.
    pub answer: String,
    /// The response to learn, if the data are for that.
    pub response: Option<String>,
    /// The values of [`DataConfig::extra_columns`].
    pub columns: Map<String, Value>,
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

/// Reads all problems of `config.path` to train on rewarded responses, see [`import_for`].
///
/// # Errors
/// Those of [`import_for`].
pub fn import(config: &DataConfig) -> Result<Dataset, DataError> {
    import_for(config, Purpose::Training)
}

/// Whether other files are read to measure on than to train on: names tell splits, and the configuration does not say which is wanted.
///
/// # Errors
/// If a file or folder cannot be read, or holds no data.
pub fn has_split_to_measure(config: &DataConfig) -> Result<bool, DataError> {
    let paths = |purpose| Ok::<_, DataError>(files(&config.path, config.split, purpose)?.paths);
    Ok(paths(Purpose::Training)? != paths(Purpose::Measuring)?)
}

/// Reads all problems of `config.path`. Of a folder or pattern in which names tell splits, those of `train` to train on, and those of `test`, else of `validation`, to
/// measure on, unless `config.split` says otherwise. Pictures in a parquet file, or in base64, stay in memory as they are encoded; others on disk.
///
/// # Errors
/// A file that cannot be read or is not what its name says, no usable row, or a bad row that is refused.
pub fn import_for(config: &DataConfig, purpose: Purpose) -> Result<Dataset, DataError> {
    let mut rows = Vec::new();
    let Files { paths, notes } = files(&config.path, config.split, purpose)?;
    for file in &paths {
        let left = config.limit.map_or(usize::MAX, |limit| limit - rows.len());
        rows.extend(match extension(file) {
            Some("parquet") => parquet_rows::read(file, &row::wanted_columns(config), left)?,
            _ => jsonl::read(file, left)?,
        });
    }
    let read: Vec<Result<Example, BadRow>> = rows
        .into_par_iter()
        .map(|(place, record)| {
            let example = record.and_then(|record| row::example(record, &place, config, purpose));
            example.map_err(|reason| BadRow { place, reason })
        })
        .collect();
    let mut dataset = Dataset { notes, files: paths, ..Dataset::default() };
    for result in read {
        match result {
            Ok(example) => dataset.examples.push(example),
            Err(bad) => dataset.bad_rows.push(bad),
        }
    }
    dataset.settled(config)
}

impl Dataset {
    /// Itself, if there is a problem to use and the bad rows may be left out.
    pub(crate) fn settled(self, config: &DataConfig) -> Result<Dataset, DataError> {
        let total = self.examples.len() + self.bad_rows.len();
        let first = self.bad_rows.first().cloned().map(Box::new);
        match (first, self.examples.is_empty(), config.on_bad_row) {
            (Some(first), false, OnBadRow::Refuse) => Err(DataError::BadRows { count: self.bad_rows.len(), total, first }),
            (first, true, _) => Err(DataError::Empty { path: config.path.clone(), total, first }),
            _ => Ok(self),
        }
    }

    /// Without `count` problems, and those, each in their order. Which they are depends on nothing but how many there are: whoever measures later, with whatever seed, measures on what was
    /// not trained on.
    ///
    /// # Panics
    /// If there are not so many.
    #[track_caller]
    pub fn hold_out(mut self, count: usize) -> (Dataset, Dataset) {
        assert!(count <= self.examples.len(), "hold_out: {count} of {} problems", self.examples.len());
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        Random::new(0, "data/holdout", 0).shuffle(&mut order);
        let kept: BTreeSet<usize> = order.into_iter().take(count).collect();
        let (mut rest, mut held) = (Vec::new(), Vec::new());
        for (number, example) in std::mem::take(&mut self.examples).into_iter().enumerate() {
            if kept.contains(&number) { held.push(example) } else { rest.push(example) }
        }
        (Dataset { examples: rest, ..self }, Dataset { examples: held, ..Dataset::default() })
    }

    /// A checksum (CRC-32) of all problems in their order: words, answers, responses and the bytes of the pictures. Where the files lie does not count.
    ///
    /// # Errors
    /// If a picture cannot be read any more.
    pub fn fingerprint(&self) -> Result<u32, DataError> {
        let mut crc = Crc::new();
        let mut add = |bytes: &[u8]| {
            crc.update(&(bytes.len() as u64).to_le_bytes());
            crc.update(bytes);
        };
        for example in &self.examples {
            add(example.problem.as_bytes());
            add(example.answer.as_bytes());
            add(example.response.as_deref().unwrap_or_default().as_bytes());
            for image in &example.images {
                match image {
                    ImageSource::Bytes(bytes) => add(bytes),
                    ImageSource::File(path) => add(&std::fs::read(path).map_err(|source| DataError::Io { path: path.clone(), source })?),
                }
            }
        }
        Ok(crc.sum())
    }
}
