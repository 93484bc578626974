//! What is recorded besides the numbers of a step: responses and evaluations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::problems::tasks::response::Role as TokenRole;

/// One time that a run was begun or resumed: a line of `starts.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// Steps that were done before.
    pub step: u64,
    /// When, UTC (RFC 3339).
    pub time: String,
    /// The version of Percept.
    pub version: String,
    /// The subcommand.
    pub command: String,
    /// What it ran on.
    pub device: String,
}

/// A response, with what the training step made of it: a line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The step, counted from 1.
    pub step: u64,
    /// Number of the problem in its split or data set; the responses of a group share it.
    pub prompt_id: u64,
    /// The question.
    pub prompt: String,
    /// The right answer.
    pub answer: String,
    /// The picture, relative to the run's folder; the first, if the prompt has several.
    pub image: String,
    /// Further pictures of the prompt, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_images: Vec<String>,
    /// The information-preserving picture (I⁺), relative to the run's folder, if the method looks at it.
    pub image_preserved: Option<String>,
    /// The information-removing picture (I⁻), likewise.
    pub image_removed: Option<String>,
    /// The response.
    pub response: String,
    /// Its tokens as text; joined they are the response (a token that is no whole UTF-8 is shown as it can be).
    pub tokens: Vec<String>,
    /// Reward, 0 to 1.
    pub reward: f32,
    /// 1 if the answer is right, else 0.
    pub accuracy: f32,
    /// 1 if the form is right, else 0.
    pub format: f32,
    /// The value of each reward of one's own (`[[reward]]`), before its weight; none without such.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, f32>,
    /// How much better the response was than the others of its group (Â).
    pub advantage: f32,
    /// Rise of each token's entropy without the picture's information (ΔH), in nats, if the response was read on that picture. `[tokens]`
    pub delta_entropy: Option<Vec<f32>>,
    /// Which tokens are perception tokens. `[tokens]`, none if `delta_entropy` is none
    pub mask: Option<Vec<bool>>,
    /// What the task knows of each token. `[tokens]`, none for problems from files
    pub roles: Option<Vec<TokenRole>>,
}

/// An evaluation: a line of `evaluations.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Steps done when it was made; 0 is the starting checkpoint.
    pub step: u64,
    /// How tokens were chosen: `greedy` or `sampled`.
    pub decoding: String,
    /// Temperature of the sampling; 0 for greedy.
    pub temperature: f32,
    /// The whole first, then its categories (family and level, or what the data set calls them).
    pub categories: Vec<CategoryResult>,
}

impl Evaluation {
    /// Whether its counts can be: a file may hold any.
    pub(super) fn check(&self) -> Result<(), String> {
        const MOST_SAMPLES: usize = 1 << 16;
        const MOST: u64 = 1 << 48;
        for category in &self.categories {
            let CategoryResult { name, samples, correct, .. } = category;
            if *samples > MOST_SAMPLES {
                return Err(format!("categories.{name}.samples: expected at most {MOST_SAMPLES}, got {samples}"));
            }
            if let Some(most) = correct.iter().find(|correct| **correct as usize > *samples) {
                return Err(format!("categories.{name}.correct: expected at most {samples}, as many as there are samples, got {most}"));
            }
            let errors = [category.perception_errors, category.reasoning_errors, category.both_errors, category.unreadable];
            let counts = errors.into_iter().flatten().chain([category.well_formed, category.tokens]);
            if let Some(count) = counts.into_iter().find(|count| *count > MOST) {
                return Err(format!("categories.{name}: expected counts of at most {MOST}, got {count}"));
            }
        }
        Ok(())
    }

    /// The categories as a table shows them: the whole alone where it has but one part.
    pub fn distinct_categories(&self) -> &[CategoryResult] {
        if self.categories.len() == 2 { &self.categories[..1] } else { &self.categories }
    }
}

/// Counts of an evaluation's category. Rates and intervals follow from them ([`crate::records::statistics`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryResult {
    /// Its name; `all` is the whole.
    pub name: String,
    /// Number of responses to each problem.
    pub samples: usize,
    /// Right responses to each problem, 0 to N. `[problems]`
    pub correct: Vec<u32>,
    /// Responses of the required form.
    pub well_formed: u64,
    /// Wrong responses that saw something wrongly and concluded rightly from it. None if the data cannot tell, as in the next three.
    pub perception_errors: Option<u64>,
    /// Wrong responses that saw everything rightly and concluded wrongly.
    pub reasoning_errors: Option<u64>,
    /// Wrong responses with both errors.
    pub both_errors: Option<u64>,
    /// Wrong responses that do not say what they see.
    pub unreadable: Option<u64>,
    /// Tokens of all responses.
    pub tokens: u64,
}

impl CategoryResult {
    /// Nothing counted yet.
    pub fn empty(name: &str, samples: usize) -> CategoryResult {
        CategoryResult {
            name: name.into(),
            samples,
            correct: Vec::new(),
            well_formed: 0,
            perception_errors: None,
            reasoning_errors: None,
            both_errors: None,
            unreadable: None,
            tokens: 0,
        }
    }

    /// Number of problems.
    pub fn problems(&self) -> usize {
        self.correct.len()
    }
}
