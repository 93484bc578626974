//! Where problems come from and how they are read: the section `[data]` of a configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use percept_model::image::{DecodeOptions, Transparency};
use serde::{Deserialize, Serialize};

/// Where problems come from and what to do with those that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A `.jsonl` or `.parquet` file, a folder of such files (read in order of their names), a pattern (`data/train-*.parquet`), or a list of
    /// any of these. No default.
    pub path: DataPath,
    /// Which files of a folder or pattern are read, if their names tell splits (`train-00000-of-00002.parquet`, `test.jsonl`). Default: those
    /// to train on are `train`; those to be measured on `test`, else `validation`. Files that are named one by one are all read.
    pub split: Option<DataSplit>,
    /// Folder that pictures' paths are relative to. Default: the folder of the file that names them.
    pub image_root: Option<PathBuf>,
    /// Which files may be opened as pictures. Default `below`.
    pub image_files: ImageFiles,
    /// What happens to rows that cannot be used. Default `skip`.
    pub on_bad_row: OnBadRow,
    /// A row with more pictures than this is bad. Default 1.
    pub max_images: usize,
    /// What becomes of transparency in pictures: laid over `white`, or `drop`ped, which shows the colours stored beneath. Default `white`.
    pub transparency: Transparency,
    /// A picture of more pixels than this makes its row bad, before it is unpacked. Default 89478485, above which Pillow warns.
    pub max_pixels: u64,
    /// What `<image>` in a problem means. Default `check`.
    pub image_marks: ImageMarks,
    /// Read at most this many rows, bad ones included. Default: all.
    pub limit: Option<usize>,
    /// Column of the pictures, dotted for a field of a struct. Default: by the usual names.
    pub image_column: Option<String>,
    /// Column of the problem. Default: by the usual names.
    pub problem_column: Option<String>,
    /// Column of the answer. Default: by the usual names.
    pub answer_column: Option<String>,
    /// Column of the response that supervised training learns. Default: by the usual names.
    pub response_column: Option<String>,
    /// Further columns, which rewards get with each response as `columns`; what a row has not is null there. Default `[]`.
    pub extra_columns: Vec<String>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: DataPath::default(),
            split: None,
            image_root: None,
            image_files: ImageFiles::Below,
            on_bad_row: OnBadRow::Skip,
            max_images: 1,
            transparency: Transparency::OverWhite,
            max_pixels: DecodeOptions::default().max_pixels,
            image_marks: ImageMarks::Check,
            limit: None,
            image_column: None,
            problem_column: None,
            answer_column: None,
            response_column: None,
            extra_columns: Vec::new(),
        }
    }
}

impl DataConfig {
    /// The name of the first file or folder, without its ending.
    pub fn name(&self) -> String {
        self.path.stem().unwrap_or_else(|| "data".into())
    }

    /// With no optional field left out.
    pub(crate) fn with_every_key() -> DataConfig {
        DataConfig {
            split: Some(DataSplit::Train),
            image_root: Some(PathBuf::new()),
            limit: Some(0),
            image_column: Some(String::new()),
            problem_column: Some(String::new()),
            answer_column: Some(String::new()),
            response_column: Some(String::new()),
            ..DataConfig::default()
        }
    }

    /// How pictures are decoded.
    pub fn decoding(&self) -> DecodeOptions {
        DecodeOptions { transparency: self.transparency, max_pixels: self.max_pixels, ..DecodeOptions::default() }
    }
}

/// Files, folders and patterns, at least one. In a configuration: text, or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "OneOrMany")]
pub struct DataPath(Vec<PathBuf>);

impl DataPath {
    /// What was named, in order.
    pub fn named(&self) -> &[PathBuf] {
        &self.0
    }

    /// The name of the first, without folder and extension: a run is named after it.
    pub fn stem(&self) -> Option<String> {
        let stem = self.0.first()?.file_stem()?.to_string_lossy();
        Some(stem.chars().filter(|c| !"*?[]".contains(*c)).collect())
    }
}

impl Default for DataPath {
    fn default() -> Self {
        Self(vec![PathBuf::new()])
    }
}

impl From<PathBuf> for DataPath {
    fn from(path: PathBuf) -> Self {
        Self(vec![path])
    }
}

impl From<&Path> for DataPath {
    fn from(path: &Path) -> Self {
        Self(vec![path.to_owned()])
    }
}

impl From<Vec<PathBuf>> for DataPath {
    fn from(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }
}

impl fmt::Display for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|path| Path::display(path).to_string()).collect();
        f.write_str(&names.join(", "))
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl From<OneOrMany> for DataPath {
    fn from(paths: OneOrMany) -> Self {
        match paths {
            OneOrMany::One(path) => Self(vec![path]),
            OneOrMany::Many(paths) => Self(paths),
        }
    }
}

impl From<DataPath> for OneOrMany {
    fn from(DataPath(mut paths): DataPath) -> Self {
        match paths.len() {
            1 => OneOrMany::One(paths.remove(0)),
            _ => OneOrMany::Many(paths),
        }
    }
}

/// A part of a data set, as the names of its files tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSplit {
    /// Names with `train` or `training`.
    Train,
    /// Names with `validation`, `valid`, `val` or `dev`.
    Validation,
    /// Names with `test`, `testing`, `eval` or `evaluation`.
    Test,
    /// All files, whatever their names tell.
    All,
}

impl DataSplit {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            DataSplit::Train => "train",
            DataSplit::Validation => "validation",
            DataSplit::Test => "test",
            DataSplit::All => "all",
        }
    }
}

/// Which files may be opened as pictures. Data come from strangers: a row must not make the program read what is none of its business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFiles {
    /// Those below `image_root` or, without it, below the folder of the data file. Links in that folder are followed, as the Hub's cache needs.
    Below,
    /// Any: absolute paths, and paths that lead out by `..`.
    Any,
}

/// What happens to rows that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// They are left out, counted and named in [`Dataset::bad_rows`](super::Dataset::bad_rows).
    Skip,
    /// Any of them is an error.
    Refuse,
}

/// What `<image>` in a problem means. Pictures go before the text, so a mark is taken out where that changes no sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageMarks {
    /// Marks at the beginning, on lines of their own, and at the end after a whole sentence are taken out. If there are any marks, there must be
    /// as many as pictures, and none within a sentence: such a row is bad.
    Check,
    /// All marks are taken out, wherever they stand. If there are any, there must be as many as pictures.
    TakeOut,
    /// `<image>` is text like any other and stays.
    Keep,
}
