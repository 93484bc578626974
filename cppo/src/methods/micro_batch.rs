//! What a method sees of a micro-batch when it computes its loss: log-probabilities with their gradients, advantages, weights.
//!
//! The tokens of all responses stand one after the other, first on the original picture, then on each of the other pictures:
//!
//! ```text
//! [responses on the original | those also read on the first view | those also read on the second view ...]
//! ```

use std::ops::Range;

use percept_engine::{DType, Head, Indices, Tensor};

use super::divergence::{Divergence, full_kl, jensen_shannon, k1, k3, nucleus_entropy};
use super::signal::{NUCLEUS, Signal};
use super::view::View;

/// One forward pass over the responses of a micro-batch.
pub struct Pass {
    /// The responses, in order.
    pub items: Vec<Item>,
    /// Which tokens belong to which picture, the original first.
    pub views: Vec<(View, Range<usize>)>,
    /// Log-probability of every token, in nats. `[tokens on all pictures]`
    pub log_probs: Tensor,
    /// Entropy of the distribution that every token was drawn from, in nats. `[tokens on all pictures]`
    pub entropy: Tensor,
    /// Hidden states of all tokens that went through the decoder, prompts included. `[packed tokens, hidden]`
    pub hidden: Tensor,
    /// The row of `hidden` that predicts each token. `[tokens on all pictures]`
    pub rows: Vec<u32>,
    /// The output head, which turns hidden states into logits.
    pub head: Head,
    /// Temperature: logits are divided by it.
    pub temperature: f32,
    /// Number of tokens that went through the decoder.
    pub packed_tokens: usize,
}

/// Where the tokens of a response stand in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which group of the update it belongs to.
    pub group: usize,
    /// Its number in the group.
    pub response: usize,
    /// Number of its tokens.
    pub length: usize,
    /// Where its first token is on each picture it is read on, counted from that picture's first token.
    pub starts: Vec<(View, usize)>,
}

impl Pass {
    /// A pass without any response.
    pub fn empty(head: &Head, dtype: DType, temperature: f32) -> Pass {
        let none = |shape: &[usize]| Tensor::zeros(head.weight().device(), shape, dtype);
        Pass {
            items: Vec::new(),
            views: vec![(View::Original, 0..0)],
            log_probs: none(&[0]),
            entropy: none(&[0]),
            hidden: none(&[0, head.weight().dim(1)]),
            rows: Vec::new(),
            head: head.clone(),
            temperature,
            packed_tokens: 0,
        }
    }

    /// The same without its graph and its hidden states: what can still be read when its gradient is done.
    pub fn without_graph(&self) -> Pass {
        let none = Tensor::zeros(self.hidden.device(), &[0, self.hidden.dim(1)], self.hidden.dtype());
        Pass {
            items: self.items.clone(),
            views: self.views.clone(),
            log_probs: self.log_probs.detach(),
            entropy: self.entropy.detach(),
            hidden: none,
            rows: self.rows.clone(),
            head: self.head.detach(),
            ..*self
        }
    }

    /// The tokens of all responses on a picture. Empty if no response is read on it.
    pub fn range(&self, view: View) -> Range<usize> {
        self.views.iter().find(|(of, _)| *of == view).map_or(0..0, |(_, range)| range.clone())
    }

    /// The tokens of a response on a picture, if it is read on it.
    pub fn at(&self, item: &Item, view: View) -> Option<Range<usize>> {
        let (_, start) = item.starts.iter().find(|(of, _)| *of == view)?;
        let first = self.range(view).start + start;
        Some(first..first + item.length)
    }

    /// Log-probabilities of some tokens. `positions [n] -> [n]`
    pub fn log_probs_at(&self, positions: &[u32]) -> Tensor {
        self.log_probs.index_select(&Indices::new(self.log_probs.device(), positions, &[positions.len()]))
    }

    /// The hidden states that predict some of the tokens. `positions [n] -> [n, hidden]`
    pub fn hidden_at(&self, positions: &[u32]) -> Tensor {
        let rows: Vec<u32> = positions.iter().map(|&at| self.rows[at as usize]).collect();
        self.hidden.index_select(&Indices::new(self.hidden.device(), &rows, &[rows.len()]))
    }

    /// Entropy of the nucleus that each of the tokens at `positions` was drawn from ([`NUCLEUS`]). `[n] -> [n]`
    pub fn nucleus_entropy(&self, positions: &[u32]) -> Tensor {
        nucleus_entropy(&self.hidden_at(positions), &self.head, self.temperature, NUCLEUS)
    }

    /// How far the distributions of the tokens at `positions` are from those of the same tokens on another picture, at `others`. `[n], [n] -> [n]`
    pub fn divergence(&self, which: Divergence, positions: &[u32], others: &[u32]) -> Tensor {
        match which {
            Divergence::Full => full_kl(&self.hidden_at(positions), &self.hidden_at(others), &self.head, self.temperature),
            Divergence::JensenShannon => jensen_shannon(&self.hidden_at(positions), &self.hidden_at(others), &self.head, self.temperature),
            Divergence::K3 => k3(&self.log_probs_at(positions), &self.log_probs_at(others)),
            Divergence::K1 => k1(&self.log_probs_at(positions), &self.log_probs_at(others)),
        }
    }
}

/// A micro-batch: the forward pass, and what is known of its responses.
pub struct MicroBatch<'a> {
    /// The forward pass.
    pub pass: &'a Pass,
    /// What is known of each response, in the order of the pass's items.
    pub signals: Vec<&'a Signal>,
    /// Log-probabilities under the reference policy, without gradient, if there is one. `[tokens]`
    pub reference_log_probs: Option<Tensor>,
}

impl MicroBatch<'_> {
    /// Log-probability of each token on the original picture. `-> [tokens]`
    pub fn log_probs(&self) -> Tensor {
        let range = self.pass.range(View::Original);
        self.pass.log_probs.slice(0, range.start, range.len())
    }

    /// Log-probability of each token under the policy that sampled it, without gradient. In the first update of a step that is the policy in
    /// training. `-> [tokens]`
    ///
    /// # Panics
    /// If some but not all responses have `old_log_probs`.
    #[track_caller]
    pub fn old_log_probs(&self) -> Tensor {
        let old: Vec<&Vec<f32>> = self.signals.iter().filter_map(|signal| signal.old_log_probs.as_ref()).collect();
        assert!(
            old.is_empty() || old.len() == self.signals.len(),
            "old_log_probs: {} of {} responses have them: expected all or none",
            old.len(),
            self.signals.len()
        );
        let values: Vec<f32> = old.into_iter().flatten().copied().collect();
        let tokens = self.pass.range(View::Original).len();
        assert!(values.is_empty() || values.len() == tokens, "old_log_probs: {} of them for {tokens} tokens", values.len());
        if values.is_empty() { self.log_probs().detach() } else { self.constant(&values) }
    }

    /// The advantage of each token: the advantage of its response times the response's factor. `-> [tokens]`
    pub fn advantages(&self) -> Tensor {
        let of = |(item, signal): (&Item, &&Signal)| std::iter::repeat_n(signal.advantage * signal.weights.factor, item.length);
        let advantages: Vec<f32> = self.pass.items.iter().zip(&self.signals).flat_map(of).collect();
        self.constant(&advantages)
    }

    /// The advantage of each token with a weight, in the order of [`selected_at`](MicroBatch::selected_at). `-> [selected tokens]`
    pub fn selected_advantages(&self) -> Tensor {
        let of = |signal: &&Signal| std::iter::repeat_n(signal.advantage * signal.weights.factor, signal.weights.selected());
        let advantages: Vec<f32> = self.signals.iter().flat_map(of).collect();
        self.constant(&advantages)
    }

    /// The weight of each token; 0 in responses that were not weighed. `-> [tokens]`
    pub fn weights(&self) -> Tensor {
        let of = |(item, signal): (&Item, &&Signal)| match signal.weights.tokens.as_slice() {
            [] => vec![0.0; item.length],
            weights => weights.to_vec(),
        };
        let weights: Vec<f32> = self.pass.items.iter().zip(&self.signals).flat_map(of).collect();
        self.constant(&weights)
    }

    /// Positions in the pass of the tokens with a weight, as read on a picture. `-> [selected tokens]`
    ///
    /// # Panics
    /// If a response with weighted tokens is not read on that picture.
    #[track_caller]
    pub fn selected_at(&self, view: View) -> Vec<u32> {
        let mut positions = Vec::new();
        for (item, signal) in self.pass.items.iter().zip(&self.signals).filter(|(_, signal)| signal.weights.selected() > 0) {
            let Some(range) = self.pass.at(item, view) else {
                panic!("selected_at: response {} of group {} has selected tokens and is not read on {view:?}", item.response, item.group)
            };
            let weights = signal.weights.tokens.iter();
            positions.extend(range.zip(weights).filter(|(_, weight)| **weight != 0.0).map(|(at, _)| at as u32));
        }
        positions
    }

    /// Log-probabilities that were read on a picture before the updates, without gradient. `-> [tokens]`
    ///
    /// # Panics
    /// If a response was not read on it.
    #[track_caller]
    pub fn read_log_probs(&self, view: View) -> Tensor {
        let mut values = Vec::new();
        for signal in &self.signals {
            let Some(reading) = signal.on(view) else { panic!("read_log_probs: response {} was not read on {view:?}", signal.number) };
            values.extend_from_slice(&reading.log_probs);
        }
        self.constant(&values)
    }

    /// One over the length of each token's response: summed over the tokens, the mean over a response. `-> [tokens]`
    pub fn shares_of_responses(&self) -> Tensor {
        let shares = self.pass.items.iter().flat_map(|item| std::iter::repeat_n(1.0 / item.length as f32, item.length));
        self.constant(&shares.collect::<Vec<f32>>())
    }

    /// The mean over each response, at each of its tokens, with its gradient. `values [tokens] -> [tokens]`
    pub fn mean_over_responses(&self, values: &Tensor) -> Tensor {
        let longest = self.pass.items.iter().map(|item| item.length).max().unwrap_or(0);
        if longest == 0 {
            return values.clone();
        }
        // responses as rows, filled up with a zero that stands behind all tokens
        let zero = values.len() as u32;
        let (mut rows, mut responses, mut first) = (Vec::new(), Vec::new(), 0);
        for (number, item) in self.pass.items.iter().enumerate() {
            rows.extend((0..longest).map(|t| if t < item.length { first + t as u32 } else { zero }));
            responses.extend(std::iter::repeat_n(number as u32, item.length));
            first += item.length as u32;
        }
        let device = values.device();
        let filled = Tensor::concat(&[&values.mul(&self.shares_of_responses()), &Tensor::zeros(device, &[1], values.dtype())], 0);
        let padded = filled.index_select(&Indices::new(device, &rows, &[rows.len()])).reshape(&[self.pass.items.len(), longest]);
        let means = padded.sum(&[1]);
        means.index_select(&Indices::new(device, &responses, &[responses.len()]))
    }

    fn constant(&self, values: &[f32]) -> Tensor {
        Tensor::from_f32(self.pass.log_probs.device(), values, &[values.len()], self.pass.log_probs.dtype())
    }
}
