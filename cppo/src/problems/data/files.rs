//! Which files a configuration means: files, folders, patterns, and the splits that names tell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::config::{DataPath, DataSplit};
use super::{DataError, Purpose};

/// The files that are read, in order, and a sentence for each choice that was made.
pub(super) struct Files {
    pub(super) paths: Vec<PathBuf>,
    pub(super) notes: Vec<String>,
}

/// All that `path` names; of folders and patterns the files of one split, if their names tell splits.
pub(super) fn files(path: &DataPath, split: Option<DataSplit>, purpose: Purpose) -> Result<Files, DataError> {
    let mut files = Files { paths: Vec::new(), notes: Vec::new() };
    if path.named().is_empty() {
        return Err(format(Path::new("data.path"), "expected at least one path, got an empty list".into()));
    }
    for named in path.named() {
        let found = match std::fs::metadata(named) {
            Ok(metadata) if metadata.is_dir() => in_folder(named)?,
            Ok(metadata) if metadata.is_file() => {
                if !is_data(named) {
                    return Err(format(named, "expected a .jsonl or .parquet file, or a folder with some".into()));
                }
                push(&mut files.paths, named.clone());
                continue;
            }
            Ok(_) => return Err(format(named, "expected a regular file or a folder, got a pipe or a device".into())),
            Err(_) if is_pattern(named) => by_pattern(named)?,
            Err(source) => return Err(DataError::Io { path: named.clone(), source }),
        };
        let chosen = choose(named, found, split, purpose, &mut files.notes)?;
        chosen.into_iter().for_each(|path| push(&mut files.paths, path));
    }
    Ok(files)
}

/// A file that two patterns find is read once.
fn push(paths: &mut Vec<PathBuf>, path: PathBuf) {
    if !paths.contains(&path) {
        paths.push(path);
    }
}

/// The data files directly in a folder, in order of their names.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| is_data(path) && path.is_file()).collect();
    files.sort();
    if files.is_empty() {
        let inner = folder.join("data");
        let hint = if inner.is_dir() { format!(" (perhaps {}?)", inner.display()) } else { String::new() };
        return Err(format(folder, format!("expected a .jsonl or .parquet file, or a folder with some{hint}")));
    }
    Ok(files)
}

fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

/// The data files that a pattern matches, in order of their paths.
fn by_pattern(pattern: &Path) -> Result<Vec<PathBuf>, DataError> {
    let text = pattern.to_str().expect("a pattern is text");
    let paths = glob::glob(text).map_err(|e| format(pattern, format!("not a pattern: {e}")))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|e| DataError::Io { path: e.path().to_owned(), source: e.into() })?;
        if is_data(&path) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(format(pattern, "expected a pattern of .jsonl or .parquet files, got one that none matches".into())),
        false => Ok(files),
    }
}

/// The files of one split, where names tell splits.
fn choose(
    named: &Path,
    found: Vec<PathBuf>,
    configured: Option<DataSplit>,
    purpose: Purpose,
    notes: &mut Vec<String>,
) -> Result<Vec<PathBuf>, DataError> {
    // `sets/*/part-*.parquet`: the folders are what tells
    let folders_vary = named.parent().is_some_and(is_pattern);
    let split = |path: &Path| {
        let by_folder = || path.parent().filter(|_| folders_vary)?.file_name().and_then(split_in);
        path.file_stem().and_then(split_in).or_else(by_folder)
    };
    let of = |wanted: Option<DataSplit>| found.iter().filter(|path| split(path) == wanted).cloned().collect::<Vec<_>>();
    let splits = [DataSplit::Train, DataSplit::Validation, DataSplit::Test];
    let there: Vec<DataSplit> = splits.into_iter().filter(|&split| !of(Some(split)).is_empty()).collect();
    let chosen = match (configured, &there[..]) {
        (Some(DataSplit::All), _) | (None, []) => return Ok(found),
        (Some(split), _) => split,
        // there is nothing to choose from
        (None, &[only]) if of(None).is_empty() => {
            notes.push(format!("{}: only files of the split {}", named.display(), only.name()));
            return Ok(found);
        }
        (None, _) => {
            let order: &[DataSplit] = match purpose {
                Purpose::Training | Purpose::Responses => &[DataSplit::Train],
                Purpose::Measuring => &[DataSplit::Test, DataSplit::Validation],
            };
            *order.iter().find(|split| there.contains(split)).unwrap_or(&order[0])
        }
    };
    let taken = of(Some(chosen));
    let names = there.iter().map(|split| split.name()).collect::<Vec<_>>().join(", ");
    if taken.is_empty() {
        let others = if names.is_empty() { "files whose names tell no split".to_owned() } else { format!("files of {names}") };
        let problem =
            format!("expected files of the split {}, got {others} (data.split says which to read, \"all\" reads all)", chosen.name());
        return Err(format(named, problem));
    }
    let left = found.len() - taken.len();
    if left > 0 {
        notes.push(format!(
            "{}: reads the split {} alone, {} of {} files (data.split chooses another, \"all\" reads all)",
            named.display(),
            chosen.name(),
            taken.len(),
            found.len()
        ));
    }
    Ok(taken)
}

/// The split that the name of a file or folder tells, by whole words as the `datasets` library looks for them: the first of them counts.
fn split_in(name: &OsStr) -> Option<DataSplit> {
    let name = name.to_str()?.to_ascii_lowercase();
    name.split(|c: char| "-._ ".contains(c) || c.is_ascii_digit()).find_map(|word| match word {
        "train" | "training" => Some(DataSplit::Train),
        "validation" | "valid" | "val" | "dev" => Some(DataSplit::Validation),
        "test" | "testing" | "eval" | "evaluation" => Some(DataSplit::Test),
        _ => None,
    })
}

fn is_data(path: &Path) -> bool {
    matches!(extension(path), Some("jsonl" | "parquet"))
}

pub(super) fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}

fn format(path: &Path, problem: String) -> DataError {
    DataError::Format { path: path.to_owned(), problem }
}
