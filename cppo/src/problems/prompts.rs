//! Problems in the form in which a model reads them: from a task or from files, in order of training.

use std::ops::Range;

use image::RgbImage;
use percept_model::image::{ImageProcessor, Patches};
use percept_model::{GenerationPrompt, Message, ModelFiles, SpecialTokens};
use rayon::prelude::*;

use crate::error::TrainError;
use crate::problems::data::{Dataset, RowPlace};
use crate::problems::tasks::response::{Role, mark, token_roles};
use crate::problems::tasks::{Problem, Split, Task};
use crate::random::Random;

/// Where problems come from.
#[derive(Clone, Debug)]
pub enum Problems {
    /// Drawn, without end and without repetition.
    Task(Box<Task>),
    /// Read from files; each epoch has its own order.
    Data(Dataset),
}

/// A problem, as it is asked.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// Which problem of its source: with the run's seed it decides the views.
    pub id: u64,
    /// How often the source was gone through before.
    pub epoch: u64,
    /// What is shown.
    pub pictures: Vec<RgbImage>,
    /// What is asked.
    pub text: String,
    /// The right answer.
    pub answer: String,
    /// The response to learn: a task's reference, or what the data give.
    pub response: Option<String>,
    /// All that is known of a drawn problem.
    pub problem: Option<Problem>,
    /// File and row of a problem from data.
    pub place: Option<RowPlace>,
}

impl Problems {
    /// Problems number `range` of the training split, in the order of a run with this seed.
    ///
    /// # Errors
    /// If a picture cannot be decoded, or there are no problems.
    pub fn training(&self, range: std::ops::Range<u64>, seed: u64) -> Result<Vec<Prompt>, TrainError> {
        match self {
            Problems::Task(task) => Ok(task.problems(Split::Train, range).into_iter().map(Prompt::from).collect()),
            Problems::Data(data) if data.examples.is_empty() => Err(TrainError::Empty { path: "data".into() }),
            Problems::Data(data) => range.into_par_iter().map(|position| from_data(data, position, seed)).collect(),
        }
    }
}

/// Problems number `range` of a task's test split.
pub fn test_prompts(task: &Task, range: std::ops::Range<u64>) -> Vec<Prompt> {
    task.problems(Split::Test, range).into_iter().map(Prompt::from).collect()
}

impl From<Problem> for Prompt {
    fn from(problem: Problem) -> Prompt {
        let (id, text, answer) = (problem.index, problem.text.clone(), problem.answer.clone());
        let response = Some(problem.reference_text());
        Prompt { id, epoch: 0, pictures: vec![problem.picture.clone()], text, answer, response, problem: Some(problem), place: None }
    }
}

fn from_data(data: &Dataset, position: u64, seed: u64) -> Result<Prompt, TrainError> {
    let count = data.examples.len() as u64;
    let epoch = position / count;
    let mut order: Vec<usize> = (0..data.examples.len()).collect();
    Random::new(seed, "data/order", epoch).shuffle(&mut order);
    let id = order[(position % count) as usize];
    let example = &data.examples[id];
    let (text, answer, response) = (example.problem.clone(), example.answer.clone(), example.response.clone());
    let place = Some(example.place.clone());
    Ok(Prompt { id: id as u64, epoch, pictures: example.pictures()?, text, answer, response, problem: None, place })
}

/// Turns questions into tokens and pixels, and tokens into text, as the files of a model directory say.
pub struct Encoder {
    files: ModelFiles,
    processor: ImageProcessor,
    instruction: String,
    never_said: Vec<u32>,
}

/// A question as tokens and pixels.
#[derive(Clone, Debug, Default)]
pub struct EncodedPrompt {
    /// Token ids, with each picture expanded to its `<image>` tokens.
    pub tokens: Vec<u32>,
    /// The pictures, preprocessed.
    pub tiles: Vec<Patches>,
}

/// A response as text, and which token says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    text: String,
    ranges: Vec<Range<usize>>,
    content: usize,
}

impl Spelling {
    /// All of it, special tokens included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before the token that ends the response.
    pub fn content(&self) -> &str {
        &self.text[..self.content]
    }

    /// The text of token `t`. Characters that several tokens share belong to the last of them.
    ///
    /// # Panics
    /// If there is no such token.
    #[track_caller]
    pub fn token(&self, t: usize) -> &str {
        &self.text[self.ranges[t].clone()]
    }

    /// The texts of all tokens; joined they are the text.
    pub fn tokens(&self) -> Vec<String> {
        self.ranges.iter().map(|range| self.text[range.clone()].to_owned()).collect()
    }

    /// What each token is for in the response to a problem of ours; the one that ends it is template. `-> [tokens]`
    pub fn roles(&self) -> Vec<Role> {
        token_roles(&mark(self.content()), &self.ranges)
    }
}

impl Encoder {
    /// # Errors
    /// If the settings of the image processor are out of range.
    pub fn new(files: ModelFiles) -> Result<Encoder, TrainError> {
        let processor = files.image_processor()?;
        let never_said = files.tokens_never_said();
        Ok(Encoder { files, processor, instruction: String::new(), never_said })
    }

    /// Puts `instruction` after every question, on a line of its own; nothing if it is empty.
    pub fn with_instruction(self, instruction: &str) -> Encoder {
        Encoder { instruction: instruction.into(), ..self }
    }

    /// The same encoder with a model whose responses never end before they are as long as they may be.
    ///
    /// # Errors
    /// As [`new`](Encoder::new).
    pub fn without_end(&self) -> Result<Encoder, TrainError> {
        let mut files = self.files.clone();
        files.generation.eos_token_ids.clear();
        let processor = files.image_processor()?;
        Ok(Encoder { files, processor, instruction: self.instruction.clone(), never_said: self.never_said.clone() })
    }

    /// The files of the model directory.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// A question, up to where the model answers.
    ///
    /// # Errors
    /// Those of the chat template and the tokenizer.
    pub fn encode(&self, prompt: &Prompt) -> Result<EncodedPrompt, TrainError> {
        prompt.pictures.iter().try_for_each(|picture| self.processor.check(picture))?;
        let tiles = self.tiles(&prompt.pictures);
        let text = match self.instruction.as_str() {
            "" => prompt.text.clone(),
            instruction => format!("{}\n{instruction}", prompt.text),
        };
        let text = self.files.chat_template.render(&[Message::user_with_images(tiles.len(), text)], GenerationPrompt::Add)?;
        let tokens = self.files.encode_prompt(&text, &tiles)?;
        Ok(EncodedPrompt { tokens, tiles })
    }

    /// Pictures, preprocessed.
    pub fn tiles(&self, pictures: &[RgbImage]) -> Vec<Patches> {
        pictures.iter().map(|picture| self.processor.process(picture)).collect()
    }

    /// A whole response as the tokens the model should give, with the one that ends it.
    ///
    /// # Errors
    /// Those of the tokenizer; if the text has a token that only prompts have; or if the model has no token that ends a response.
    pub fn response(&self, text: &str) -> Result<Vec<u32>, TrainError> {
        let mut tokens = self.files.tokenizer.encode(text)?;
        if let Some(&token) = tokens.iter().find(|token| self.never_said.binary_search(token).is_ok()) {
            let name = self.files.tokenizer.id_to_token(token).unwrap_or_default();
            return Err(TrainError::Unsupported(format!("response: expected text, got {name} (token {token}), which only prompts have")));
        }
        let end = self.files.generation.eos_token_ids.first();
        tokens.push(*end.ok_or_else(|| TrainError::Unsupported("generation_config.json: eos_token_id: expected one, got none".into()))?);
        Ok(tokens)
    }

    /// The text of response tokens, without the one that ends it.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn text(&self, tokens: &[u32]) -> Result<String, TrainError> {
        Ok(self.files.tokenizer.decode(tokens, SpecialTokens::Skip)?)
    }

    /// Response tokens as text, one by one.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn spell(&self, tokens: &[u32]) -> Result<Spelling, TrainError> {
        let (text, ranges) = self.files.tokenizer.decode_with_ranges(tokens, SpecialTokens::Keep)?;
        let ended = tokens.last().is_some_and(|last| self.end_tokens().contains(last));
        let content = if ended { ranges[ranges.len() - 1].start } else { text.len() };
        Ok(Spelling { text, ranges, content })
    }

    /// Tokens that no response may have, in order: [`ModelFiles::tokens_never_said`].
    pub fn never_said(&self) -> &[u32] {
        &self.never_said
    }

    /// Tokens that end a response.
    pub fn end_tokens(&self) -> &[u32] {
        &self.files.generation.eos_token_ids
    }
}
