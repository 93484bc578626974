//! What a model said to each problem of an evaluation: a file of JSON lines (`percept eval --log-samples`), and what can be told from it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::run::RunError;
use super::statistics::MeanInterval;
use crate::problems::answer::answers_equal;
use crate::records::files;

/// A problem and the responses to it under one way of decoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The directory of the model.
    pub model: String,
    /// How tokens were chosen: `greedy` or `sampled`.
    pub decoding: String,
    /// Number of the problem among those that were measured.
    pub problem: u64,
    /// File and row of data; none for drawn problems.
    pub row: Option<String>,
    /// Family and level of a drawn problem.
    pub category: Option<String>,
    /// CRC-32 of the pictures' pixels: problems about the same pictures have the same number.
    pub pictures: u32,
    /// The question.
    pub question: String,
    /// The right answer.
    pub answer: String,
    /// What the model said.
    pub responses: Vec<Predicted>,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// Its text.
    pub text: String,
    /// The answer in it; none if it has none.
    pub answer: Option<String>,
    /// Whether that is the right one.
    pub correct: bool,
    /// Whether the response has the required form.
    pub well_formed: bool,
    /// Its length in tokens.
    pub tokens: usize,
    /// Whether it was cut for its length.
    pub clipped: bool,
}

impl Prediction {
    /// Share of the responses that are right.
    pub fn accuracy(&self) -> f64 {
        self.responses.iter().filter(|response| response.correct).count() as f64 / self.responses.len().max(1) as f64
    }

    /// Whether the answer that most responses give is right (maj@N; self-consistency, Wang et al. 2022, arXiv 2203.11171). Of answers given equally often the first
    /// counts; responses without an answer have no vote.
    pub fn majority_is_right(&self) -> bool {
        let mut votes: Vec<(&str, bool, usize)> = Vec::new();
        for response in &self.responses {
            let Some(answer) = response.answer.as_deref() else { continue };
            match votes.iter_mut().find(|(known, correct, _)| *correct == response.correct && (*correct || answers_equal(answer, known))) {
                Some((.., count)) => *count += 1,
                None => votes.push((answer, response.correct, 1)),
            }
        }
        let most = votes.iter().map(|(.., count)| *count).max();
        votes.iter().find(|(.., count)| Some(*count) == most).is_some_and(|(_, correct, _)| *correct)
    }
}

/// The mean over problems of the share of right responses, with an interval for which only different pictures are independent.
pub fn accuracy_by_picture(predictions: &[&Prediction]) -> MeanInterval {
    let values: Vec<f64> = predictions.iter().map(|prediction| prediction.accuracy()).collect();
    MeanInterval::clustered(&values, &predictions.iter().map(|prediction| prediction.pictures.into()).collect::<Vec<_>>())
}

/// Reads a file of predictions.
///
/// # Errors
/// If it cannot be read, or a line is not a prediction.
pub fn read_predictions(path: &Path) -> Result<Vec<Prediction>, RunError> {
    let text = files::read_to_string(path).map_err(|error| RunError::io(path, error))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| RunError::Damaged {
            path: path.to_owned(),
            line: number + 1,
            problem: error.to_string(),
        })
    };
    lines.map(read).collect()
}

/// Two models on the same problems.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// How tokens were chosen.
    pub decoding: String,
    /// Number of problems that both have.
    pub problems: usize,
    /// Mean accuracies, 0 to 1.
    pub accuracy: [f64; 2],
    /// The second's less the first's: the mean over problems, with an interval for which only different pictures are independent.
    pub difference: MeanInterval,
    /// Problems on which the second was better, and on which it was worse.
    pub better_and_worse: [usize; 2],
    /// The probability of so uneven a split of those if both were equally good (sign test, two-sided: McNemar's exact test where each has one response).
    pub p_value: f64,
}

/// Pairs the problems of two files, for each way of decoding that both have.
///
/// # Errors
/// In words: problems that differ under the same number, or none in common.
pub fn compare(first: &[Prediction], second: &[Prediction]) -> Result<Vec<Comparison>, String> {
    let mut decodings: Vec<&str> = Vec::new();
    for prediction in first {
        if !decodings.contains(&prediction.decoding.as_str()) {
            decodings.push(&prediction.decoding);
        }
    }
    let mut comparisons = Vec::new();
    for decoding in decodings {
        let mut pairs: Vec<(&Prediction, &Prediction)> = Vec::new();
        for a in first.iter().filter(|a| a.decoding == decoding) {
            let Some(b) = second.iter().find(|b| b.decoding == decoding && b.problem == a.problem) else { continue };
            if (&a.question, &a.answer, a.pictures) != (&b.question, &b.answer, b.pictures) {
                return Err(format!(
                    "problem {}: expected the same problem in both files, got {:?} and {:?}",
                    a.problem, a.question, b.question
                ));
            }
            pairs.push((a, b));
        }
        if !pairs.is_empty() {
            comparisons.push(compare_pairs(decoding, &pairs));
        }
    }
    if comparisons.is_empty() { Err("expected problems that both files have, got none".into()) } else { Ok(comparisons) }
}

fn compare_pairs(decoding: &str, pairs: &[(&Prediction, &Prediction)]) -> Comparison {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| b.accuracy() - a.accuracy()).collect();
    let pictures: Vec<u64> = pairs.iter().map(|(a, _)| a.pictures.into()).collect();
    let mean = |of: &dyn Fn(&(&Prediction, &Prediction)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    let [better, worse] = [1.0, -1.0].map(|sign| differences.iter().filter(|difference| **difference * sign > 0.0).count());
    Comparison {
        decoding: decoding.into(),
        problems: pairs.len(),
        accuracy: [mean(&|(a, _)| a.accuracy()), mean(&|(_, b)| b.accuracy())],
        difference: MeanInterval::clustered(&differences, &pictures),
        better_and_worse: [better, worse],
        p_value: sign_test(better, worse),
    }
}

/// The two-sided probability of a split at least as uneven as this one, if both sides are equally likely.
fn sign_test(a: usize, b: usize) -> f64 {
    let (n, least) = (a + b, a.min(b));
    // in logarithms: the binomial coefficients of a thousand problems overflow
    let ln_choose = |k: usize| (0..k).map(|i| ((n - i) as f64).ln() - ((i + 1) as f64).ln()).sum::<f64>();
    let tail: f64 = (0..=least).map(|k| (ln_choose(k) - n as f64 * 2f64.ln()).exp()).sum();
    (2.0 * tail).min(1.0)
}
