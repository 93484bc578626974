//! The section `run`: where results go, seed, device.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where results go, seed, device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run's folder. Default: method, task and time (UTC), as in `cppo-digits-20260131-140509`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Folder that holds all runs. Default `runs`.
    pub folder: PathBuf,
    /// Seed of every random draw of the run except the task's problems, which have their own (`task.seed`). 0 to 2^63 − 1. Default 0.
    pub seed: u64,
    /// `auto` (a hardware GPU if there is one, else the CPU), `cpu`, `gpu`, or an adapter by number or part of its name. Default `auto`.
    pub device: String,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { name: None, folder: "runs".into(), seed: 0, device: "auto".into() }
    }
}

impl RunConfig {
    /// The name, or one made of `method`, `task` and the date (`seconds` since 1970).
    pub(super) fn name_or(&self, method: &str, task: &str, seconds: u64) -> String {
        self.name.clone().unwrap_or_else(|| format!("{method}-{task}-{}", timestamp(seconds)))
    }

    /// The first field that is out of range, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = self.name.as_deref().unwrap_or("x");
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(format!("name: expected the name of a folder, got {name}"));
        }
        if self.seed > i64::MAX as u64 {
            return Err(format!("seed: expected at most 2^63 − 1, got {}", self.seed));
        }
        Ok(())
    }
}

/// `seconds` since 1970 as `YYYYMMDD-HHMMSS`, UTC.
fn timestamp(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(seconds);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// `seconds` since 1970 as `YYYY-MM-DDTHH:MM:SSZ` (RFC 3339).
pub(crate) fn rfc3339(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month, day, hour, minute, second, UTC (Howard Hinnant's civil-from-days).
fn civil(seconds: u64) -> [u64; 6] {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153; // March is 0
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    [year, month, day, time / 3600, time / 60 % 60, time % 60]
}
