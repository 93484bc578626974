//! A run's folder: what was in force, what happened, and what can be continued.
//!
//! ```text
//! runs/<name>/config.toml            everything that was in force
//!             metrics.jsonl          one object per step, the same bytes for the same seed and device (times and memory aside)
//!             events.out.tfevents.*  the same for TensorBoard: numbers, evaluations, and of each sampled prompt the picture and a response
//!             evaluations.jsonl      one object per evaluation: accuracy by category, with counts
//!             samples.jsonl          one object per response: tokens, reward, advantage, entropy shifts, perception mask
//!             images/                the pictures of the samples, PNG
//!             checkpoints/step-N/    Hugging Face directories with the trainer's state, and links `best` and `last` to two of them
//!             start.json             checksums of the model and data it started from, and the settings
//!             starts.jsonl           when, with what version, on what device and after which step it was begun and resumed
//!             report.html            all of it, to look at
//!             .lock                  locked by the process that is at work on the run
//! ```
//!
//! Files grow by whole lines. A run that was killed is resumed from a checkpoint: lines after the checkpoint's step are cut off,
//! an unfinished last line too, and the steps are done again. A full disk leaves whole lines only.

mod checksums;
mod error;
mod events;
mod lines;
mod links;
mod metrics;
mod names;
mod records;
mod start;

pub(crate) use checksums::crc32;
pub use error::RunError;
pub use events::EventWriter;
pub use lines::LineWriter;
pub use links::followed;
pub use metrics::Metrics;
pub use names::{MetricName, is_time, metric_names};
pub use records::{CategoryResult, Evaluation, Launch, Sample, TokenRole};
pub use start::{Beginning, Changes};

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use image::RgbImage;
use percept_model::atomic;

use super::statistics::{average_at_n, pass_at_k};
use crate::config::{ConfigError, Settings, rfc3339};
use crate::records::files;

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder `run.folder`/name and writes `config.toml` into it, with the name filled in. Where the name is made of the time, runs that start in the same second are numbered.
    ///
    /// # Errors
    /// A run of the given name that exists already (nothing in it is touched), or a folder that cannot be written.
    pub fn create(config: &impl Settings) -> Result<RunFolder, RunError> {
        let mut config = config.clone();
        let (name, is_given) = (config.run_name(seconds_since_1970() as u64), config.run().name.is_some());
        let mut number = 1;
        loop {
            let name = if number == 1 { name.clone() } else { format!("{name}-{number}") };
            match RunFolder::create_as(&config, &name) {
                Err(RunError::Exists { .. }) if !is_given => number += 1,
                created => return created,
            }
        }
    }

    /// The folder is locked while it is made: of two processes that make the same one, the second finds the first's configuration.
    fn create_as(config: &impl Settings, name: &str) -> Result<RunFolder, RunError> {
        let mut config = config.clone();
        let folder = RunFolder { path: config.run().folder.join(name) };
        let exists = || RunError::Exists { path: folder.path.clone() };
        // looked for before the lock is tried, which may be that of a run at work
        if folder.path.join(CONFIG).exists() {
            return Err(exists());
        }
        fs::create_dir_all(&folder.path).map_err(|e| RunError::io(&folder.path, e))?;
        let _locked = folder.lock().map_err(|error| if matches!(error, RunError::Busy { .. }) { exists() } else { error })?;
        if folder.path.join(CONFIG).exists() {
            return Err(exists());
        }
        for part in [IMAGES, CHECKPOINTS] {
            let part = folder.path.join(part);
            fs::create_dir_all(&part).map_err(|e| RunError::io(&part, e))?;
        }
        config.run().name = Some(name.to_owned());
        folder.write(CONFIG, config.to_toml().as_bytes())?;
        Ok(folder)
    }

    /// A folder that [`RunFolder::create`] made.
    ///
    /// # Errors
    /// If there is no `config.toml` in it.
    pub fn open(path: &Path) -> Result<RunFolder, RunError> {
        let config = path.join(CONFIG);
        files::check(&config).map_err(|e| RunError::io(&config, e))?;
        Ok(RunFolder { path: path.to_owned() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of `config.toml`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn config_text(&self) -> Result<String, RunError> {
        let path = self.path.join(CONFIG);
        files::read_to_string(&path).map_err(|e| RunError::io(&path, e))
    }

    /// Where the checkpoint of `step` is or goes.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(CHECKPOINTS).join(format!("step-{step}"))
    }

    /// Steps that have a checkpoint, in order.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<u64>, RunError> {
        let entries = entries(&self.path.join(CHECKPOINTS))?;
        let step = |entry: &fs::DirEntry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok();
        let mut steps: Vec<u64> = entries.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Removes the checkpoint of `step`. Killed half-way, it leaves nothing that looks like one.
    ///
    /// # Errors
    /// If it is not there or cannot be removed.
    pub fn remove_checkpoint(&self, step: u64) -> Result<(), RunError> {
        let (path, aside) = (self.checkpoint(step), self.path.join(CHECKPOINTS).join(format!("{UNFINISHED}old-step-{step}")));
        let removed = fs::rename(&path, &aside).and_then(|()| fs::remove_dir_all(&aside));
        removed.map_err(|e| RunError::io(&path, e))
    }

    /// The steps up to `step` that `metrics.jsonl` has no line for.
    ///
    /// # Errors
    /// As [`RunFolder::metrics`].
    pub fn missing_steps(&self, step: u64) -> Result<Vec<u64>, RunError> {
        let there: BTreeSet<u64> = self.metrics()?.iter().map(Metrics::step).collect();
        Ok((1..=step).filter(|step| !there.contains(step)).collect())
    }

    /// Writers that continue after `step`; later records are cut off. 0 starts anew. Unfinished files of a killed process
    /// are removed. No other process can write while these writers exist.
    ///
    /// # Errors
    /// Another process that is at work on the run, a file that cannot be written, or a line up to `step` that is damaged.
    pub fn record_after(&self, step: u64) -> Result<Recorder, RunError> {
        let lock = self.lock_patiently()?;
        self.remove_unfinished()?;
        if step == 0 {
            self.remove_events()?;
        }
        Ok(Recorder {
            folder: self.clone(),
            _lock: lock,
            metrics: LineWriter::open(&self.path.join(METRICS), step)?,
            evaluations: LineWriter::open(&self.path.join(EVALUATIONS), step)?,
            samples: LineWriter::open(&self.path.join(SAMPLES), step)?,
            events: EventWriter::create(&self.path, seconds_since_1970(), step)?,
            shown: Vec::new(),
        })
    }

    /// A process that wants to make a folder of this name holds the lock for a moment, until it sees that the folder is there.
    fn lock_patiently(&self) -> Result<File, RunError> {
        const TRIES: usize = 20;
        for _ in 1..TRIES {
            match self.lock() {
                Err(RunError::Busy { .. }) => std::thread::sleep(Duration::from_millis(10)),
                locked => return locked,
            }
        }
        self.lock()
    }

    /// Held as long as the file is open; the system takes it back when the process ends, however it ends.
    fn lock(&self) -> Result<File, RunError> {
        let path = self.path.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| RunError::io(&path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(RunError::Busy { path: self.path.clone() }),
            // a file system without locks must not keep anybody from training
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(file),
            Err(TryLockError::Error(e)) => Err(RunError::io(&path, e)),
        }
    }

    /// Removes what atomic writes had not finished.
    fn remove_unfinished(&self) -> Result<(), RunError> {
        for folder in [self.path.clone(), self.path.join(IMAGES), self.path.join(CHECKPOINTS)] {
            for entry in entries(&folder)? {
                let (path, name) = (entry.path(), entry.file_name());
                if [UNFINISHED, ".tmp"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                    let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    removed.map_err(|e| RunError::io(&path, e))?;
                }
            }
        }
        Ok(())
    }

    /// A file for TensorBoard that is continued says so; one that is replaced must go.
    fn remove_events(&self) -> Result<(), RunError> {
        let is_events = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(EVENTS);
        for entry in entries(&self.path)?.iter().filter(|entry| is_events(entry)) {
            fs::remove_file(entry.path()).map_err(|e| RunError::io(&entry.path(), e))?;
        }
        Ok(())
    }

    /// All steps that are recorded. A last line that is not whole is left out, as [`RunFolder::record_after`] would.
    ///
    /// # Errors
    /// A file that cannot be read or a line that is damaged.
    pub fn metrics(&self) -> Result<Vec<Metrics>, RunError> {
        lines::read(&self.path.join(METRICS))
    }

    /// All evaluations that are recorded.
    ///
    /// # Errors
    /// As [`RunFolder::metrics`].
    pub fn evaluations(&self) -> Result<Vec<Evaluation>, RunError> {
        let path = self.path.join(EVALUATIONS);
        let evaluations: Vec<Evaluation> = lines::read(&path)?;
        for (number, evaluation) in evaluations.iter().enumerate() {
            evaluation.check().map_err(|problem| RunError::Damaged { path: path.clone(), line: number + 1, problem })?;
        }
        Ok(evaluations)
    }

    /// All samples that are recorded.
    ///
    /// # Errors
    /// As [`RunFolder::metrics`].
    pub fn samples(&self) -> Result<Vec<Sample>, RunError> {
        lines::read(&self.path.join(SAMPLES))
    }

    /// Every time that the run was begun or resumed; none for runs of versions that did not note it.
    ///
    /// # Errors
    /// As [`RunFolder::metrics`].
    pub fn starts(&self) -> Result<Vec<Launch>, RunError> {
        lines::read(&self.path.join(STARTS))
    }

    /// Notes that the run is begun, or goes on, after `step`, with `command` on `device`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note_start(&self, step: u64, command: &str, device: &str) -> Result<(), RunError> {
        let time = rfc3339(seconds_since_1970() as u64);
        let launch = Launch { step, time, version: env!("CARGO_PKG_VERSION").into(), command: command.into(), device: device.into() };
        LineWriter::append_to(&self.path.join(STARTS))?.append(&launch)
    }

    /// What was in force.
    ///
    /// # Errors
    /// If it cannot be read, or is that of another command.
    pub fn config<S: Settings>(&self) -> Result<S, ConfigError> {
        self.config_with(&[])
    }

    /// What was in force, with some of it changed (each `key=value`).
    ///
    /// # Errors
    /// As [`RunFolder::config`], and what is wrong with a change.
    pub fn config_with<S: Settings>(&self, overrides: &[String]) -> Result<S, ConfigError> {
        S::load(&self.path.join(CONFIG), overrides)
    }

    /// Replaces what is in force from now on.
    ///
    /// # Errors
    /// If it cannot be written; then what was in force still is.
    pub fn set_config(&self, config: &impl Settings) -> Result<(), RunError> {
        self.write(CONFIG, config.to_toml().as_bytes())
    }

    /// Writes a file of the folder, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written; then what was there is still there.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<(), RunError> {
        Ok(atomic::write_file(&self.path.join(name), contents)?)
    }
}

/// Writes what happens in a run, step by step.
pub struct Recorder {
    folder: RunFolder,
    _lock: File,
    metrics: LineWriter,
    evaluations: LineWriter,
    samples: LineWriter,
    events: EventWriter,
    /// Step and prompt of what TensorBoard was shown of this step.
    shown: Vec<(u64, u64)>,
}

impl Recorder {
    /// Adds a step to `metrics.jsonl` and to TensorBoard's events.
    ///
    /// # Errors
    /// If it cannot be written, for example because the disk is full.
    pub fn metrics(&mut self, metrics: &Metrics) -> Result<(), RunError> {
        self.metrics.append(metrics)?;
        self.events.append(seconds_since_1970(), metrics)
    }

    /// Adds an evaluation.
    ///
    /// # Errors
    /// As [`Recorder::metrics`].
    pub fn evaluation(&mut self, evaluation: &Evaluation) -> Result<(), RunError> {
        self.evaluations.append(evaluation)?;
        let mut metrics = Metrics::new(evaluation.step);
        for category in evaluation.distinct_categories() {
            let name = |what: &str| format!("eval/{}/{}/{what}", evaluation.decoding, category.name.replace(' ', "_"));
            metrics.set(&name("accuracy"), average_at_n(&category.correct, category.samples).rate);
            if category.samples > 1 {
                metrics.set(&name(&format!("pass@{}", category.samples)), pass_at_k(&category.correct, category.samples, category.samples));
            }
        }
        self.events.append(seconds_since_1970(), &metrics)
    }

    /// Adds a response.
    ///
    /// # Errors
    /// As [`Recorder::metrics`].
    pub fn sample(&mut self, sample: &Sample) -> Result<(), RunError> {
        self.samples.append(sample)?;
        let shown = (sample.step, sample.prompt_id);
        if self.shown.last() == Some(&shown) {
            return Ok(());
        }
        self.shown.retain(|(step, _)| *step == sample.step);
        self.shown.push(shown);
        self.show(sample, self.shown.len())
    }

    /// The first response to the step's prompt number `number` and its picture, for TensorBoard.
    fn show(&mut self, sample: &Sample, number: usize) -> Result<(), RunError> {
        let now = seconds_since_1970();
        let Sample { step, prompt, answer, response, reward, image, .. } = sample;
        let code = |text: &str| format!("\n```\n{}\n```\n", text.replace("```", "'''"));
        let text = format!("**asked**{}**right answer**{}**response, reward {reward:.2}**{}", code(prompt), code(answer), code(response));
        self.events.append_text(now, *step, &format!("samples/{number}"), &text)?;
        if image.is_empty() {
            return Ok(());
        }
        let path = self.folder.path.join(image);
        let png = files::read(&path).map_err(|e| RunError::io(&path, e))?;
        // a PNG says its width and height at bytes 16 and 20
        let side = |at: usize| png.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")));
        self.events.append_picture(now, *step, &format!("samples/{number}"), &png, [side(16), side(20)])
    }

    /// Writes a sample's picture and returns what [`Sample::image`] calls it: `images/<name>.png`.
    ///
    /// # Errors
    /// As [`Recorder::metrics`].
    pub fn picture(&self, name: &str, picture: &RgbImage) -> Result<String, RunError> {
        let name = picture_name(name);
        self.png(&name, &png(picture))?;
        Ok(name)
    }

    /// Writes a picture that is encoded already, under its [`picture_name`].
    ///
    /// # Errors
    /// As [`Recorder::metrics`].
    pub fn png(&self, name: &str, png: &[u8]) -> Result<(), RunError> {
        self.folder.write(name, png)
    }

    /// Waits until everything is on the disk. Call it before a checkpoint is written: a checkpoint must not be ahead of its metrics.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&mut self) -> Result<(), RunError> {
        self.metrics.sync()?;
        self.evaluations.sync()?;
        self.samples.sync()
    }
}

/// What [`Sample::image`] calls a picture: `images/<name>.png`.
pub fn picture_name(name: &str) -> String {
    format!("{IMAGES}/{name}.png")
}

/// A picture as a PNG.
pub fn png(picture: &RgbImage) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("a picture in memory can be encoded");
    png.into_inner()
}

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const EVALUATIONS: &str = "evaluations.jsonl";
const SAMPLES: &str = "samples.jsonl";
const STARTS: &str = "starts.jsonl";
const EVENTS: &str = "events.out.tfevents.";
const IMAGES: &str = "images";
const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = ".lock";
/// Names of unfinished or half-removed checkpoints begin with this.
const UNFINISHED: &str = ".percept-";

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, RunError> {
    fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| RunError::io(folder, e))
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
