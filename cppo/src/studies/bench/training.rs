//! A training step by phase, of two methods in turn.

use percept_engine::Device;

use super::{Effort, Limits, Row, Section, median};
use crate::config::Config;
use crate::problems::prompts::Problems;
use crate::problems::tasks::Task;
use crate::training::policy::{load_encoder, load_policy};
use crate::training::trainer::Trainer;

const PHASES: [(&str, &str); 4] =
    [("rollout", "time/rollout"), ("perturbed pictures", "time/views"), ("update", "time/update"), ("whole step", "time/step")];

/// A trainer on drawn problems.
pub(super) fn trainer(config: &Config, device: &Device) -> anyhow::Result<Trainer> {
    let model = load_policy(&config.model, device, config.run.seed)?;
    let problems = Problems::Task(Box::new(Task::new(&config.task)?));
    Ok(Trainer::new(model, load_encoder(&config.model)?, problems, config.clone())?)
}

/// Seconds of the phases of a step under two configurations, which differ in their method, and what follows from them.
///
/// # Errors
/// If the model cannot be loaded or a step fails.
pub fn training(configs: &[Config; 2], device: &Device, limits: &Limits, effort: Effort) -> anyhow::Result<Section> {
    let [plain, own] = configs;
    let mut trainers = [trainer(plain, device)?, trainer(own, device)?];
    let names = configs.each_ref().map(|config| config.method.own.name());
    let mut times = [(); 2].map(|()| vec![Vec::new(); PHASES.len()]);
    let (mut speeds, mut peaks) = ([Vec::new(), Vec::new()], [0.0; 2]);
    for round in 0..=effort.rounds() {
        for (which, trainer) in trainers.iter_mut().enumerate() {
            device.reset_peak();
            let before = device.counters();
            let metrics = trainer.step()?.metrics;
            let after = device.counters();
            if round == 0 && effort == Effort::Full {
                continue; // it warms up
            }
            let value = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
            times[which].iter_mut().zip(PHASES).for_each(|(times, (_, name))| times.push(value(name)));
            speeds[which].push(2e-9 * (after.multiply_adds - before.multiply_adds) as f64 / value("time/step"));
            peaks[which] = f64::max(peaks[which], value("memory/peak_bytes"));
        }
    }
    let mut rows = Vec::new();
    let mut steps = Vec::new();
    for ((name, times), (speeds, peak)) in names.into_iter().zip(times).zip(speeds.into_iter().zip(peaks)) {
        let medians: Vec<f64> = times.into_iter().map(median).collect();
        rows.extend(PHASES.iter().zip(&medians).map(|((phase, _), &time)| Row::new(format!("{name}: {phase}, s"), time)));
        rows.push(Row::below(format!("{name}: matrix products, GFLOP/s over the whole step"), median(speeds), limits.gflops));
        rows.push(Row::new(format!("{name}: most memory in tensors, MB"), 1e-6 * peak));
        steps.push(medians[3]);
    }
    rows.push(Row::new(format!("{}: its step over that of {}", names[1], names[0]), steps[1] / steps[0]));
    let about = format!(
        "{} prompts with {} responses each. The time of everything that is no matrix product counts in the share of the limit.",
        own.rollout.prompts_per_step, own.method.group_size
    );
    Ok(Section::new("A training step", &about, "", rows))
}
