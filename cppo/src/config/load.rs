//! From TOML text and `--set` to settings, and back.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::bounds;
use super::keys::{edits, known_keys, leaves, merge, moved, nearest, table_of};
use super::other_names::other_name;
use super::run::RunConfig;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is not TOML.
    #[error("{origin}: {problem}")]
    Syntax {
        /// The file, or the `--set`.
        origin: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A key that does not exist.
    #[error("{origin}: {key}: no such key{}", nearest.as_ref().map(|key| format!("; did you mean {key}?")).unwrap_or_default())]
    UnknownKey {
        /// The file, or the `--set`.
        origin: String,
        /// The key, dotted.
        key: String,
        /// The most similar existing key, if one is similar at all.
        nearest: Option<String>,
    },
    /// A key of another project.
    #[error("{origin}: {key}: no such key; {words}")]
    OtherName {
        /// The file, or the `--set`.
        origin: String,
        /// The key, dotted.
        key: String,
        /// Whose name it is, and what it is called here.
        words: String,
    },
    /// A key that existed in an earlier version.
    #[error("{origin}: {key}: no such key; it is {to} now")]
    Moved {
        /// The file, or the `--set`.
        origin: String,
        /// The key, dotted.
        key: String,
        /// Where it is now.
        to: String,
    },
    /// A value of the wrong type.
    #[error("{origin}: {key}: {problem}")]
    Value {
        /// The file, or the `--set`.
        origin: String,
        /// The key, dotted.
        key: String,
        /// What is expected and what was given.
        problem: String,
    },
    /// A value out of range, or two values that do not fit each other.
    #[error("{origin}: {problem}")]
    Range {
        /// The file and the overrides.
        origin: String,
        /// The key, what is expected and what was given.
        problem: String,
    },
}

/// The settings that a training command reads from a TOML file and `--set`, and writes into the run's folder.
pub trait Settings: Clone + Default + Serialize + DeserializeOwned {
    /// Every table and key that a file may have, with some value.
    fn every_key() -> Table;

    /// Checks that every field is in range.
    ///
    /// # Errors
    /// The first field that is out of range: its key, what is expected and what was given.
    fn check(&self) -> Result<(), String>;

    /// The section `run`.
    fn run(&mut self) -> &mut RunConfig;

    /// `run.name`, or a default name made with the time, in `seconds` since 1970.
    fn run_name(&self, seconds: u64) -> String;

    /// The defaults, overridden by the file at `path`, overridden by `overrides` (each `key=value`). The result is checked.
    ///
    /// # Errors
    /// A file that cannot be read, text that is not TOML, an unknown key, a value of the wrong type or out of range.
    fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), overrides)
    }

    /// Like [`Settings::load`], but from text. Error messages call it `origin`.
    ///
    /// # Errors
    /// As [`Settings::load`].
    fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let syntax = |e: toml::de::Error| ConfigError::Syntax { origin: origin.to_owned(), problem: e.to_string().trim_end().to_owned() };
        let given: Table = toml::from_str(text).map_err(syntax)?;
        let mut whole = checked::<Self>(given, origin, None)?;
        for assignment in overrides {
            merge(&mut whole, Self::assignment(assignment)?);
        }
        let origin = || match overrides {
            [] => origin.to_owned(),
            _ => format!("{origin} with --set {}", overrides.join(" --set ")),
        };
        let settings = Self::deserialize(Value::Table(whole)).map_err(|e| ConfigError::Range { origin: origin(), problem: message(&e) })?;
        settings
            .check()
            .and_then(|()| bounds::check(&Table::try_from(&settings).expect("a configuration is a table")))
            .map_err(|problem| ConfigError::Range { origin: origin(), problem })?;
        Ok(settings)
    }

    /// What `key=value` sets, as a table to be laid over a file's.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    fn assignment(assignment: &str) -> Result<Table, ConfigError> {
        let (path, value, text) = parse_assignment(assignment)?;
        checked::<Self>(table_of(&path, value), &format!("--set {assignment}"), Some(&text))
    }

    /// All settings, defaults included, as TOML. [`Settings::parse`] reads it back to the same settings.
    fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are representable in TOML: check() limits the seed")
    }
}

/// The keys whose values differ.
pub fn changed<S: Settings>(before: &S, after: &S) -> Vec<String> {
    let [before, after] = [before, after].map(|settings| Table::try_from(settings).expect("a configuration is a table"));
    let [old, new] = [&before, &after].map(|table| leaves(table));
    let is_in = |leaf: &(Vec<String>, &Value), others: &[(Vec<String>, &Value)]| others.contains(leaf);
    let gone = old.iter().filter(|leaf| !is_in(leaf, &new)).map(|(path, _)| path.join("."));
    let come = new.iter().filter(|leaf| !is_in(leaf, &old)).map(|(path, _)| path.join("."));
    let mut keys: Vec<String> = gone.chain(come).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The value of a key, dotted, as TOML; `none` if it is not set.
pub fn value_of<S: Settings>(settings: &S, key: &str) -> String {
    let table = Table::try_from(settings).expect("a configuration is a table");
    leaves(&table).into_iter().find(|(path, _)| path.join(".") == key).map_or_else(|| "none".to_owned(), |(_, value)| value.to_string())
}

/// Checks that every key of `table` exists and that each value has the type of its key. Where text is expected, a number, a date, true and false stand for what was
/// `written`, if that is known: an adapter may be called 0, and a run 42.
fn checked<S: Settings>(mut table: Table, origin: &str, written: Option<&str>) -> Result<Table, ConfigError> {
    let known = known_keys(&S::every_key());
    let mut texts = Table::new();
    for (path, value) in leaves(&table) {
        let key = path.join(".");
        if !known.contains(&key) {
            return Err(unknown(key, origin.to_owned(), &known));
        }
        // serde does not name the key that failed, so keys are tried one at a time
        let is_accepted = |value: &Value| S::deserialize(Value::Table(table_of(&path, value.clone()))).map(drop);
        if let Err(e) = is_accepted(value) {
            let text = Value::String(written.map_or_else(|| value.to_string(), str::to_owned));
            let is_plain = matches!(value, Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_));
            if !is_plain || is_accepted(&text).is_err() {
                return Err(ConfigError::Value { origin: origin.to_owned(), key, problem: message(&e) });
            }
            merge(&mut texts, table_of(&path, text));
        }
    }
    merge(&mut table, texts);
    Ok(table)
}

/// What a key was probably meant to be: one that has moved, one of the same section with a slip of the pen, one that another project calls so, or the most similar.
fn unknown(key: String, origin: String, known: &[String]) -> ConfigError {
    if let Some(to) = moved(&key, known) {
        return ConfigError::Moved { origin, key, to };
    }
    let nearest = nearest(&key, known);
    match other_name(&key) {
        Some(name) if !nearest.as_ref().is_some_and(|nearest| edits(&key, nearest) <= 1 && key.contains('.')) => {
            ConfigError::OtherName { origin, key, words: name.in_words() }
        }
        _ => ConfigError::UnknownKey { origin, key, nearest },
    }
}

/// Reads `a.b=value`: the path, the value, and how it was written. The value is TOML; if it is not, it is taken as plain text, unless it starts like a list, a table
/// or quoted text.
fn parse_assignment(assignment: &str) -> Result<(Vec<String>, Value, String), ConfigError> {
    let syntax = |problem: String| ConfigError::Syntax { origin: format!("--set {assignment}"), problem };
    let (key, text) = assignment.split_once('=').ok_or_else(|| syntax("expected key=value".to_owned()))?;
    let path: Vec<String> = key.split('.').map(|part| part.trim().to_owned()).collect();
    if path.iter().any(String::is_empty) {
        return Err(syntax(format!("expected a dotted key before the =, got {key:?}")));
    }
    let text = text.trim();
    let value = match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("value"),
        Ok(_) => None,
        Err(e) if text.starts_with(['[', '{', '"', '\'']) => return Err(syntax(e.message().to_owned())),
        Err(_) => None,
    };
    let value = match value {
        Some(Value::Datetime(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    };
    Ok((path, value, text.to_owned()))
}

/// What serde says, in words of TOML instead of Rust's types.
fn message(error: &toml::de::Error) -> String {
    let text = error.message().trim_end();
    let Some((before, expected)) = text.rsplit_once(", expected ") else { return text.to_owned() };
    let words = match expected {
        "usize" | "u64" | "u32" => "a whole number, 0 or more",
        "i64" | "i32" => "a whole number",
        "f32" | "f64" => "a number",
        "a map" => "a table",
        "a sequence" => "a list",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{before}, expected {words}")
}
