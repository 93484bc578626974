//! Names of metrics, as users know them from TRL and verl, and what they mean.

/// A metric.
pub struct MetricName {
    /// Its key in `metrics.jsonl` and its tag in TensorBoard.
    pub name: &'static str,
    /// A short title.
    pub title: &'static str,
    /// What it says, with its unit.
    pub meaning: &'static str,
}

/// All metrics that training records, in the order of a report. Times ([`is_time`]) and memory (`memory/…`, of a process: a resumed run begins to count anew) differ from run to run; nothing else does.
pub fn metric_names() -> &'static [MetricName] {
    NAMES
}

/// Whether a metric is a time or follows from one.
pub fn is_time(name: &str) -> bool {
    name.starts_with("time/") || name.ends_with("_per_second")
}

const fn metric(name: &'static str, title: &'static str, meaning: &'static str) -> MetricName {
    MetricName { name, title, meaning }
}

const NAMES: &[MetricName] = &[
    metric("reward", "Reward", "mean reward of the step's responses, 0 to 1"),
    metric("reward_std", "Reward spread", "standard deviation of rewards within a group, mean over groups"),
    metric("frac_reward_zero_std", "Groups without a signal", "share of groups whose rewards are all equal: their advantages are 0"),
    metric("rewards/accuracy", "Accuracy", "share of responses with the right answer"),
    metric("rewards/format", "Form", "share of responses of the required form"),
    metric("warm_start/loss", "Loss of the warm start", "mean cross-entropy of a picture's cell, nats"),
    metric("warm_start/cell_accuracy", "Cells", "share of the cells with an object whose class is the most probable"),
    metric("entropy", "Entropy", "mean entropy of the next token, nats"),
    metric("kl", "Distance from the start", "mean k3 estimate of the divergence from the reference policy, nats per token"),
    metric("cpl_loss", "Contrastive perception loss", "mean over perception tokens, before its weight"),
    metric(
        "perception/fraction",
        "Perception tokens",
        "share of the contrasted tokens (of responses that pass the gate, so are read on all three views) that are chosen",
    ),
    metric("perception/delta_entropy", "Entropy shift", "mean ΔH of perception tokens, nats"),
    metric("loss", "Loss", "policy loss + β·KL + λ·CPL; of supervised training, −log π of a reference token"),
    metric("policy_loss", "Policy loss", "token mean of the clipped policy loss"),
    metric("policy_weight", "Token weight", "mean absolute weight of a token in the policy loss, of methods that weigh tokens"),
    metric("grad_norm", "Gradient norm", "of all weights together, before clipping; mean over updates"),
    metric("updates/skipped", "Skipped updates", "updates skipped because a gradient was not finite"),
    metric("lr", "Learning rate", "of the step"),
    metric("clip_ratio", "Clipped", "share of tokens whose probability ratio was clipped"),
    metric("rollout/log_prob_gap", "Sampling against training", "largest difference of a token's log-probability between the two, nats"),
    metric("completions/mean_length", "Length", "mean length of responses, tokens"),
    metric("completions/clipped_ratio", "Cut off", "share of responses that reached the longest length"),
    metric("tokens/response", "Response tokens", "sampled in the step"),
    metric("tokens/trained", "Trained tokens", "response tokens with a gradient"),
    metric("tokens/packed", "Packed tokens", "tokens through the decoder in the update, prompts and views included"),
    metric("tokens_per_second", "Tokens per second", "response tokens per second of the step"),
    metric("time/step", "Time of a step", "seconds"),
    metric("time/rollout", "Time of the rollout", "seconds"),
    metric("time/views", "Time of the views", "seconds"),
    metric("time/update", "Time of the update", "seconds"),
    metric("memory/peak_bytes", "Memory", "largest sum of live tensors since the run was begun or resumed, bytes"),
];
