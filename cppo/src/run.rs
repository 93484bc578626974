//! A run's folder: what was in force, what happened, and what can be continued.
//!
//! ```text
//! runs/<name>/config.toml            everything that was in force
//!             metrics.jsonl          one object a step, the same bytes for the same seed and device (times aside)
//!             events.out.tfevents.*  the same numbers for TensorBoard
//!             evaluations.jsonl      one object an evaluation: accuracy by category, with counts
//!             samples.jsonl          one object a response: tokens, reward, advantage, entropy shifts, perception mask
//!             images/                the pictures of the samples, PNG
//!             checkpoints/step-N/    Hugging Face directories with the trainer's state
//!             report.html            all of it, to look at
//! ```
//!
//! Files grow by whole lines. A run that was killed is continued from a checkpoint: lines after the checkpoint's step are cut off,
//! a last line that is not whole among them, and the steps are done again. A full disk leaves whole lines only.

mod crc32c;
mod error;
mod events;
mod lines;
mod metrics;
mod names;
mod records;

pub use error::RunError;
pub use events::EventWriter;
pub use lines::LineWriter;
pub use metrics::Metrics;
pub use names::{MetricName, is_time, metric_names};
pub use records::{CategoryResult, Evaluation, Sample, TokenRole};

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use image::RgbImage;
use percept_model::atomic;

use crate::config::Config;

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder `config.run.folder`/name and writes `config.toml` into it, with the name filled in.
    ///
    /// # Errors
    /// A folder that exists already (nothing in it is touched) or cannot be written.
    pub fn create(config: &Config) -> Result<RunFolder, RunError> {
        let name = config.run_name(seconds_since_1970() as u64);
        let path = config.run.folder.join(&name);
        if path.join(CONFIG).exists() {
            return Err(RunError::Exists { path });
        }
        for folder in [path.clone(), path.join(IMAGES), path.join(CHECKPOINTS)] {
            fs::create_dir_all(&folder).map_err(|e| RunError::io(&folder, e))?;
        }
        let folder = RunFolder { path };
        let mut config = config.clone();
        config.run.name = Some(name);
        folder.write(CONFIG, config.to_toml().as_bytes())?;
        Ok(folder)
    }

    /// A folder that [`RunFolder::create`] made.
    ///
    /// # Errors
    /// If there is no `config.toml` in it.
    pub fn open(path: &Path) -> Result<RunFolder, RunError> {
        let config = path.join(CONFIG);
        match fs::metadata(&config) {
            Ok(_) => Ok(RunFolder { path: path.to_owned() }),
            Err(e) => Err(RunError::io(&config, e)),
        }
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
        fs::read_to_string(&path).map_err(|e| RunError::io(&path, e))
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
        let folder = self.path.join(CHECKPOINTS);
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| RunError::io(&folder, e))?;
        let step = |entry: &fs::DirEntry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok();
        let mut steps: Vec<u64> = entries.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writers that go on after `step`: what is recorded beyond it is cut off. 0 starts anew.
    ///
    /// # Errors
    /// A file that cannot be written, or a line up to `step` that is damaged.
    pub fn record_after(&self, step: u64) -> Result<Recorder, RunError> {
        Ok(Recorder {
            folder: self.clone(),
            metrics: LineWriter::open(&self.path.join(METRICS), step)?,
            evaluations: LineWriter::open(&self.path.join(EVALUATIONS), step)?,
            samples: LineWriter::open(&self.path.join(SAMPLES), step)?,
            events: EventWriter::create(&self.path, seconds_since_1970(), step)?,
        })
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
        lines::read(&self.path.join(EVALUATIONS))
    }

    /// All samples that are recorded.
    ///
    /// # Errors
    /// As [`RunFolder::metrics`].
    pub fn samples(&self) -> Result<Vec<Sample>, RunError> {
        lines::read(&self.path.join(SAMPLES))
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
    metrics: LineWriter,
    evaluations: LineWriter,
    samples: LineWriter,
    events: EventWriter,
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
        self.evaluations.append(evaluation)
    }

    /// Adds a response.
    ///
    /// # Errors
    /// As [`Recorder::metrics`].
    pub fn sample(&mut self, sample: &Sample) -> Result<(), RunError> {
        self.samples.append(sample)
    }

    /// Writes a sample's picture and returns what [`Sample::image`] calls it: `images/<name>.png`.
    ///
    /// # Errors
    /// As [`Recorder::metrics`].
    pub fn picture(&self, name: &str, picture: &RgbImage) -> Result<String, RunError> {
        let name = format!("{IMAGES}/{name}.png");
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).expect("a picture in memory can be encoded");
        self.folder.write(&name, png.get_ref())?;
        Ok(name)
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

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const EVALUATIONS: &str = "evaluations.jsonl";
const SAMPLES: &str = "samples.jsonl";
const IMAGES: &str = "images";
const CHECKPOINTS: &str = "checkpoints";

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
