//! Rows of a JSONL file: one JSON object per line, in UTF-8 with or without a byte order mark. Blank lines are skipped.
//!
//! `NaN`, `Infinity` and `-Infinity`, which are not JSON but what Python's `json.dumps` writes, are read as what they are; in a column that is used
//! they make a row bad.

use std::path::Path;

use serde_json::Value;

use super::row::{Cell, Row};
use super::{DataError, RowPlace};

/// Before the name of a number that is none, once it was put between quotes.
const NO_NUMBER: char = '\0';

/// The first `limit` rows of `path`.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<Row>, DataError> {
    let text = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        let problem = "expected JSONL in UTF-8, got UTF-16".to_owned();
        return Err(DataError::Format { path: path.to_owned(), problem });
    }
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    // files that were joined have byte order marks in their midst
    let lines = lines.map(|(number, line)| (number, line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)));
    let rows = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(number, line)| {
        let place = RowPlace { path: path.to_owned(), row: number + 1 };
        let record = match parse(line) {
            Ok(value @ Value::Object(_)) => Ok(cell(value)),
            Ok(_) => Err("expected a JSON object".to_owned()),
            Err(e) => Err(format!("not JSON: {e}")),
        };
        (place, record)
    });
    Ok(rows.take(limit).collect())
}

fn parse(line: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(line).or_else(|error| match with_quoted_numbers(line) {
        Some(quoted) => serde_json::from_slice(&quoted).map_err(|_| error),
        None => Err(error),
    })
}

/// The line with numbers that are none as texts; nothing if it has none.
fn with_quoted_numbers(line: &[u8]) -> Option<Vec<u8>> {
    let (mut quoted, mut at, mut in_text, mut found) = (Vec::with_capacity(line.len() + 16), 0, false, false);
    while at < line.len() {
        let number = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|name| !in_text && line[at..].starts_with(name));
        if let Some(number) = number {
            quoted.extend_from_slice(b"\"\\u0000");
            quoted.extend_from_slice(number);
            quoted.push(b'"');
            (at, found) = (at + number.len(), true);
            continue;
        }
        let escaped = usize::from(in_text && line[at] == b'\\' && at + 1 < line.len());
        in_text ^= line[at] == b'"';
        quoted.extend_from_slice(&line[at..=at + escaped]);
        at += 1 + escaped;
    }
    found.then_some(quoted)
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::String(text) => match text.strip_prefix(NO_NUMBER) {
            Some(number @ ("NaN" | "Infinity" | "-Infinity")) => Cell::NotFinite(number.to_owned()),
            _ => Cell::Text(text),
        },
        Value::Bool(_) | Value::Number(_) => Cell::Scalar(value.to_string()),
        Value::Array(values) => Cell::List(values.into_iter().map(cell).collect()),
        Value::Object(fields) => Cell::Record(fields.into_iter().map(|(name, value)| (name, cell(value))).collect()),
    }
}
