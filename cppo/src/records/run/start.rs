//! What decides the bits of a run besides its seed: the model it starts from, its data, its settings. They are noted when it begins, and a run that goes on is compared with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use percept_model::ModelPlace;
use serde::{Deserialize, Serialize};

use super::checksums::crc32;
use super::{RunError, RunFolder, entries};
use crate::config::{ConfigError, Settings, changed, value_of};
use crate::problems::data::{DataError, Dataset};
use crate::records::files;

const START: &str = "start.json";

/// What a run begins with, by CRC-32: it tells whether something was changed, not whether somebody meant harm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// The files of the model that are read, by their names; those of an adapter as `adapter/…`.
    pub model: BTreeMap<String, u32>,
    /// What is read of the data, by the names of their settings.
    pub data: BTreeMap<String, u32>,
    /// The data's files as a whole, by setting and name.
    pub data_files: BTreeMap<String, u32>,
    /// All settings, as TOML.
    pub config: String,
}

/// What is another than it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// What decides the bits, a line for each.
    pub deciding: Vec<String>,
    /// What does not, likewise.
    pub harmless: Vec<String>,
}

impl Beginning {
    /// With all files of the directory `model` that are read: weights, JSON, chat template. Nothing of a new model.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn with_model(mut self, model: Option<&Path>) -> Result<Beginning, RunError> {
        let Some(model) = model else { return Ok(self) };
        let place = ModelPlace::find(model, None)?;
        self.model.extend(checksums(&place.base, "")?);
        if let Some(adapter) = &place.adapter {
            self.model.extend(checksums(adapter, "adapter/")?);
        }
        Ok(self)
    }

    /// Adds data that are read for `setting`: a checksum of their problems, and of each of their files.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn add_data(&mut self, setting: &str, data: &Dataset) -> Result<(), RunError> {
        self.data.insert(setting.to_owned(), data.fingerprint()?);
        for path in &data.files {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let checksum = crc32(path).map_err(|source| DataError::Io { path: path.clone(), source })?;
            // files of the same name in different folders count in their order
            let number = self.data_files.keys().filter(|known| known.starts_with(&format!("{setting}: {name}"))).count();
            let suffix = if number == 0 { String::new() } else { format!(" ({})", number + 1) };
            self.data_files.insert(format!("{setting}: {name}{suffix}"), checksum);
        }
        Ok(())
    }
}

impl RunFolder {
    /// Compares what the run goes on with after `step` with what it began with. Settings named in `harmless` do not decide the bits of what is still to come.
    ///
    /// # Errors
    /// If the note of the beginning cannot be read.
    pub fn changes<S: Settings>(&self, step: u64, now: &Beginning, harmless: &[&str]) -> Result<Changes, RunError> {
        let mut changes = Changes::default();
        let then = match self.beginning()? {
            Some(then) => then,
            None if step == 0 => return Ok(changes),
            None => {
                changes.deciding.push(format!("{START}: missing: nothing tells what the run began with"));
                return Ok(changes);
            }
        };
        compare("model/", "", [&then.model, &now.model], &mut changes.deciding);
        compare("", " (problems, answers, pictures, or their order)", [&then.data, &now.data], &mut changes.deciding);
        let mut files = Vec::new();
        compare("", "", [&then.data_files, &now.data_files], &mut files);
        let is_decided = |line: &&String| {
            now.data.iter().any(|(setting, sum)| line.starts_with(&format!("{setting}: ")) && then.data.get(setting) != Some(sum))
        };
        changes.harmless.extend(files.iter().filter(|line| !is_decided(line)).map(|line| format!("{line}, but not in what is read of it")));
        settings::<S>(&then.config, &now.config, harmless, &mut changes);
        Ok(changes)
    }

    /// What the run began with; none if that is not noted.
    ///
    /// # Errors
    /// If the note cannot be read or is damaged.
    pub fn beginning(&self) -> Result<Option<Beginning>, RunError> {
        let path = self.path().join(START);
        let text = match files::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| RunError::io(&path, error))?,
        };
        let damaged = |error: serde_json::Error| RunError::Damaged { path, line: error.line(), problem: error.to_string() };
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Notes what the run begins or goes on with, if that is not what is noted.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note_beginning(&self, now: &Beginning) -> Result<(), RunError> {
        if self.beginning().is_ok_and(|then| then.as_ref() == Some(now)) {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(now).expect("plain data");
        self.write(START, format!("{text}\n").as_bytes())
    }
}

/// A line for each name that is only in one, or has other sums.
fn compare(before: &str, after: &str, [then, now]: [&BTreeMap<String, u32>; 2], lines: &mut Vec<String>) {
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    for name in names {
        let what = match (then.get(name), now.get(name)) {
            (Some(then), Some(now)) if then == now => continue,
            (Some(then), Some(now)) => format!("changed: CRC-32 {then:08x} before, {now:08x} now"),
            (Some(_), None) => "gone".into(),
            (None, _) => "new".into(),
        };
        lines.push(format!("{before}{name}: {what}{after}"));
    }
}

/// A line for each setting that differs.
fn settings<S: Settings>(then: &str, now: &str, harmless: &[&str], changes: &mut Changes) {
    if then == now {
        return;
    }
    let parsed = |text: &str| -> Result<S, ConfigError> { S::parse(text, "config.toml", &[]) };
    let (then, now) = match (parsed(then), parsed(now)) {
        (Ok(then), Ok(now)) => (then, now),
        (Err(error), _) | (_, Err(error)) => {
            changes.deciding.push(format!("{error}: the settings cannot be compared with those at the beginning"));
            return;
        }
    };
    let keys = changed(&then, &now);
    if keys.is_empty() {
        changes.harmless.push("config.toml: written otherwise; no setting differs".into());
    }
    for key in keys {
        let line = format!("config.toml: {key}: {} before, {} now", value_of(&then, &key), value_of(&now, &key));
        if harmless.contains(&key.as_str()) { changes.harmless.push(line) } else { changes.deciding.push(line) }
    }
}

/// CRC-32 of every file of a model that is read.
fn checksums(directory: &Path, prefix: &str) -> Result<BTreeMap<String, u32>, RunError> {
    let mut checksums = BTreeMap::new();
    for entry in entries(directory)? {
        let path = entry.path();
        let is_read = path.extension().is_some_and(|extension| ["safetensors", "json", "jinja"].iter().any(|read| extension == *read));
        if is_read && path.is_file() {
            let checksum = crc32(&path).map_err(|e| RunError::io(&path, e))?;
            checksums.insert(format!("{prefix}{}", entry.file_name().to_string_lossy()), checksum);
        }
    }
    Ok(checksums)
}
