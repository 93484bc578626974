//! The numbers of a step, under the names of TRL and verl where they have one.

use std::time::Instant;

use percept_engine::Counters;

use crate::methods::view::View;
use crate::problems::reward::{Reward, Rewards};
use crate::records::run::Metrics;
use crate::training::group::{Group, Response, response_number};
use crate::training::optimise::Applied;
use crate::training::update::UpdateMetrics;
use crate::training::world::{Traffic, World};

/// Seconds of the phases of a step.
pub(super) struct Times {
    started: Instant,
    lap: Instant,
    pub(super) rollout: f64,
    pub(super) views: f64,
    pub(super) update: f64,
    /// What was sent before the step.
    before: Traffic,
}

impl Times {
    pub(super) fn start(world: &World) -> Times {
        let now = Instant::now();
        Times { started: now, lap: now, rollout: 0.0, views: 0.0, update: 0.0, before: world.traffic() }
    }

    /// Seconds since the last lap.
    pub(super) fn lap(&mut self) -> f64 {
        let seconds = self.lap.elapsed().as_secs_f64();
        self.lap = Instant::now();
        seconds
    }
}

/// The metrics of a step, of all ranks.
///
/// | name | meaning |
/// |---|---|
/// | `reward`, `rewards/accuracy`, `rewards/format` | means over the responses |
/// | `rewards/NAME`, `rewards/failed` | means of the run's own rewards; how many failed and count as 0 |
/// | `reward_std` | mean over the groups of the standard deviation within a group |
/// | `frac_reward_zero_std` | share of the groups whose rewards are all equal |
/// | `completions/mean_length`, `completions/clipped_ratio` | tokens; share of the responses cut at `max_new_tokens` |
/// | `loss` | mean over the updates, like all numbers of an update |
/// | `policy_loss`, `kl`, `clip_ratio` | [`policy_terms`](crate::methods::policy::policy_terms); `kl` if there is a reference policy |
/// | others | what the terms and the weighing of the method measure, see its file in [`crate::methods`] |
/// | `entropy` | nats; of the tokens that are trained on |
/// | `rollout/log_prob_gap` | largest difference, in nats, of a token's log-probability between sampling and training |
/// | `grad_norm`, `lr`, `updates/skipped` | norm before clipping, mean over the updates; updates skipped for a gradient that is not finite |
/// | `tokens/response`, `tokens/trained`, `tokens/packed` | of all responses; of those with a gradient; through the decoder in the update |
/// | `time/*` | seconds |
/// | `tokens_per_second` | response tokens over the whole step's time |
/// | `memory/peak_bytes` | largest amount of device memory in use since the run was begun or resumed, on the rank that has most |
/// | `time/communication`, `bytes/communicated` | under `mpirun`: of rank 0, in exchanges with other ranks, waiting included; what it has sent |
/// | `time/imbalance` | under `mpirun`: how much longer the busiest rank worked than the least busy one |
pub(super) fn metrics_of_step(
    step: u64,
    groups: &[Group],
    updates: &[(UpdateMetrics, Applied)],
    learning_rate: f64,
    times: &Times,
    counters: &Counters,
    world: &World,
) -> Metrics {
    let of_response = |r: &Response| {
        let Reward { total, accuracy, format } = r.reward;
        vec![1.0, f64::from(total), f64::from(accuracy), f64::from(format), f64::from(u8::from(r.is_clipped()))]
    };
    let rows = responses_with_numbers(groups).map(|(number, response)| (number, of_response(response))).collect();
    let sums = world.sum_rows("the rewards of the step", 5, rows);
    let [count, reward, accuracy, format, clipped] = [0, 1, 2, 3, 4].map(|at| sums[at]);
    let of_group = |group: &Group| {
        let deviation = deviation(group);
        vec![1.0, deviation, f64::from(u8::from(deviation == 0.0))]
    };
    let sums = world.sum_rows("the spread of the rewards", 3, groups.iter().map(|group| (group.number, of_group(group))).collect());
    let [group_count, deviation, degenerate] = [0, 1, 2].map(|at| sums[at]);
    let over_updates =
        |of: &dyn Fn(&UpdateMetrics) -> f64| updates.iter().map(|(update, _)| of(update)).sum::<f64>() / updates.len() as f64;
    let tokens_of = |of: fn(&UpdateMetrics) -> usize| updates.iter().map(|(update, _)| of(update)).sum::<usize>() as f64;
    let tokens = tokens_of(|update| update.counts.tokens);
    let sent = world.traffic().since(&times.before);
    let seconds = times.started.elapsed().as_secs_f64();
    let [least_work, most_work] = world.range_of("the time of the step", seconds - sent.time.as_secs_f64());
    let [_, peak_bytes] = world.range_of("the memory in use", counters.peak_bytes as f64);

    let mut metrics = Metrics::new(step);
    let mut set = |name: &str, value: f64| metrics.set(name, value);
    let (count, group_count) = (count.max(1.0), group_count.max(1.0)); // a step may have kept no group at all
    set("reward", reward / count);
    set("reward_std", deviation / group_count);
    set("frac_reward_zero_std", degenerate / group_count);
    set("rewards/accuracy", accuracy / count);
    set("rewards/format", format / count);
    set("completions/mean_length", tokens / count);
    set("completions/clipped_ratio", clipped / count);
    set("loss", over_updates(&|update| update.loss));
    for (name, _) in updates.first().map_or(&[][..], |(update, _)| &update.named) {
        set(name, over_updates(&|update| update.get(name)));
    }
    set("entropy", over_updates(&|update| update.entropy));
    set("rollout/log_prob_gap", log_prob_gap(groups, world));
    set("grad_norm", updates.iter().map(|(_, applied)| applied.gradient_norm).sum::<f64>() / updates.len() as f64);
    set("lr", learning_rate);
    set("updates/skipped", updates.iter().filter(|(_, applied)| applied.is_skipped).count() as f64);
    set("tokens/response", tokens);
    set("tokens/trained", tokens_of(|update| update.trained_tokens));
    set("tokens/packed", tokens_of(|update| update.packed_tokens));
    set("time/rollout", times.rollout);
    set("time/views", times.views);
    set("time/update", times.update);
    set("time/step", seconds);
    set("tokens_per_second", tokens / seconds);
    set("memory/peak_bytes", peak_bytes);
    if world.is_launched() {
        set("time/communication", sent.time.as_secs_f64());
        set("time/imbalance", most_work - least_work);
        set("bytes/communicated", (sent.gradient_bytes + sent.record_bytes) as f64);
    }
    metrics
}

/// The means of a run's own rewards, as `rewards/NAME`; and `rewards/failed`, if any may fail: how many of them counted as 0 in this step.
pub(super) fn set_own_rewards(metrics: &mut Metrics, groups: &[Group], rewards: &Rewards, failed: usize, world: &World) {
    for (number, name) in rewards.names().enumerate() {
        let of = |(at, response): (u64, &Response)| (at, vec![f64::from(response.own_rewards[number]), 1.0]);
        let sums = world.sum_rows("a reward of the step", 2, responses_with_numbers(groups).map(of).collect());
        let (sum, count) = (sums[0], sums[1]);
        // `accuracy` and `format` are there already, with these values
        if !["accuracy", "format"].contains(&name) {
            metrics.set(&format!("rewards/{name}"), sum / count.max(1.0));
        }
    }
    if rewards.may_fail() {
        let [failed] = world.sum_of("the rewards that failed", [failed as f64]);
        metrics.set("rewards/failed", failed);
    }
}

/// All responses with their numbers, by which sums over them are added.
fn responses_with_numbers(groups: &[Group]) -> impl Iterator<Item = (u64, &Response)> {
    groups.iter().flat_map(|group| group.responses.iter().enumerate().map(|(at, response)| (response_number(group.number, at), response)))
}

/// Sample standard deviation of the rewards of a group; exactly 0 if they are all equal.
fn deviation(group: &Group) -> f64 {
    let rewards: Vec<f64> = group.responses.iter().map(|response| f64::from(response.reward.total)).collect();
    if rewards.iter().all(|reward| *reward == rewards[0]) {
        return 0.0;
    }
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    (rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / (rewards.len() - 1) as f64).sqrt()
}

/// Over the responses that were sampled on the picture they are trained on, and went through the model again; 0 if none did.
fn log_prob_gap(groups: &[Group], world: &World) -> f64 {
    let mut gap = 0.0_f64;
    for response in groups.iter().flat_map(|group| &group.responses).filter(|response| !response.is_off_policy) {
        let Some(reading) = response.signal.on(View::Original) else { continue };
        for (sampling, training) in response.completion.log_probs.iter().zip(&reading.log_probs) {
            gap = gap.max(f64::from((sampling - training).abs()));
        }
    }
    let [_, gap] = world.range_of("the gap of log-probabilities", gap);
    gap
}
