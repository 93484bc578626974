//! How time and memory grow when something doubles.

use percept_engine::Device;

use super::training::trainer;
use super::{Effort, Row, Section, median};
use crate::config::Config;

/// What is doubled, and how.
const DOUBLED: [(&str, fn(&mut Config)); 2] = [
    ("prompts of a step", |config| config.rollout.prompts_per_step *= 2),
    ("responses to a prompt", |config| config.method.group_size *= 2),
];

/// The exponents of time and of memory of a training step: 1 if doubling something doubles them.
///
/// # Errors
/// If the model cannot be loaded or a step fails.
pub fn scaling(config: &Config, device: &Device, effort: Effort) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    for (name, double) in DOUBLED {
        let mut doubled = config.clone();
        double(&mut doubled);
        let mut trainers = [trainer(config, device)?, trainer(&doubled, device)?];
        let (mut times, mut peaks) = ([Vec::new(), Vec::new()], [0.0; 2]);
        for round in 0..=effort.rounds() {
            for (which, trainer) in trainers.iter_mut().enumerate() {
                device.reset_peak();
                let before = device.counters().live_bytes as f64;
                let metrics = trainer.step()?.metrics;
                if round > 0 {
                    times[which].push(metrics.get("time/step").unwrap_or(f64::NAN));
                }
                // both trainers' weights are live all the time
                peaks[which] = f64::max(peaks[which], device.counters().peak_bytes as f64 - before);
            }
        }
        let [time, doubled_time] = times.map(median);
        rows.push(Row::new(format!("{name}: time of a step"), exponent(time, doubled_time)));
        rows.push(Row::new(format!("{name}: memory of activations"), exponent(peaks[0], peaks[1])));
    }
    let about = "When something doubles, the time or memory grows by 2 to this power.";
    Ok(Section::new("Scaling", about, "exponent", rows))
}

/// The power of two by which a number grew when something doubled.
pub fn exponent(single: f64, doubled: f64) -> f64 {
    (doubled / single).log2()
}
