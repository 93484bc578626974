//! Data as a model reads them: a problem that does not fit it is found before the first step, with its row, not in the middle of a run.

use percept_model::{ModelConfig, Packing};
use rayon::prelude::*;

use super::data::{BadRow, DataConfig, DataError, Dataset, Example};
use super::prompts::{Encoder, Prompt};

/// The model that reads, and how much room a response needs.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// Tokenizer, chat template and image processor.
    pub encoder: &'a Encoder,
    /// Sizes of the model.
    pub model: &'a ModelConfig,
    /// The most tokens that a response may have. Given responses need the room that they take.
    pub max_new_tokens: usize,
}

impl Reader<'_> {
    /// Leaves out what the model cannot read: prompts that leave no room for a response in its context, and pictures that do not fit the image marks of the
    /// prompt. They become bad rows, and are refused if the configuration says so.
    ///
    /// # Errors
    /// A bad row that is refused, or no problem that is left.
    pub fn keep_readable(&self, dataset: Dataset, config: &DataConfig) -> Result<Dataset, DataError> {
        let Dataset { examples, mut bad_rows, notes, files } = dataset;
        let read: Vec<Result<Example, BadRow>> = examples
            .into_par_iter()
            .map(|example| match self.read(&example) {
                Ok(_) => Ok(example),
                Err(reason) => Err(BadRow { place: example.place, reason }),
            })
            .collect();
        let mut examples = Vec::new();
        for result in read {
            match result {
                Ok(example) => examples.push(example),
                Err(bad) => bad_rows.push(bad),
            }
        }
        Dataset { examples, bad_rows, notes, files }.settled(config)
    }

    /// Number of tokens of a problem's prompt, if it and a response fit the model.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn read(&self, example: &Example) -> Result<usize, String> {
        let pictures = example.pictures().map_err(|bad| bad.reason)?;
        let prompt = Prompt { pictures, text: example.problem.clone(), ..Prompt::default() };
        let encoded = self.encoder.encode(&prompt).map_err(|error| error.to_string())?;
        let response = match &example.response {
            Some(response) => self.encoder.response(response).map_err(|error| error.to_string())?.len(),
            None => self.max_new_tokens,
        };
        let (tokens, context) = (encoded.tokens.len(), self.model.text.max_position_embeddings);
        if tokens + response > context {
            return Err(format!("too long: prompt of {tokens} tokens and response of {response}, the model's context is {context}"));
        }
        Packing::new(self.model).prompt(&encoded.tokens, &encoded.tiles).map_err(|error| error.to_string())?;
        Ok(tokens)
    }
}
