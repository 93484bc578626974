//! What each kind of reward computes.

use rayon::prelude::*;
use regex::{Regex, RegexBuilder};

use super::command::Program;
use super::config::RewardKind;
use super::text::{similarity, spellings};
use super::{Graded, RewardFunction, boxes, format_ok};
use crate::problems::answer::{answers_equal, choice_letters, final_answer, relative_error};

/// The function of a kind.
///
/// # Errors
/// A pattern that is none, or a program that does not exist.
pub(super) fn function(kind: &RewardKind) -> Result<Box<dyn RewardFunction>, String> {
    Ok(match kind.clone() {
        RewardKind::Accuracy {} => rule(|of| share(final_answer(of.response).is_some_and(|given| answers_equal(given, of.answer)))),
        RewardKind::Format { pattern: None } => rule(|of| share(format_ok(of.response))),
        RewardKind::Format { pattern: Some(pattern) } => {
            let whole = RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).dot_matches_new_line(true).build();
            let whole = whole.map_err(|e| format!("pattern: {e}"))?;
            rule(move |of| share(whole.is_match(of.response)))
        }
        RewardKind::Length { max_tokens, soft_tokens } => rule(move |of| Ok(overlong(of.tokens, max_tokens, soft_tokens))),
        RewardKind::TagCount { tags } => rule(move |of| {
            let once = tags.iter().filter(|tag| of.response.matches(tag.as_str()).count() == 1).count();
            Ok(once as f32 / tags.len() as f32)
        }),
        RewardKind::Choice {} => rule(|of| {
            let truth = choice_letters(of.answer).ok_or_else(|| wrong_truth(of, "the letter of a choice"))?;
            share(choice_letters(said(of.response)).is_some_and(|given| given == truth))
        }),
        RewardKind::Numeric { tolerance } => rule(move |of| share(is_near(said(of.response), of.answer, tolerance))),
        RewardKind::Anls { threshold } => rule(move |of| {
            let given = said(of.response);
            Ok(spellings(of.answer).iter().map(|truth| similarity(given, truth, threshold)).fold(0.0, f32::max))
        }),
        RewardKind::Iou { threshold } => rule(move |of| {
            let truth = boxes::read(of.answer).ok_or_else(|| wrong_truth(of, "a box [x1, y1, x2, y2]"))?;
            let overlap = boxes::read(said(of.response)).map_or(0.0, |given| boxes::overlap(&given, &truth));
            Ok(threshold.map_or(overlap as f32, |threshold| f32::from(u8::from(overlap >= threshold))))
        }),
        RewardKind::Regex { pattern } => {
            let pattern = Regex::new(&pattern).map_err(|e| format!("pattern: {e}"))?;
            rule(move |of| share(pattern.is_match(of.response)))
        }
        RewardKind::Command { command, timeout_seconds } => Box::new(Program::new(&command, timeout_seconds)?),
    })
}

/// A reward that looks at one response at a time.
struct Rule<F>(F);

impl<F: Fn(&Graded<'_>) -> Result<f32, String> + Send + Sync> RewardFunction for Rule<F> {
    fn rewards(&self, responses: &[Graded<'_>]) -> Result<Vec<f32>, String> {
        responses.par_iter().map(&self.0).collect()
    }
}

fn rule(of: impl Fn(&Graded<'_>) -> Result<f32, String> + Send + Sync + 'static) -> Box<dyn RewardFunction> {
    Box::new(Rule(of))
}

fn share(holds: bool) -> Result<f32, String> {
    Ok(f32::from(u8::from(holds)))
}

fn wrong_truth(of: &Graded<'_>, expected: &str) -> String {
    format!("problem {}: the answer in the data: expected {expected}, got {:?}", of.prompt_id, of.answer)
}

/// The answer in a response: the marked one; without a mark all that comes after the thoughts.
fn said(response: &str) -> &str {
    final_answer(response).unwrap_or_else(|| response.rsplit_once("</think>").map_or(response, |(_, after)| after)).trim()
}

/// ChartQA's relaxed accuracy.
fn is_near(given: &str, truth: &str, tolerance: f64) -> bool {
    match relative_error(given, truth) {
        Some(error) => error <= tolerance,
        None => answers_equal(given, truth),
    }
}

fn overlong(tokens: usize, max_tokens: usize, soft_tokens: usize) -> f32 {
    let soft_from = max_tokens - soft_tokens;
    match tokens {
        _ if tokens <= soft_from => 0.0,
        _ if tokens >= max_tokens => -1.0,
        _ => (soft_from as f32 - tokens as f32) / soft_tokens as f32,
    }
}
