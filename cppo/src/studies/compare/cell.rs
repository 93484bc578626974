//! What is kept of a cell.

use percept_engine::Device;
use percept_model::Model;
use serde::{Deserialize, Serialize};

use crate::config::{CompareSection, Config};
use crate::error::TrainError;
use crate::methods::selection::Detector;
use crate::problems::prompts::{Encoder, test_prompts};
use crate::problems::tasks::Task;
use crate::records::run::{CategoryResult, Metrics};
use crate::records::statistics::average_at_n;
use crate::studies::inspect::{InspectError, ResponseSource, detectors};
use crate::studies::robustness::{self, Robustness, nan_as_null};
use crate::training::evaluate::{Decoding, Measuring, evaluate_among};
use crate::training::policy::{directory, load_encoder};
use crate::training::reduce::Rows;
use crate::training::world::World;

/// A cell: a row of the comparison with a seed, trained and measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The row's name; `start` for the policy before training.
    pub row: String,
    /// The seed.
    pub seed: u64,
    /// How the training went.
    pub training: Training,
    /// Greedy responses to the original pictures.
    pub greedy: Accuracy,
    /// Sampled responses to them.
    pub sampled: Accuracy,
    /// On changed pictures and without information; none if it was not asked for.
    pub robustness: Option<Robustness>,
    /// How well each detector ranks perception tokens on this policy: area under the ROC curve; none of a policy that names nothing it sees. Empty if it was not asked for.
    pub detectors: Vec<(Detector, Option<f64>)>,
}

/// How a training run went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Steps.
    pub steps: u64,
    /// Median time of a step, seconds.
    #[serde(with = "nan_as_null")]
    pub seconds_per_step: f64,
    /// Largest sum of live tensors, bytes.
    pub peak_bytes: u64,
    /// Mean absolute weight of a token in the policy loss: 1 without weights. A method that masks tokens takes smaller steps.
    #[serde(with = "nan_as_null")]
    pub policy_weight: f64,
    /// How far the weights have moved: the length of the change over the length of the starting weights.
    #[serde(with = "nan_as_null")]
    pub weight_change: f64,
    /// Mean entropy of the last tenth of the steps, nats.
    #[serde(with = "nan_as_null")]
    pub entropy: f64,
    /// Share of right responses at every step.
    pub accuracy: Vec<f32>,
}

/// Counts of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Right responses over all, 0 to 1.
    pub rate: f64,
    /// Responses.
    pub responses: u64,
    /// Wrong responses that saw something wrongly and concluded rightly from it; 0 for problems from files, as in the next.
    pub perception_errors: u64,
    /// Wrong responses that saw everything rightly and concluded wrongly.
    pub reasoning_errors: u64,
    /// Wrong responses with both errors, or that do not say what they see.
    pub other_errors: u64,
}

impl Cell {
    /// Checks that it was measured on as many problems as `compare` says.
    ///
    /// # Errors
    /// The first number that differs, in words.
    pub fn is_measured_as(&self, compare: &CompareSection) -> Result<(), String> {
        let numbers = [
            ("problems", compare.problems as u64, self.greedy.responses),
            ("problems times compare.samples", (compare.problems * compare.samples) as u64, self.sampled.responses),
            ("robustness_problems", compare.robustness_problems, self.robustness.as_ref().map_or(0, |of| of.problems)),
        ];
        let wrong = numbers.iter().find(|(_, asked, measured)| asked != measured);
        wrong.map_or(Ok(()), |(name, asked, measured)| Err(format!("compare.{name} is {asked}, and it was measured on {measured}")))
    }
}

impl Accuracy {
    fn of(result: &CategoryResult) -> Accuracy {
        let count = |errors: Option<u64>| errors.unwrap_or(0);
        Accuracy {
            rate: average_at_n(&result.correct, result.samples).rate,
            responses: (result.problems() * result.samples) as u64,
            perception_errors: count(result.perception_errors),
            reasoning_errors: count(result.reasoning_errors),
            other_errors: count(result.both_errors) + count(result.unreadable),
        }
    }
}

impl Training {
    /// From what was recorded; `weight_change` as given.
    pub fn of(metrics: &[Metrics], weight_change: f64) -> Training {
        let values = |name: &str| -> Vec<f64> { metrics.iter().filter_map(|step| step.get(name)).collect() };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let entropies = values("entropy");
        let weights = values("policy_weight");
        Training {
            steps: metrics.last().map_or(0, Metrics::step),
            seconds_per_step: median(values("time/step")),
            peak_bytes: values("memory/peak_bytes").into_iter().fold(0.0, f64::max) as u64,
            policy_weight: if weights.is_empty() { 1.0 } else { mean(&weights) },
            weight_change,
            entropy: mean(&entropies[entropies.len() - entropies.len().div_ceil(10)..]),
            accuracy: values("rewards/accuracy").iter().map(|&value| (value * 1e4).round() as f32 / 1e4).collect(),
        }
    }
}

/// NaN of no values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// How far the weights of `model` are from those of `start`, over the length of the latter.
///
/// # Errors
/// Those of the device.
pub fn weight_change(model: &Model, start: &Model) -> Result<f64, percept_engine::Error> {
    let (mut change, mut length) = (0.0_f64, 0.0_f64);
    for ((_, new), (_, old)) in model.parameters().zip(start.parameters()) {
        for (new, old) in new.to_f64_vec()?.iter().zip(old.to_f64_vec()?) {
            change += (new - old) * (new - old);
            length += old * old;
        }
    }
    Ok((change / length).sqrt())
}

/// What is measured of a policy; see the fields of [`Cell`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Measured {
    pub greedy: Accuracy,
    pub sampled: Accuracy,
    pub robustness: Option<Robustness>,
    pub detectors: Vec<(Detector, Option<f64>)>,
}

/// Measures a policy on problems that the task keeps for tests, whose responses are shared among ranks.
///
/// # Errors
/// If a prompt does not fit the model, or the device fails.
pub fn measure(
    (world, rows): (&World, Rows),
    model: &Model,
    encoder: &Encoder,
    config: &Config,
    compare: &CompareSection,
) -> Result<Measured, InspectError> {
    let task = Task::new(&config.task)?;
    let prompts = test_prompts(&task, 0..compare.problems as u64);
    let sampled = Decoding::Sampled { temperature: config.eval.temperature, samples: compare.samples };
    // the draws are the same for all cells
    let how = |decoding| Measuring { decoding, rollout: config.rollout, step: 0, seed: 0 };
    let of = |decoding| evaluate_among(world, rows, model, encoder, prompts.clone(), how(decoding), |_, _| {});
    let [greedy, sampled] = [of(Decoding::Greedy)?, of(sampled)?].map(|evaluation| Accuracy::of(&evaluation.categories[0]));
    let robustness = match compare.robustness_problems {
        0 => None,
        problems => Some(robustness::measure(model, encoder, &task, problems, &config.rollout)?),
    };
    let detectors = match compare.detector_problems {
        0 => Vec::new(),
        problems => {
            let report = detectors::evaluate(model, encoder, test_prompts(&task, 0..problems), &ResponseSource::Sampled, config)?;
            let auc = |detector| report.rows.iter().find(|row| row.detector == detector).map(|row| row.detection.auc);
            Detector::ALL.iter().map(|&detector| (detector, auc(detector).filter(|auc| auc.is_finite()))).collect()
        }
    };
    Ok(Measured { greedy, sampled, robustness, detectors })
}

/// The policy in a directory, with what it reads with.
///
/// # Errors
/// If a file is missing or damaged.
pub fn open(config: &Config, path: &std::path::Path, device: &Device) -> Result<(Model, Encoder), InspectError> {
    let model = crate::config::ModelConfig { path: path.to_owned(), ..config.model.clone() };
    let directory = directory(path).map_err(TrainError::from)?;
    let mut policy = Model::load(&directory, device, percept_model::Precision::AsStored).map_err(TrainError::from)?;
    // training began with the adapter merged
    policy.merge_lora().map_err(TrainError::from)?;
    let encoder = load_encoder(&model)?;
    policy.suppress_tokens(encoder.never_said());
    Ok((policy, encoder))
}
