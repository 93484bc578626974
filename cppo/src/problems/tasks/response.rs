//! The form of a response, and the role of each of its characters.
//!
//! ```text
//! <think>I see 3, 8 and 5. 3+8=11. 11+5=16.</think>\boxed{16}
//!              P  P     P  RRRRRR  RRRRRRR                RR     everything else is template
//! ```
//!
//! Perception: names something seen, so it can be known from the picture alone. Reasoning: follows from the text before it.
//! Template: the same in every response. [`mark`] applies these rules to any text, so a sampled response is marked like a
//! reference one.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Solution;

/// Why a character stands where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The same in every response.
    Template,
    /// Names something seen.
    Perception,
    /// Follows from what stands before.
    Reasoning,
}

/// A piece of a response with one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The text.
    pub text: String,
    /// Its role.
    pub role: Role,
}

/// Text that carries no information by itself; good candidates for single tokens of a small vocabulary.
pub const TEMPLATE_PIECES: &[&str] = &[
    "<think>",
    "I see ",
    "I see a ",
    ", ",
    ", a ",
    " and ",
    " and a ",
    ". ",
    ".",
    "The largest is ",
    "The smallest is ",
    "The leftmost is a ",
    "The rightmost is a ",
    "In ",
    "Number of ",
    ": ",
    "Left of it",
    "</think>",
    "\\boxed{",
    "}",
];

/// The response that names `listed` and then concludes, cut into spans.
pub fn compose(listed: &[String], solution: &Solution) -> Vec<Span> {
    let (last, first) = listed.split_last().expect("a picture shows something");
    let list = match first {
        [] => last.clone(),
        _ => format!("{} and {last}", first.join(", ")),
    };
    let steps: String = solution.steps.iter().map(|step| format!(" {step}.")).collect();
    mark(&format!("<think>I see {list}.{steps}</think>\\boxed{{{}}}", solution.answer))
}

/// Cuts any response into spans of one role each; their texts joined are `response`.
pub fn mark(response: &str) -> Vec<Span> {
    let seen = seen_range(response);
    let mut spans: Vec<Span> = Vec::new();
    let mut at = 0;
    while at < response.len() {
        let rest = &response[at..];
        let piece = TEMPLATE_PIECES.iter().filter(|piece| rest.starts_with(**piece)).map(|piece| piece.len()).max();
        let length = piece.unwrap_or_else(|| rest.chars().next().map_or(0, char::len_utf8));
        let role = match (piece, &seen) {
            (Some(_), _) => Role::Template,
            (None, Some(range)) if range.contains(&at) => Role::Perception,
            (None, _) => Role::Reasoning,
        };
        match spans.last_mut() {
            Some(span) if span.role == role => span.text.push_str(&rest[..length]),
            _ => spans.push(Span { text: rest[..length].to_owned(), role }),
        }
        at += length;
    }
    spans
}

/// The role of each token of a response, from the byte range of each token in it: perception if it holds a character of
/// perception, else reasoning if it holds one of reasoning, else template. `[tokens] -> [tokens]`
pub fn token_roles(spans: &[Span], tokens: &[Range<usize>]) -> Vec<Role> {
    let mut start = 0;
    let placed: Vec<(Range<usize>, Role)> = spans
        .iter()
        .map(|span| {
            let range = start..start + span.text.len();
            start = range.end;
            (range, span.role)
        })
        .collect();
    let holds =
        |token: &Range<usize>, role| placed.iter().any(|(range, r)| *r == role && range.start < token.end && token.start < range.end);
    tokens
        .iter()
        .map(|token| match () {
            _ if holds(token, Role::Perception) => Role::Perception,
            _ if holds(token, Role::Reasoning) => Role::Reasoning,
            _ => Role::Template,
        })
        .collect()
}

/// What a response says it sees, in its order and without articles; none if it does not say.
pub fn seen(response: &str) -> Option<Vec<String>> {
    let list = response[seen_range(response)?].replace(" and ", ", ");
    Some(list.split(", ").map(|name| name.trim().strip_prefix("a ").unwrap_or(name.trim()).to_owned()).collect())
}

/// The bytes between `I see ` and the full stop after it.
fn seen_range(response: &str) -> Option<Range<usize>> {
    const OPENING: &str = "I see ";
    let start = response.find(OPENING)? + OPENING.len();
    let end = response[start..].find(['.', '<'])?;
    Some(start..start + end)
}
