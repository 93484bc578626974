//! The reward of a response (step 3 of the training step).
//!
//! Without a configuration of its own it is `r = 0.9 · accuracy + 0.1 · format` ([`reward`]). With entries `[[reward]]` ([`RewardConfig`]), or functions in code
//! ([`RewardFunction`]), it is their weighted sum ([`Rewards`]). `docs/rewards.md` has the kinds, with examples.

mod boxes;
mod command;
mod config;
mod kinds;
mod text;

pub use config::{OnError, RewardConfig, RewardKind, check};

use serde_json::{Map, Value};

use crate::problems::answer::{answers_equal, final_answer};
use crate::problems::data::RowPlace;
use crate::problems::tasks::Problem;

/// A reward and its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reward {
    /// The whole reward, from which advantages are computed (r); 0 to 1 without rewards of one's own.
    pub total: f32,
    /// 1 if the final answer is right, else 0; or the value of the reward called `accuracy`.
    pub accuracy: f32,
    /// 1 if the response has the required form, else 0; or the value of the reward called `format`.
    pub format: f32,
}

/// The default reward of `response`, a whole response, where `truth` is the right answer.
pub fn reward(response: &str, truth: &str) -> Reward {
    let right = final_answer(response).is_some_and(|given| answers_equal(given, truth));
    let accuracy = f32::from(u8::from(right));
    let format = f32::from(u8::from(format_ok(response)));
    Reward { total: 0.9 * accuracy + 0.1 * format, accuracy, format }
}

/// Whether the whole response matches `<think>.*</think>.*\boxed{.*}.*`, where the dot also matches a newline.
///
/// The first place where each part can stand leaves the most room for the next, so no backtracking is needed.
pub fn format_ok(response: &str) -> bool {
    let Some(mut rest) = response.strip_prefix("<think>") else {
        return false;
    };
    for part in ["</think>", "\\boxed{", "}"] {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    true
}

/// A response, and what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Graded<'a> {
    /// What was asked, without the instruction that the model's section adds.
    pub prompt: &'a str,
    /// The whole response, without special tokens.
    pub response: &'a str,
    /// The right answer, without a box.
    pub answer: &'a str,
    /// Tokens of the response, with the one that ended it.
    pub tokens: usize,
    /// Number of the problem in its split or data set; the responses of a group share it.
    pub prompt_id: u64,
    /// All that is known of a drawn problem; none for problems from files.
    pub problem: Option<&'a Problem>,
    /// Where a problem from a file stands; none for drawn ones.
    pub place: Option<&'a RowPlace>,
    /// Further columns of a problem from a file, those of `data.extra_columns`.
    pub columns: Option<&'a Map<String, Value>>,
}

/// A reward of one's own, in code. It must not depend on anything but the responses, if training is to resume to the same bits.
pub trait RewardFunction: Send + Sync {
    /// One finite number for each response, all responses of a step at once. `[responses] -> [responses]`
    ///
    /// # Errors
    /// What went wrong, in words. What becomes of the run then is the entry's [`OnError`].
    fn rewards(&self, responses: &[Graded<'_>]) -> Result<Vec<f32>, String>;
}

/// The rewards of a run; without an entry the default one.
#[derive(Default)]
pub struct Rewards {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    weight: f32,
    on_error: OnError,
    function: Box<dyn RewardFunction>,
}

/// What the rewards of a run say of some responses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// The weighted sum. `[responses]`
    pub totals: Vec<f32>,
    /// The value of each reward, before its weight. `[rewards][responses]`
    pub of: Vec<Vec<f32>>,
    /// Rewards that failed and count as 0, each with the reason.
    pub failed: Vec<RewardError>,
}

/// A reward that could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reward {name}: {problem}")]
pub struct RewardError {
    /// Which one.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Rewards {
    /// The rewards that a configuration names.
    ///
    /// # Errors
    /// An entry that is out of range, or whose program does not exist.
    pub fn new(configs: &[RewardConfig]) -> Result<Rewards, RewardError> {
        let entry = |config: &RewardConfig| {
            let error = |problem| RewardError { name: config.name.clone(), problem };
            let function = kinds::function(&config.kind).map_err(error)?;
            Ok(Entry { name: config.name.clone(), weight: config.weight, on_error: config.on_error, function })
        };
        Ok(Rewards { entries: configs.iter().map(entry).collect::<Result<_, RewardError>>()? })
    }

    /// With one more, whose failure ends the run. Its mean is the metric `rewards/` and `name`.
    ///
    /// # Panics
    /// If there is a reward of that name, or the weight is not finite.
    #[track_caller]
    pub fn with(mut self, name: &str, weight: f32, function: impl RewardFunction + 'static) -> Rewards {
        assert!(self.entries.iter().all(|entry| entry.name != name), "Rewards::with: there is a reward called {name}");
        assert!(weight.is_finite(), "Rewards::with: {name}: expected a finite weight, got {weight}");
        self.entries.push(Entry { name: name.into(), weight, on_error: OnError::Stop, function: Box::new(function) });
        self
    }

    /// Whether there are none, which means the default reward.
    pub fn is_default(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Whether a reward may fail without ending the run.
    pub fn may_fail(&self) -> bool {
        self.entries.iter().any(|entry| entry.on_error == OnError::Zero)
    }

    /// The values of all rewards for some responses.
    ///
    /// # Errors
    /// A reward that fails, or gives another number of values or one that is not finite, unless it counts as 0 then.
    pub fn values(&self, responses: &[Graded<'_>]) -> Result<Values, RewardError> {
        let mut values = Values { totals: vec![0.0; responses.len()], ..Values::default() };
        for Entry { name, weight, on_error, function } in &self.entries {
            let checked = match function.rewards(responses) {
                _ if responses.is_empty() => Ok(Vec::new()),
                Ok(of) => check_values(of, responses.len()),
                Err(problem) => Err(problem),
            };
            let of = match (checked, on_error) {
                (Ok(of), _) => of,
                (Err(problem), OnError::Stop) => return Err(RewardError { name: name.clone(), problem }),
                (Err(problem), OnError::Zero) => {
                    values.failed.push(RewardError { name: name.clone(), problem });
                    vec![0.0; responses.len()]
                }
            };
            for (total, value) in values.totals.iter_mut().zip(&of) {
                *total += weight * value;
            }
            values.of.push(of);
        }
        Ok(values)
    }
}

fn check_values(values: Vec<f32>, count: usize) -> Result<Vec<f32>, String> {
    if values.len() != count {
        return Err(format!("expected {count} numbers, one for each response, got {}", values.len()));
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(format!("response {} of {count}: expected a finite number, got {}", at + 1, values[at])),
        None => Ok(values),
    }
}
