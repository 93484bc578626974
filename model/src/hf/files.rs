//! Reading the small files of a model directory: regular files alone, and none that is larger than it can sensibly be. A model comes from strangers, and opening a pipe waits for ever.

use crate::error::ModelError;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Bytes of the largest tokenizer accepted: those of the largest vocabularies have 35 MB.
pub(crate) const MAX_TOKENIZER: u64 = 256 << 20;
/// Bytes of the largest other JSON file accepted.
pub(crate) const MAX_JSON: u64 = 64 << 20;
/// Bytes of the largest chat template accepted: the longest in use have 20 kB.
pub(crate) const MAX_TEMPLATE: u64 = 1 << 20;

/// The contents of the regular file at `path`; `None` if there is no such file.
///
/// # Errors
/// If it is something else than a file, has more than `most` bytes, or cannot be read.
pub(crate) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, ModelError> {
    let whole = |expected: &str, got: String| ModelError::field(path, "(whole file)", expected, got);
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(|error| ModelError::io(path, error))?,
    };
    if !metadata.is_file() {
        let got = if metadata.is_dir() { "a directory" } else { "a pipe, a device or the like" };
        return Err(whole("a file", got.into()));
    }
    let too_large = |bytes: u64| whole(&format!("at most {most} bytes"), bytes.to_string());
    if metadata.len() > most {
        return Err(too_large(metadata.len()));
    }
    let mut contents = Vec::with_capacity(metadata.len() as usize);
    // a file that grows, or one whose length the system does not know, is cut off just behind the limit
    let opened = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut contents));
    opened.map_err(|error| ModelError::io(path, error))?;
    if contents.len() as u64 > most {
        return Err(too_large(contents.len() as u64));
    }
    Ok(Some(contents))
}

/// The same as text.
///
/// # Errors
/// As [`read`], and if the contents are not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<Option<String>, ModelError> {
    let Some(contents) = read(path, most)? else { return Ok(None) };
    let text = String::from_utf8(contents);
    text.map(Some).map_err(|error| ModelError::io(path, std::io::Error::new(ErrorKind::InvalidData, error.utf8_error())))
}
