//! The most that a number of a configuration can be. Each field's own check says what makes sense for it; these are far beyond that, and keep products of settings from wrapping,
//! and a slip of the pen (a step count with a few zeros too many, `1e30`) from being taken for a wish.

use toml::{Table, Value};

use super::keys::leaves;

/// The most of whole numbers that count what is made, held or multiplied; by the ends of their keys.
const MOST: &[(&str, i64)] = &[
    ("rollout.prompts_per_step", 1 << 16),
    ("rollout.max_new_tokens", 1 << 20),
    ("rollout.sequences_at_once", 1 << 20),
    ("method.group_size", 1 << 12),
    ("longest_length", 1 << 20),
    ("max_refills", 1000),
    ("train.micro_batch_tokens", 1 << 30),
    ("train.keep_checkpoints", 1 << 20),
    ("eval.problems", 10_000_000),
    ("eval.problems_during_training", 10_000_000),
    ("eval.samples", 1 << 16),
    ("compare.problems", 10_000_000),
    ("compare.samples", 1 << 16),
    ("compare.robustness_problems", 10_000_000),
    ("compare.detector_problems", 10_000_000),
    ("eval_problems", 10_000_000),
    ("sft.batch_size", 1 << 16),
    ("sft.warm_start_batch_size", 1 << 16),
    ("sft.micro_batch_tokens", 1 << 30),
    ("sft.keep_checkpoints", 1 << 20),
    ("lora.rank", 1 << 16),
    ("max_images", 1 << 10),
    ("max_pixels", 1 << 32),
    ("views.blur_kernel", 1 << 10),
    ("views.occlusion_count", 100_000),
    ("views.patch_pixels", 1 << 16),
];
/// The most of other whole numbers: steps, intervals.
const MOST_OF_OTHERS: i64 = 1_000_000_000;
/// The most of numbers with a fraction.
const MOST_OF_FRACTIONS: f64 = 1e9;

/// Checks every number of a configuration.
///
/// # Errors
/// The first that is too large: its key, the most, and what was given.
pub(super) fn check(settings: &Table) -> Result<(), String> {
    leaves(settings).into_iter().try_for_each(|(path, value)| number(&path.join("."), value))
}

fn number(key: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Integer(number) => match most_of(key) {
            Some(most) if *number > most => Err(format!("{key}: expected at most {most}, got {number}")),
            _ => Ok(()),
        },
        Value::Float(number) if *number > MOST_OF_FRACTIONS => {
            Err(format!("{key}: expected at most {MOST_OF_FRACTIONS:e}, got {number:e}"))
        }
        Value::Array(values) => values.iter().try_for_each(|value| match value {
            Value::Table(table) => {
                leaves(table).into_iter().try_for_each(|(path, value)| number(&format!("{key}.{}", path.join(".")), value))
            }
            value => number(key, value),
        }),
        _ => Ok(()),
    }
}

/// None for a seed, which is any number.
fn most_of(key: &str) -> Option<i64> {
    let ends = |end: &str| key.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    if ends("seed") || ends("seeds") {
        return None;
    }
    Some(MOST.iter().find(|(end, _)| ends(end)).map_or(MOST_OF_OTHERS, |(_, most)| *most))
}
