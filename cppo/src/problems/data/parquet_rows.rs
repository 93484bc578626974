//! Rows of a parquet file. Only the columns that may be needed are read.
//!
//! A file says how large it will be once it is unpacked, and may lie. So there are bounds, far above what honest files need, and the reader is
//! kept from taking the program down with it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};
use parquet::schema::types::Type;
use percept_model::foreign;

use super::row::{Cell, Row};
use super::{DataError, RowPlace};

/// The metadata at the end of a file may be so long: files with thousands of columns and row groups have a few megabytes.
const MAX_METADATA_BYTES: u64 = 16 << 20;
/// Columns that are used may unpack to this many bytes, whatever the file's size …
const FREE_BYTES: u64 = 256 << 20;
/// … and beyond it to this many times the file's size. Pictures hardly shrink, texts shrink to a fifth.
const MAX_EXPANSION: u64 = 100;

/// The first `limit` rows of `path`, with those of `columns` that it has.
pub(super) fn read(path: &Path, columns: &[String], limit: usize) -> Result<Vec<Row>, DataError> {
    let format = |problem: String| DataError::Format { path: path.to_owned(), problem: format!("not readable as parquet: {problem}") };
    foreign::contain(|| read_rows(path, columns, limit, &format)).unwrap_or_else(|panic| Err(format(panic)))
}

fn read_rows(path: &Path, columns: &[String], limit: usize, format: &dyn Fn(String) -> DataError) -> Result<Vec<Row>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    check_metadata(&mut file, length).map_err(io)?.map_err(format)?;
    let reader = SerializedFileReader::new(file).map_err(|e| format(e.to_string()))?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted: Vec<Arc<Type>> =
        schema.get_fields().iter().filter(|field| columns.iter().any(|column| column == field.name())).cloned().collect();
    if wanted.is_empty() {
        let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).take(50).collect();
        let problem = format!("expected some of the columns {}, got {}", columns.join(", "), names.join(", "));
        return Err(DataError::Format { path: path.to_owned(), problem });
    }
    let most = FREE_BYTES.max(length.saturating_mul(MAX_EXPANSION));
    check_columns(reader.metadata(), columns, most).map_err(format)?;
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build().map_err(|e| format(e.to_string()))?;
    let rows = reader.get_row_iter(Some(projection)).map_err(|e| format(e.to_string()))?;
    let mut unpacked = 0;
    rows.take(limit)
        .enumerate()
        .map(|(index, row)| {
            let place = RowPlace { path: path.to_owned(), row: index + 1 };
            // A page that cannot be read leaves the reader out of step: no row after it can be trusted.
            let row = row.map_err(|e| format(format!("row {}: {e}", index + 1)))?;
            let record = record(row);
            // one value of a dictionary may stand in a million rows
            unpacked += record.bytes() as u64;
            match unpacked > most {
                true => Err(format(format!("row {}: its rows up to this one unpack to {unpacked} bytes, {}", index + 1, bound(most)))),
                false => Ok((place, Ok(record))),
            }
        })
        .collect()
}

/// A file ends with its metadata, their length in four bytes, and `PAR1`.
fn check_metadata(file: &mut File, length: u64) -> std::io::Result<Result<(), String>> {
    if length < 8 {
        return Ok(Err(format!("{length} bytes are too few")));
    }
    let mut tail = [0; 8];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut tail)?;
    file.rewind()?;
    let metadata = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    Ok(match tail.ends_with(b"PAR1") && metadata > MAX_METADATA_BYTES {
        true => Err(format!("expected metadata of at most {MAX_METADATA_BYTES} bytes, got {metadata}")),
        false => Ok(()),
    })
}

/// What the columns that are read will unpack to, as the file says.
fn check_columns(metadata: &ParquetMetaData, columns: &[String], most: u64) -> Result<(), String> {
    for group in metadata.row_groups() {
        for chunk in group.columns() {
            let name = chunk.column_path().parts().first().map_or("", String::as_str);
            let bytes = u64::try_from(chunk.uncompressed_size()).map_err(|_| format!("column {name}: a size below zero"))?;
            if bytes > most && columns.iter().any(|column| column == name) {
                return Err(format!("column {name} unpacks to {bytes} bytes, {}", bound(most)));
            }
        }
    }
    Ok(())
}

fn bound(most: u64) -> String {
    format!("more than the {most} that a file of this size may")
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
        Field::Double(value) => number(value, value.is_finite()), // parquet's own text would add ".0" or an exponent
        Field::Float(value) => number(value, value.is_finite()),
        // numbers, but dates, too, which are text once they are JSON
        other => Cell::Scalar(other.to_string()),
    }
}

fn number(value: impl ToString, is_finite: bool) -> Cell {
    if is_finite { Cell::Scalar(value.to_string()) } else { Cell::NotFinite(value.to_string()) }
}
