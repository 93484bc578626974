//! What a policy sees in each token of a response: its entropies on I, I⁺ and I⁻ beside what the task knows.
//!
//! A response is sampled (or given) on the original picture and read again on the three views, drawn as in training. ΔH_t = H⁻_t − H_t
//! says how much less certain a token becomes when the picture loses its information; the configured selection says which tokens
//! training would take as perception tokens; the task says which tokens truly name something seen. [`inspect`] shows this for a few
//! problems, [`detectors`] measures it over many.
//!
//! Unlike in training, the gate is always open: a single response has no advantage over a group.

pub mod detectors;
mod page;
mod problems;
mod respond;
mod terminal;

pub use page::page;
pub use problems::{own_question, test_problems};
pub use respond::ResponseSource;
pub use terminal::{Style, print};

use image::RgbImage;
use percept_model::Model;
use serde::Serialize;

use crate::config::Config;
use crate::error::TrainError;
use crate::methods::divergence::Divergence;
use crate::methods::selection::{Gate, SelectionConfig, Shift, perception_mask};
use crate::methods::signal::{Measure, Reading, Signal};
use crate::methods::view::{Drawn, SeenBy, Shown, View, ViewGradient, ViewUse};
use crate::problems::data::{DataError, DataPath};
use crate::problems::prompts::{Encoder, Prompt};
use crate::problems::tasks::TaskError;
use crate::problems::tasks::response::Role;
use crate::problems::views::{PerturbationSet, Preserving, Removing, Views, ViewsConfig, draw_prompt_views};
use crate::random::Random;
use crate::training::group::{Group, GroupView, Response};
use crate::training::update::score;
use respond::{Responded, respond};

/// A problem with a response to it, token by token.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Number of the problem in its split or data set; 0 for a question of the user's own.
    pub prompt_id: u64,
    /// The question.
    pub question: String,
    /// The right answer; none if nobody knows it.
    pub answer: Option<String>,
    /// The response, without the token that ends it.
    pub response: String,
    /// Whether its boxed answer is right; none if nobody knows.
    pub correct: Option<bool>,
    /// How the information-preserving version of each picture (I⁺) was made.
    pub preserving: Vec<Preserving>,
    /// How the information-removing version of each picture (I⁻) was made.
    pub removing: Vec<Removing>,
    /// The tokens of the response, with the one that ends it.
    pub tokens: Vec<InspectedToken>,
    /// The pictures of the problem.
    #[serde(skip)]
    pub pictures: Vec<RgbImage>,
    /// Both perturbed versions of each picture.
    #[serde(skip)]
    pub views: Vec<Views>,
}

/// A token of a response, as the policy sees it on the three views. Log-probabilities, entropies and divergences in nats, at the
/// temperature of the rollout.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InspectedToken {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// What the task knows of it; none if the problem is no task's.
    pub role: Option<Role>,
    /// Whether the configured selection takes it as a perception token.
    pub chosen: bool,
    /// Log-probability on the original picture (ℓ).
    pub log_prob: f32,
    /// Log-probability on the information-preserving picture (ℓ⁺).
    pub log_prob_preserved: f32,
    /// Log-probability on the information-removing picture (ℓ⁻).
    pub log_prob_removed: f32,
    /// Entropy on the original picture (H).
    pub entropy: f32,
    /// Entropy on the information-preserving picture (H⁺).
    pub entropy_preserved: f32,
    /// Entropy on the information-removing picture (H⁻).
    pub entropy_removed: f32,
    /// Rise of the entropy when the information is removed, ΔH = H⁻ − H.
    pub delta_entropy: f32,
    /// The number that the configured detector ranks tokens by (s).
    pub score: f32,
    /// Divergence of the information-removing picture from the original (D⁻), estimated at the sampled token by k3.
    pub k3: f32,
    /// The same divergence over the whole vocabulary.
    pub full_kl: f32,
}

impl InspectedToken {
    /// Whether it truly names something seen.
    pub fn is_perception(&self) -> bool {
        self.role == Some(Role::Perception)
    }
}

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The model, its files, the device, or a picture.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A data set that cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The settings of the task are out of range.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A problem that is not there.
    #[error("{path}: problem {problem}: expected below {count}")]
    OutOfRange {
        /// The data set.
        path: DataPath,
        /// The problem's number, counted from 0.
        problem: u64,
        /// Problems of the data set.
        count: u64,
    },
    /// Only a task knows a reference response and which tokens name something seen.
    #[error("{wanted}: expected a problem of a task, got {question:?} from elsewhere")]
    NoTruth {
        /// What was asked for.
        wanted: &'static str,
        /// The question that is no task's.
        question: String,
    },
    /// A model that computes nothing useful.
    #[error("problem {prompt_id}: the model's entropies are not finite")]
    NotFinite {
        /// The problem.
        prompt_id: u64,
    },
}

/// A response to each of `prompts`, from `source`, as `model` sees it. Draws are a function of `config.run.seed`.
///
/// # Errors
/// If a prompt with its response does not fit the model, an entropy is not finite, the device fails, or a reference response is asked
/// for where there is none.
pub fn inspect(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    source: &ResponseSource,
    config: &Config,
) -> Result<Vec<Inspection>, InspectError> {
    let responded = respond(model, encoder, prompts, source, config, config.run.seed)?;
    let selection = open_gate(&config.method.selection());
    let (views, signals) = look(model, encoder, &responded, &config.views, &selection.detector.measures(), config)?;
    let inspections = responded.into_iter().zip(views).zip(signals);
    Ok(inspections.map(|((responded, views), signal)| inspection(responded, views, &signal, &selection)).collect())
}

/// The views of each prompt, drawn as in training, and its response on them, with `measures` on the original.
fn look(
    model: &Model,
    encoder: &Encoder,
    responded: &[Responded],
    views: &ViewsConfig,
    measures: &[Measure],
    config: &Config,
) -> Result<(Vec<Vec<Views>>, Vec<Signal>), InspectError> {
    let uses = views_to_look_at();
    let draw = |prompt: &Prompt| draw_prompt_views(&prompt.pictures, views, config.run.seed, prompt.id, prompt.epoch);
    let views: Vec<Vec<Views>> = responded.iter().map(|responded| draw(&responded.prompt)).collect();
    let group_view = |view, pictures: Vec<&RgbImage>| GroupView {
        view,
        responses: 0..1,
        how: Vec::new(),
        pictures: Vec::new(),
        tiles: Some(pictures.into_iter().flat_map(|picture| encoder.tiles(std::slice::from_ref(picture))).collect()),
    };
    let group = |(responded, views): (&Responded, &Vec<Views>)| Group {
        encoded: responded.encoded.clone(),
        views: vec![
            group_view(View::Preserved, views.iter().map(|views| &views.preserved).collect()),
            group_view(View::Removed, views.iter().map(|views| &views.removed).collect()),
        ],
        responses: vec![Response::given(responded.tokens.clone())],
        ..Group::default()
    };
    let mut groups: Vec<Group> = responded.iter().zip(&views).map(group).collect();
    let (temperature, budget) = (config.rollout.temperature, config.train.micro_batch_tokens);
    score(model, &mut groups, &uses, measures, temperature, budget).map_err(TrainError::from)?;
    let signals: Vec<Signal> = groups.into_iter().flat_map(|group| group.responses).map(|response| response.signal).collect();
    for (responded, signal) in responded.iter().zip(&signals) {
        let divergences = signal.readings.iter().flat_map(|reading| &reading.divergences).flat_map(|(_, values)| values);
        let mut values = signal.readings.iter().flat_map(|reading| &reading.entropy).chain(divergences);
        if values.any(|value| !value.is_finite()) {
            return Err(InspectError::NotFinite { prompt_id: responded.prompt.id });
        }
    }
    Ok((views, signals))
}

/// Both views, whatever the method looks at, with all that the detectors rank by.
fn views_to_look_at() -> [ViewUse; 2] {
    let view = |view, from, divergences| ViewUse {
        view,
        shown: Shown::Perturbed(from),
        drawn: Drawn::PerPrompt,
        gradient: ViewGradient::Stops,
        seen_by: SeenBy::All,
        divergences,
    };
    [
        view(View::Preserved, PerturbationSet::Preserving, Vec::new()),
        view(View::Removed, PerturbationSet::Removing, vec![Divergence::K3, Divergence::Full, Divergence::JensenShannon]),
    ]
}

/// What was read on a picture.
fn on(signal: &Signal, view: View) -> &Reading {
    signal.on(view).expect("every response was read on all three pictures")
}

/// The configured selection without its gate.
fn open_gate(selection: &SelectionConfig) -> SelectionConfig {
    SelectionConfig { gate: Gate::None, ..selection.clone() }
}

fn inspection(responded: Responded, views: Vec<Views>, signal: &Signal, selection: &SelectionConfig) -> Inspection {
    let Responded { prompt, tokens, spelling, reward, .. } = responded;
    let [original, preserved, removed] = View::ALL.map(|view| on(signal, view));
    let shift = Shift::of_readings(selection.detector, original, removed);
    let [k3, full_kl] = [Divergence::K3, Divergence::Full].map(|which| removed.divergence(which));
    let mask = perception_mask(&shift, 1.0, selection, &mut Random::new(0, "inspect/selection", prompt.id));
    let roles = prompt.problem.is_some().then(|| spelling.roles());
    let token = |t: usize| InspectedToken {
        id: tokens[t],
        text: spelling.token(t).to_owned(),
        role: roles.as_ref().map(|roles| roles[t]),
        chosen: mask[t],
        log_prob: original.log_probs[t],
        log_prob_preserved: preserved.log_probs[t],
        log_prob_removed: removed.log_probs[t],
        entropy: original.entropy[t],
        entropy_preserved: preserved.entropy[t],
        entropy_removed: removed.entropy[t],
        delta_entropy: removed.entropy[t] - original.entropy[t],
        score: shift.score[t],
        k3: k3[t],
        full_kl: full_kl[t],
    };
    let has_answer = !prompt.answer.is_empty();
    Inspection {
        prompt_id: prompt.id,
        response: spelling.content().to_owned(),
        correct: has_answer.then_some(reward.accuracy > 0.0),
        answer: has_answer.then_some(prompt.answer),
        question: prompt.text,
        preserving: views.iter().map(|views| views.preserving).collect(),
        removing: views.iter().map(|views| views.removing).collect(),
        tokens: (0..tokens.len()).map(token).collect(),
        pictures: prompt.pictures,
        views,
    }
}
