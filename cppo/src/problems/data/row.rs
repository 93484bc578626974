//! One row, whatever file it comes from, becomes an example.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::choices::{can_be_named, list_in, truth, with_choices};
use super::config::DataConfig;
use super::marks::without_marks;
use super::source::ImageSource;
use super::{Example, Purpose, RowPlace};
use crate::problems::answer::final_answer;

/// A value of a row. Nothing here computes with numbers and truth values: they are kept as JSON writes them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Text(String),
    /// A number or a truth value.
    Scalar(String),
    /// NaN or an infinity, by name.
    NotFinite(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Record(Vec<(String, Cell)>),
}

impl Cell {
    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let inner = match self {
            Cell::Null => 0,
            Cell::Text(text) | Cell::Scalar(text) | Cell::NotFinite(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            Cell::List(cells) => cells.iter().map(Cell::bytes).sum(),
            Cell::Record(fields) => fields.iter().map(|(name, cell)| name.len() + cell.bytes()).sum(),
        };
        size_of::<Cell>() + inner
    }

    /// Text, or what a number or a truth value looks like as text.
    fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) | Cell::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// As JSON, in which bytes and numbers that are none are null.
    fn to_json(&self) -> Value {
        match self {
            Cell::Null | Cell::NotFinite(_) | Cell::Bytes(_) => Value::Null,
            Cell::Text(text) => Value::String(text.clone()),
            Cell::Scalar(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
            Cell::List(cells) => cells.iter().map(Cell::to_json).collect(),
            Cell::Record(fields) => fields.iter().map(|(name, cell)| (name.clone(), cell.to_json())).collect(),
        }
    }
}

/// A row, or why it could not be read.
pub(super) type Row = (RowPlace, Result<Cell, String>);

/// MathVista has the picture itself in `decoded_image`, beside the name of a file in `image`.
const IMAGE_COLUMNS: &[&str] = &["images", "decoded_image", "image"];
/// MMMU-Pro has a column for each picture.
const NUMBERED_IMAGES: [&str; 9] = ["image_1", "image_2", "image_3", "image_4", "image_5", "image_6", "image_7", "image_8", "image_9"];
const PROBLEM_COLUMNS: &[&str] = &["problem", "question", "prompt", "query", MESSAGES];
const CHOICE_COLUMNS: &[&str] = &["choices", "options"];
const RESPONSE_COLUMNS: &[&str] = &["response", "completion", MESSAGES];
/// A whole chat: the user asks and the assistant answers.
const MESSAGES: &str = "messages";
const ANSWER_COLUMNS: &[&str] = &["answer", "reward_model.ground_truth", "label"];

/// The top-level columns that may be needed.
pub(super) fn wanted_columns(config: &DataConfig) -> Vec<String> {
    let columns = [
        candidates(&config.image_column, IMAGE_COLUMNS),
        candidates(&config.problem_column, PROBLEM_COLUMNS),
        candidates(&config.answer_column, ANSWER_COLUMNS),
        candidates(&config.response_column, RESPONSE_COLUMNS),
        candidates(&None, &NUMBERED_IMAGES),
        candidates(&None, CHOICE_COLUMNS),
        config.extra_columns.clone(),
    ];
    let top = |column: String| column.split('.').next().unwrap_or_default().to_owned();
    columns.concat().into_iter().map(top).collect()
}

/// The example in `record`, or what is wrong with it.
pub(super) fn example(record: Cell, place: &RowPlace, config: &DataConfig, purpose: Purpose) -> Result<Example, String> {
    let folder = config.image_root.as_deref().or(place.path.parent()).unwrap_or(Path::new(""));
    let (column, cell) = match find(&record, &candidates(&config.image_column, IMAGE_COLUMNS)) {
        Err(missing) => numbered_images(&record).filter(|_| config.image_column.is_none()).ok_or(missing)?,
        found => found.map(|(column, cell)| (column, cell.clone()))?,
    };
    let images = images(&cell, folder, config).map_err(|e| format!("{column}: {e}"))?;
    if images.is_empty() {
        return Err(format!("{column}: no picture"));
    }
    if images.len() > config.max_images {
        return Err(format!("{column}: expected at most {}, got {} pictures", config.max_images, images.len()));
    }
    for image in &images {
        image.decode(config.decoding()).map_err(|e| format!("{column}: {e}"))?;
    }
    let (column, cell) = find(&record, &candidates(&config.problem_column, PROBLEM_COLUMNS))?;
    let problem = problem(cell).and_then(|(text, parts)| without_marks(&text, parts, images.len(), config.image_marks));
    let problem = problem.map_err(|e| format!("{column}: {e}"))?;
    if problem.is_empty() {
        return Err(format!("{column}: empty"));
    }
    let choices = find(&record, &candidates(&None, CHOICE_COLUMNS)).ok().and_then(|(_, cell)| choices(cell));
    let problem = choices.as_ref().map_or(problem.clone(), |choices| with_choices(&problem, choices));
    let answer = |record: &Cell, config: &DataConfig| {
        let answer = answer(record, config)?;
        Ok::<_, String>(choices.as_ref().map_or(answer.clone(), |choices| truth(&answer, choices)))
    };
    let (answer, response) = match purpose {
        Purpose::Training | Purpose::Measuring => (answer(&record, config)?, None),
        Purpose::Responses => {
            let response = response(&record, config)?;
            (answer(&record, config).unwrap_or_default(), Some(response))
        }
    };
    let columns = extra_columns(&record, config);
    Ok(Example { images, decoding: config.decoding(), problem, answer, response, columns, place: place.clone() })
}

/// What rewards are to get besides, under the names by which it was asked for.
fn extra_columns(record: &Cell, config: &DataConfig) -> Map<String, Value> {
    let value = |column: &String| find(record, std::slice::from_ref(column)).map_or(Value::Null, |(_, cell)| cell.to_json());
    config.extra_columns.iter().map(|column| (column.clone(), value(column))).collect()
}

/// The pictures of `image_1`, `image_2` and so on.
fn numbered_images(record: &Cell) -> Option<(String, Cell)> {
    let cells: Vec<Cell> = NUMBERED_IMAGES.iter().filter_map(|name| Some(find(record, &[(*name).to_owned()]).ok()?.1.clone())).collect();
    (!cells.is_empty()).then(|| (NUMBERED_IMAGES[0].to_owned(), Cell::List(cells)))
}

/// The choices in a column: a list of texts, or a text that is one. None if there are none.
fn choices(cell: &Cell) -> Option<Vec<String>> {
    let found: Vec<String> = match cell {
        Cell::List(cells) => cells.iter().map(|cell| cell.text().map(str::to_owned)).collect::<Option<_>>()?,
        Cell::Text(text) => list_in(text)?,
        _ => return None,
    };
    can_be_named(&found).then_some(found)
}

fn answer(record: &Cell, config: &DataConfig) -> Result<String, String> {
    let (column, cell) = find(record, &candidates(&config.answer_column, ANSWER_COLUMNS))?;
    // ChartQA has a list of one
    let cell = match cell {
        Cell::List(cells) if cells.len() == 1 => &cells[0],
        cell => cell,
    };
    let answer = cell.text().ok_or_else(|| format!("{column}: expected text or a number, got {}", kind(cell)))?;
    let answer = final_answer(answer).unwrap_or(answer).trim().to_owned();
    if answer.is_empty() {
        return Err(format!("{column}: empty"));
    }
    Ok(answer)
}

/// Text, or what the assistant says last in a chat.
fn response(record: &Cell, config: &DataConfig) -> Result<String, String> {
    let (column, cell) = find(record, &candidates(&config.response_column, RESPONSE_COLUMNS))?;
    let response = match cell {
        Cell::Text(text) | Cell::Scalar(text) => text.clone(),
        Cell::List(messages) => {
            let mut of_assistant = messages.iter().rev().filter(|message| role(message) == Some("assistant"));
            let last = of_assistant.next().ok_or_else(|| format!("{column}: expected a message of the assistant, got none"))?;
            said(last).map_err(|e| format!("{column}: {e}"))?.0
        }
        other => return Err(format!("{column}: expected text or messages, got {}", kind(other))),
    };
    match response.trim() {
        "" => Err(format!("{column}: empty")),
        response => Ok(response.to_owned()),
    }
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

fn images(cell: &Cell, folder: &Path, config: &DataConfig) -> Result<Vec<ImageSource>, String> {
    let text = |text: &str| ImageSource::from_text(text, folder, config);
    let one = |cell: &Cell| match cell {
        Cell::Text(path) | Cell::Scalar(path) => text(path),
        Cell::Bytes(bytes) => Ok(ImageSource::Bytes(Arc::from(&bytes[..]))),
        Cell::Record(fields) => {
            let field = |wanted| fields.iter().find(|(name, _)| name == wanted).map(|(_, cell)| cell);
            match (field("bytes"), field("path")) {
                (Some(Cell::Bytes(bytes)), _) => Ok(ImageSource::Bytes(Arc::from(&bytes[..]))),
                // in JSON bytes can only be base64
                (Some(Cell::Text(bytes)), _) => text(bytes),
                (_, Some(Cell::Text(path))) => text(path),
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

/// Text, or the user's messages of a chat, each on its own line; and the number of pictures that the messages list beside their text.
fn problem(cell: &Cell) -> Result<(String, usize), String> {
    let messages = match cell {
        Cell::Text(text) | Cell::Scalar(text) => return Ok((text.clone(), 0)),
        Cell::List(messages) => messages,
        other => return Err(format!("expected text or messages, got {}", kind(other))),
    };
    let (mut lines, mut pictures) = (Vec::new(), 0);
    for message in messages {
        let (said, shown) = said(message)?;
        if role(message).is_none_or(|role| role == "user") {
            lines.push(said);
            pictures += shown;
        }
    }
    Ok((lines.join("\n"), pictures))
}

fn role(message: &Cell) -> Option<&str> {
    let Cell::Record(fields) = message else { return None };
    fields.iter().find_map(|(name, cell)| match cell {
        Cell::Text(role) if name == "role" => Some(role.as_str()),
        _ => None,
    })
}

/// The text of a chat message, its parts each on its own line, and the number of pictures among them.
fn said(message: &Cell) -> Result<(String, usize), String> {
    let Cell::Record(fields) = message else {
        return Err(format!("expected messages with role and content, got {}", kind(message)));
    };
    match fields.iter().find(|(name, _)| name == "content").map(|(_, cell)| cell) {
        Some(Cell::Text(content) | Cell::Scalar(content)) => Ok((content.clone(), 0)),
        Some(Cell::List(parts)) => {
            let text: Vec<String> = parts.iter().filter_map(text_part).collect();
            Ok((text.join("\n"), parts.iter().filter(|part| is_picture_part(part)).count()))
        }
        _ => Err("a message has no content".to_owned()),
    }
}

/// `{type: "image", …}` or `{type: "image_url", …}`.
fn is_picture_part(part: &Cell) -> bool {
    let Cell::Record(fields) = part else { return false };
    fields.iter().any(|(name, cell)| name == "type" && matches!(cell, Cell::Text(kind) if kind == "image" || kind == "image_url"))
}

/// The text of `{type: "text", text: …}`.
fn text_part(part: &Cell) -> Option<String> {
    let Cell::Record(fields) = part else { return None };
    fields.iter().find_map(|(name, cell)| match cell {
        Cell::Text(text) if name == "text" => Some(text.clone()),
        _ => None,
    })
}

fn kind(cell: &Cell) -> &str {
    match cell {
        Cell::Null => "null",
        Cell::Text(_) => "text",
        Cell::Scalar(_) => "a number",
        Cell::NotFinite(number) => number,
        Cell::Bytes(_) => "bytes",
        Cell::List(_) => "a list",
        Cell::Record(_) => "a struct",
    }
}
