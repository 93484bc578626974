//! A choice among the layers of a model, as PEFT makes it (`target_modules`, `exclude_modules`).

use crate::error::ModelError;
use crate::hf::json::Fields;
use fancy_regex::Regex;
use serde_json::{Value, json};

/// Linear layers by what transformers calls them.
#[derive(Debug)]
pub(crate) enum Layers {
    /// Names, of which the last parts are enough: `q_proj`.
    Named(Vec<String>),
    /// A regular expression for whole names.
    Matching { text: String, regex: Box<Regex> },
    /// `all-linear`: every linear layer but the head.
    All,
}

/// What the fields hold, in words.
pub(super) const EXPECTED: &str = "a list of names, a regular expression, or all-linear";

impl Layers {
    /// The choice in field `name`; none if it is not made.
    pub(super) fn read(fields: &Fields, name: &str) -> Result<Option<Self>, ModelError> {
        let wrong = |got: String| fields.error(name, EXPECTED, got);
        match fields.map().get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text == "all-linear" => Ok(Some(Layers::All)),
            Some(Value::String(text)) => Layers::matching(text).map(Some).map_err(|error| wrong(format!("{text} ({error})"))),
            Some(Value::Array(names)) => {
                let names = names.iter().map(|name| name.as_str().map(String::from)).collect::<Option<Vec<String>>>();
                names.map(|names| Some(Layers::Named(names))).ok_or_else(|| wrong(fields.map()[name].to_string()))
            }
            Some(other) => Err(wrong(other.to_string())),
        }
    }

    /// The layers whose whole name `text` matches, as Python's `re.fullmatch` does.
    pub(crate) fn matching(text: &str) -> Result<Self, Box<fancy_regex::Error>> {
        Ok(Self::Matching { text: text.to_string(), regex: Box::new(Regex::new(&format!("^(?:{text})$"))?) })
    }

    /// # Errors
    /// If a regular expression takes too many steps.
    pub(crate) fn contain(&self, layer: &str) -> Result<bool, fancy_regex::Error> {
        let ends_with = |name: &String| layer.strip_suffix(name.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'));
        match self {
            Self::Named(names) => Ok(names.iter().any(ends_with)),
            Self::Matching { regex, .. } => regex.is_match(layer),
            Self::All => Ok(true),
        }
    }

    /// Whether the whole name stands there.
    pub(super) fn name(&self, layer: &str) -> bool {
        matches!(self, Self::Named(names) if names.iter().any(|name| name == layer))
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Named(names) => json!(names),
            Self::Matching { text, .. } => json!(text),
            Self::All => json!("all-linear"),
        }
    }
}
