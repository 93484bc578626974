//! Which keys exist, and which one was probably meant.

use toml::{Table, Value};

/// All keys of `table`, dotted, including those of sections.
pub(super) fn known_keys(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    collect(table, "", &mut keys);
    keys
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

/// The values in `table` that are not tables, and empty tables, with their paths.
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

/// Lays `over` over `table`: tables are merged, other values replaced.
pub(super) fn merge(table: &mut Table, over: Table) {
    for (name, value) in over {
        match (table.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => merge(inner, over),
            (_, value) => drop(table.insert(name, value)),
        }
    }
}

/// Tables around `value`, so that it stands at `path`.
pub(super) fn table_of(path: &[String], value: Value) -> Table {
    let (first, rest) = path.split_first().expect("a path has a part");
    let value = if rest.is_empty() { value } else { Value::Table(table_of(rest, value)) };
    Table::from_iter([(first.clone(), value)])
}

/// The keys of the same name in tables of `key`'s section: where a field has moved that now belongs to a method.
pub(super) fn moved(key: &str, known: &[String]) -> Option<String> {
    let (section, name) = key.rsplit_once('.')?;
    let inside = |candidate: &&String| {
        let table = candidate.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')).and_then(|rest| rest.strip_suffix(name));
        table.is_some_and(|table| table.ends_with('.'))
    };
    let found: Vec<&str> = known.iter().filter(inside).map(String::as_str).collect();
    (!found.is_empty()).then(|| found.join(" or "))
}

/// Far longer than any key: what is longer is none with a slip of the pen.
const LONGEST: usize = 200;

/// The key most similar to `key`, compared as a whole or, in case it stands in the wrong section, by its last part.
/// None if no key is similar.
pub(super) fn nearest(key: &str, known: &[String]) -> Option<String> {
    if key.len() > LONGEST {
        return None;
    }
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |candidate: &String| edits(key, candidate).min(edits(&last(key), &last(candidate)) + 1);
    let best = known.iter().min_by_key(|candidate| (distance(candidate), edits(key, candidate)))?;
    (distance(best) <= 1 + last(key).chars().count() / 3).then(|| best.clone())
}

/// Levenshtein's distance: the number of characters to insert, delete or replace.
pub(super) fn edits(from: &str, to: &str) -> usize {
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
