//! A loss is a sum of terms, each the mean of a loss per token.
//!
//! ```text
//! loss = Σ_terms weight · Σ_tokens per_token / count        the count is that of the whole update, also in a micro-batch
//! ```
//!
//! So the losses of an update's micro-batches add up to its loss, and their gradients to its gradient, however it is cut.

use percept_engine::Tensor;

/// One term of a micro-batch's loss.
pub struct Term {
    /// Name of the metric that records its mean.
    pub name: &'static str,
    /// The loss of each of its tokens; none if it has no token in this micro-batch. `[tokens]`
    pub per_token: Option<Tensor>,
    /// Factor on the mean.
    pub weight: f64,
    /// What the mean is over.
    pub over: Over,
    /// More numbers per token, without gradient. Their means over the same tokens are metrics, too.
    pub metrics: Vec<(&'static str, Tensor)>,
}

impl Term {
    /// The mean over all response tokens of the update, without further metrics. `per_token [tokens]`
    pub fn over_tokens(name: &'static str, weight: f64, per_token: Tensor) -> Term {
        Term { name, per_token: Some(per_token), weight, over: Over::Tokens, metrics: Vec::new() }
    }
}

/// What the mean of a term is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// All response tokens of the update, whether they went through the model or not.
    Tokens,
    /// The tokens of the update with a weight ([`Weights`](super::signal::Weights)).
    Selected,
    /// The responses of the update: the sum over tokens is divided by their number.
    Responses,
}

/// The counts of a whole update, over all its micro-batches and ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Response tokens.
    pub tokens: usize,
    /// Tokens with a weight.
    pub selected: usize,
    /// Responses.
    pub responses: usize,
}

impl Counts {
    /// The number that a sum is divided by to give the mean; never 0.
    pub fn divisor(&self, over: Over) -> f64 {
        match over {
            Over::Tokens => (self.tokens as f64).max(1.0),
            Over::Selected => self.selected as f64 + SELECTED_EPSILON,
            Over::Responses => (self.responses as f64).max(1.0),
        }
    }

    /// The mean of numbers that add up to `sum`; 0 if there are none.
    pub fn mean(&self, sum: f64, over: Over) -> f64 {
        let count = match over {
            Over::Tokens => self.tokens,
            Over::Selected => self.selected,
            Over::Responses => self.responses,
        };
        if count == 0 { 0.0 } else { sum / count as f64 }
    }
}

/// Added to the number of selected tokens, as in the CPPO authors' recipes, so that the loss is 0 if none is selected.
const SELECTED_EPSILON: f64 = 1e-8;

/// The loss of a micro-batch, which is its share of the update's loss. None if no term has a token in it. `-> []`
pub fn total_loss(terms: &[Term], counts: &Counts) -> Option<Tensor> {
    let share = |term: &Term| {
        let per_token = term.per_token.as_ref()?;
        Some(per_token.sum_all().mul_scalar((term.weight / counts.divisor(term.over)) as f32))
    };
    terms.iter().filter_map(share).reduce(|loss, share| loss.add(&share))
}
