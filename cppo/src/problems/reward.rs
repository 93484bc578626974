//! The reward of a response (step 3 of the training step): `r = 0.9 · accuracy + 0.1 · format`.

use crate::problems::answer::{answers_equal, boxed_answer};

/// A reward and its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reward {
    /// The whole reward, from which advantages are computed (r); 0 to 1.
    pub total: f32,
    /// 1 if the boxed answer is right, else 0.
    pub accuracy: f32,
    /// 1 if the response has the required form, else 0.
    pub format: f32,
}

/// The reward of `response`, a whole response, where `truth` is the right answer.
pub fn reward(response: &str, truth: &str) -> Reward {
    let right = boxed_answer(response).is_some_and(|given| answers_equal(given, truth));
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
