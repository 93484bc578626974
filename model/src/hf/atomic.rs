//! Writing so that a reader, or a crash, never sees half of it.

use crate::error::ModelError;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a file whole or not at all: into a temporary file beside it, flushed to the disk, then renamed.
pub fn write_file(path: &Path, contents: &[u8]) -> Result<(), ModelError> {
    let error = |error| ModelError::io(path, error);
    let mut file = readable(0o666).tempfile_in(parent(path)).map_err(error)?;
    file.write_all(contents).map_err(error)?;
    file.as_file().sync_all().map_err(error)?;
    file.persist(path).map_err(|failed| error(failed.error))?;
    Ok(())
}

/// Makes the directory `path` from what `write` puts into an empty one, whole or not at all. A directory that stands
/// there already is replaced once the new one is complete; if `write` fails it stays as it was.
pub fn write_directory(path: &Path, write: impl FnOnce(&Path) -> Result<(), ModelError>) -> Result<(), ModelError> {
    let error = |error| ModelError::io(path, error);
    fs::create_dir_all(parent(path)).map_err(error)?;
    let new = readable(0o777).prefix(".percept-new-").tempdir_in(parent(path)).map_err(error)?;
    write(new.path())?;
    sync_directory(new.path()).map_err(error)?;
    if path.exists() {
        // renaming onto a directory works only if it is empty: set the old one aside first
        let old = tempfile::Builder::new().prefix(".percept-old-").tempdir_in(parent(path)).map_err(error)?;
        fs::rename(path, old.path().join("old")).map_err(error)?;
        fs::rename(new.path(), path).map_err(error)?;
    } else {
        fs::rename(new.path(), path).map_err(error)?;
    }
    // renamed away: nothing is left for the guard to remove
    let _ = new.keep();
    sync_directory(parent(path).as_path()).map_err(error)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Temporary files are private by default; what is saved should be as readable as any other file. The system's umask
/// still applies to `mode`.
#[cfg(unix)]
fn readable(mode: u32) -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(mode));
    builder
}

/// Other systems inherit the directory's permissions.
#[cfg(not(unix))]
fn readable(_mode: u32) -> tempfile::Builder<'static, 'static> {
    tempfile::Builder::new()
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// Other systems cannot open a directory to flush it.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> std::io::Result<()> {
    Ok(())
}
