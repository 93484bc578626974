//! LoRA adapters as PEFT keeps them (<https://github.com/huggingface/peft>): a directory with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! | PEFT | here |
//! |---|---|
//! | `base_model.model.{layer}.lora_A.weight` | A `[rank, in]` beside the weight `{layer}.weight` |
//! | `base_model.model.{layer}.lora_B.weight` | B `[out, rank]` |
//! | `lora_alpha / r`, with `use_rslora` `lora_alpha / √r`; `rank_pattern` and `alpha_pattern` say it for some layers | what the product is multiplied by |

pub(crate) mod config;
pub(crate) mod layers;
mod patterns;

use crate::error::ModelError;
use crate::families;
use crate::hf::atomic;
use crate::layers::lora::Adapter;
use crate::model::{Model, converted};
use config::{AdaptedLayer, AdapterConfig};
use percept_engine::safetensors::{self, Checkpoint};
use percept_engine::{Device, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// The file of the settings; a directory that has it is an adapter's.
pub(crate) const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
/// The same in the older format, which can hold programs.
const PICKLE: &str = "adapter_model.bin";
/// What PEFT's wrapper puts before the name of every layer.
const PREFIX: &str = "base_model.model.";

impl Model {
    /// Puts the adapter in a PEFT directory beside the weights. From here on nothing of the model is trained; [`merge_lora`](Model::merge_lora) adds the adapter to the weights.
    ///
    /// # Errors
    /// If a file is missing or damaged, a setting changes the computation in a way that Percept does not have (the error names the field), or the tensors are not exactly those of
    /// the layers that the settings choose.
    ///
    /// # Panics
    /// If the model has adapters already.
    #[track_caller]
    pub fn load_adapter(&mut self, directory: &Path) -> Result<(), ModelError> {
        let config = AdapterConfig::from_file(&directory.join(CONFIG))?;
        let layers = config.layers(self.linears_of_transformers().map(|(_, module, shape)| (module, shape)).collect())?;
        let checkpoint = Checkpoint::open(&find_tensors(directory)?)?;
        check(&checkpoint, &layers)?;
        let load = |name: &str, shape: &[usize]| -> Result<Tensor, ModelError> {
            let tensor = checkpoint.load(name, shape, &Device::cpu())?;
            Ok(converted(&tensor, self.device(), self.arithmetic_dtype())?)
        };
        let mut adapters = BTreeMap::new();
        for AdaptedLayer { name, shape: [out, inputs], rank, scale } in layers {
            let [down, up] = tensor_names(&name);
            let (down, up) = (load(&down, &[rank, inputs])?, load(&up, &[out, rank])?);
            adapters.insert(name, Adapter { down, up, scale });
        }
        let adapters = self.linears_of_transformers().filter_map(|(name, module, _)| Some((name, adapters.remove(&module)?))).collect();
        self.put_adapters(adapters);
        Ok(())
    }

    /// Writes the adapters as a directory that PEFT and [`load_adapter`](Model::load_adapter) read, whole or not at all. `base` is what they say of the model they stand beside
    /// (`base_model_name_or_path`): a directory, or a name on the Hub.
    ///
    /// # Errors
    /// If the disk or the device fails; a directory that was there before is then untouched.
    ///
    /// # Panics
    /// If there are no adapters, or they are the oracle's, in f64.
    #[track_caller]
    pub fn save_adapter(&self, directory: &Path, base: &Path) -> Result<(), ModelError> {
        let module_name = families::of(self.config()).module_name;
        let adapters: BTreeMap<String, Adapter> =
            self.weights().adapters.iter().map(|(layer, adapter)| (module_name(layer), adapter.clone())).collect();
        assert!(!adapters.is_empty(), "save_adapter: the model has no adapters");
        let linears: Vec<_> = self.linears_of_transformers().map(|(_, module, shape)| (module, shape)).collect();
        let config = AdapterConfig::of(&adapters, &linears, &module_name(families::of(self.config()).vision), base);
        let mut tensors = Vec::new();
        for (layer, adapter) in &adapters {
            let [down, up] = tensor_names(layer);
            tensors.extend([(down, adapter.down.clone()), (up, adapter.up.clone())]);
        }
        atomic::write_directory(directory, |new| {
            atomic::write_file(&new.join(CONFIG), format!("{:#}\n", config.to_json()).as_bytes())?;
            let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
            Ok(safetensors::save(&new.join(TENSORS), &tensors, metadata)?)
        })
    }

    /// The linear layers: name, what transformers calls it, and shape `[out, in]` of the weight.
    fn linears_of_transformers(&self) -> impl Iterator<Item = (String, String, [usize; 2])> {
        let module_name = families::of(self.config()).module_name;
        families::declared(self.config()).linears.into_iter().map(move |(name, shape)| {
            let module = module_name(&name);
            (name, module, shape)
        })
    }
}

fn tensor_names(layer: &str) -> [String; 2] {
    ["A", "B"].map(|side| format!("{PREFIX}{layer}.lora_{side}.weight"))
}

fn find_tensors(directory: &Path) -> Result<std::path::PathBuf, ModelError> {
    let path = directory.join(TENSORS);
    if path.exists() {
        return Ok(path);
    }
    let pickle = directory.join(PICKLE);
    if pickle.exists() {
        return Err(ModelError::field(
            &pickle,
            "(whole file)",
            TENSORS,
            "a pickle, which can hold programs; save it with safe_serialization",
        ));
    }
    Err(ModelError::Missing { path, needed_for: "the adapter's weights" })
}

/// Every tensor of the chosen layers is there with its shape and nothing but numbers, and no other.
fn check(checkpoint: &Checkpoint, layers: &[AdaptedLayer]) -> Result<(), ModelError> {
    let (mut problems, mut known) = (Vec::new(), HashSet::new());
    for AdaptedLayer { name: layer, shape: [out, inputs], rank, .. } in layers {
        for (name, expected) in tensor_names(layer).into_iter().zip([[*rank, *inputs], [*out, *rank]]) {
            match checkpoint.shape(&name) {
                None => problems.push(format!("missing tensor {name} {expected:?}")),
                Some(got) if got != expected => problems.push(format!("{name}: expected {expected:?}, got {got:?}")),
                Some(_) if !checkpoint.is_finite(&name) => problems.push(format!("{name}: holds NaN or infinity")),
                Some(_) => {}
            }
            known.insert(name);
        }
    }
    for name in checkpoint.names().filter(|name| !known.contains(*name)) {
        problems.push(format!(
            "surplus tensor {name} {:?}: no layer that target_modules chooses has it",
            checkpoint.shape(name).unwrap_or_default()
        ));
    }
    if problems.is_empty() { Ok(()) } else { Err(ModelError::Weights { path: checkpoint.path().to_path_buf(), problems }) }
}
