//! [`read`]: the bytes of a file that somebody named.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::ImageError;

/// Longer files are no pictures that are read: it is more than the largest picture takes that the default limits let through, unpacked.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The bytes of a picture's file.
///
/// # Errors
/// [`ImageError::Read`] with the path: there is no such file, it is longer than a gibibyte, or it is not a regular file. Pipes and devices are
/// refused before they are opened: reading from one may wait, or go on, for ever.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, ImageError> {
    let path = path.as_ref();
    let failed = |source| ImageError::Read { name: path.display().to_string(), source };
    let refused = |what: String| failed(std::io::Error::other(what));
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(refused(format!("expected a regular file, got {kind}")));
    }
    let mut bytes = Vec::new();
    // the length is that of a moment ago: the file may grow while it is read
    File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(refused(format!("expected a picture of at most {MAX_FILE_BYTES} bytes, got {} or more", metadata.len()))),
        false => Ok(bytes),
    }
}
