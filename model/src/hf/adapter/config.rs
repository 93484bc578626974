//! `adapter_config.json`: which layers have an adapter, and how large it is.

use crate::error::ModelError;
use crate::hf::adapter::layers::{self, Layers};
use crate::hf::adapter::patterns::{Numbered, Patterns, number};
use crate::hf::json::{self, Fields};
use crate::layers::lora::Adapter;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The settings of a LoRA adapter.
#[derive(Debug)]
pub(crate) struct AdapterConfig {
    /// The file they were read from.
    path: PathBuf,
    /// `base_model_name_or_path`: a directory, or a name on the Hub.
    pub(crate) base: Option<String>,
    /// `r`, the width of the low-rank product.
    rank: usize,
    /// `rank_pattern`: other widths.
    ranks: Patterns,
    /// `lora_alpha`.
    alpha: f64,
    /// `alpha_pattern`: other factors.
    alphas: Patterns,
    /// `use_rslora`: the product is multiplied by `alpha / √rank` in place of `alpha / rank` (Kalajdzievski 2023, arXiv 2312.03732).
    by_root: bool,
    /// `target_modules`.
    targets: Layers,
    /// `exclude_modules`, which are not chosen although they are targets.
    excluded: Option<Layers>,
    /// `layers_to_transform`: of the targets, those in layers of these numbers.
    numbered: Option<Numbered>,
}

/// A linear layer that has an adapter.
#[derive(Debug)]
pub(crate) struct AdaptedLayer {
    /// The layer.
    pub(crate) name: String,
    /// Of its weight. `[out, in]`
    pub(crate) shape: [usize; 2],
    /// The width of the low-rank product.
    pub(crate) rank: usize,
    /// What the low-rank product is multiplied by.
    pub(crate) scale: f64,
}

/// Fields that change nothing in what an adapter computes once it is trained.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Fields that are read below.
const READ: &[&str] = &[
    "alpha_pattern",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "task_type",
    "use_rslora",
];

impl AdapterConfig {
    /// Reads an `adapter_config.json`.
    ///
    /// # Errors
    /// Names the field that is missing, of the wrong type, or asks for something that Percept does not have (DoRA, `modules_to_save`, ...). So is any field, known or not, that says more
    /// than null, false or nothing.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ModelError> {
        let map = json::read_object(path)?
            .ok_or_else(|| ModelError::Missing { path: path.to_path_buf(), needed_for: "the settings of the adapter" })?;
        let fields = Fields::new(path, &map);
        if fields.text("peft_type")? != Some("LORA") {
            return Err(fields.error("peft_type", "LORA", map.get("peft_type").unwrap_or(&Value::Null)));
        }
        fields.supports("task_type", "CAUSAL_LM or null", |value| value == "CAUSAL_LM")?;
        fields.supports("bias", "none", |value| value == "none")?;
        // the others put something else than zeros beside the weight, and take it off the weight
        let leaves_the_weight = |value: &Value| value.is_boolean() || ["gaussian", "orthogonal", "eva"].iter().any(|known| value == known);
        fields.supports(
            "init_lora_weights",
            "one that leaves the base as it is (true, false, gaussian, orthogonal, eva)",
            leaves_the_weight,
        )?;
        for (name, value) in map.iter().filter(|(name, _)| ![READ, WITHOUT_EFFECT].concat().contains(&name.as_str())) {
            if !is_nothing(value) {
                return Err(fields.error(name, "nothing (Percept does not support it)", value));
            }
        }
        let missing = |name: &str, expected: &str| fields.error(name, expected, "nothing");
        Ok(Self {
            path: path.to_path_buf(),
            base: fields.text("base_model_name_or_path")?.filter(|base| !base.is_empty()).map(String::from),
            rank: fields.positive("r")?.ok_or_else(|| missing("r", "a whole number above 0"))?,
            ranks: Patterns::read(&fields, "rank_pattern", "a whole number above 0", |rank| rank >= 1.0 && rank.fract() == 0.0)?,
            alphas: Patterns::read(&fields, "alpha_pattern", "a number above 0", |alpha| alpha > 0.0)?,
            numbered: Numbered::read(&fields)?,
            alpha: fields.positive_number("lora_alpha")?.ok_or_else(|| missing("lora_alpha", "a number above 0"))?,
            by_root: fields.flag("use_rslora")?.unwrap_or(false),
            targets: Layers::read(&fields, "target_modules")?.ok_or_else(|| missing("target_modules", layers::EXPECTED))?,
            excluded: Layers::read(&fields, "exclude_modules")?,
        })
    }

    /// Settings for adapters: `linears` are all layers that could have one, `vision` is what the names in the vision tower begin with.
    pub(crate) fn of(adapters: &BTreeMap<String, Adapter>, linears: &[(String, [usize; 2])], vision: &str, base: &Path) -> Self {
        let first = adapters.values().next().expect("there is an adapter");
        let last_part = |layer: &str| layer.rsplit('.').next().unwrap_or_default().to_string();
        let last_parts: BTreeSet<String> = adapters.keys().map(|layer| last_part(layer)).collect();
        let without: Vec<&str> = linears.iter().map(|(layer, _)| layer.as_str()).filter(|layer| !adapters.contains_key(*layer)).collect();
        let is_number = |part: &String| part.bytes().all(|byte| byte.is_ascii_digit());
        let unwanted: Vec<&str> = without.iter().copied().filter(|layer| last_parts.contains(&last_part(layer))).collect();
        let in_vision = |layer: &str| layer.starts_with(&format!("{vision}."));
        let pattern = format!(r"{}\..*", vision.replace('.', r"\."));
        let not_the_vision = || Some(Layers::matching(&pattern).expect("a plain pattern"));
        let leave_the_vision =
            |layers: &[&str]| layers.iter().all(|layer| in_vision(layer)) && !adapters.keys().any(|layer| in_vision(layer));
        // short names where they are enough, as most programs expect them
        let (targets, excluded) = match () {
            () if without.is_empty() => (Layers::All, None),
            () if last_parts.iter().any(is_number) && leave_the_vision(&without) => (Layers::All, not_the_vision()),
            // such a name is that of whole layers, too
            () if last_parts.iter().any(is_number) => (Layers::Named(adapters.keys().cloned().collect()), None),
            () if unwanted.is_empty() => (Layers::Named(last_parts.into_iter().collect()), None),
            () if leave_the_vision(&unwanted) => (Layers::Named(last_parts.into_iter().collect()), not_the_vision()),
            () => (Layers::Named(adapters.keys().cloned().collect()), None),
        };
        let rank_of = |adapter: &Adapter| adapter.down.dim(0);
        let alpha_of = |adapter: &Adapter| adapter.scale * rank_of(adapter) as f64;
        let (rank, alpha) = (rank_of(first), alpha_of(first));
        let others = |value: &dyn Fn(&Adapter) -> f64, usual: f64| {
            let of_layers = adapters.iter().map(|(layer, adapter)| (layer, value(adapter)));
            Patterns::of_layers(of_layers.filter(|(_, value)| (value - usual).abs() > 1e-9 * usual))
        };
        Self {
            path: PathBuf::new(),
            base: Some(base.to_string_lossy().into_owned()),
            rank,
            ranks: others(&|adapter| rank_of(adapter) as f64, rank as f64),
            alpha,
            alphas: others(&alpha_of, alpha),
            by_root: false,
            targets,
            excluded,
            numbered: None,
        }
    }

    /// The contents of the file.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base,
            "r": self.rank,
            "rank_pattern": self.ranks.to_json(),
            "lora_alpha": number(self.alpha),
            "alpha_pattern": self.alphas.to_json(),
            "use_rslora": self.by_root,
            "target_modules": self.targets.to_json(),
            "exclude_modules": self.excluded.as_ref().map(Layers::to_json),
            "bias": "none",
            "lora_dropout": 0.0,
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "inference_mode": true,
            "modules_to_save": null,
        })
    }

    /// Those of a model's linear layers that have an adapter, and what it is like.
    ///
    /// # Errors
    /// If there is none, patterns contradict each other, or a regular expression takes too many steps.
    pub(crate) fn layers(&self, linears: Vec<(String, [usize; 2])>) -> Result<Vec<AdaptedLayer>, ModelError> {
        let mut layers = Vec::new();
        for (name, shape) in linears {
            if self.chooses(&name)? {
                let one = |field: &str, problem| ModelError::field(&self.path, field, "one value for a layer", problem);
                let rank = self.ranks.of(&name).map_err(|problem| one("rank_pattern", problem))?.map_or(self.rank, |rank| rank as usize);
                let alpha = self.alphas.of(&name).map_err(|problem| one("alpha_pattern", problem))?.unwrap_or(self.alpha);
                let scale = alpha / if self.by_root { (rank as f64).sqrt() } else { rank as f64 };
                layers.push(AdaptedLayer { name, shape, rank, scale });
            }
        }
        if layers.is_empty() {
            return Err(ModelError::field(&self.path, "target_modules", "some of the model's linear layers", self.targets.to_json()));
        }
        Ok(layers)
    }

    fn chooses(&self, layer: &str) -> Result<bool, ModelError> {
        let given_up = |field: &'static str| move |error| ModelError::field(&self.path, field, "a simpler regular expression", error);
        if !self.targets.contain(layer).map_err(given_up("target_modules"))? {
            return Ok(false);
        }
        if let Some(excluded) = &self.excluded
            && excluded.contain(layer).map_err(given_up("exclude_modules"))?
        {
            return Ok(false);
        }
        match &self.numbered {
            // PEFT counts the layers of those that are named in part alone
            Some(numbered) if !self.targets.name(layer) => numbered.contain(layer).map_err(given_up("layers_pattern")),
            _ => Ok(true),
        }
    }
}

/// What PEFT writes for a setting that is not made.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields == &Map::new(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
