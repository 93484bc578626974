//! The problems that a command trains and measures on: read once, with the model's tokenizer, before anything begins.

use std::io::Write;

use anyhow::Result;

use super::data::report;
use crate::config::Config;
use crate::error::TrainError;
use crate::problems::data::{DataConfig, Dataset, Purpose, has_split_to_measure, import_for};
use crate::problems::prompts::{Problems, Prompt, test_prompts};
use crate::problems::reading::Reader;
use crate::problems::tasks::Task;
use crate::records::run::Beginning;

/// Problems that are never trained on.
pub(super) enum Unseen {
    /// The task's test split.
    Task(Box<Task>),
    /// Data, in the order in which they are measured, and where they come from.
    Data(Dataset, String),
}

impl Unseen {
    /// The first `count` problems, or all of data that have fewer.
    ///
    /// # Errors
    /// If a picture can no longer be decoded.
    pub(super) fn prompts(&self, count: usize) -> Result<Vec<Prompt>, TrainError> {
        match self {
            Unseen::Task(task) => Ok(test_prompts(task, 0..count as u64)),
            Unseen::Data(data, _) => Problems::Data(data.clone()).training(0..count.min(data.examples.len()) as u64, 0),
        }
    }

    /// Where they come from.
    pub(super) fn name(&self) -> String {
        match self {
            Unseen::Task(task) => format!("{} level {}, test split", task.config().name(), task.config().level),
            Unseen::Data(_, name) => name.clone(),
        }
    }
}

/// What a run learns from and what it is measured on.
pub(super) struct Sources {
    pub(super) training: Problems,
    /// None if there is nothing that is not trained on.
    pub(super) unseen: Option<Unseen>,
    /// With the data: a resumed run needs the same.
    pub(super) beginning: Beginning,
}

impl Sources {
    /// Reads them, and says which rows are left out and what is measured.
    ///
    /// # Errors
    /// Data that cannot be read, rows that are refused, or more problems kept back than there are.
    pub(super) fn open(config: &Config, reader: Reader<'_>, out: &mut dyn Write) -> Result<Sources> {
        let mut beginning = Beginning::default();
        let (mut training, mut unseen) = (None, None);
        if let Some(data) = &config.data {
            let all = read(data, Purpose::Training, reader, out)?;
            beginning.add_data("data", &all)?;
            let (rest, kept) = match config.eval.data {
                Some(_) => (all, None),
                None => hold_out(all, config)?,
            };
            unseen = match kept {
                Some(kept) => {
                    let name = format!("{} of {}, kept back from training", kept.examples.len(), data.path);
                    Some(Unseen::Data(kept, name))
                }
                None if config.eval.data.is_none() && has_split_to_measure(data)? => {
                    let measured = read(data, Purpose::Measuring, reader, out)?;
                    beginning.add_data("eval.data", &measured)?;
                    Some(Unseen::Data(measured, format!("another split of {} than is trained on", data.path)))
                }
                None => None,
            };
            training = Some(Problems::Data(rest));
        }
        if let Some(data) = &config.eval.data {
            let read = read(data, Purpose::Measuring, reader, out)?;
            beginning.add_data("eval.data", &read)?;
            unseen = Some(Unseen::Data(read, data.path.to_string()));
        }
        let task = || Ok::<_, anyhow::Error>(Box::new(Task::new(&config.task)?));
        if config.data.is_none() && unseen.is_none() {
            unseen = Some(Unseen::Task(task()?));
        }
        let training = training.map_or_else(|| Ok::<_, anyhow::Error>(Problems::Task(task()?)), Ok)?;
        Ok(Sources { training, unseen, beginning })
    }
}

/// Reads data with the model that is to read them, and says what was left out.
pub(super) fn read(data: &DataConfig, purpose: Purpose, reader: Reader<'_>, out: &mut dyn Write) -> Result<Dataset> {
    let dataset = reader.keep_readable(import_for(data, purpose)?, data)?;
    report(data, &dataset, out)?;
    Ok(dataset)
}

/// What is left to train on, and `eval.holdout` problems that are not.
fn hold_out(all: Dataset, config: &Config) -> Result<(Dataset, Option<Dataset>)> {
    let (count, holdout) = (all.examples.len(), config.eval.holdout);
    if holdout == 0 {
        return Ok((all, None));
    }
    if holdout >= count {
        let problem = format!("eval.holdout: expected fewer than the {count} problems of data, got {holdout}");
        return Err(TrainError::Unsupported(problem).into());
    }
    let (rest, kept) = all.hold_out(holdout);
    Ok((rest, Some(kept)))
}
