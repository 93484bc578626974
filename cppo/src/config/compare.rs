//! The file of `percept compare`: which methods, which seeds, which changes of the settings, and the settings they share.
//!
//! ```toml
//! [compare]
//! base = "grpo"                       # what the others are compared with
//! methods = ["grpo", "cppo", "papo"]
//! seeds = [0, 1, 2, 3, 4]
//!
//! [[compare.variations]]              # the same methods, or those named here, with some settings changed
//! name = "k3"
//! methods = ["cppo"]
//! set.method.cppo.detector = "k3"
//!
//! [model]                             # from here on the file of a run: what all cells share
//! path = "assets/tiny-vlm"
//! ```
//!
//! A *row* is a method, with or without a variation; a *cell* is a row with a seed, and one training run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::bounds;
use super::keys::merge;
use super::load::{ConfigError, Settings};
use super::train::Config;
use crate::methods::{AnyMethod, DEFAULT};

/// A comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareConfig {
    /// What is compared, and how it is measured.
    pub compare: CompareSection,
    /// The rows, in the order of the file: methods, then variations.
    pub rows: Vec<Row>,
    /// The file, for messages.
    origin: String,
    /// The settings that all cells share, as they stand in the file.
    shared: Table,
}

/// The section `compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareSection {
    /// A title for reports. Default: the file's name.
    pub title: String,
    /// Folder of the cells and of the results. Default `runs/` and the file's name.
    pub folder: PathBuf,
    /// The row that the others are compared with. Default `grpo`.
    pub base: String,
    /// Methods that run with the shared settings. Default: `grpo` and `cppo`.
    pub methods: Vec<String>,
    /// Seeds of the cells. The same seed gives every row the same problems, and the same draws as far as they draw the same things. Default 0 to 4.
    pub seeds: Vec<u64>,
    /// What is equal for all rows. Default `updates`.
    pub budget: Budget,
    /// Problems of the test split on which the final policy is measured. Default 1000.
    pub problems: usize,
    /// Sampled responses to each of them, besides one greedy response. Default 4.
    pub samples: usize,
    /// Problems of the robustness test, one greedy response to each changed picture; 0 for none. Default 500.
    pub robustness_problems: u64,
    /// Problems on which the detectors of perception tokens are measured; 0 for none. Default 200.
    pub detector_problems: u64,
    /// Rows with changed settings.
    pub variations: Vec<Variation>,
}

/// What is equal for all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// The number of updates, `train.steps`.
    Updates,
    /// The time of training: that of the base row's `train.steps`. How many steps of each row take as long is measured once, before the first cell, and kept in `budget.json`,
    /// so that cells stay reproducible.
    Time,
}

/// A change of the settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variation {
    /// Its name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What it is about, for reports. Default: nothing.
    pub about: String,
    /// The methods that run with it. Default: those of the comparison.
    pub methods: Vec<String>,
    /// The settings that differ, as in the file of a run.
    pub set: Table,
}

/// A line of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The method's name, and the variation's after a `+`.
    pub name: String,
    /// What it is, for reports.
    pub about: String,
    /// The method.
    pub method: String,
    /// The settings that differ from the shared ones.
    set: Table,
}

impl Default for CompareSection {
    fn default() -> Self {
        Self {
            title: String::new(),
            folder: PathBuf::new(),
            base: AnyMethod::NAMES[0].into(),
            methods: vec![AnyMethod::NAMES[0].into(), DEFAULT.into()],
            seeds: (0..5).collect(),
            budget: Budget::Updates,
            problems: 1000,
            samples: 4,
            robustness_problems: 500,
            detector_problems: 200,
            variations: Vec::new(),
        }
    }
}

impl CompareConfig {
    /// Reads a comparison from a file. `overrides` (each `key=value`) change the shared settings.
    ///
    /// # Errors
    /// As [`Settings::load`], for the section `compare` and for the settings of every row.
    pub fn load(path: &Path, overrides: &[String]) -> Result<CompareConfig, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        let name = path.file_stem().map_or("comparison".into(), |stem| stem.to_string_lossy().into_owned());
        Self::parse(&text, &path.display().to_string(), &name, overrides)
    }

    /// Like [`load`](CompareConfig::load), but from text. Error messages call it `origin`; `name` stands for the file's name in defaults.
    ///
    /// # Errors
    /// As [`load`](CompareConfig::load).
    pub fn parse(text: &str, origin: &str, name: &str, overrides: &[String]) -> Result<CompareConfig, ConfigError> {
        let syntax = |problem: String| ConfigError::Syntax { origin: origin.to_owned(), problem };
        let mut shared: Table = toml::from_str(text).map_err(|e| syntax(e.to_string().trim_end().to_owned()))?;
        let range = |problem: String| ConfigError::Range { origin: origin.to_owned(), problem };
        let section = shared.remove("compare").unwrap_or_else(|| Value::Table(Table::new()));
        let mut compare = CompareSection::deserialize(section).map_err(|e| range(format!("compare: {}", e.message().trim_end())))?;
        for assignment in overrides {
            merge(&mut shared, Config::assignment(assignment)?);
        }
        if compare.title.is_empty() {
            compare.title = name.to_owned();
        }
        if compare.folder.as_os_str().is_empty() {
            compare.folder = PathBuf::from("runs").join(name);
        }
        compare.check().map_err(|problem| range(format!("compare.{problem}")))?;
        let section = Value::try_from(&compare).expect("a section is a table");
        bounds::check(&Table::from_iter([("compare".to_owned(), section)])).map_err(range)?;
        let rows = compare.rows();
        let config = CompareConfig { compare, rows, origin: origin.to_owned(), shared };
        if !config.rows.iter().any(|row| row.name == config.compare.base) {
            let names: Vec<&str> = config.rows.iter().map(|row| row.name.as_str()).collect();
            return Err(range(format!("compare.base: expected one of the rows {}, got {}", names.join(", "), config.compare.base)));
        }
        for row in &config.rows {
            config.cell(row, 0)?;
        }
        Ok(config)
    }

    /// The settings of a cell. It is not measured during training.
    ///
    /// # Errors
    /// As [`Settings::parse`].
    pub fn cell(&self, row: &Row, seed: u64) -> Result<Config, ConfigError> {
        let origin = if row.set.is_empty() { self.origin.clone() } else { format!("{}, row {}", self.origin, row.name) };
        let mut whole = self.shared.clone();
        merge(&mut whole, row.set.clone());
        let text = toml::to_string(&whole).expect("what was read can be written");
        let mut config = Config::parse(&text, &origin, &[format!("method.name={}", row.method), format!("run.seed={seed}")])?;
        config.run.folder = self.compare.folder.clone();
        config.run.name = Some(cell_name(row, seed));
        (config.eval.problems, config.eval.every) = (0, 0);
        Ok(config)
    }

    /// Puts another path in the place of each that the file gives for a model, in the shared settings and in variations.
    ///
    /// # Errors
    /// The first of `other`.
    pub fn replace_models<E>(&mut self, mut other: impl FnMut(&Path) -> Result<PathBuf, E>) -> Result<(), E> {
        for settings in [&mut self.shared].into_iter().chain(self.rows.iter_mut().map(|row| &mut row.set)) {
            if let Some(Value::String(path)) = settings.get_mut("model").and_then(|model| model.get_mut("path")) {
                *path = other(Path::new(path.as_str()))?.display().to_string();
            }
        }
        Ok(())
    }

    /// The row of this name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// All cells: the first seed of every row first.
    pub fn cells(&self) -> Vec<(&Row, u64)> {
        self.compare.seeds.iter().flat_map(|&seed| self.rows.iter().map(move |row| (row, seed))).collect()
    }
}

/// The name of a cell's folder.
pub fn cell_name(row: &Row, seed: u64) -> String {
    format!("{}-seed{seed}", row.name)
}

impl CompareSection {
    /// The first field that is out of range, in words.
    fn check(&self) -> Result<(), String> {
        let of_variations = self.variations.iter().flat_map(|variation| &variation.methods);
        if let Some(unknown) = self.methods.iter().chain(of_variations).find(|name| AnyMethod::named(name).is_none()) {
            return Err(format!("methods: expected names among {}, got {unknown}", AnyMethod::NAMES.join(", ")));
        }
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if let Some(variation) = self.variations.iter().find(|variation| !is_name(&variation.name)) {
            return Err(format!("variations.name: expected letters, digits, -, _ and ., got {:?}", variation.name));
        }
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        if seeds.len() < self.seeds.len() || seeds.is_empty() {
            return Err(format!("seeds: expected at least one, each once, got {:?}", self.seeds));
        }
        let rows = self.rows();
        if let Some(twice) = rows.iter().find(|row| rows.iter().filter(|other| other.name == row.name).count() > 1) {
            return Err(format!("methods: expected every row once, got {} twice", twice.name));
        }
        if self.robustness_problems == 1 {
            return Err("robustness_problems: expected 0, or at least 2, got 1".into());
        }
        let positive = [("problems", self.problems), ("samples", self.samples)];
        positive.iter().find(|(_, value)| *value == 0).map_or(Ok(()), |(name, _)| Err(format!("{name}: expected at least 1, got 0")))
    }

    fn rows(&self) -> Vec<Row> {
        let about =
            |method: &str| AnyMethod::NAMES.iter().position(|name| *name == method).map_or("", |at| AnyMethod::ABOUT[at].trim()).to_owned();
        let plain =
            self.methods.iter().map(|method| Row { name: method.clone(), about: about(method), method: method.clone(), set: Table::new() });
        let varied = self.variations.iter().flat_map(|variation| {
            let methods = if variation.methods.is_empty() { &self.methods } else { &variation.methods };
            methods.iter().map(|method| Row {
                name: format!("{method}+{}", variation.name),
                about: if variation.about.is_empty() { format!("{method} with {}", flat(&variation.set)) } else { variation.about.clone() },
                method: method.clone(),
                set: variation.set.clone(),
            })
        });
        plain.chain(varied).collect()
    }
}

/// Settings in one line: `method.cppo.detector = "k3"`.
fn flat(table: &Table) -> String {
    let leaves = super::keys::leaves(table);
    leaves.iter().map(|(path, value)| format!("{} = {value}", path.join("."))).collect::<Vec<_>>().join(", ")
}
