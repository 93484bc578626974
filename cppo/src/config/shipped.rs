//! What is part of the program: the shipped configurations, and the small model and tokenizer that they name. So `percept train` works in any folder.
//!
//! A file on disk comes first: `configs/digits.toml` and `assets/tiny-vlm` mean what stands there if it does, and otherwise what the program brings along. A model is read
//! from a directory, so one that is part of the program is unpacked into the user's cache when it is used.

use std::io;
use std::path::{Component, Path, PathBuf};

use percept_engine::tune;
use percept_model::atomic;

/// Names, with `/`, and contents.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// Where something that a command names was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// On disk, or nowhere: then reading it says so.
    Disk,
    /// In the program.
    Program,
}

impl Source {
    /// What to say after a name: nothing, or that it is part of the program.
    pub fn note(self) -> &'static str {
        match self {
            Source::Disk => "",
            Source::Program => " (part of the program)",
        }
    }
}

/// The names of the shipped configurations, as in `configs/digits.toml`.
pub fn configurations() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name).filter(|name| name.starts_with("configs/"))
}

/// The text of a shipped configuration: by its name, with or without the folder and the ending.
pub fn configuration(path: &Path) -> Option<&'static str> {
    let name = name_of(path)?;
    let is_meant =
        |shipped: &str| shipped == name || shipped.strip_prefix("configs/").and_then(|file| file.strip_suffix(".toml")) == Some(&name);
    let (_, bytes) = FILES.iter().find(|(shipped, _)| shipped.starts_with("configs/") && is_meant(shipped))?;
    std::str::from_utf8(bytes).ok()
}

/// Where the directory `path` would be read from.
pub fn source(path: &Path) -> Source {
    if !path.exists() && files_of(path).next().is_some() { Source::Program } else { Source::Disk }
}

/// The directory on disk to read for `path`: itself, or where the program unpacks what it has under this name.
///
/// # Errors
/// If it cannot be unpacked.
pub fn locate(path: &Path) -> io::Result<PathBuf> {
    match source(path) {
        Source::Disk => Ok(path.to_owned()),
        Source::Program => unpack(path),
    }
}

/// The cache of the user, else the folder for temporary files. A directory is named after its contents: two versions of the program do not meet in one.
fn unpack(path: &Path) -> io::Result<PathBuf> {
    let files: Vec<(&str, &[u8])> = files_of(path).collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = format!("{name}-{:016x}", fingerprint(&files));
    let cache = tune::cache_path().and_then(|file| Some(file.parent()?.join("shipped").join(&folder)));
    let temporary = std::env::temp_dir().join("percept-shipped").join(&folder);
    let mut failure = None;
    for target in cache.into_iter().chain([temporary]) {
        match unpack_to(&target, &files) {
            Ok(()) => return Ok(target),
            // the first place is the one that is meant to work
            Err(error) => failure = failure.or(Some(io::Error::new(error.kind(), format!("{}: {error}", target.display())))),
        }
    }
    Err(failure.expect("there are places to try"))
}

fn unpack_to(target: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    let is_there = |(name, bytes): &(&str, &[u8])| std::fs::read(target.join(name)).is_ok_and(|found| found == *bytes);
    if files.iter().all(is_there) {
        return Ok(());
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let write = |new: &Path| files.iter().try_for_each(|(name, bytes)| atomic::write_file(&new.join(name), bytes));
    let written = atomic::write_directory(target, write);
    // two processes may unpack at once
    if files.iter().all(is_there) { Ok(()) } else { written.map_err(io::Error::other) }
}

/// The shipped files of a directory, by their names in it.
fn files_of(path: &Path) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let folder = name_of(path).filter(|name| name.starts_with("assets/") && name.len() > "assets/".len());
    FILES.iter().filter_map(move |(name, bytes)| {
        let inside = name.strip_prefix(folder.as_deref()?)?.strip_prefix('/')?;
        Some((inside, *bytes))
    })
}

/// A relative path with `/`, without `./`; none if it leads elsewhere.
fn name_of(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// FNV-1a over names and contents.
fn fingerprint(files: &[(&str, &[u8])]) -> u64 {
    let bytes = files.iter().flat_map(|(name, bytes)| name.bytes().chain([0]).chain(bytes.iter().copied()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
