//! One row, whatever file it comes from, becomes an example.

use std::path::Path;
use std::sync::Arc;

use super::{DataConfig, Example, ImageSource, RowPlace};
use crate::problems::answer::final_answer;

/// A value of a row. Numbers and truth values are text: nothing here computes with them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Record(Vec<(String, Cell)>),
}

/// A row, or why it could not be read.
pub(super) type Row = (RowPlace, Result<Cell, String>);

const IMAGE_COLUMNS: &[&str] = &["images", "image"];
const PROBLEM_COLUMNS: &[&str] = &["problem", "question", "prompt"];
const ANSWER_COLUMNS: &[&str] = &["answer", "reward_model.ground_truth"];

/// The top-level columns that may be needed.
pub(super) fn wanted_columns(config: &DataConfig) -> Vec<String> {
    let columns = [
        candidates(&config.image_column, IMAGE_COLUMNS),
        candidates(&config.problem_column, PROBLEM_COLUMNS),
        candidates(&config.answer_column, ANSWER_COLUMNS),
    ];
    let top = |column: String| column.split('.').next().unwrap_or_default().to_owned();
    columns.concat().into_iter().map(top).collect()
}

/// The example in `record`, or what is wrong with it.
pub(super) fn example(record: Cell, place: &RowPlace, config: &DataConfig) -> Result<Example, String> {
    let folder = config.image_root.as_deref().or(place.path.parent()).unwrap_or(Path::new(""));
    let (column, cell) = find(&record, &candidates(&config.image_column, IMAGE_COLUMNS))?;
    let images = images(cell, folder).map_err(|e| format!("{column}: {e}"))?;
    if images.is_empty() {
        return Err(format!("{column}: no picture"));
    }
    if images.len() > config.max_images {
        return Err(format!("{column}: expected at most {}, got {} pictures", config.max_images, images.len()));
    }
    for image in &images {
        image.decode().map_err(|e| format!("{column}: {e}"))?;
    }
    let (column, cell) = find(&record, &candidates(&config.problem_column, PROBLEM_COLUMNS))?;
    let problem = problem(cell).map_err(|e| format!("{column}: {e}"))?.replace("<image>", "").trim().to_owned();
    if problem.is_empty() {
        return Err(format!("{column}: empty"));
    }
    let (column, cell) = find(&record, &candidates(&config.answer_column, ANSWER_COLUMNS))?;
    let Cell::Text(answer) = cell else { return Err(format!("{column}: expected text, got {}", kind(cell))) };
    let answer = final_answer(answer).unwrap_or(answer).trim().to_owned();
    if answer.is_empty() {
        return Err(format!("{column}: empty"));
    }
    Ok(Example { images, problem, answer, place: place.clone() })
}

fn candidates(configured: &Option<String>, usual: &[&str]) -> Vec<String> {
    match configured {
        Some(column) => vec![column.clone()],
        None => usual.iter().map(|column| (*column).to_owned()).collect(),
    }
}

/// The first of `columns` that is there and not null.
fn find<'a>(record: &'a Cell, columns: &[String]) -> Result<(String, &'a Cell), String> {
    let at = |column: &String| {
        let cell = column.split('.').try_fold(record, |cell, field| match cell {
            Cell::Record(fields) => fields.iter().find(|(name, _)| name == field).map(|(_, cell)| cell),
            _ => None,
        })?;
        (*cell != Cell::Null).then(|| (column.clone(), cell))
    };
    columns.iter().find_map(at).ok_or_else(|| format!("missing: {}", columns.join(" or ")))
}

fn images(cell: &Cell, folder: &Path) -> Result<Vec<ImageSource>, String> {
    let one = |cell: &Cell| match cell {
        Cell::Text(path) => Ok(ImageSource::File(folder.join(path))),
        Cell::Bytes(bytes) => Ok(ImageSource::Bytes(Arc::from(&bytes[..]))),
        Cell::Record(fields) => {
            let field = |wanted| fields.iter().find(|(name, _)| name == wanted).map(|(_, cell)| cell);
            match (field("bytes"), field("path")) {
                (Some(Cell::Bytes(bytes)), _) => Ok(ImageSource::Bytes(Arc::from(&bytes[..]))),
                (_, Some(Cell::Text(path))) => Ok(ImageSource::File(folder.join(path))),
                _ => Err("expected bytes or a path in the struct, got neither".to_owned()),
            }
        }
        other => Err(format!("expected a path, bytes or a struct of both, got {}", kind(other))),
    };
    match cell {
        Cell::List(cells) => cells.iter().map(one).collect(),
        cell => one(cell).map(|image| vec![image]),
    }
}

/// Text, or the user's messages of a chat, each on its own line.
fn problem(cell: &Cell) -> Result<String, String> {
    let messages = match cell {
        Cell::Text(text) => return Ok(text.clone()),
        Cell::List(messages) => messages,
        other => return Err(format!("expected text or messages, got {}", kind(other))),
    };
    let mut lines = Vec::new();
    for message in messages {
        let Cell::Record(fields) = message else {
            return Err(format!("expected messages with role and content, got {}", kind(message)));
        };
        let field = |wanted| fields.iter().find(|(name, _)| name == wanted).map(|(_, cell)| cell);
        match (field("role"), field("content")) {
            (Some(Cell::Text(role)), _) if role != "user" => {}
            (_, Some(Cell::Text(content))) => lines.push(content.clone()),
            (_, Some(Cell::List(parts))) => lines.extend(parts.iter().filter_map(text_part)),
            _ => return Err("a message has no content".to_owned()),
        }
    }
    Ok(lines.join("\n"))
}

/// The text of `{type: "text", text: …}`.
fn text_part(part: &Cell) -> Option<String> {
    let Cell::Record(fields) = part else { return None };
    fields.iter().find_map(|(name, cell)| match cell {
        Cell::Text(text) if name == "text" => Some(text.clone()),
        _ => None,
    })
}

fn kind(cell: &Cell) -> &'static str {
    match cell {
        Cell::Null => "null",
        Cell::Text(_) => "text",
        Cell::Bytes(_) => "bytes",
        Cell::List(_) => "a list",
        Cell::Record(_) => "a struct",
    }
}
