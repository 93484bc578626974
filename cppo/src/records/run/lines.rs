//! Files of JSON objects, one per line, each with its `step`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use percept_model::atomic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::RunError;
use crate::records::files;

/// Adds whole lines to a file.
pub struct LineWriter {
    path: PathBuf,
    file: File,
}

impl LineWriter {
    /// Opens or makes the file, without the lines after `step`: they are cut off. Each line must have a `step`, in order. 0 empties it:
    /// what is recorded before the first step belongs to a start.
    ///
    /// # Errors
    /// If the file cannot be read or written, or a whole line is no object with a `step`.
    pub fn open(path: &Path, step: u64) -> Result<LineWriter, RunError> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
        }
        let text = if step == 0 { String::new() } else { whole_lines(path)? };
        let mut kept = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let parsed: Line = parse(path, number, line)?;
            if parsed.step > step {
                break;
            }
            kept += line.len();
        }
        // a file that is whole stays; a cut one is replaced at once, so that a crash in between loses nothing
        if std::fs::metadata(path).map_or(0, |file| file.len()) != kept as u64 {
            atomic::write_file(path, &text.as_bytes()[..kept])?;
        }
        LineWriter::append_to(path)
    }

    /// Opens or makes the file and leaves in it what is there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn append_to(path: &Path) -> Result<LineWriter, RunError> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| RunError::io(path, e))?;
        Ok(LineWriter { path: path.to_owned(), file })
    }

    /// Adds a line in one write. If it fails half-way, what was written is taken back.
    ///
    /// # Errors
    /// If it cannot be written, for example because the disk is full.
    pub fn append(&mut self, value: &impl Serialize) -> Result<(), RunError> {
        let mut line = serde_json::to_string(value).expect("a record is representable in JSON");
        line.push('\n');
        let length = self.file.metadata().map_err(|e| RunError::io(&self.path, e))?.len();
        self.file.write_all(line.as_bytes()).map_err(|e| {
            // if even this fails, the next opening cuts the rest off
            let _ = self.file.set_len(length);
            RunError::io(&self.path, e)
        })
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&mut self) -> Result<(), RunError> {
        self.file.sync_all().map_err(|e| RunError::io(&self.path, e))
    }
}

/// Everything in the file; nothing if there is no file. What follows the last line break is left out.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunError> {
    whole_lines(path)?.lines().enumerate().map(|(number, line)| parse(path, number, line)).collect()
}

fn parse<T: DeserializeOwned>(path: &Path, number: usize, line: &str) -> Result<T, RunError> {
    serde_json::from_str(line).map_err(|e| RunError::Damaged { path: path.to_owned(), line: number + 1, problem: e.to_string() })
}

fn whole_lines(path: &Path) -> Result<String, RunError> {
    let mut bytes = match files::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(RunError::io(path, e)),
    };
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(end);
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        RunError::Damaged { path: path.to_owned(), line, problem: "not UTF-8".to_owned() }
    })
}
