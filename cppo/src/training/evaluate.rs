//! Measuring a policy: responses to problems it has not seen, graded and counted.

use std::ops::Range;

use percept_model::{Completion, Finish, Model};
use serde::{Deserialize, Serialize};

use crate::config::RolloutConfig;
use crate::error::TrainError;
use crate::problems::prompts::{EncodedPrompt, Encoder, Prompt};
use crate::problems::reward::Reward;
use crate::problems::tasks::Problem;
use crate::problems::tasks::grade::{ErrorKind, grade};
use crate::records::run::{CategoryResult, Evaluation};
use crate::training::group::{Group, Response};
use crate::training::reduce::Rows;
use crate::training::rollout::{numbered, rollout};
use crate::training::world::World;

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
    /// Of a run's rollouts: the longest response, how many sequences are decoded side by side, and how keys and values are kept. The rest does not matter here.
    pub rollout: RolloutConfig,
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
    each: impl FnMut(usize, &Group),
) -> Result<Evaluation, TrainError> {
    evaluate_among(&World::alone(), Rows::Fastest, model, encoder, prompts, how, each)
}

/// [`evaluate`], shared among ranks that all have the prompts: each grades its part, and learns what the others have graded.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_among(
    world: &World,
    rows: Rows,
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    how: Measuring,
    mut each: impl FnMut(usize, &Group),
) -> Result<Evaluation, TrainError> {
    let Measuring { decoding, rollout: config, step, seed } = how;
    let (temperature, samples) = match decoding {
        Decoding::Greedy => (0.0, 1),
        Decoding::Sampled { temperature, samples } => (temperature, samples),
    };
    let config = RolloutConfig { temperature, top_p: 1.0, ..config };
    let mut categories = vec![CategoryResult::empty("all", samples)];
    let mut prompts = prompts.into_iter();
    for part in 0.. {
        let some: Vec<Prompt> = prompts.by_ref().take(PROBLEMS_AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        let some = numbered(some);
        let (own, some) = match world.size() {
            1 => (some, Vec::new()), // not copied: pictures are large
            _ => (some[share(some.len(), world)].to_vec(), some),
        };
        let sampled = rows.run(|| rollout(model, encoder, own, samples, &config, None, seed.wrapping_add(part)))?;
        for group in of_all(world, sampled, some) {
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

/// This rank's part of so many prompts.
fn share(count: usize, world: &World) -> Range<usize> {
    count * world.rank() / world.size()..count * (world.rank() + 1) / world.size()
}

/// What ranks tell each other of a response.
#[derive(Serialize, Deserialize)]
struct Said {
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
    is_clipped: bool,
    text: String,
    reward: [f32; 3],
}

/// The groups of all ranks, in the order of the prompts.
fn of_all(world: &World, own: Vec<Group>, prompts: Vec<(u64, Prompt)>) -> Vec<Group> {
    if world.size() == 1 {
        return own;
    }
    let said = |response: &Response| {
        let Reward { total, accuracy, format } = response.reward;
        let Completion { tokens, log_probs, .. } = response.completion.clone();
        Said { tokens, log_probs, is_clipped: response.is_clipped(), text: response.text.clone(), reward: [total, accuracy, format] }
    };
    let own: Vec<Vec<Said>> = own.iter().map(|group| group.responses.iter().map(said).collect()).collect();
    let all = world.gather("the graded responses", serde_json::to_vec(&own).expect("plain data"));
    let heard = |said: Said| {
        let finish = if said.is_clipped { Finish::Length } else { Finish::Stop };
        let [total, accuracy, format] = said.reward;
        Response::new(Completion { tokens: said.tokens, log_probs: said.log_probs, finish }, said.text, Reward { total, accuracy, format })
    };
    let groups = all.iter().flat_map(|bytes| serde_json::from_slice::<Vec<Vec<Said>>>(bytes).expect("what a rank sends is whole"));
    let group = |((number, prompt), said): ((u64, Prompt), Vec<Said>)| {
        let responses = said.into_iter().map(heard).collect();
        Group { number, prompt, encoded: EncodedPrompt::default(), views: Vec::new(), responses }
    };
    prompts.into_iter().zip(groups).map(group).collect()
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
