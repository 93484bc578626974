//! How well the perception tokens that training would choose are those that truly name something seen.
//!
//! Our tasks draw their pictures, so they know the truth: a token is perception if its text overlaps what a response says it sees
//! by at least one character ([`crate::problems::tasks::response`]). Against it stand, for each information-removing perturbation, the three
//! detectors: AUC of the score s_t over the tokens of all responses, and precision and recall of the configured selection at several
//! floors under the shift (`min_delta_entropy`).
//!
//! A response that has not the required form, or does not say what it sees, has no truth: it is left out, and counted.

use percept_model::Model;
use serde::Serialize;

use super::respond::{Responded, respond};
use super::{InspectError, ResponseSource, look, open_gate};
use crate::config::Config;
use crate::methods::selection::{Detector, SelectionConfig, Shift, perception_mask};
use crate::methods::signal::{Measure, Signal};
use crate::methods::view::View;
use crate::problems::prompts::{Encoder, Prompt};
use crate::problems::tasks::response::{self, Role};
use crate::problems::views::{Removing, ViewsConfig};
use crate::random::Random;
use crate::records::statistics::{Detection, detection};

/// Floors under the shift that are compared, besides the configured one: the paper's, and one that leaves out tokens that hardly moved.
const FLOORS: [f32; 2] = [0.0, 0.05];

/// Problems whose pictures are in memory at once.
const PROBLEMS_AT_ONCE: usize = 128;

/// The quality of the detectors on some problems.
#[derive(Clone, Debug, Serialize)]
pub struct DetectorReport {
    /// Problems, each with one response.
    pub problems: usize,
    /// Responses without the required form, which are left out.
    pub malformed: usize,
    /// Tokens of the others.
    pub tokens: usize,
    /// Those of them that truly name something seen.
    pub perception_tokens: usize,
    /// A row for each perturbation, detector and floor, in this order.
    pub rows: Vec<DetectorRow>,
}

/// One way to choose perception tokens, and how good it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DetectorRow {
    /// How the information was removed; none: drawn from the configured set for each problem, as in training.
    pub removing: Option<Removing>,
    /// What ranks the tokens.
    pub detector: Detector,
    /// Shifts that are not above it are no candidates, nats.
    pub min_delta_entropy: f32,
    /// Mean shift of the tokens that truly name something seen, nats; NaN if there are none.
    pub shift_of_perception: f64,
    /// Mean shift of the others.
    pub shift_of_others: f64,
    /// Precision and recall of the choice; AUC of the score, which no floor changes.
    #[serde(flatten)]
    pub detection: Detection,
}

/// A response and its truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Read on all three pictures, with both divergences.
    pub signal: Signal,
    /// Which tokens truly name something seen. `[tokens]`
    pub truth: Vec<bool>,
}

/// Measures all detectors on one response to each of `prompts`.
///
/// # Errors
/// As [`super::inspect`], and if a prompt is no task's.
pub fn evaluate(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    source: &ResponseSource,
    config: &Config,
) -> Result<DetectorReport, InspectError> {
    let settings = perturbations(&config.views);
    let measures: Vec<Measure> = Detector::ALL.iter().flat_map(|detector| detector.measures()).collect();
    let mut judged: Vec<Vec<Judged>> = vec![Vec::new(); settings.len()];
    let (problems, mut malformed) = (prompts.len(), 0);
    let mut prompts = prompts.into_iter();
    for part in 0.. {
        let some: Vec<Prompt> = prompts.by_ref().take(PROBLEMS_AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        if let Some(prompt) = some.iter().find(|prompt| prompt.problem.is_none()) {
            return Err(InspectError::NoTruth { wanted: "the quality of detectors", question: prompt.text.clone() });
        }
        let responded = respond(model, encoder, some, source, config, config.run.seed.wrapping_add(part))?;
        let before = responded.len();
        let responded: Vec<Responded> = responded.into_iter().filter(has_truth).collect();
        malformed += before - responded.len();
        for (judged, (_, views)) in judged.iter_mut().zip(&settings) {
            let (_, signals) = look(model, encoder, &responded, views, &measures, config)?;
            judged.extend(responded.iter().zip(signals).map(|(responded, signal)| {
                let truth = responded.spelling.roles().into_iter().map(|role| role == Role::Perception).collect();
                Judged { signal, truth }
            }));
        }
    }
    let truth = || judged.first().into_iter().flatten().flat_map(|judged| &judged.truth);
    let (tokens, perception_tokens) = (truth().count(), truth().filter(|&&is_perception| is_perception).count());
    let rows = settings
        .iter()
        .zip(&judged)
        .flat_map(|((removing, _), judged)| detector_rows(*removing, judged, &config.method.selection()))
        .collect();
    Ok(DetectorReport { problems, malformed, tokens, perception_tokens, rows })
}

/// Every detector at every floor. Tokens of all responses are counted together; the choice is made response by response, as in training.
///
/// # Panics
/// If a response and its truth differ in length, or a shift is NaN.
#[track_caller]
pub fn detector_rows(removing: Option<Removing>, judged: &[Judged], selection: &SelectionConfig) -> Vec<DetectorRow> {
    let mut floors = [FLOORS.as_slice(), &[selection.min_delta_entropy]].concat();
    floors.sort_by(f32::total_cmp);
    floors.dedup();
    let truth: Vec<bool> = judged.iter().flat_map(|judged| judged.truth.iter().copied()).collect();
    let mut rows = Vec::new();
    for detector in Detector::ALL {
        let shifts: Vec<_> = judged.iter().map(|judged| shift(&judged.signal, detector)).collect();
        let scores: Vec<f32> = shifts.iter().flat_map(|shift| shift.score.iter().copied()).collect();
        let mean_shift = |is_perception: bool| {
            let of_kind = || shifts.iter().flat_map(|shift| &shift.delta).zip(&truth).filter(|&(_, &t)| t == is_perception);
            of_kind().map(|(&delta, _)| f64::from(delta)).sum::<f64>() / of_kind().count() as f64
        };
        let [shift_of_perception, shift_of_others] = [true, false].map(mean_shift);
        for &min_delta_entropy in &floors {
            let selection = SelectionConfig { detector, min_delta_entropy, ..open_gate(selection) };
            let mask = |(number, shift)| perception_mask(shift, 1.0, &selection, &mut Random::new(0, "inspect/selection", number as u64));
            let chosen: Vec<bool> = shifts.iter().enumerate().flat_map(mask).collect();
            let detection = detection(&scores, &chosen, &truth);
            rows.push(DetectorRow { removing, detector, min_delta_entropy, shift_of_perception, shift_of_others, detection });
        }
    }
    rows
}

/// How far the tokens of a response moved between the original and the picture without the information.
#[track_caller]
fn shift(signal: &Signal, detector: Detector) -> Shift {
    let [original, removed] = [View::Original, View::Removed].map(|view| signal.on(view).expect("every response was read on it"));
    Shift::of_readings(detector, original, removed)
}

/// The configured set as it is drawn from in training, then each of its perturbations alone.
fn perturbations(views: &ViewsConfig) -> Vec<(Option<Removing>, ViewsConfig)> {
    let alone = |&removing: &Removing| (Some(removing), ViewsConfig { removing: vec![removing], ..views.clone() });
    match views.removing.as_slice() {
        [only] => vec![alone(only)],
        set => std::iter::once((None, views.clone())).chain(set.iter().map(alone)).collect(),
    }
}

fn has_truth(responded: &Responded) -> bool {
    responded.reward.format > 0.0 && response::seen(responded.spelling.content()).is_some()
}
