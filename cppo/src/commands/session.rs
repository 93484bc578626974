//! What every training run does besides training: it records, shows how far it is, saves, stops when asked, and says how to go on.

use std::fmt;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use percept_engine::Device;

use super::interrupt;
use super::outcome::{Advised, Outcome};
use super::words::counted;
use crate::config::Settings;
use crate::error::TrainError;
use crate::records::report::write_report;
use crate::records::run::{Evaluation, Metrics, Recorder, RunFolder};
use crate::records::statistics::average_at_n;
use crate::training::checkpoint::is_finite;
use crate::training::world::World;

/// How long a run is, and what it keeps.
pub(super) struct Course {
    /// The subcommand, for the advice to go on with it.
    pub(super) command: &'static str,
    pub(super) steps: u64,
    /// 0: only at the end.
    pub(super) save_every: u64,
    pub(super) keep_checkpoints: usize,
    pub(super) updates_per_step: usize,
}

/// A run at work. Of several ranks the first writes and draws; those of the others keep quiet.
pub(super) struct Session<'a> {
    records: Option<Records>,
    course: Course,
    bar: ProgressBar,
    out: &'a mut dyn Write,
}

/// Where a run writes.
struct Records {
    folder: RunFolder,
    recorder: Recorder,
}

impl<'a> Session<'a> {
    /// Goes on in `folder` after `step`: what is recorded beyond it is cut off. Without a folder this is another rank than the first. From here on Ctrl-C is noted.
    pub(super) fn new(
        folder: Option<RunFolder>,
        course: Course,
        step: u64,
        device: &Device,
        out: &'a mut dyn Write,
    ) -> Result<Session<'a>> {
        let Some(folder) = folder else {
            interrupt::watch()?;
            return Ok(Session { records: None, course, bar: ProgressBar::hidden(), out });
        };
        let recorder = folder.record_after(step)?;
        let mut notices = of_another_machine(&folder, device)?;
        notices.extend(missing_steps(&folder, step)?);
        folder.note_start(step, course.command, &device.to_string())?;
        interrupt::watch()?;
        let bar = ProgressBar::new(course.steps).with_position(step);
        bar.set_style(ProgressStyle::with_template("{bar:12} {pos}/{len}  {elapsed}, {eta} left  {wide_msg}").expect("a valid template"));
        let mut session = Session { records: Some(Records { folder, recorder }), course, bar, out };
        if step > 0 {
            session.say(format_args!("going on after step {step}"));
            notices.iter().for_each(|notice| session.say(notice));
        }
        Ok(session)
    }

    /// Prints a line above the bar.
    pub(super) fn say(&mut self, line: impl fmt::Display) {
        if self.records.is_none() {
            return;
        }
        // a run does not end because nobody reads what it says: a closed pipe, a terminal that is gone
        self.bar.suspend(|| drop(writeln!(self.out, "{line}")));
    }

    /// Writes down settings that are others than before.
    pub(super) fn note_settings<S: Settings + PartialEq>(&self, now: &S, before: &S) -> Result<()> {
        if let Some(records) = self.records.as_ref().filter(|_| now != before) {
            records.folder.set_config(now)?;
        }
        Ok(())
    }

    /// Where samples go; nowhere on another rank than the first.
    pub(super) fn recorder(&mut self) -> Option<&mut Recorder> {
        self.records.as_mut().map(|records| &mut records.recorder)
    }

    /// Writes and shows what a step did. A loss that is not a number ends the run: the checkpoints are from before it.
    pub(super) fn record(&mut self, metrics: &Metrics, summary: &str) -> Result<()> {
        let step = metrics.step();
        if let Some(recorder) = self.recorder() {
            recorder.metrics(metrics)?;
        }
        self.bar.set_position(step);
        self.bar.set_message(summary.to_owned());
        let is_loss = |name: &str| name == "loss" || name.ends_with("/loss");
        if let Some((name, _)) = metrics.values().iter().find(|(name, value)| is_loss(name) && !value.is_finite()) {
            return Err(TrainError::NotANumber { what: name.clone() }.into());
        }
        if let Some(skipped) = metrics.get("updates/skipped").filter(|skipped| *skipped > 0.0) {
            self.say(format_args!("step {step}: {skipped} updates skipped: the gradient is not finite"));
        }
        let steps = self.course.steps;
        if self.bar.is_hidden() && (step.is_multiple_of(10) || step == steps) {
            self.say(format_args!("step {step}/{steps}  {summary}"));
        }
        Ok(())
    }

    /// Writes and prints an evaluation, and returns its accuracy, 0 to 1.
    pub(super) fn evaluation(&mut self, evaluation: &Evaluation) -> Result<f64> {
        if let Some(recorder) = self.recorder() {
            recorder.evaluation(evaluation)?;
        }
        let all = &evaluation.categories[0];
        let estimate = average_at_n(&all.correct, all.samples);
        self.say(format_args!(
            "step {}: {} accuracy {:.1} % [{:.1}, {:.1}] on {}, {} each",
            evaluation.step,
            evaluation.decoding,
            100.0 * estimate.rate,
            100.0 * estimate.low,
            100.0 * estimate.high,
            counted(all.problems(), "problem"),
            counted(all.samples, "response")
        ));
        Ok(estimate.rate)
    }

    /// Whether a checkpoint is due after `step`, whatever else happened.
    pub(super) fn is_save_due(&self, step: u64) -> bool {
        let Course { steps, save_every, .. } = self.course;
        step == steps || (save_every > 0 && step.is_multiple_of(save_every))
    }

    /// Whether there is a checkpoint of `step`.
    pub(super) fn is_saved(&self, step: u64) -> bool {
        self.records.as_ref().is_some_and(|records| records.folder.checkpoints().is_ok_and(|saved| saved.contains(&step)))
    }

    /// Has `write` make the checkpoint of `step`, then removes those that are neither the `best` nor among the last.
    pub(super) fn save(&mut self, step: u64, best: Option<u64>, write: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<()> {
        let Some(Records { folder, recorder }) = &mut self.records else { return Ok(()) };
        // a checkpoint must not be ahead of its metrics
        recorder.sync()?;
        let path = folder.checkpoint(step);
        write(&path)?;
        // one that nothing can go on from must not push out those before it
        if !is_finite(&path)? {
            folder.remove_checkpoint(step)?;
            return Err(TrainError::NotANumber { what: format!("a weight after step {step}, or the optimiser's state,") }.into());
        }
        // before others go: no link points at one that is gone
        folder.link_checkpoints(best)?;
        let saved = folder.checkpoints()?;
        let keep_from = saved.len().saturating_sub(self.course.keep_checkpoints.max(1));
        for step in saved[..keep_from].iter().filter(|step| Some(**step) != best) {
            folder.remove_checkpoint(*step)?;
        }
        Ok(())
    }

    /// Ends a run that stands after `step` as it was planned, or as [`interrupt::requested`].
    pub(super) fn finish(&mut self, step: u64) -> Result<Outcome> {
        self.bar.finish_and_clear();
        if step == self.course.steps {
            self.check_learnt()?;
        }
        let ends = if step == self.course.steps { Outcome::Done } else { Outcome::Interrupted };
        let Some(Records { folder, .. }) = &self.records else { return Ok(ends) };
        let (command, report, folder) = (self.course.command, write_report(folder.path())?, folder.path().display().to_string());
        self.say(format_args!("report: {}", report.display()));
        if ends == Outcome::Done {
            return Ok(ends);
        }
        self.say(format_args!("stopped after step {step}; go on with: percept {command} --resume {folder}"));
        Ok(ends)
    }

    /// A run whose updates were all skipped has learnt nothing, and is no success.
    pub(super) fn check_learnt(&self) -> Result<()> {
        let Some(Records { folder, .. }) = &self.records else { return Ok(()) };
        let steps = folder.metrics()?;
        let is_skipped = |step: &Metrics| step.get("updates/skipped").is_some_and(|skipped| skipped >= self.course.updates_per_step as f64);
        if !steps.is_empty() && steps.iter().all(is_skipped) {
            return Err(TrainError::NotANumber { what: "every update was skipped, nothing was learnt: the gradient".into() }.into());
        }
        Ok(())
    }

    /// The error that ended the run, with what is left and how to go on.
    pub(super) fn advise(&self, error: anyhow::Error) -> anyhow::Error {
        self.bar.abandon();
        let Some(Records { folder: run, .. }) = &self.records else { return error };
        let last = run.checkpoints().ok().and_then(|saved| saved.last().copied());
        let folder = run.path().display();
        let finite = || {
            let saved = run.checkpoints().ok()?;
            saved.into_iter().rev().find(|step| is_finite(&run.checkpoint(*step)).is_ok_and(|finite| finite))
        };
        let is_not_a_number = matches!(error.downcast_ref::<TrainError>(), Some(TrainError::NotANumber { .. }));
        let advice = match (last, finite().filter(|_| is_not_a_number)) {
            (_, Some(step)) => {
                format!(
                    "the last checkpoint with finite weights is {}: start from it with a lower learning rate",
                    run.checkpoint(step).display()
                )
            }
            _ if is_not_a_number => "start anew with a lower learning rate, or with another model".to_owned(),
            (Some(last), None) => format!("saved up to step {last}; go on with: percept {} --resume {folder}", self.course.command),
            (None, None) => format!("there is no checkpoint yet; start again with: percept {} --resume {folder}", self.course.command),
        };
        Advised { error, advice, outcome: Outcome::Failed }.into()
    }
}

/// What a run goes on with that it was not last at work with: another version or device may round otherwise.
fn of_another_machine(folder: &RunFolder, device: &Device) -> Result<Vec<String>> {
    let Some(last) = folder.starts()?.pop() else { return Ok(Vec::new()) };
    let pairs = [("Percept", last.version, env!("CARGO_PKG_VERSION").to_owned()), ("device", last.device, device.to_string())];
    let others = pairs.into_iter().filter(|(_, before, now)| before != now);
    Ok(others.map(|(what, before, now)| format!("{what}: {before} before, {now} now: from here on the last bits may differ")).collect())
}

/// That lines are missing of steps that are done.
fn missing_steps(folder: &RunFolder, step: u64) -> Result<Option<String>> {
    let missing = folder.missing_steps(step)?;
    let Some(first) = missing.first() else { return Ok(None) };
    Ok(Some(format!(
        "WARNING: {}: nothing is recorded of {} of {step} steps, the first step {first}; the report goes without them",
        folder.path().join("metrics.jsonl").display(),
        missing.len()
    )))
}

/// Has `read` restore the last checkpoint in `folder`, if there is one. One that is damaged is an error that says which older one there is.
pub(super) fn restore_last(folder: &RunFolder, read: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<()> {
    let saved = folder.checkpoints()?;
    let Some((last, older)) = saved.split_last() else { return Ok(()) };
    let path = folder.checkpoint(*last);
    read(&path).map_err(|error| {
        let advice = match older.last() {
            Some(older) => format!("remove {} to go on from the checkpoint of step {older}", path.display()),
            None => format!("there is no older checkpoint; remove {} to start again", path.display()),
        };
        Advised { error: error.into(), advice, outcome: Outcome::BadInput }.into()
    })
}

/// Whether somebody asked any of the ranks to stop: all of them stop then, after the same step.
pub(super) fn is_stop_requested(world: &World) -> bool {
    let [_, requested] = world.range_of("whether to stop", f64::from(u8::from(interrupt::requested())));
    requested > 0.0
}

/// Names the step at which something failed.
pub(super) fn at_step<T>(step: u64, result: Result<T, impl Into<anyhow::Error>>) -> Result<T> {
    result.map_err(Into::into).with_context(|| format!("step {step}"))
}
