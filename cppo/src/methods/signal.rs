//! What a method knows about a response, and the weights it gives to its tokens. No gradient flows through here.

use super::divergence::Divergence;
use super::view::View;

/// What a method knows about a response. It is filled in during a step: the advantage after the rewards, readings when the policy has read the
/// response, weights when the method has weighed it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signal {
    /// The response's number among those of the step, over all ranks.
    pub number: u64,
    /// How much better the response was than the others of its group, in standard deviations of their rewards.
    pub advantage: f32,
    /// Log-probability of each token under the policy that sampled it, in nats. `[tokens]`. None if that policy is still the one in training, as before
    /// the first update of a step.
    pub old_log_probs: Option<Vec<f32>>,
    /// What the policy says about each token, for each picture it has read the response on.
    pub readings: Vec<Reading>,
    /// What the method makes of the readings.
    pub weights: Weights,
}

/// What the policy says about the tokens of a response on one picture. In nats, `[tokens]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The picture.
    pub view: View,
    /// Log-probability of each token.
    pub log_probs: Vec<f32>,
    /// Entropy of the distribution that each token was drawn from.
    pub entropy: Vec<f32>,
    /// How far that distribution is from the one on the original picture, for each divergence that was asked for.
    pub divergences: Vec<(Divergence, Vec<f32>)>,
    /// What else was asked for on this picture.
    pub measures: Vec<(Measure, Vec<f32>)>,
}

/// Something else than probability and entropy that a method may want to know of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Entropy of the distribution without its least probable tokens, [`nucleus_entropy`](super::divergence::nucleus_entropy) with [`NUCLEUS`].
    NucleusEntropy,
    /// How alike the token is to the picture inside the model: the cosine between the hidden states of the token itself and those of a visual token, averaged over the visual tokens of the
    /// prompt and over the layers. 0 without a picture.
    PictureSimilarity,
}

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 2] = [Measure::NucleusEntropy, Measure::PictureSimilarity];
}

/// The probability of the tokens that [`Measure::NucleusEntropy`] keeps (ToR, arXiv 2603.25077).
pub const NUCLEUS: f32 = 0.95;

/// The weights that a method gives to the tokens of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// A weight for each token, 0 for those that are not chosen; empty if the response was not weighed. `[tokens]`
    pub tokens: Vec<f32>,
    /// Factor on the advantage. Default 1.
    pub factor: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { tokens: Vec::new(), factor: 1.0 }
    }
}

/// The weights that a method gives to all responses of an update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighing {
    /// The weights of each response, in the order in which the responses were given.
    pub responses: Vec<Weights>,
    /// Numbers for the metrics of the step.
    pub metrics: Vec<(&'static str, f64)>,
}

impl Weighing {
    /// No response is weighed.
    pub fn even(responses: usize) -> Weighing {
        Weighing { responses: vec![Weights::default(); responses], metrics: Vec::new() }
    }
}

impl Signal {
    /// The reading on a picture, if the response was read on it.
    pub fn on(&self, view: View) -> Option<&Reading> {
        self.readings.iter().find(|reading| reading.view == view)
    }

    /// Adds a reading; it replaces an earlier one on the same picture.
    pub fn set_reading(&mut self, reading: Reading) {
        self.readings.retain(|old| old.view != reading.view);
        self.readings.push(reading);
    }
}

impl Reading {
    /// The divergence of each token, by the measure `which`. `-> [tokens]`
    ///
    /// # Panics
    /// If it was not asked for.
    #[track_caller]
    pub fn divergence(&self, which: Divergence) -> &[f32] {
        let found = self.divergences.iter().find(|(divergence, _)| *divergence == which);
        let Some((_, values)) = found else { panic!("Reading::divergence: {which:?} was not asked for on {:?}", self.view) };
        values
    }

    /// What `which` says of each token. `-> [tokens]`
    ///
    /// # Panics
    /// If it was not asked for.
    #[track_caller]
    pub fn measure(&self, which: Measure) -> &[f32] {
        let found = self.measures.iter().find(|(measure, _)| *measure == which);
        let Some((_, values)) = found else { panic!("Reading::measure: {which:?} was not asked for on {:?}", self.view) };
        values
    }
}

impl Weights {
    /// Number of tokens with a weight.
    pub fn selected(&self) -> usize {
        self.tokens.iter().filter(|weight| **weight != 0.0).count()
    }
}

/// A signal as the bytes that ranks send to each other: little-endian numbers, every list with its length before it.
impl Signal {
    /// Appends the advantage, readings and old log-probabilities.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.advantage.to_le_bytes());
        write_list(bytes, self.old_log_probs.as_deref().unwrap_or_default());
        bytes.extend((self.readings.len() as u32).to_le_bytes());
        for reading in &self.readings {
            bytes.extend((reading.view as u32).to_le_bytes());
            write_list(bytes, &reading.log_probs);
            write_list(bytes, &reading.entropy);
            bytes.extend((reading.divergences.len() as u32).to_le_bytes());
            for (which, values) in &reading.divergences {
                bytes.extend((*which as u32).to_le_bytes());
                write_list(bytes, values);
            }
            bytes.extend((reading.measures.len() as u32).to_le_bytes());
            for (which, values) in &reading.measures {
                bytes.extend((*which as u32).to_le_bytes());
                write_list(bytes, values);
            }
        }
    }

    /// Reads back all signals that [`write`](Signal::write) has put into `bytes`.
    pub(crate) fn read_all(mut bytes: &[u8]) -> Vec<Signal> {
        let mut signals = Vec::new();
        while !bytes.is_empty() {
            let number = u64::from_le_bytes(take(&mut bytes));
            let advantage = f32::from_le_bytes(take(&mut bytes));
            let old = read_list(&mut bytes);
            let old_log_probs = (!old.is_empty()).then_some(old);
            let readings = (0..u32::from_le_bytes(take(&mut bytes))).map(|_| {
                let view = View::ALL[u32::from_le_bytes(take(&mut bytes)) as usize];
                let (log_probs, entropy) = (read_list(&mut bytes), read_list(&mut bytes));
                let divergences = (0..u32::from_le_bytes(take(&mut bytes))).map(|_| {
                    let which = Divergence::ALL[u32::from_le_bytes(take(&mut bytes)) as usize];
                    (which, read_list(&mut bytes))
                });
                let divergences = divergences.collect();
                let measures = (0..u32::from_le_bytes(take(&mut bytes))).map(|_| {
                    let which = Measure::ALL[u32::from_le_bytes(take(&mut bytes)) as usize];
                    (which, read_list(&mut bytes))
                });
                let measures = measures.collect();
                Reading { view, log_probs, entropy, divergences, measures }
            });
            let readings = readings.collect();
            signals.push(Signal { number, advantage, old_log_probs, readings, weights: Weights::default() });
        }
        signals
    }
}

fn write_list(bytes: &mut Vec<u8>, values: &[f32]) {
    bytes.extend((values.len() as u32).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn read_list(bytes: &mut &[u8]) -> Vec<f32> {
    (0..u32::from_le_bytes(take(bytes))).map(|_| f32::from_le_bytes(take(bytes))).collect()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes.split_first_chunk().expect("what a rank sends is whole");
    *bytes = rest;
    *taken
}
