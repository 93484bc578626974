//! Grades a response to a problem of ours: right or wrong, and if wrong, seen wrongly or concluded wrongly.

use serde::{Deserialize, Serialize};

use super::{Problem, Question, response};
use crate::problems::answer::{answers_equal, final_answer};
use crate::problems::reward::format_ok;

/// What is right and wrong about a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// Whether the response has the required form ([`format_ok`]).
    pub format: bool,
    /// Whether the boxed answer is right ([`answers_equal`]).
    pub accurate: bool,
    /// What the response says it sees; none if it does not say.
    pub seen: Option<Vec<String>>,
    /// Where that differs from the picture.
    pub misread: Vec<Misread>,
    /// Whether the boxed answer follows from what the response says it sees; none if nothing could follow from it.
    pub follows: Option<bool>,
    /// Why the answer is wrong; none if it is right.
    pub error: Option<ErrorKind>,
}

/// One thing that was seen wrongly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misread {
    /// What is there; none if nothing is.
    pub truth: Option<String>,
    /// What the response says; none if it leaves it out.
    pub said: Option<String>,
}

/// Why an answer is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Something was seen wrongly; the answer follows from it, or nothing can follow from it.
    Perception,
    /// Everything was seen rightly; the answer does not follow.
    Reasoning,
    /// Something was seen wrongly, and the answer does not follow from it either.
    Both,
    /// The response does not say what it sees.
    Unreadable,
}

/// Grades `response`, a whole response, to `problem`.
pub fn grade(problem: &Problem, response: &str) -> Grade {
    let accurate = final_answer(response).is_some_and(|given| answers_equal(given, &problem.answer));
    let seen = response::seen(response);
    let misread = seen.as_ref().map_or_else(Vec::new, |said| misread(&problem.question, &problem.seen(), said));
    let follows = seen
        .as_ref()
        .and_then(|said| problem.question.solve(said))
        .map(|solution| final_answer(response).is_some_and(|given| answers_equal(given, &solution.answer)));
    let error = (!accurate).then_some(match (&seen, misread.is_empty(), follows) {
        (None, ..) => ErrorKind::Unreadable,
        (Some(_), true, _) => ErrorKind::Reasoning,
        (Some(_), false, Some(false)) => ErrorKind::Both,
        (Some(_), false, _) => ErrorKind::Perception,
    });
    Grade { format: format_ok(response), accurate, seen, misread, follows, error }
}

/// Differences between the truth and what is said: place by place where order matters, else what is left of each after
/// everything in common is taken out.
fn misread(question: &Question, truth: &[String], said: &[String]) -> Vec<Misread> {
    let (truth, said): (Vec<&String>, Vec<&String>) = if question.order_matters() {
        (truth.iter().collect(), said.iter().collect())
    } else {
        (without(truth, said), without(said, truth))
    };
    (0..truth.len().max(said.len()))
        .map(|i| Misread { truth: truth.get(i).map(|s| s.to_string()), said: said.get(i).map(|s| s.to_string()) })
        .filter(|pair| pair.truth != pair.said)
        .collect()
}

/// `items` without those in `others`, each taken out once.
fn without<'a>(items: &'a [String], others: &[String]) -> Vec<&'a String> {
    let mut others: Vec<&String> = others.iter().collect();
    items
        .iter()
        .filter(|item| match others.iter().position(|other| other == item) {
            Some(place) => {
                others.swap_remove(place);
                false
            }
            None => true,
        })
        .collect()
}
