//! Which tokens of a response are perception tokens (step 7 of the training step). No gradient flows through here.
//!
//! CPPO (arXiv 2601.00501): a token that names something seen becomes uncertain when the picture loses its information, so its
//! entropy rises by ΔH. The tokens with the largest relative rise s are chosen. For each response, over response tokens only:
//!
//! ```text
//! ΔH_t = H⁻_t − H_t
//! s_t  = max(ΔH_t, 0) / (H⁻_t + 1e-6)
//! k    = max(1, floor(ρ · #{t : ΔH_t > 0}))
//! m_t  = [ΔH_t > 0 and s_t ≥ k-th largest s]      ties kept; no positive token, no mask
//! m_t ← m_t · [Â > 0]                              the gate
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | H_t, H⁻_t | entropy on the original and on the information-removing picture: `entropy`, `entropy_removed` (nats, whole vocabulary) |
//! | ΔH_t | `delta` |
//! | s_t | `score` |
//! | ρ | `perception_fraction` |
//! | m_t | the returned mask |
//! | Â | `advantage` |
//!
//! Options beyond the paper: the share can be rounded up (the authors' AReaL recipe), all tokens or random ones can be chosen (ablations),
//! the gate can be left open (ablation), and `min_delta_entropy` puts a floor under ΔH, because most positive shifts are template tokens
//! that moved by thousandths of a nat. A divergence per token can replace the entropy shift ([`Detector`]).

use serde::{Deserialize, Serialize};

use super::divergence::Divergence;
use super::signal::{Measure, Reading};
use crate::random::Random;

/// How perception tokens are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelectionConfig {
    /// Share of the tokens with a positive shift that is kept (ρ), in `(0, 1]`. Default 0.5 (the paper's).
    pub perception_fraction: f64,
    /// How the share is rounded to a number of tokens, or an ablation that replaces it. Default `floor`.
    pub selection: Selection,
    /// Which responses may have perception tokens at all. Default `positive_advantage`.
    pub gate: Gate,
    /// Only tokens whose shift is above this are candidates; nats of entropy, or of divergence for the detectors `k3` and `full_kl`.
    /// Default 0, as in the paper.
    pub min_delta_entropy: f32,
    /// What is compared between the picture and its information-removing view. Default `entropy`.
    pub detector: Detector,
}

impl Default for SelectionConfig {
    fn default() -> Self {
        Self {
            perception_fraction: 0.5,
            selection: Selection::Floor,
            gate: Gate::PositiveAdvantage,
            min_delta_entropy: 0.0,
            detector: Detector::Entropy,
        }
    }
}

impl SelectionConfig {
    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(self.perception_fraction > 0.0 && self.perception_fraction <= 1.0) {
            return Err(format!("perception_fraction: expected above 0 and at most 1, got {}", self.perception_fraction));
        }
        if !(self.min_delta_entropy >= 0.0 && self.min_delta_entropy.is_finite()) {
            return Err(format!("min_delta_entropy: expected 0 or more, got {}", self.min_delta_entropy));
        }
        Ok(())
    }
}

/// How the share of tokens is rounded to a number, or an ablation that replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Rounded down, but at least 1: `k = max(1, floor(ρ·n))` (the authors' verl recipe).
    Floor,
    /// Rounded up: `k = ceil(ρ·n)` (the authors' AReaL recipe).
    Ceil,
    /// Every response token: no selection.
    All,
    /// The same number of tokens as `floor`, at random places of the response.
    Random,
}

/// Which responses may have perception tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Only responses with a positive advantage.
    PositiveAdvantage,
    /// All responses.
    None,
}

/// What is compared between the picture and its information-removing view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// The rise of the entropy, relative to the entropy without the information.
    Entropy,
    /// The k3 estimate of the divergence at the sampled token.
    K3,
    /// The divergence over the whole vocabulary.
    FullKl,
    /// The Jensen–Shannon divergence over the whole vocabulary: the mutual information of token and picture (VEPO, arXiv 2606.03937).
    JensenShannon,
    /// The change of the entropy, up or down.
    EntropyChange,
    /// The change of the log-probability of the sampled token, up or down (ToR, arXiv 2603.25077).
    LogProb,
    /// The entropy on the picture itself: what is found without any other picture.
    PlainEntropy,
    /// How alike the token's hidden states are to those of the picture's visual tokens (PEPO, arXiv 2603.22847), without any other picture either.
    PictureSimilarity,
}

impl Detector {
    /// All detectors.
    pub const ALL: [Detector; 8] = [
        Detector::Entropy,
        Detector::K3,
        Detector::FullKl,
        Detector::JensenShannon,
        Detector::EntropyChange,
        Detector::LogProb,
        Detector::PlainEntropy,
        Detector::PictureSimilarity,
    ];

    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Detector::Entropy => "entropy",
            Detector::K3 => "k3",
            Detector::FullKl => "full_kl",
            Detector::JensenShannon => "jensen_shannon",
            Detector::EntropyChange => "entropy_change",
            Detector::LogProb => "log_prob",
            Detector::PlainEntropy => "plain_entropy",
            Detector::PictureSimilarity => "picture_similarity",
        }
    }

    /// The divergences that have to be computed for it, because it ranks by them.
    pub fn divergences(self) -> Vec<Divergence> {
        match self {
            Detector::Entropy | Detector::EntropyChange | Detector::LogProb | Detector::PlainEntropy | Detector::PictureSimilarity => {
                Vec::new()
            }
            Detector::JensenShannon => vec![Divergence::JensenShannon],
            Detector::K3 => vec![Divergence::K3],
            Detector::FullKl => vec![Divergence::Full],
        }
    }

    /// What else has to be known of the tokens on the original picture.
    pub fn measures(self) -> Vec<Measure> {
        if self == Detector::PictureSimilarity { vec![Measure::PictureSimilarity] } else { Vec::new() }
    }
}

/// How far each token moved and how it ranks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shift {
    /// Rise of each token's entropy, or its divergence, in nats (ΔH_t). `[tokens]`
    pub delta: Vec<f32>,
    /// What tokens are ranked by (s_t): the rise relative to the entropy without the information, or the divergence. `[tokens]`
    pub score: Vec<f32>,
}

impl Shift {
    /// The shift of one response between two pictures, as `detector` measures it. `-> [tokens]` each
    ///
    /// # Panics
    /// If the divergence it ranks by was not asked for when `removed` was read.
    #[track_caller]
    pub fn of_readings(detector: Detector, original: &Reading, removed: &Reading) -> Self {
        match detector {
            Detector::Entropy => Self::of_entropies(&original.entropy, &removed.entropy),
            Detector::K3 => Self::of_divergences(removed.divergence(Divergence::K3)),
            Detector::FullKl => Self::of_divergences(removed.divergence(Divergence::Full)),
            Detector::JensenShannon => Self::of_divergences(removed.divergence(Divergence::JensenShannon)),
            Detector::EntropyChange => Self::of_divergences(&distances(&original.entropy, &removed.entropy)),
            Detector::LogProb => Self::of_divergences(&distances(&original.log_probs, &removed.log_probs)),
            Detector::PlainEntropy => Self::of_divergences(&original.entropy),
            Detector::PictureSimilarity => Self::of_divergences(original.measure(Measure::PictureSimilarity)),
        }
    }

    /// The shift of one response from its entropies on both pictures, in nats. `[tokens], [tokens] -> [tokens]` each
    ///
    /// # Panics
    /// If the lengths differ.
    #[track_caller]
    pub fn of_entropies(entropy: &[f32], entropy_removed: &[f32]) -> Self {
        assert_eq!(
            entropy.len(),
            entropy_removed.len(),
            "Shift::of_entropies: entropy and entropy_removed differ in length: [{}] and [{}]",
            entropy.len(),
            entropy_removed.len()
        );
        let delta: Vec<f32> = entropy.iter().zip(entropy_removed).map(|(h, removed)| removed - h).collect();
        let score = delta.iter().zip(entropy_removed).map(|(d, removed)| d.max(0.0) / (removed + 1e-6)).collect();
        Self { delta, score }
    }

    /// The shift for the detectors `k3` and `full_kl`: the divergence is both the shift and the score. `[tokens] -> [tokens]` each
    pub fn of_divergences(divergence: &[f32]) -> Self {
        Self { delta: divergence.to_vec(), score: divergence.to_vec() }
    }
}

/// Which tokens of one response are perception tokens (the mask m). `[tokens] -> [tokens]`
///
/// Only [`Selection::Random`] uses `random`. A token whose shift is NaN is never chosen.
///
/// # Panics
/// If `shift.delta` and `shift.score` differ in length.
#[track_caller]
pub fn perception_mask(shift: &Shift, advantage: f32, config: &SelectionConfig, random: &mut Random) -> Vec<bool> {
    let tokens = shift.delta.len();
    assert_eq!(tokens, shift.score.len(), "perception_mask: delta and score differ in length: [{tokens}] and [{}]", shift.score.len());
    if config.gate == Gate::PositiveAdvantage && advantage <= 0.0 {
        return vec![false; tokens];
    }
    match config.selection {
        Selection::All => vec![true; tokens],
        Selection::Floor => largest_scores(shift, config, |share| share.floor()),
        Selection::Ceil => largest_scores(shift, config, |share| share.ceil()),
        Selection::Random => {
            let count = keep_count(candidates(shift, config).count(), config, |share| share.floor());
            let mut order: Vec<usize> = (0..tokens).collect();
            random.shuffle(&mut order);
            let mut mask = vec![false; tokens];
            order[..count].iter().for_each(|&token| mask[token] = true);
            mask
        }
    }
}

fn largest_scores(shift: &Shift, config: &SelectionConfig, round: fn(f64) -> f64) -> Vec<bool> {
    let mut scores: Vec<f32> = candidates(shift, config).map(|token| shift.score[token]).collect();
    let mut mask = vec![false; shift.delta.len()];
    let count = keep_count(scores.len(), config, round);
    if count > 0 {
        scores.sort_by(|a, b| b.total_cmp(a));
        let threshold = scores[count - 1];
        candidates(shift, config).filter(|&token| shift.score[token] >= threshold).for_each(|token| mask[token] = true);
    }
    mask
}

/// Tokens whose shift is above the floor.
fn candidates<'a>(shift: &'a Shift, config: &'a SelectionConfig) -> impl Iterator<Item = usize> + 'a {
    (0..shift.delta.len()).filter(|&token| shift.delta[token] > config.min_delta_entropy)
}

/// The number of tokens to keep (k): at least 1 and at most `candidates`; 0 if there are no candidates.
fn keep_count(candidates: usize, config: &SelectionConfig, round: fn(f64) -> f64) -> usize {
    let share = config.perception_fraction * candidates as f64;
    (round(share) as usize).clamp(1, candidates.max(1)).min(candidates)
}

fn distances(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect()
}

/// Which of the values are the `count` largest; of equal ones the first are taken. `[n] -> [n]`
pub fn largest(values: &[f32], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a])); // stable
    let mut mask = vec![false; values.len()];
    order.iter().take(count).for_each(|&at| mask[at] = true);
    mask
}
