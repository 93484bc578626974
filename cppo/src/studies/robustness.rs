//! Whether a policy sees: accuracy on pictures changed in ways that training does not use, and what it says when there is nothing to see.
//!
//! A method that makes a policy consistent can do so in two ways: the policy sees more, or it looks less. So three things are measured, on the same test problems and, whatever the
//! policy, the same pictures, with greedy responses:
//!
//! | what | on which pictures | says |
//! |---|---|---|
//! | accuracy | changed, with the information still there ([`Change`], and more clutter), in three strengths | robustness |
//! | consistency | the same | share of the responses with the same answer as on the original picture, right or wrong |
//! | sensitivity | without the information ([`Removal`]) | accuracy, which should be that of guessing; the share of responses the policy is sure of, and its entropy where it names what it sees |
//!
//! A response is sure if the policy, sampling, would name the same things again with a probability above one half: the product of the probabilities of its perception tokens.

use percept_model::Model;
use serde::{Deserialize, Serialize};

use crate::config::RolloutConfig;
use crate::error::TrainError;
use crate::methods::view::View;
use crate::problems::answer::final_answer;
use crate::problems::prompts::{Encoder, Prompt, test_prompts};
use crate::problems::tasks::grade::{ErrorKind, grade};
use crate::problems::tasks::response::Role;
use crate::problems::tasks::{Family, Task, TaskConfig};
use crate::problems::views::changes::{Change, Removal, STRENGTHS};
use crate::records::statistics::{Estimate, wilson};
use crate::training::group::Group;
use crate::training::rollout::{numbered, rollout};
use crate::training::update::score;

/// What was measured of one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Robustness {
    /// Problems, the same in every row.
    pub problems: u64,
    /// Share of the problems with the most frequent answer: what a policy reaches that sees nothing.
    pub chance: f64,
    /// On the original pictures.
    pub clean: Changed,
    /// On changed pictures, in the order of [`Change::ALL`], then clutter; each in all strengths.
    pub changed: Vec<Changed>,
    /// On the original pictures, then on those without the information, in the order of [`Removal::ALL`].
    pub removed: Vec<Removed>,
}

/// Greedy responses to pictures that still hold the information.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// What was changed; `clean` for the original pictures.
    pub name: String,
    /// How strongly, 1 to 3; 0 for the original pictures.
    pub strength: usize,
    /// Right responses.
    pub correct: u64,
    /// Responses with the same answer as on the original picture.
    pub consistent: u64,
    /// Wrong responses that saw something wrongly and concluded rightly from it; 0 for problems from files, as in the next.
    pub perception_errors: u64,
    /// Wrong responses of any other kind.
    pub other_errors: u64,
}

/// Greedy responses to pictures without the information, and how sure the policy is of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    /// How it was removed; `original` if it was not.
    pub name: String,
    /// Right responses.
    pub correct: u64,
    /// Responses that say what they see.
    pub readable: u64,
    /// Those of them that the policy is sure of.
    pub sure: u64,
    /// Mean entropy where the response names what it sees, nats; NaN if none does.
    #[serde(with = "crate::studies::robustness::nan_as_null")]
    pub entropy: f64,
}

impl Robustness {
    /// Mean accuracy over all changes and strengths: the headline.
    pub fn robust_accuracy(&self) -> f64 {
        self.mean_over_changes(|row| row.correct)
    }

    /// Mean consistency over all changes and strengths.
    pub fn consistency(&self) -> f64 {
        self.mean_over_changes(|row| row.consistent)
    }

    /// Share of responses that the policy is sure of, over all removals.
    pub fn sure_without_information(&self) -> f64 {
        let removed = &self.removed[1..];
        removed.iter().map(|row| row.sure as f64).sum::<f64>() / removed.iter().map(|row| row.readable as f64).sum::<f64>().max(1.0)
    }

    /// Mean entropy at perception tokens, over all removals, nats.
    pub fn entropy_without_information(&self) -> f64 {
        let removed = &self.removed[1..];
        removed.iter().map(|row| row.entropy).sum::<f64>() / removed.len() as f64
    }

    /// The names of the changes, once each.
    pub fn change_names(&self) -> Vec<&str> {
        self.changed.iter().filter(|row| row.strength == 1).map(|row| row.name.as_str()).collect()
    }

    /// The row of a change at a strength.
    pub fn at(&self, name: &str, strength: usize) -> Option<&Changed> {
        self.changed.iter().find(|row| row.name == name && row.strength == strength)
    }

    /// An accuracy with its interval over the problems.
    pub fn accuracy(&self, correct: u64) -> Estimate {
        wilson(correct, self.problems)
    }

    fn mean_over_changes(&self, of: impl Fn(&Changed) -> u64) -> f64 {
        self.changed.iter().map(|row| of(row) as f64).sum::<f64>() / (self.changed.len() as f64 * self.problems as f64)
    }
}

/// The name of the change that draws more clutter into the scene; only `digits` has it.
pub const CLUTTER: &str = "clutter";

/// Pieces of clutter that each strength adds.
const CLUTTER_STEP: usize = 3;

/// Problems whose pictures are in memory at once.
const PROBLEMS_AT_ONCE: usize = 256;

/// Measures `model` on problems 0 to `problems` of the task's test split, by greedy responses, decoded as rollouts are with `how`.
///
/// # Errors
/// If a prompt does not fit the model, or the device fails.
///
/// # Panics
/// If `problems` is below 2: one has no other picture to swap with.
#[track_caller]
pub fn measure(model: &Model, encoder: &Encoder, task: &Task, problems: u64, how: &RolloutConfig) -> Result<Robustness, TrainError> {
    assert!(problems >= 2, "robustness: {problems} problems: expected at least 2");
    let respond = |prompts: Vec<Prompt>| greedy(model, encoder, prompts, how);
    let prompts = test_prompts(task, 0..problems);
    let original = respond(prompts.clone())?;
    let answers: Vec<Option<String>> = original.iter().map(answer).collect();
    let row = |name: &str, strength, groups: &[Group]| count(name, strength, groups, &answers);

    let mut changed = Vec::new();
    for change in Change::ALL {
        for strength in 1..=STRENGTHS {
            let prompts = with_pictures(&prompts, |prompt| change.apply(&prompt.pictures[0], strength, prompt.id));
            changed.push(row(change.name(), strength, &respond(prompts)?));
        }
    }
    for strength in 1..=STRENGTHS {
        let Some(task) = with_clutter(task, strength) else { break };
        changed.push(row(CLUTTER, strength, &respond(test_prompts(&task, 0..problems))?));
    }

    let mut removed = vec![sureness("original", model, encoder, original.clone())?];
    for removal in Removal::ALL {
        let other = |prompt: &Prompt| &prompts[((prompt.id + 1) % problems) as usize].pictures[0];
        let prompts = with_pictures(&prompts, |prompt| removal.apply(&prompt.pictures[0], other(prompt), prompt.id));
        removed.push(sureness(removal.name(), model, encoder, respond(prompts)?)?);
    }
    let clean = row("clean", 0, &original);
    Ok(Robustness { problems, chance: chance(&prompts), clean, changed, removed })
}

/// The same task with more clutter in its scenes, and otherwise the same problems; none if it has other families than `digits`.
fn with_clutter(task: &Task, strength: usize) -> Option<Task> {
    let config = task.config();
    if config.families != [Family::Digits] {
        return None;
    }
    let mut digits = task.digits().clone();
    digits.clutter = (digits.clutter + CLUTTER_STEP * strength).min(20);
    Task::new(&TaskConfig { digits: Some(digits), ..config.clone() }).ok()
}

fn with_pictures(prompts: &[Prompt], picture: impl Fn(&Prompt) -> image::RgbImage) -> Vec<Prompt> {
    prompts.iter().map(|prompt| Prompt { pictures: vec![picture(prompt)], ..prompt.clone() }).collect()
}

/// One greedy response to each prompt.
fn greedy(model: &Model, encoder: &Encoder, prompts: Vec<Prompt>, how: &RolloutConfig) -> Result<Vec<Group>, TrainError> {
    let config = RolloutConfig { temperature: 0.0, ..*how };
    let mut groups = Vec::new();
    let mut prompts = prompts.into_iter().peekable();
    while prompts.peek().is_some() {
        groups.extend(rollout(model, encoder, numbered(prompts.by_ref().take(PROBLEMS_AT_ONCE).collect()), 1, &config, None, 0)?);
    }
    Ok(groups)
}

fn answer(group: &Group) -> Option<String> {
    final_answer(&group.responses[0].text).map(str::to_owned)
}

fn count(name: &str, strength: usize, groups: &[Group], answers: &[Option<String>]) -> Changed {
    let mut row = Changed { name: name.into(), strength, correct: 0, consistent: 0, perception_errors: 0, other_errors: 0 };
    for (group, original) in groups.iter().zip(answers) {
        let response = &group.responses[0];
        row.correct += u64::from(response.reward.accuracy > 0.0);
        row.consistent += u64::from(original.is_some() && answer(group) == *original);
        match group.prompt.problem.as_ref().and_then(|problem| grade(problem, &response.text).error) {
            None => {}
            Some(ErrorKind::Perception) => row.perception_errors += 1,
            Some(_) => row.other_errors += 1,
        }
    }
    row
}

fn sureness(name: &str, model: &Model, encoder: &Encoder, mut groups: Vec<Group>) -> Result<Removed, TrainError> {
    for part in groups.chunks_mut(PROBLEMS_AT_ONCE) {
        score(model, part, &[], &[], 1.0, 16384)?;
    }
    let mut row = Removed { name: name.into(), correct: 0, readable: 0, sure: 0, entropy: 0.0 };
    let mut tokens = 0;
    for group in &groups {
        let response = &group.responses[0];
        row.correct += u64::from(response.reward.accuracy > 0.0);
        let roles = encoder.spell(response.tokens())?.roles();
        let reading = response.signal.on(View::Original).expect("it was just read");
        let perceived = || (0..roles.len()).filter(|&token| roles[token] == Role::Perception);
        if perceived().next().is_none() {
            continue;
        }
        row.readable += 1;
        let log_prob: f32 = perceived().map(|token| reading.log_probs[token]).sum();
        row.sure += u64::from(log_prob > -std::f32::consts::LN_2);
        row.entropy += perceived().map(|token| f64::from(reading.entropy[token])).sum::<f64>();
        tokens += perceived().count();
    }
    row.entropy /= tokens as f64;
    Ok(row)
}

/// Share of the problems with the most frequent answer.
fn chance(prompts: &[Prompt]) -> f64 {
    let count = |answer: &str| prompts.iter().filter(|prompt| prompt.answer == answer).count();
    let most = prompts.iter().map(|prompt| count(&prompt.answer)).max().unwrap_or(0);
    most as f64 / prompts.len().max(1) as f64
}

/// JSON has no NaN.
pub(crate) mod nan_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}
