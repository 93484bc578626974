//! Rows of a JSONL file: one JSON object per line. Blank lines are skipped.

use std::path::Path;

use serde_json::Value;

use super::row::{Cell, Row};
use super::{DataError, RowPlace};

/// The first `limit` rows of `path`.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<Row>, DataError> {
    let text = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let rows = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(number, line)| {
        let place = RowPlace { path: path.to_owned(), row: number + 1 };
        let record = match serde_json::from_slice(line) {
            Ok(value @ Value::Object(_)) => Ok(cell(value)),
            Ok(_) => Err("expected a JSON object".to_owned()),
            Err(e) => Err(format!("not JSON: {e}")),
        };
        (place, record)
    });
    Ok(rows.take(limit).collect())
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::String(text) => Cell::Text(text),
        Value::Bool(_) | Value::Number(_) => Cell::Text(value.to_string()),
        Value::Array(values) => Cell::List(values.into_iter().map(cell).collect()),
        Value::Object(fields) => Cell::Record(fields.into_iter().map(|(name, value)| (name, cell(value))).collect()),
    }
}
