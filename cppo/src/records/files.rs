//! Reading files that strangers may have made: regular files alone. Opening a pipe waits for ever, and a device has no end.

use std::fs::{self, metadata};
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// The contents of a regular file.
///
/// # Errors
/// If it cannot be read, or is a pipe, a device or the like.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    check(path)?;
    fs::read(path)
}

/// The same as text.
///
/// # Errors
/// As [`read`], and if it is not UTF-8.
pub(crate) fn read_to_string(path: &Path) -> Result<String> {
    check(path)?;
    fs::read_to_string(path)
}

/// Whether it is a regular file, or a folder, of which the system itself says that it cannot be read.
///
/// # Errors
/// If it is not.
pub(crate) fn check(path: &Path) -> Result<()> {
    let found = metadata(path)?;
    match found.is_file() || found.is_dir() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidInput, "expected a regular file, got a pipe, a device or the like")),
    }
}
