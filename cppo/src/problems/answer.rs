//! Whether two answers are the same, as mathematics.
//!
//! The final answer is found ([`final_answer`]), cleaned of dressing (LaTeX that only sets type, Markdown, a sentence around it), and read as the first of these
//! that fits. Two answers are equal if they read as the same thing with the same value.
//!
//! | read as | equal if | |
//! |---|---|---|
//! | choice | the letter is | `(B) 5 cm` = `B`; with a text on both sides that, too |
//! | list, tuple | the elements are, in order | `(1,2)` = `(1, 2)`; `A, C` = `C, A`; `y=2, x=1` = `x=1, y=2` |
//! | set, alternatives | the elements are, in any order | `{1,2}` = `{2,1}`; `1 or 2` = `2, 1`; `x=±1` = `x=1, x=-1` |
//! | interval, inequality | both ends are | `(0, 2]` = `0 < x ≤ 2`; unions; `x ≠ 2` |
//! | equation | one side less the other is, but for a factor | `y=2x+1` = `2x-y+1=0` |
//! | matrix | the cells are | |
//! | quantity | the values are, in units that can be converted | `2√3` = `√12`; `1 m` = `100 cm`; `3½` = `7/2`; `x(x+1)` = `x²+x` |
//! | text | it is, without regard to case | |
//!
//! **What is exact.** Sums of rational multiples of square roots, powers of π and i are compared exactly. Other constants (`ln 2`, `sin 20°`, `2^{1/3}`) are
//! computed to 115 digits with a bound of the error, and equal if they cannot be told apart there. Expressions with variables are equal if they are at
//! six places of both signs, in the real numbers. What cannot be computed (`9^{9^{9^9}}`) equals only what is written the same.
//!
//! **What tolerance means.** There is one: a truth that is written as a decimal with at least three significant digits (`5.66`) is taken to be rounded where the given
//! answer is no rational number (`4\sqrt{2}`), which no decimal could equal; it is right if it rounds to those digits. So `\pi` is right where the truth says
//! `3.14159`, `3.14159` is wrong where the truth says `\pi`, and `1/3` and `0.333` differ, for both are exact. Whoever wants more has the reward `numeric`.
//!
//! **Left out on one side.** A name (`x=5`), a unit (`5 cm`) and the words behind a number (`5 apples`) may be missing on one side; where both have one they must
//! agree. A mark of percent or degree that only one side has may be left out or worked in: `50\%` is `50` and `1/2`.
//!
//! **Bounds.** Answers come from whoever wants a reward. One longer than 4096 bytes or nested deeper than 40 is compared as text; nothing takes more than linear time
//! beyond that.

mod ball;
mod clean;
mod compare;
mod expression;
mod extract;
mod reading;
mod surd;
mod token;
mod unit;
mod value;

pub use extract::{boxed_answer, final_answer};

use std::collections::BTreeSet;

use reading::{Answer, Reading};

/// Whether `given` is the answer that `truth` says. Both may be dressed in LaTeX, and marked as answers ([`final_answer`]). Not symmetric: only the truth may be rounded,
/// see above.
pub fn answers_equal(given: &str, truth: &str) -> bool {
    let read = |text: &str| Answer::read(final_answer(text).unwrap_or(text));
    match (read(given), read(truth)) {
        (Some(given), Some(truth)) => compare::same(&given, &truth),
        _ => false, // nothing given, or nothing to compare with: not right
    }
}

/// How far a number is from another, as a share of that one: the best of the readings of percent and degrees. None if one of them is no number; infinite if only the truth is 0.
pub fn relative_error(given: &str, truth: &str) -> Option<f64> {
    let read = |text: &str| Answer::read(final_answer(text).unwrap_or(text));
    compare::relative_error(&read(given)?, &read(truth)?)
}

/// The letters of a choice, capital: of `B`, `(B) 5 cm`, `A, C`, `A and C`, `AC`. None if it is none.
pub fn choice_letters(text: &str) -> Option<BTreeSet<char>> {
    let answer = Answer::read(final_answer(text).unwrap_or(text))?;
    let letter = |of: &Answer| match of.reading {
        Reading::Choice { letter, .. } => Some(letter),
        _ => None,
    };
    match &answer.reading {
        Reading::List(list) => list.elements.iter().map(letter).collect(),
        // several letters without anything between them: the first ten of the alphabet, in order, so that no word is taken for some
        Reading::Text => {
            let letters: Vec<char> = answer.text.chars().collect();
            let in_order = letters.windows(2).all(|pair| pair[0] < pair[1]) && letters.iter().all(|letter| ('A'..='J').contains(letter));
            (in_order && !letters.is_empty()).then(|| letters.into_iter().collect())
        }
        _ => letter(&answer).map(|letter| [letter].into()),
    }
}
