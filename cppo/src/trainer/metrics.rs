//! The numbers of a step, under the names of TRL and verl where they have one.

use std::time::Instant;

use percept_engine::Counters;

use super::{StepMetrics, TrainedGroup};

/// Names and values of a step, in order.
pub type Metrics = Vec<(&'static str, f64)>;

/// Seconds of the phases of a step.
pub(super) struct Times {
    started: Instant,
    lap: Instant,
    pub(super) rollout: f64,
    pub(super) views: f64,
    pub(super) update: f64,
}

impl Times {
    pub(super) fn start() -> Times {
        let now = Instant::now();
        Times { started: now, lap: now, rollout: 0.0, views: 0.0, update: 0.0 }
    }

    /// Seconds since the last lap.
    pub(super) fn lap(&mut self) -> f64 {
        let seconds = self.lap.elapsed().as_secs_f64();
        self.lap = Instant::now();
        seconds
    }
}

/// The metrics of a step.
///
/// | name | meaning |
/// |---|---|
/// | `reward`, `rewards/accuracy`, `rewards/format` | means over the responses |
/// | `reward_std` | mean over the groups of the standard deviation within a group |
/// | `frac_reward_zero_std` | share of the groups whose rewards are all equal |
/// | `completions/mean_length`, `completions/clipped_ratio` | tokens; share of the responses cut at `max_new_tokens` |
/// | `loss`, `policy_loss`, `kl`, `cpl_loss`, `clip_ratio` | [`StepMetrics`], mean over the updates |
/// | `entropy` | nats; of the tokens that are trained on |
/// | `perception/fraction` | share of the contrasted tokens (of responses that pass the gate, so are read on all three views) that are perception tokens |
/// | `perception/delta_entropy` | mean ΔH of the perception tokens, nats |
/// | `rollout/log_prob_gap` | largest difference, in nats, of a token's log-probability between sampling and training |
/// | `grad_norm`, `lr`, `updates/skipped` | norm before clipping, mean over the updates; updates skipped for a gradient that is not finite |
/// | `tokens/response`, `tokens/trained`, `tokens/packed` | of all responses; of those with a gradient; through the decoder in the update |
/// | `time/*` | seconds |
/// | `tokens_per_second` | response tokens over the whole step's time |
/// | `memory/peak_bytes` | largest amount of device memory in use so far |
pub(super) fn metrics_of_step(
    groups: &[TrainedGroup],
    updates: &[(StepMetrics, f64)],
    learning_rate: f64,
    skipped: u64,
    times: &Times,
    counters: &Counters,
) -> Metrics {
    let responses = || groups.iter().flat_map(|group| &group.rollout.responses);
    let count = responses().count() as f64;
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
    let deviations: Vec<f64> = groups.iter().map(deviation).collect();
    let over_updates = |of: fn(&StepMetrics) -> f64| updates.iter().map(|(metrics, _)| of(metrics)).sum::<f64>() / updates.len() as f64;
    let total = |of: fn(&StepMetrics) -> usize| updates.iter().map(|(metrics, _)| of(metrics)).sum::<usize>() as f64;
    let tokens = total(|m| m.tokens);
    let seconds = times.started.elapsed().as_secs_f64();
    vec![
        ("reward", mean(&mut responses().map(|r| f64::from(r.reward.total)))),
        ("reward_std", deviations.iter().sum::<f64>() / groups.len() as f64),
        ("frac_reward_zero_std", deviations.iter().filter(|&&d| d == 0.0).count() as f64 / groups.len() as f64),
        ("rewards/accuracy", mean(&mut responses().map(|r| f64::from(r.reward.accuracy)))),
        ("rewards/format", mean(&mut responses().map(|r| f64::from(r.reward.format)))),
        ("completions/mean_length", tokens / count),
        ("completions/clipped_ratio", mean(&mut responses().map(|r| f64::from(u8::from(r.is_clipped()))))),
        ("loss", over_updates(|m| m.loss)),
        ("policy_loss", over_updates(|m| m.policy_loss)),
        ("kl", over_updates(|m| m.kl)),
        ("cpl_loss", over_updates(|m| m.cpl_loss)),
        ("clip_ratio", over_updates(|m| m.clip_ratio)),
        ("entropy", over_updates(|m| m.entropy)),
        ("perception/fraction", total(|m| m.perception_tokens) / total(|m| m.contrasted_tokens).max(1.0)),
        ("perception/delta_entropy", over_updates(|m| m.delta_entropy)),
        ("rollout/log_prob_gap", log_prob_gap(groups)),
        ("grad_norm", updates.iter().map(|(_, norm)| norm).sum::<f64>() / updates.len() as f64),
        ("lr", learning_rate),
        ("updates/skipped", skipped as f64),
        ("tokens/response", tokens),
        ("tokens/trained", total(|m| m.trained_tokens)),
        ("tokens/packed", total(|m| m.packed_tokens)),
        ("time/rollout", times.rollout),
        ("time/views", times.views),
        ("time/update", times.update),
        ("time/step", seconds),
        ("tokens_per_second", tokens / seconds),
        ("memory/peak_bytes", counters.peak_bytes as f64),
    ]
}

/// Sample standard deviation of the rewards of a group; exactly 0 if they are all equal.
fn deviation(group: &TrainedGroup) -> f64 {
    let rewards: Vec<f64> = group.rollout.responses.iter().map(|response| f64::from(response.reward.total)).collect();
    if rewards.iter().all(|reward| *reward == rewards[0]) {
        return 0.0;
    }
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    (rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / (rewards.len() - 1) as f64).sqrt()
}

/// Over the responses that went through the model again; 0 if none did.
fn log_prob_gap(groups: &[TrainedGroup]) -> f64 {
    let mut gap = 0.0_f64;
    for (sampled, trace) in groups.iter().flat_map(|group| group.rollout.responses.iter().zip(&group.traces)) {
        for (sampling, training) in sampled.completion.log_probs.iter().zip(&trace.log_probs) {
            gap = gap.max(f64::from((sampling - training).abs()));
        }
    }
    gap
}
