//! Which problems are looked at.

use image::RgbImage;

use super::InspectError;
use crate::config::Config;
use crate::error::TrainError;
use crate::problems::data::{Example, Purpose, import_for};
use crate::problems::prompts::{Prompt, test_prompts};
use crate::problems::tasks::Task;

/// `count` problems from number `first` on: of the configured data (`eval.data`, else `data`), in the order of their rows, else of the
/// task's test split.
///
/// # Errors
/// If there are not as many, or a picture cannot be decoded.
pub fn test_problems(config: &Config, first: u64, count: u64) -> Result<Vec<Prompt>, InspectError> {
    let Some(data) = config.eval.data.as_ref().or(config.data.as_ref()) else {
        return Ok(test_prompts(&Task::new(&config.task)?, first..first.saturating_add(count)));
    };
    let examples = import_for(data, Purpose::Measuring)?.examples;
    let there = examples.len() as u64;
    let end = first.saturating_add(count);
    if end > there {
        return Err(InspectError::OutOfRange { path: data.path.clone(), problem: end - 1, count: there });
    }
    (first..end).map(|id| Ok(from_example(id, &examples[id as usize])?)).collect()
}

fn from_example(id: u64, example: &Example) -> Result<Prompt, TrainError> {
    let (text, answer) = (example.problem.clone(), example.answer.clone());
    Ok(Prompt { id, pictures: example.pictures()?, text, answer, ..Prompt::default() })
}

/// A question of the user's own about a picture of theirs.
pub fn own_question(picture: RgbImage, text: &str) -> Prompt {
    Prompt { pictures: vec![picture], text: text.to_owned(), ..Prompt::default() }
}
