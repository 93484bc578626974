//! Which keys there are, and which one was probably meant.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{Config, LoraSection};
use crate::data::DataConfig;
use crate::tasks::chart::ChartConfig;
use crate::tasks::digits::DigitsConfig;
use crate::tasks::shapes::ShapesConfig;

/// All keys, dotted, sections among them.
pub(super) fn known_keys() -> Vec<String> {
    let table = Table::try_from(with_every_key()).expect("a configuration is a table");
    let mut keys = Vec::new();
    collect(&table, "", &mut keys);
    keys
}

/// A configuration in which no optional field is left out.
fn with_every_key() -> Config {
    let mut config = Config::default();
    let data = DataConfig {
        image_root: Some(PathBuf::new()),
        limit: Some(0),
        image_column: Some(String::new()),
        problem_column: Some(String::new()),
        answer_column: Some(String::new()),
        ..DataConfig::default()
    };
    config.run.name = Some(String::new());
    config.model.do_image_splitting = Some(true);
    config.model.lora = Some(LoraSection::default());
    config.task.digits = Some(DigitsConfig::level(1));
    config.task.shapes = Some(ShapesConfig::level(1));
    config.task.chart = Some(ChartConfig::level(1));
    config.data = Some(data.clone());
    config.eval.data = Some(data);
    config
}

fn collect(table: &Table, prefix: &str, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        if let Value::Table(inner) = value {
            collect(inner, &format!("{key}."), keys);
        }
        keys.push(key);
    }
}

/// The values in `table` that are no tables, and empty tables, with their paths.
pub(super) fn leaves(table: &Table) -> Vec<(Vec<String>, &Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                found.extend(leaves(inner).into_iter().map(|(path, value)| ([vec![name.clone()], path].concat(), value)));
            }
            _ => found.push((vec![name.clone()], value)),
        }
    }
    found
}

/// Tables around `value`, so that it stands at `path`.
pub(super) fn table_of(path: &[String], value: Value) -> Table {
    let (first, rest) = path.split_first().expect("a path has a part");
    let value = if rest.is_empty() { value } else { Value::Table(table_of(rest, value)) };
    Table::from_iter([(first.clone(), value)])
}

/// The key that differs least from `key`: as a whole, or, if it stands in the wrong section, in its last part.
/// None if even that is no more similar than any two words.
pub(super) fn nearest(key: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |candidate: &String| edits(key, candidate).min(edits(&last(key), &last(candidate)) + 1);
    let best = known.iter().min_by_key(|candidate| (distance(candidate), edits(key, candidate)))?;
    (distance(best) <= 1 + last(key).chars().count() / 3).then(|| best.clone())
}

/// Levenshtein's distance: insertions, deletions and replacements of a character.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
