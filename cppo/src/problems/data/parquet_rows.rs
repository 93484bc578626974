//! Rows of a parquet file. Only the columns that may be needed are read.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};
use parquet::schema::types::Type;

use super::row::{Cell, Row};
use super::{DataError, RowPlace};

/// The first `limit` rows of `path`, with those of `columns` that it has.
pub(super) fn read(path: &Path, columns: &[String], limit: usize) -> Result<Vec<Row>, DataError> {
    let format = |e: &dyn std::fmt::Display| DataError::Format { path: path.to_owned(), problem: format!("not readable as parquet: {e}") };
    let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let reader = SerializedFileReader::new(file).map_err(|e| format(&e))?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted: Vec<Arc<Type>> =
        schema.get_fields().iter().filter(|field| columns.iter().any(|column| column == field.name())).cloned().collect();
    if wanted.is_empty() {
        let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
        let problem = format!("expected some of the columns {}, got {}", columns.join(", "), names.join(", "));
        return Err(DataError::Format { path: path.to_owned(), problem });
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build().map_err(|e| format(&e))?;
    let rows = reader.get_row_iter(Some(projection)).map_err(|e| format(&e))?;
    rows.take(limit)
        .enumerate()
        .map(|(index, row)| {
            let place = RowPlace { path: path.to_owned(), row: index + 1 };
            // A page that cannot be read leaves the reader out of step: no row after it can be trusted.
            let row = row.map_err(|e| format(&format_args!("row {}: {e}", index + 1)))?;
            Ok((place, Ok(record(row))))
        })
        .collect()
}

fn record(row: ParquetRow) -> Cell {
    Cell::Record(row.into_columns().into_iter().map(|(name, field)| (name, cell(field))).collect())
}

fn cell(field: Field) -> Cell {
    match field {
        Field::Null => Cell::Null,
        Field::Str(text) => Cell::Text(text),
        Field::Bytes(bytes) => Cell::Bytes(bytes.data().to_vec()),
        Field::Group(row) => record(row),
        Field::ListInternal(list) => Cell::List(list.elements().iter().cloned().map(cell).collect()),
        Field::Double(value) => Cell::Text(value.to_string()), // parquet's own text would add ".0" or an exponent
        Field::Float(value) => Cell::Text(value.to_string()),
        other => Cell::Text(other.to_string()),
    }
}
