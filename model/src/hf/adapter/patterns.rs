//! What `adapter_config.json` says of some layers alone: ranks and factors by pattern, and which of the numbered layers have an adapter.

use crate::error::ModelError;
use crate::hf::json::Fields;
use fancy_regex::Regex;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Values for the layers that a pattern fits (`rank_pattern`, `alpha_pattern`). A pattern is a regular expression for the end of a name: whole parts of it, or all.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<(String, Regex, f64)>);

impl Patterns {
    /// The object in field `name`; `is_value` tells what its values may be, in words `expected`.
    pub(super) fn read(fields: &Fields, name: &str, expected: &str, is_value: impl Fn(f64) -> bool) -> Result<Self, ModelError> {
        let Some(section) = fields.section(name)? else { return Ok(Self::default()) };
        let entry = |(pattern, value): (&String, &Value)| {
            let number = value.as_f64().filter(|number| is_value(*number)).ok_or_else(|| section.error(pattern, expected, value))?;
            let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
                .map_err(|error| fields.error(name, "regular expressions", format!("{pattern} ({error})")))?;
            Ok((pattern.clone(), regex, number))
        };
        section.map().iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// The value for `layer`; none if no pattern fits. PEFT takes the first one in the file that fits, but a JSON object has no order: those that fit must agree.
    ///
    /// # Errors
    /// If they do not agree, or a regular expression takes too many steps.
    pub(super) fn of(&self, layer: &str) -> Result<Option<f64>, String> {
        let mut found: Option<(&String, f64)> = None;
        for (pattern, regex, value) in &self.0 {
            if !regex.is_match(layer).map_err(|error| format!("{pattern} ({error})"))? {
                continue;
            }
            match found {
                Some((other, before)) if before != *value => {
                    return Err(format!("{other} and {pattern}, which both fit {layer} and differ"));
                }
                _ => found = Some((pattern, *value)),
            }
        }
        Ok(found.map(|(_, value)| value))
    }

    /// A value for each of these layers.
    pub(super) fn of_layers<'a>(values: impl Iterator<Item = (&'a String, f64)>) -> Self {
        let exactly = |layer: &str| Regex::new(&format!("^{}$", fancy_regex::escape(layer))).expect("nothing in it is special");
        Self(values.map(|(layer, value)| (layer.clone(), exactly(layer), value)).collect())
    }

    pub(super) fn to_json(&self) -> Value {
        self.0.iter().map(|(pattern, _, value)| (pattern.clone(), number(*value))).collect::<Map<_, _>>().into()
    }
}

/// PEFT wants whole numbers where they are; 0.1 · 10 is one, too.
pub(super) fn number(value: f64) -> Value {
    let whole = value.round();
    if (value - whole).abs() < 1e-9 * whole { json!(whole as u64) } else { json!(value) }
}

/// The numbers of layers that have an adapter (`layers_to_transform`), and after which part of a name a number counts (`layers_pattern`).
#[derive(Debug)]
pub(super) struct Numbered {
    numbers: BTreeSet<u64>,
    /// Each captures the number in a name.
    regexes: Vec<Regex>,
}

impl Numbered {
    /// None if all layers may have one.
    pub(super) fn read(fields: &Fields) -> Result<Option<Self>, ModelError> {
        const EXPECTED: &str = "a whole number or a list of them";
        let field = "layers_to_transform";
        let numbers = match fields.map().get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(numbers)) if numbers.is_empty() => return Ok(None),
            Some(Value::Array(numbers)) => numbers.iter().map(Value::as_u64).collect(),
            Some(number) => number.as_u64().map(|number| BTreeSet::from([number])),
        };
        let numbers = numbers.ok_or_else(|| fields.error(field, EXPECTED, &fields.map()[field]))?;
        let field = "layers_pattern";
        let wrong = |got: String| fields.error(field, "a name or a list of names", got);
        let patterns: Vec<&str> = match fields.map().get(field) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(one)) if one.is_empty() => Vec::new(),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => {
                all.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(|| wrong(fields.map()[field].to_string()))?
            }
            Some(other) => return Err(wrong(other.to_string())),
        };
        // the last number that stands between two parts of a name
        let any = [r"[^.]*"];
        let patterns = if patterns.is_empty() { &any[..] } else { &patterns };
        let regex =
            |pattern: &&str| Regex::new(&format!(r"^.*\.(?:{pattern})\.(\d+)\.")).map_err(|error| wrong(format!("{pattern} ({error})")));
        Ok(Some(Self { numbers, regexes: patterns.iter().map(regex).collect::<Result<_, _>>()? }))
    }

    /// # Errors
    /// If a regular expression takes too many steps.
    pub(super) fn contain(&self, layer: &str) -> Result<bool, fancy_regex::Error> {
        for regex in &self.regexes {
            if let Some(number) = regex.captures(layer)?.and_then(|captures| captures.get(1)) {
                return Ok(number.as_str().parse().is_ok_and(|number| self.numbers.contains(&number)));
            }
        }
        Ok(false)
    }
}
