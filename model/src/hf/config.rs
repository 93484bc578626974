//! `config.json`: read and written by the family that it names.

use crate::config::{ModelConfig, WeightDtype};
use crate::error::ModelError;
use crate::families;
use crate::hf::json::{self, Fields};
use serde_json::{Map, Value, json};
use std::path::Path;

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// Absent keys take transformers' defaults, unknown keys are kept for saving. Errors name the field that is of
    /// the wrong type, that Percept does not support, or that does not fit the others.
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        let map = json::read_object(path)?
            .ok_or_else(|| ModelError::Missing { path: path.to_path_buf(), needed_for: "the model's configuration" })?;
        Self::from_map(path, map)
    }

    /// Reads the text of a `config.json`; `path` is where it came from, for the errors.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, ModelError> {
        Self::from_map(path, json::parse_object(path, text)?)
    }

    fn from_map(path: &Path, loaded: Map<String, Value>) -> Result<Self, ModelError> {
        let top = Fields::new(path, &loaded);
        let (family, architecture) = families::named_in(&top)?;
        let config = Self { dtype: read_dtype(&top)?, ..(family.read_config)(architecture, &top)? };
        let config = Self { loaded, ..config };
        config.validate(path)?;
        Ok(config)
    }

    /// Checks that the sizes fit each other; errors name the field as it is called in `path`.
    pub fn validate(&self, path: &Path) -> Result<(), ModelError> {
        (families::of(self).validate)(self, path)
    }

    /// The contents of a `config.json`: the file this was read from with the fields of `self` put over it.
    ///
    /// What the two generations of transformers call differently is written under both names, `dtype` and `torch_dtype` among them.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut top = self.loaded.clone();
        let fields = [
            ("architectures", json!([self.architecture.class_name])),
            ("model_type", self.architecture.model_type.into()),
            ("dtype", self.dtype.name().into()),
            ("torch_dtype", self.dtype.name().into()),
        ];
        top.extend(fields.map(|(key, value)| (key.to_string(), value)));
        (families::of(self).write_config)(self, &mut top);
        top
    }
}

/// `dtype` (transformers ≥ 4.56) or `torch_dtype`; absent means float32.
fn read_dtype(top: &Fields) -> Result<WeightDtype, ModelError> {
    for key in ["dtype", "torch_dtype"] {
        if let Some(name) = top.text(key)? {
            let dtype = WeightDtype::ALL.into_iter().find(|dtype| dtype.name() == name);
            return dtype.ok_or_else(|| top.error(key, "float32, float16 or bfloat16", name));
        }
    }
    Ok(WeightDtype::F32)
}
