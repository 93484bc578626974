//! A model's weights in and out of a Hugging Face directory.

use crate::config::{ModelConfig, WeightDtype};
use crate::error::ModelError;
use crate::families::parameter_shapes;
use crate::hf::atomic;
use crate::hf::directory::ModelFiles;
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
    /// `model.safetensors.index.json`. All weights are trainable.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the tensors are not exactly those of the configuration; the error names each one that is missing, surplus
    /// or of another shape.
    pub fn load(directory: &Path, device: &Device, precision: Precision) -> Result<Model, ModelError> {
        let config = ModelConfig::from_file(&directory.join("config.json"))?;
        let path = [SINGLE, SHARDED].map(|name| directory.join(name)).into_iter().find(|path| path.exists());
        let missing = || ModelError::Missing { path: directory.join(SINGLE), needed_for: "the weights, or the index of their shards" };
        let checkpoint = Checkpoint::open(&path.ok_or_else(missing)?)?;
        let shapes = parameter_shapes(&config);
        check(&checkpoint, &shapes)?;

        let (mut tensors, mut dtype) = (BTreeMap::new(), None);
        for (name, shape) in shapes {
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
        let tensors: Vec<(String, Tensor)> = self.merged()?.into_iter().collect();
        atomic::write_directory(directory, |new| {
            files.write(new)?;
            // transformers asks for the format
            let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
            Ok(safetensors::save(&new.join(SINGLE), &tensors, metadata)?)
        })
    }
}

/// Every tensor of the configuration is there with its shape, and no other.
fn check(checkpoint: &Checkpoint, shapes: &[(String, Vec<usize>)]) -> Result<(), ModelError> {
    let mut problems = Vec::new();
    for (name, shape) in shapes {
        match checkpoint.shape(name) {
            None => problems.push(format!("missing tensor {name} {shape:?}")),
            Some(got) if got != shape => problems.push(format!("{name}: expected {shape:?}, got {got:?}")),
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = shapes.iter().map(|(name, _)| name.as_str()).collect();
    for name in checkpoint.names().filter(|name| !known.contains(name)) {
        let shape = checkpoint.shape(name).unwrap_or_default();
        problems.push(format!("surplus tensor {name} {shape:?}"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ModelError::Weights { path: checkpoint.path().to_path_buf(), problems })
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
