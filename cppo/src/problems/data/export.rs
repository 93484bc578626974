//! Writes problems of our own tasks as a data set that [`super::import`], or any other trainer, reads.

use std::io::Write;
use std::path::Path;

use image::ImageFormat;
use percept_model::image::Format;
use serde_json::json;

use super::{DataError, Example};
use crate::problems::tasks::Problem;

/// Writes `folder/data.jsonl` and `folder/images/000000.png`, …: picture, problem and answer of each, and what only a task knows
/// (reference response, what is seen, family, level, split, index). The JSONL file appears last and whole.
///
/// # Errors
/// The file or folder that cannot be written.
pub fn write_problems(folder: &Path, problems: &[Problem]) -> Result<(), DataError> {
    let images = folder.join("images");
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| DataError::Io { path, source }
    };
    std::fs::create_dir_all(&images).map_err(io(&images))?;
    refuse_link(&images)?;
    let mut lines = String::new();
    for (number, problem) in problems.iter().enumerate() {
        let name = format!("images/{number:06}.png");
        let path = folder.join(&name);
        refuse_link(&path)?;
        problem
            .picture
            .save_with_format(&path, ImageFormat::Png)
            .map_err(|e| DataError::Image { place: path.display().to_string(), problem: e.to_string() })?;
        let row = json!({
            "image": name,
            "problem": problem.text,
            "answer": problem.answer,
            "reference": problem.reference_text(),
            "seen": problem.seen(),
            "family": problem.family,
            "level": problem.level,
            "split": problem.split,
            "index": problem.index,
        });
        lines += &format!("{row}\n");
    }
    write_lines(folder, &lines)
}

/// Writes `folder/data.jsonl` and `folder/images/000000-0.png`, …: pictures (as they were encoded), problem and answer of each.
/// The JSONL file appears last and whole.
///
/// # Errors
/// The file or folder that cannot be written, or a picture that can no longer be read.
pub fn write_examples(folder: &Path, examples: &[Example]) -> Result<(), DataError> {
    let images = folder.join("images");
    let io = |path: &Path, source| DataError::Io { path: path.to_owned(), source };
    std::fs::create_dir_all(&images).map_err(|e| io(&images, e))?;
    refuse_link(&images)?;
    let mut lines = String::new();
    for (number, example) in examples.iter().enumerate() {
        let mut names = Vec::new();
        for (picture, source) in example.images.iter().enumerate() {
            let bytes = source.bytes().map_err(|problem| DataError::Image { place: example.place.to_string(), problem })?;
            let extension = Format::of(&bytes).map_or("bin", Format::extension);
            let name = format!("images/{number:06}-{picture}.{extension}");
            let path = folder.join(&name);
            refuse_link(&path)?;
            std::fs::write(&path, &bytes).map_err(|e| io(&path, e))?;
            names.push(name);
        }
        lines += &format!("{}\n", json!({ "images": names, "problem": example.problem, "answer": example.answer }));
    }
    write_lines(folder, &lines)
}

/// Nothing is written through a link, which may lead anywhere: a folder that is written into (`--force`) may be somebody else's.
fn refuse_link(path: &Path) -> Result<(), DataError> {
    if !path.is_symlink() {
        return Ok(());
    }
    Err(DataError::Format {
        path: path.to_owned(),
        problem: "a link, through which nothing is written: remove it, or write elsewhere".into(),
    })
}

fn write_lines(folder: &Path, lines: &str) -> Result<(), DataError> {
    let path = folder.join("data.jsonl");
    let io = |source| DataError::Io { path: path.clone(), source };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(lines.as_bytes()).map_err(io)?;
    file.persist(&path).map_err(|e| io(e.error))?;
    Ok(())
}
