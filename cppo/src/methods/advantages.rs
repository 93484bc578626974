//! Group-relative advantages: how much better each response was than the other responses to the same prompt, in standard deviations
//! (step 4 of the training step; GRPO, arXiv 2402.03300, equation 3).
//!
//! `Â_i = (r_i − mean(r)) / (std(r) + 1e-6)`, with the sample standard deviation (n − 1) over the G responses to one prompt.
//!
//! | symbol | here |
//! |---|---|
//! | r | `rewards` |
//! | Â | `advantages` |
//! | G | `group_size` |

/// Advantages of whole groups: `rewards` holds `group_size` consecutive rewards per prompt. `[prompts · group_size] -> [prompts · group_size]`
///
/// A group whose rewards are all equal gets exactly 0, and so does a group of one: neither shows which response is better.
/// Computed in f64.
///
/// # Panics
/// If `group_size` is 0 or does not divide the number of rewards, or if a reward is not finite.
#[track_caller]
pub fn group_advantages(rewards: &[f32], group_size: usize) -> Vec<f32> {
    assert!(
        group_size > 0 && rewards.len().is_multiple_of(group_size),
        "group_advantages: rewards are not whole groups: {} rewards, groups of {group_size}",
        rewards.len()
    );
    rewards.chunks(group_size).flat_map(advantages_of_group).collect()
}

/// How much better each response of a group was than their mean, without division by the deviation (Dr. GRPO, arXiv 2503.20783). `[group_size] -> [group_size]`
pub fn centred(rewards: &[f32]) -> Vec<f32> {
    if all_equal(rewards) {
        return vec![0.0; rewards.len()];
    }
    let mean = rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / rewards.len() as f64;
    rewards.iter().map(|&r| (f64::from(r) - mean) as f32).collect()
}

/// How many groups have rewards that are all equal (TRL's `frac_reward_zero_std` times the number of groups).
///
/// # Panics
/// As [`group_advantages`].
#[track_caller]
pub fn degenerate_groups(rewards: &[f32], group_size: usize) -> usize {
    assert!(
        group_size > 0 && rewards.len().is_multiple_of(group_size),
        "degenerate_groups: rewards are not whole groups: {} rewards, groups of {group_size}",
        rewards.len()
    );
    rewards.chunks(group_size).filter(|group| all_equal(group)).count()
}

const EPSILON: f64 = 1e-6;

#[track_caller]
fn advantages_of_group(rewards: &[f32]) -> Vec<f32> {
    if let Some(reward) = rewards.iter().find(|reward| !reward.is_finite()) {
        panic!("group_advantages: a reward is not finite: {reward} in {rewards:?}");
    }
    // Tested before computing: a rounding error in the mean would be divided by 1e-6.
    if all_equal(rewards) {
        return vec![0.0; rewards.len()];
    }
    let n = rewards.len() as f64;
    let mean = rewards.iter().map(|&r| f64::from(r)).sum::<f64>() / n;
    let squares = rewards.iter().map(|&r| (f64::from(r) - mean).powi(2)).sum::<f64>();
    let std = (squares / (n - 1.0)).sqrt();
    rewards.iter().map(|&r| ((f64::from(r) - mean) / (std + EPSILON)) as f32).collect()
}

fn all_equal(rewards: &[f32]) -> bool {
    rewards.iter().all(|&reward| reward == rewards[0])
}
