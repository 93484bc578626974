//! The entries `[[reward]]` of a configuration.

use serde::{Deserialize, Serialize};

/// A reward of a run: its name, its weight in the sum, and what it measures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RewardConfig {
    /// Its name, of letters, digits, `-` and `_`: its mean is the metric `rewards/` and the name. The reward called `accuracy` also decides which groups `dapo` keeps; it and `format`
    /// stand in samples. Default: the kind.
    pub name: String,
    /// What its value is multiplied by. Default 1.
    pub weight: f32,
    /// What happens when it cannot be computed. Default `stop`.
    pub on_error: OnError,
    /// The key `kind`, and the fields of that kind.
    #[serde(flatten)]
    pub kind: RewardKind,
}

/// What happens when a reward cannot be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run stops, with what it has learnt saved.
    #[default]
    Stop,
    /// It counts as 0 for all responses of the step; that is said, and counted in the metric `rewards/failed`.
    Zero,
}

/// What a reward measures. Values are 0 to 1 where nothing else is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RewardKind {
    /// 1 if the marked answer is right ([`answers_equal`](crate::problems::answer::answers_equal)), else 0.
    Accuracy {},
    /// 1 if the whole response matches, else 0.
    Format {
        /// A regular expression; its dot also matches a newline. Default: that of the default reward, `<think>.*</think>.*\\boxed\{.*\}.*`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
    },
    /// The soft overlong punishment (DAPO, arXiv 2503.14476, equation 13; TRL's `get_soft_overlong_punishment`): 0, then falling to -1 over the last `soft_tokens`, -1 beyond.
    Length {
        /// From here on it is -1. Default 1024.
        #[serde(default = "max_tokens")]
        max_tokens: usize,
        /// Tokens before that over which it falls. Default 256.
        #[serde(default = "soft_tokens")]
        soft_tokens: usize,
    },
    /// The share of the tags that stand in the response exactly once (open-r1's `tag_count_reward`).
    TagCount {
        /// The tags. Default: `<think>`, `</think>`, `<answer>`, `</answer>`.
        #[serde(default = "tags")]
        tags: Vec<String>,
    },
    /// 1 if the letters of the answer are those of the truth, in any order, else 0.
    Choice {},
    /// 1 if the answer is near the truth, else 0; of a truth that is no number, 1 if the text is the same (ChartQA's relaxed accuracy, arXiv 2203.10244).
    Numeric {
        /// Largest difference, as a share of the truth. Default 0.05.
        #[serde(default = "tolerance")]
        tolerance: f64,
    },
    /// The normalised Levenshtein similarity (ANLS of one answer; DocVQA, arXiv 1907.00490). A truth that is a JSON list of texts has several spellings, of which the nearest counts.
    Anls {
        /// Below this similarity it is 0. Default 0.5.
        #[serde(default = "half")]
        threshold: f64,
    },
    /// Intersection over union of two boxes, each `[x1, y1, x2, y2]`.
    Iou {
        /// With it: 1 if the intersection over union is at least this, else 0. Default: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f64>,
    },
    /// 1 if the pattern is found in the response, else 0.
    Regex {
        /// A regular expression. No default.
        #[serde(default)]
        pattern: String,
    },
    /// What a program says: see `docs/rewards.md`.
    Command {
        /// The program and its arguments; no shell reads them. No default.
        #[serde(default)]
        command: Vec<String>,
        /// It is stopped after this time, for all responses of a step together. Default 300.
        #[serde(default = "timeout_seconds")]
        timeout_seconds: f64,
    },
}

fn max_tokens() -> usize {
    1024
}

fn soft_tokens() -> usize {
    256
}

fn tags() -> Vec<String> {
    ["<think>", "</think>", "<answer>", "</answer>"].map(str::to_owned).into()
}

fn tolerance() -> f64 {
    0.05
}

fn half() -> f64 {
    0.5
}

fn timeout_seconds() -> f64 {
    300.0
}

impl RewardKind {
    /// The names of the kinds.
    pub const NAMES: [&str; 10] = ["accuracy", "format", "length", "tag_count", "choice", "numeric", "anls", "iou", "regex", "command"];

    /// The names of the fields that the kind `name` has besides those that all have; none if there is no such kind.
    pub fn fields(name: &str) -> Option<&'static [&'static str]> {
        Some(match name {
            "accuracy" | "choice" => &[],
            "format" | "regex" => &["pattern"],
            "length" => &["max_tokens", "soft_tokens"],
            "tag_count" => &["tags"],
            "numeric" => &["tolerance"],
            "anls" | "iou" => &["threshold"],
            "command" => &["command", "timeout_seconds"],
            _ => return None,
        })
    }

    /// The first field that is out of range, in words.
    fn check(&self) -> Result<(), String> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        match self {
            RewardKind::Format { pattern: Some(pattern) } | RewardKind::Regex { pattern } => {
                if pattern.is_empty() {
                    return Err("pattern: expected a regular expression, got none".into());
                }
                regex::Regex::new(pattern).map(drop).map_err(|e| format!("pattern: {e}"))
            }
            RewardKind::Length { max_tokens, soft_tokens } if *max_tokens == 0 || soft_tokens > max_tokens => {
                Err(format!("soft_tokens: expected at most max_tokens, which is above 0; got {soft_tokens} and {max_tokens}"))
            }
            RewardKind::TagCount { tags } if tags.is_empty() || tags.iter().any(String::is_empty) => {
                Err(format!("tags: expected some texts, none of them empty, got {tags:?}"))
            }
            RewardKind::Numeric { tolerance } if !(*tolerance >= 0.0 && tolerance.is_finite()) => {
                Err(format!("tolerance: expected 0 or more, got {tolerance}"))
            }
            RewardKind::Anls { threshold } | RewardKind::Iou { threshold: Some(threshold) } if !share(*threshold) => {
                Err(format!("threshold: expected 0 to 1, got {threshold}"))
            }
            RewardKind::Command { command, timeout_seconds } => {
                if command.first().is_none_or(String::is_empty) {
                    return Err(format!("command: expected a program and its arguments, got {command:?}"));
                }
                let holds = *timeout_seconds > 0.0 && *timeout_seconds <= 1e6;
                if holds { Ok(()) } else { Err(format!("timeout_seconds: expected above 0 and at most 1e6, got {timeout_seconds}")) }
            }
            _ => Ok(()),
        }
    }
}

/// Checks the entries of a configuration: each by itself, and that their names differ and some weight is not 0.
///
/// # Errors
/// The entry, its field, what is expected and what was given.
pub fn check(rewards: &[RewardConfig]) -> Result<(), String> {
    for (number, reward) in rewards.iter().enumerate() {
        let RewardConfig { name, weight, kind, .. } = reward;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) || name == "failed" {
            return Err(format!("reward: name: expected letters, digits, - and _, and not `failed`, got {name:?}"));
        }
        if rewards[..number].iter().any(|other| other.name == *name) {
            return Err(format!("reward: name: expected names that differ, got {name} twice"));
        }
        if !weight.is_finite() {
            return Err(format!("reward: {name}: weight: expected a finite number, got {weight}"));
        }
        kind.check().map_err(|problem| format!("reward: {name}: {problem}"))?;
    }
    match rewards.is_empty() || rewards.iter().any(|reward| reward.weight != 0.0) {
        true => Ok(()),
        false => Err("reward: weight: expected one that is not 0, got only 0: nothing would be learnt".into()),
    }
}
