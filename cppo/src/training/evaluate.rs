//! Measuring a policy: responses to problems it has not seen, graded and counted.

use percept_model::Model;

use crate::config::RolloutConfig;
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Prompt};
use crate::problems::tasks::Problem;
use crate::problems::tasks::grade::{ErrorKind, grade};
use crate::records::run::{CategoryResult, Evaluation};
use crate::training::group::Group;
use crate::training::rollout::rollout;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decoding {
    /// The most likely one; one response to each problem.
    Greedy,
    /// Sampled.
    Sampled {
        /// Temperature: logits are divided by it.
        temperature: f32,
        /// Number of responses to each problem.
        samples: usize,
    },
}

impl Decoding {
    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Decoding::Greedy => "greedy",
            Decoding::Sampled { .. } => "sampled",
        }
    }
}

/// Problems whose prompts are in memory at once.
pub const PROBLEMS_AT_ONCE: usize = 128;

/// How a model is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measuring {
    /// How tokens are chosen.
    pub decoding: Decoding,
    /// Longest response.
    pub max_new_tokens: usize,
    /// Steps that the model was trained for, for the record.
    pub step: u64,
    /// The draws are a function of it and of a prompt's place among the prompts.
    pub seed: u64,
}

/// Grades responses of `model` to `prompts`, and hands each prompt with its graded responses to `each`, with its number among the prompts.
///
/// # Errors
/// If a prompt does not fit the model, or the device fails.
pub fn evaluate(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    how: Measuring,
    mut each: impl FnMut(usize, &Group),
) -> Result<Evaluation, TrainError> {
    let Measuring { decoding, max_new_tokens, step, seed } = how;
    let (temperature, samples) = match decoding {
        Decoding::Greedy => (0.0, 1),
        Decoding::Sampled { temperature, samples } => (temperature, samples),
    };
    let config = RolloutConfig { max_new_tokens, temperature, top_p: 1.0, ..RolloutConfig::default() };
    let mut categories = vec![CategoryResult::empty("all", samples)];
    let mut prompts = prompts.into_iter();
    for part in 0.. {
        let some: Vec<Prompt> = prompts.by_ref().take(PROBLEMS_AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        for group in rollout(model, encoder, some, 0, samples, &config, None, seed.wrapping_add(part))? {
            each(categories[0].problems(), &group);
            count(&mut categories[0], &group);
            let Some(problem) = &group.prompt.problem else { continue };
            let category = category_of(problem);
            let place = categories.iter().position(|known| known.name == category).unwrap_or(categories.len());
            if place == categories.len() {
                categories.push(CategoryResult::empty(&category, samples));
            }
            count(&mut categories[place], &group);
        }
    }
    Ok(Evaluation { step, decoding: decoding.name().into(), temperature, categories })
}

/// Family and level.
pub fn category_of(problem: &Problem) -> String {
    format!("{} {}", problem.family.name(), problem.level)
}

fn count(category: &mut CategoryResult, group: &Group) {
    category.correct.push(group.responses.iter().map(|response| response.reward.accuracy as u32).sum());
    for response in &group.responses {
        category.well_formed += u64::from(response.reward.format > 0.0);
        category.tokens += response.completion.tokens.len() as u64;
        let Some(problem) = &group.prompt.problem else { continue };
        let [perception, reasoning, both, unreadable] =
            [&mut category.perception_errors, &mut category.reasoning_errors, &mut category.both_errors, &mut category.unreadable]
                .map(|errors| errors.get_or_insert(0));
        match grade(problem, &response.text).error {
            None => {}
            Some(ErrorKind::Perception) => *perception += 1,
            Some(ErrorKind::Reasoning) => *reasoning += 1,
            Some(ErrorKind::Both) => *both += 1,
            Some(ErrorKind::Unreadable) => *unreadable += 1,
        }
    }
}
