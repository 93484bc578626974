//! How good, and how sure: rates with 95 % intervals, pass@k, and the quality of a detector.
//!
//! | what | source |
//! |---|---|
//! | [`wilson`] | Wilson 1927, "Probable inference, the law of succession, and statistical inference" |
//! | [`average_at_n`] | cluster-robust standard error: responses to one problem are not independent (Miller 2024, arXiv 2411.00640, §2.2) |
//! | [`pass_at_k`] | Chen et al. 2021, arXiv 2107.03374, equation 1 |
//! | [`MeanInterval`] | Student 1908, "The probable error of a mean"; the power of such a test: Cohen 1988, "Statistical power analysis", with central quantiles |
//! | [`detection`] | Fawcett 2006, "An introduction to ROC analysis"; ties count one half |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A rate and its 95 % interval, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// What was observed.
    pub rate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The standard normal's 97.5 % quantile.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's interval of `successes` out of `trials` that do not depend on each other. Of no trials: 0 to 1, with rate NaN.
///
/// # Panics
/// If there are more successes than trials.
#[track_caller]
pub fn wilson(successes: u64, trials: u64) -> Estimate {
    assert!(successes <= trials, "wilson: more successes than trials: {successes} of {trials}");
    if trials == 0 {
        return Estimate { rate: f64::NAN, low: 0.0, high: 1.0 };
    }
    let n = trials as f64;
    let rate = successes as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (rate + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    // at the ends the formula gives 0 and 1 up to rounding
    let low = if successes == 0 { 0.0 } else { centre - half };
    let high = if successes == trials { 1.0 } else { centre + half };
    Estimate { rate, low, high }
}

/// The mean over problems of the share of right responses (avg@N), with an interval from the spread between problems.
/// `correct [problems]`: right ones of the `samples` responses to each.
///
/// The standard error is that of the mean of per-problem rates, `sqrt(Σ (rate_i − mean)² / (n (n − 1)))`. Where the problems do not
/// differ at all, or there is but one response to each, it is [`wilson`]'s interval over problems.
///
/// # Panics
/// If `samples` is 0 or smaller than a count.
#[track_caller]
pub fn average_at_n(correct: &[u32], samples: usize) -> Estimate {
    assert_counts("average_at_n", correct, samples);
    let n = correct.len() as f64;
    let rates = || correct.iter().map(|&c| f64::from(c) / samples as f64);
    let mean = rates().sum::<f64>() / n;
    let squares: f64 = rates().map(|rate| (rate - mean) * (rate - mean)).sum();
    if samples == 1 || correct.len() < 2 || squares == 0.0 {
        let total = correct.iter().map(|&c| u64::from(c)).sum::<u64>();
        // all problems alike: as many independent trials as problems, not as responses
        let interval = wilson((total as f64 / samples as f64).round() as u64, correct.len() as u64);
        return Estimate { rate: mean, low: interval.low.min(mean), high: interval.high.max(mean) };
    }
    let error = (squares / (n * (n - 1.0))).sqrt();
    Estimate { rate: mean, low: (mean - Z * error).max(0.0), high: (mean + Z * error).min(1.0) }
}

/// The probability that at least one of `k` responses is right (pass@k): the mean over problems of the unbiased estimate
/// `1 − C(n − c, k) / C(n, k)`. `correct [problems]` counts the right ones (c) of the `samples` (n) responses to each.
///
/// # Panics
/// If k is 0 or more than `samples`, or `samples` is smaller than a count.
#[track_caller]
pub fn pass_at_k(correct: &[u32], samples: usize, k: usize) -> f64 {
    assert_counts("pass_at_k", correct, samples);
    assert!(k >= 1 && k <= samples, "pass_at_k: k is not among the responses: {k} of {samples}");
    let of_problem = |&c: &u32| {
        let wrong = samples - c as usize;
        if wrong < k {
            return 1.0;
        }
        // C(wrong, k) / C(samples, k) as a product, which cannot overflow
        1.0 - (0..k).map(|i| (wrong - i) as f64 / (samples - i) as f64).product::<f64>()
    };
    correct.iter().map(of_problem).sum::<f64>() / correct.len() as f64
}

/// How well a score and a mask tell one kind of token from the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Share of the chosen that are of the kind; NaN if none is chosen.
    pub precision: f64,
    /// Share of the kind that is chosen; NaN if there is none of it.
    pub recall: f64,
    /// Probability that one of the kind scores higher than one of the others, a tie counting one half; NaN if either is missing.
    pub auc: f64,
    /// Area under the curve of precision over recall, ties taken together (average precision); NaN if there is none of the kind.
    pub average_precision: f64,
    /// Precision, and recall, if as many are chosen by their scores as there are of the kind, whatever `chosen` says: how detectors compare at equal numbers. Of ties at the limit
    /// a share is taken.
    pub precision_at_equal: f64,
    /// How many are of the kind.
    pub positives: usize,
    /// How many are not.
    pub negatives: usize,
    /// How many are chosen.
    pub chosen: usize,
}

/// Precision and recall of `chosen`, and area under the ROC curve of `scores`, against `truth`. All `[tokens]`.
///
/// # Panics
/// If the lengths differ, or a score is NaN.
#[track_caller]
pub fn detection(scores: &[f32], chosen: &[bool], truth: &[bool]) -> Detection {
    assert!(
        scores.len() == truth.len() && chosen.len() == truth.len(),
        "detection: lengths differ: {} scores, {} chosen, {} true",
        scores.len(),
        chosen.len(),
        truth.len()
    );
    assert!(!scores.iter().any(|score| score.is_nan()), "detection: a score is NaN: one of {}", scores.len());
    let positives = truth.iter().filter(|&&t| t).count();
    let negatives = truth.len() - positives;
    let hits = truth.iter().zip(chosen).filter(|&(&t, &c)| t && c).count();
    let count = chosen.iter().filter(|&&c| c).count();
    Detection {
        precision: hits as f64 / count as f64,
        recall: hits as f64 / positives as f64,
        auc: area_under_curve(scores, truth, positives, negatives),
        average_precision: average_precision(scores, truth, positives),
        precision_at_equal: precision_at(scores, truth, positives),
        positives,
        negatives,
        chosen: count,
    }
}

/// Groups of tied scores from the largest down: how many there are, and how many of them are true.
fn groups_of_ties(scores: &[f32], truth: &[bool]) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let groups = order.chunk_by(|&a, &b| scores[a] == scores[b]);
    groups.map(|tied| (tied.len() as f64, tied.iter().filter(|&&i| truth[i]).count() as f64)).collect()
}

/// `Σ (recall_n − recall_{n−1}) · precision_n` over the groups of ties.
fn average_precision(scores: &[f32], truth: &[bool], positives: usize) -> f64 {
    let (mut seen, mut hits, mut sum) = (0.0, 0.0, 0.0);
    for (count, of_kind) in groups_of_ties(scores, truth) {
        (seen, hits) = (seen + count, hits + of_kind);
        sum += of_kind * hits / seen;
    }
    sum / positives as f64
}

fn precision_at(scores: &[f32], truth: &[bool], wanted: usize) -> f64 {
    let (mut left, mut hits) = (wanted as f64, 0.0);
    for (count, of_kind) in groups_of_ties(scores, truth) {
        let share = (left / count).min(1.0);
        hits += share * of_kind;
        left -= share * count;
    }
    hits / wanted as f64
}

/// The rank-sum statistic: `(Σ ranks of positives − P(P+1)/2) / (P·N)`, ties sharing their mean rank.
fn area_under_curve(scores: &[f32], truth: &[bool], positives: usize, negatives: usize) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut rank_sum = 0.0;
    let mut before = 0;
    // equal by value, so that −0 ties with 0
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let mean_rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        rank_sum += mean_rank * tied.iter().filter(|&&i| truth[i]).count() as f64;
        before += tied.len();
    }
    let (p, n) = (positives as f64, negatives as f64);
    (rank_sum - p * (p + 1.0) / 2.0) / (p * n)
}

/// A mean of few independent values, such as one for each seed, with its 95 % interval from Student's distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanInterval {
    /// The mean; NaN of no values.
    pub mean: f64,
    /// Half the width of the interval; NaN of fewer than two values, from which no spread can be told.
    pub half: f64,
    /// Standard deviation of the values (n − 1); NaN of fewer than two.
    pub deviation: f64,
    /// Number of values.
    pub count: usize,
}

impl MeanInterval {
    /// Of these values. For paired differences, of the differences.
    pub fn of(values: &[f64]) -> MeanInterval {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        if count < 2 {
            return MeanInterval { mean, half: f64::NAN, deviation: f64::NAN, count };
        }
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = (squares / (count - 1) as f64).sqrt();
        MeanInterval { mean, half: student(&T_975, 1.959_964, count) * deviation / (count as f64).sqrt(), deviation, count }
    }

    /// The mean of all values, with an interval for which only different clusters are independent (cluster-robust: Miller 2024, arXiv 2411.00640, §2.2, with the factor
    /// for few clusters). `count` is the number of clusters. Where each value is a cluster by itself, this is [`of`](MeanInterval::of).
    ///
    /// # Panics
    /// If there are not as many clusters as values.
    #[track_caller]
    pub fn clustered(values: &[f64], clusters: &[u64]) -> MeanInterval {
        assert!(values.len() == clusters.len(), "clustered: {} values in {} clusters", values.len(), clusters.len());
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
        for (value, cluster) in values.iter().zip(clusters) {
            *sums.entry(*cluster).or_default() += value - mean;
        }
        let count = sums.len();
        if count < 2 {
            return MeanInterval { mean, half: f64::NAN, deviation: f64::NAN, count };
        }
        let few = count as f64 / (count - 1) as f64;
        let error = (few * sums.values().map(|sum| sum * sum).sum::<f64>()).sqrt() / n;
        MeanInterval { mean, half: student(&T_975, 1.959_964, count) * error, deviation: error * (count as f64).sqrt(), count }
    }

    /// Lower end of the interval.
    pub fn low(&self) -> f64 {
        self.mean - self.half
    }

    /// Upper end.
    pub fn high(&self) -> f64 {
        self.mean + self.half
    }

    /// Whether the interval excludes zero.
    pub fn excludes_zero(&self) -> bool {
        self.mean.abs() > self.half
    }

    /// The least true mean that would have been told from zero in four of five repetitions of the experiment (a power of 80 % at a level of 5 %), given this spread.
    pub fn detectable(&self) -> f64 {
        let quantiles = student(&T_975, 1.959_964, self.count) + student(&T_80, 0.841_621, self.count);
        quantiles * self.deviation / (self.count as f64).sqrt()
    }
}

/// The quantile of Student's distribution for the mean of `count` values: from the table, beyond it the normal one's with its first correction.
fn student(table: &[f64; 30], normal: f64, count: usize) -> f64 {
    match count {
        0 | 1 => f64::NAN,
        2..=31 => table[count - 2],
        _ => normal + (normal.powi(3) + normal) / (4.0 * (count - 1) as f64),
    }
}

/// 97.5 % quantiles of Student's distribution with 1 to 30 degrees of freedom.
const T_975: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199,
    2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
];

/// 80 % quantiles.
const T_80: [f64; 30] = [
    1.3764, 1.0607, 0.9785, 0.9410, 0.9195, 0.9057, 0.8960, 0.8889, 0.8834, 0.8791, 0.8755, 0.8726, 0.8702, 0.8681, 0.8662, 0.8647, 0.8633,
    0.8620, 0.8610, 0.8600, 0.8591, 0.8583, 0.8575, 0.8569, 0.8562, 0.8557, 0.8551, 0.8546, 0.8542, 0.8538,
];

#[track_caller]
fn assert_counts(op: &str, correct: &[u32], samples: usize) {
    assert!(samples > 0, "{op}: no responses: {samples} for each of {} problems", correct.len());
    if let Some(count) = correct.iter().find(|&&count| count as usize > samples) {
        panic!("{op}: more right responses than responses: {count} of {samples}");
    }
}
