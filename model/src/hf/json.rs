//! Reading JSON files field by field, with errors that name file, field, expected and got.

use crate::error::ModelError;
use crate::hf::files;
use serde_json::{Map, Value};
use std::path::Path;

/// One section of a JSON file. Absent fields and `null` are both `None`: Hugging Face writes either.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    section: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The top level of the file at `path`.
    pub(crate) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self { path, section: String::new(), map }
    }

    /// The object in field `name`.
    pub(crate) fn section(&self, name: &str) -> Result<Option<Fields<'a>>, ModelError> {
        let map = self.typed(name, "an object", Value::as_object)?;
        Ok(map.map(|map| Fields { path: self.path, section: self.full_name(name) + ".", map }))
    }

    /// The file.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// The whole section.
    pub(crate) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// A whole number, zero included.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, ModelError> {
        self.typed(name, "a whole number", |value| value.as_u64().map(|n| n as usize))
    }

    /// A whole number above zero.
    pub(crate) fn positive(&self, name: &str) -> Result<Option<usize>, ModelError> {
        self.typed(name, "a whole number above 0", |value| value.as_u64().filter(|&n| n > 0).map(|n| n as usize))
    }

    /// A whole number above zero, at most `most`.
    pub(crate) fn size(&self, name: &str, most: usize) -> Result<Option<usize>, ModelError> {
        match self.positive(name)? {
            Some(size) if size > most => Err(self.error(name, &format!("at most {most}"), size)),
            size => Ok(size),
        }
    }

    /// A token id.
    pub(crate) fn token_id(&self, name: &str) -> Result<Option<u32>, ModelError> {
        self.typed(name, "a token id", as_token_id)
    }

    /// A token id. An absent field is `default`, an explicit `null` is none: transformers makes the same difference.
    pub(crate) fn token_id_or(&self, name: &str, default: Option<u32>) -> Result<Option<u32>, ModelError> {
        if self.map.contains_key(name) { self.token_id(name) } else { Ok(default) }
    }

    /// One token id, or a list of them; absent is the empty list.
    pub(crate) fn token_ids(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        let ids = self.typed(name, "a token id or a list of token ids", |value| match value {
            Value::Array(ids) => ids.iter().map(as_token_id).collect(),
            one => as_token_id(one).map(|id| vec![id]),
        })?;
        Ok(ids.unwrap_or_default())
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        self.typed(name, "a number", Value::as_f64)
    }

    /// A finite number above zero.
    pub(crate) fn positive_number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        match self.number(name)? {
            Some(number) if number <= 0.0 => Err(self.error(name, "a number above 0", number)),
            number => Ok(number),
        }
    }

    /// True or false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A string.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        self.typed(name, "a string", Value::as_str)
    }

    /// Errors unless the field is absent or `supported` is true of it.
    pub(crate) fn supports(&self, name: &str, expected: &str, supported: impl Fn(&Value) -> bool) -> Result<(), ModelError> {
        self.typed(name, expected, |value| supported(value).then_some(()))?;
        Ok(())
    }

    /// An error about field `name` of this section.
    pub(crate) fn error(&self, name: &str, expected: &str, got: impl ToString) -> ModelError {
        ModelError::field(self.path, self.full_name(name), expected, got)
    }

    fn typed<T>(&self, name: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, ModelError> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.error(name, expected, value)),
            },
        }
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.section)
    }
}

/// The JSON object in the file at `path`; `None` if there is no such file.
pub(crate) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, ModelError> {
    match files::read_text(path, files::MAX_JSON)? {
        Some(text) => parse_object(path, &text).map(Some),
        None => Ok(None),
    }
}

/// The JSON object in `text`, which was read from `path`.
pub(crate) fn parse_object(path: &Path, text: &str) -> Result<Map<String, Value>, ModelError> {
    let value = serde_json::from_str(text).map_err(|source| ModelError::Json { path: path.to_path_buf(), source })?;
    match value {
        Value::Object(map) => Ok(map),
        other => Err(ModelError::field(path, "(whole file)", "a JSON object", other)),
    }
}

fn as_token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
