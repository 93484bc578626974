//! A model's weights in and out of a Hugging Face directory.

use crate::config::{ModelConfig, WeightDtype};
use crate::error::ModelError;
use crate::families;
use crate::hf::atomic;
use crate::hf::directory::ModelFiles;
use crate::hf::place::ModelPlace;
use crate::layers::scope::{Declared, Parameter};
use crate::model::{Model, converted, stored_dtype};
use percept_engine::safetensors::{self, Checkpoint};
use percept_engine::{DType, Device, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

const SINGLE: &str = "model.safetensors";
const SHARDED: &str = "model.safetensors.index.json";

/// The number type in which loaded matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The file's. Halves stay halves: half the memory, the same results, since arithmetic is in f32.
    AsStored,
    /// f32, for training without an optimiser's master copies.
    Float32,
}

impl Model {
    /// The model in a directory that transformers or Percept saved: `config.json`, and `model.safetensors` or the shards of
    /// `model.safetensors.index.json`. All weights are trainable, unless an adapter stands beside them: then nothing is.
    ///
    /// The directory may be that of a PEFT adapter, see [`ModelPlace::find`].
    ///
    /// # Errors
    /// If a file is missing or damaged, or the tensors are not exactly those of the configuration; the error names each one that is missing, surplus,
    /// of another shape, or holds something else than numbers. Buffers that transformers once saved (`position_ids`, `inv_freq`, ...) are passed over, and so is a head beside a table that
    /// it is tied to, if the two are equal.
    pub fn load(directory: &Path, device: &Device, precision: Precision) -> Result<Model, ModelError> {
        Model::load_from(&ModelPlace::find(directory, None)?, device, precision)
    }

    /// The same from a place that is known.
    ///
    /// # Errors
    /// As [`load`](Model::load).
    pub fn load_from(place: &ModelPlace, device: &Device, precision: Precision) -> Result<Model, ModelError> {
        let mut model = Model::load_weights(&place.base, device, precision)?;
        if let Some(adapter) = &place.adapter {
            model.load_adapter(adapter)?;
        }
        Ok(model)
    }

    fn load_weights(directory: &Path, device: &Device, precision: Precision) -> Result<Model, ModelError> {
        let config = ModelConfig::from_file(&directory.join("config.json"))?;
        let path = [SINGLE, SHARDED].map(|name| directory.join(name)).into_iter().find(|path| path.exists());
        let missing = || ModelError::Missing { path: directory.join(SINGLE), needed_for: "the weights, or the index of their shards" };
        let mut checkpoint = Checkpoint::open(&path.ok_or_else(missing)?)?;
        let declared = families::declared(&config);
        // saved under the names of transformers' modules, it is the same model
        let module_name = families::of(&config).module_name;
        let published: HashMap<String, &str> =
            declared.parameters.iter().map(|parameter| (module_name(&parameter.name), parameter.name.as_str())).collect();
        checkpoint.rename(|name| published.get(name).map(|name| (*name).to_owned()));
        check(&checkpoint, &declared)?;

        let (mut tensors, mut dtype) = (BTreeMap::new(), None);
        for Parameter { name, shape, .. } in declared.parameters {
            let tensor = checkpoint.load(&name, &shape, &Device::cpu())?;
            let wanted = match precision {
                Precision::AsStored => stored_dtype(tensor.dtype(), &shape),
                Precision::Float32 => DType::F32,
            };
            if shape.len() > 1 {
                dtype.get_or_insert(wanted);
            }
            let tensor = if tensor.dtype() == wanted { tensor.to_device(device)? } else { converted(&tensor, device, wanted)? };
            tensors.insert(name, tensor);
        }
        Ok(Model::of(config, device, dtype.unwrap_or(DType::F32), tensors))
    }

    /// Writes a directory that transformers and [`Model::load`] read, whole or not at all: the weights, in the types in which they are stored here,
    /// and `files` with this model's configuration. Adapters are merged into what is written.
    ///
    /// # Errors
    /// If the disk or the device fails; a directory that was there before is then untouched.
    ///
    /// # Panics
    /// If the model is the oracle's, in f64.
    #[track_caller]
    pub fn save(&self, directory: &Path, files: &ModelFiles) -> Result<(), ModelError> {
        let mut files = files.clone();
        files.config = self.config().clone();
        files.config.dtype = weight_dtype(self.dtype());
        let tensors = || {
            let to_write = |(name, weight): (&'_ str, &Tensor)| {
                let (of, (dtype, shape)) = (name.to_owned(), (weight.dtype(), weight.shape().to_vec()));
                safetensors::ToWrite { name: name.to_owned(), dtype, shape, tensor: Box::new(move || Ok(self.merged_weight(&of))) }
            };
            self.parameters().map(to_write).collect()
        };
        atomic::write_directory(directory, |new| {
            files.write(new)?;
            // transformers asks for the format
            let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
            Ok(safetensors::save_each(&new.join(SINGLE), tensors(), metadata)?)
        })
    }
}

/// Every tensor of the configuration is there with its shape and nothing but numbers, and no other that means anything.
fn check(checkpoint: &Checkpoint, declared: &Declared) -> Result<(), ModelError> {
    let mut problems = Vec::new();
    for Parameter { name, shape, .. } in &declared.parameters {
        match checkpoint.shape(name) {
            None => problems.push(format!("missing tensor {name} {shape:?}")),
            Some(got) if got != shape => problems.push(format!("{name}: expected {shape:?}, got {got:?}")),
            Some(_) if !checkpoint.is_finite(name) => problems.push(format!("{name}: expected numbers, got NaN or infinity")),
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = declared.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    for name in checkpoint.names().filter(|name| !known.contains(name) && !is_buffer(name)) {
        let shape = checkpoint.shape(name).unwrap_or_default();
        match declared.tied.iter().find(|[second, _]| second == name) {
            Some([_, first]) if checkpoint.shape(first) == Some(shape) => {
                if !checkpoint.are_equal([name, first])? {
                    problems.push(format!("{name}: expected the values of {first}, to which it is tied (tie_word_embeddings), got others"));
                }
            }
            _ => problems.push(format!("surplus tensor {name} {shape:?}")),
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ModelError::Weights { path: checkpoint.path().to_path_buf(), problems })
}

/// Whether a tensor is none that is learnt: positions and angles that transformers computes, and in some versions saved.
fn is_buffer(name: &str) -> bool {
    const BUFFERS: [&str; 5] = ["position_ids", "inv_freq", "original_inv_freq", "cos_cached", "sin_cached"];
    name.rsplit_once('.').is_some_and(|(_, last)| BUFFERS.contains(&last))
}

#[track_caller]
fn weight_dtype(dtype: DType) -> WeightDtype {
    match dtype {
        DType::F32 => WeightDtype::F32,
        DType::F16 => WeightDtype::F16,
        DType::BF16 => WeightDtype::Bf16,
        other => panic!("save: a model in {other} is the oracle's; convert it to f32 first"),
    }
}
