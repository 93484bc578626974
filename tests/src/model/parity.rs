//! Against what transformers computes in float32 (`tests/golden/idefics3/make.py`).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use percept_engine::{Device, Indices, Tensor};
use percept_model::families::idefics3::Idefics3;
use percept_model::image::{Patches, Tiling};
use percept_model::{Model, ModelConfig, Packing, Precision, ResponseRows};
use serde_json::Value;

use super::{case_directory, load, relative_error};
use crate::common::gpu;

/// Of the largest logit, log-probability or entropy.
const VALUES: f64 = 2e-5;
/// Of the largest gradient of a tensor.
const GRADIENTS: f64 = 1e-4;

#[test]
fn a_tied_model_matches_on_the_cpu() {
    Golden::read("tied").compare(&load("tied", &Device::cpu()));
}

#[test]
fn an_untied_model_with_wide_heads_matches_on_the_cpu() {
    Golden::read("untied").compare(&load("untied", &Device::cpu()));
}

#[test]
fn a_model_whose_patches_leave_pixels_over_matches_on_the_cpu() {
    Golden::read("uneven").compare(&load("uneven", &Device::cpu()));
}

#[test]
fn a_sharded_model_in_bf16_matches_on_the_cpu() {
    Golden::read("smolvlm").compare(&load("smolvlm", &Device::cpu()));
}

#[test]
fn weights_that_stay_halves_give_the_same() {
    let model = Model::load(&case_directory("smolvlm"), &Device::cpu(), Precision::AsStored).unwrap();
    assert_eq!(model.dtype(), percept_engine::DType::BF16);
    Golden::read("smolvlm").compare(&model);
}

#[test]
fn all_models_match_on_the_gpu() {
    for case in ["tied", "untied", "smolvlm"] {
        Golden::read(case).compare(&load(case, &gpu()));
    }
}

pub(super) struct Golden {
    pub(super) sequences: Vec<Sequence>,
    loss: f64,
    gradients: Vec<Gradient>,
}

pub(super) struct Sequence {
    pub(super) ids: Vec<u32>,
    response_start: usize,
    pub(super) pictures: Vec<Patches>,
    logit_positions: Vec<u32>,
    logits: Vec<f64>,
    log_probs: Vec<f64>,
    entropies: Vec<f64>,
}

struct Gradient {
    name: String,
    stride: usize,
    norm: f64,
    samples: Vec<f64>,
}

impl Golden {
    pub(super) fn read(case: &str) -> Golden {
        let directory = case_directory(case);
        let config = ModelConfig::from_file(&directory.join("config.json")).unwrap();
        let patch = Idefics3::of(&config).vision.patch_size;
        Golden::read_with(&directory, |index, row, tensors| stored_pictures(index, row, tensors, patch))
    }

    /// With pictures that `pictures` makes for the row of a sequence.
    pub(super) fn read_with(directory: &Path, pictures: impl Fn(usize, &Value, &Tensors) -> Vec<Patches>) -> Golden {
        let document: Value = serde_json::from_str(&fs::read_to_string(directory.join("golden.json")).unwrap()).unwrap();
        let tensors = read_safetensors(&fs::read(directory.join("golden.safetensors")).unwrap());
        let sequences = document["sequences"].as_array().unwrap().iter().enumerate();
        let gradients = document["gradients"].as_object().unwrap().iter();
        Golden {
            sequences: sequences.map(|(index, row)| Sequence::read(index, row, &tensors, pictures(index, row, &tensors))).collect(),
            loss: document["loss"].as_f64().unwrap(),
            gradients: gradients
                .map(|(name, of)| Gradient {
                    name: name.clone(),
                    stride: of["stride"].as_u64().unwrap() as usize,
                    norm: of["norm"].as_f64().unwrap(),
                    samples: tensors[&format!("gradient.{name}")].1.clone(),
                })
                .collect(),
        }
    }

    pub(super) fn compare(&self, model: &Model) {
        for sequence in &self.sequences {
            sequence.compare(model);
        }
        self.compare_gradients(model);
    }

    /// All sequences in one packed batch.
    fn compare_gradients(&self, model: &Model) {
        let mut packing = Packing::new(model.config());
        let (mut responses, mut weights) = (Vec::new(), Vec::new());
        for sequence in &self.sequences {
            let (prompt, response) = sequence.ids.split_at(sequence.response_start);
            responses.push(packing.row(prompt, &sequence.pictures, response).unwrap());
            weights.extend((sequence.response_start..sequence.ids.len()).map(|t| -(((7 * t) % 11) as f64 / 10.0 - 0.3)));
        }
        let batch = packing.into_batch(model);
        let (log_probs, _) = model.log_probs(&model.hidden(&batch), &ResponseRows::concat(&responses), 1.0);
        let loss = log_probs.mul(&Tensor::from_f64(model.device(), &weights, &[weights.len()], log_probs.dtype())).sum_all();
        assert!((loss.item().unwrap() / self.loss - 1.0).abs() < VALUES);
        let gradients = loss.backward();

        let parameters: HashMap<&str, &Tensor> = model.parameters().collect();
        assert_eq!(parameters.len(), self.gradients.len());
        let whole = self.gradients.iter().map(|gradient| gradient.norm).fold(0.0, f64::max);
        for gradient in &self.gradients {
            let name = &gradient.name;
            let values = gradients.get(parameters[name.as_str()]).unwrap_or_else(|| panic!("{name}: no gradient")).to_f64_vec().unwrap();
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            let samples: Vec<f64> = values.iter().step_by(gradient.stride).copied().collect();
            // without rotary positions 0 in exact arithmetic: only rounding to compare
            if name.ends_with("k_proj.bias") && name.contains("vision_model") {
                assert!(norm <= GRADIENTS * whole, "{name}: {norm}");
                continue;
            }
            let error = relative_error(&samples, &gradient.samples);
            assert!(error <= GRADIENTS, "{name}: gradient differs by {error:.1e} of its largest value");
            assert!((norm / gradient.norm - 1.0).abs() <= GRADIENTS, "{name}: norm {norm}, expected {}", gradient.norm);
        }
    }
}

impl Sequence {
    fn read(index: usize, row: &Value, tensors: &Tensors, pictures: Vec<Patches>) -> Sequence {
        let tensor = |name: &str| tensors[&format!("{index}.{name}")].1.clone();
        Sequence {
            ids: numbers(row, "input_ids"),
            response_start: row["response_start"].as_u64().unwrap() as usize,
            pictures,
            logit_positions: numbers(row, "logit_positions"),
            logits: tensor("logits"),
            log_probs: tensor("log_probs"),
            entropies: tensor("entropies"),
        }
    }

    fn compare(&self, model: &Model) {
        let mut packing = Packing::new(model.config());
        packing.prompt(&self.ids, &self.pictures).unwrap();
        let hidden = model.hidden(&packing.into_batch(model));

        let positions = Indices::new(model.device(), &self.logit_positions, &[self.logit_positions.len()]);
        let logits = model.logits(&hidden.index_select(&positions)).to_f64_vec().unwrap();
        let all = ResponseRows { rows: (0..self.ids.len() as u32 - 1).collect(), targets: self.ids[1..].to_vec() };
        let (log_probs, entropies) = model.log_probs(&hidden, &all, 1.0);
        let (log_probs, entropies) = (log_probs.to_f64_vec().unwrap(), entropies.to_f64_vec().unwrap());
        for (what, got, expected) in
            [("logits", logits, &self.logits), ("log-probabilities", log_probs, &self.log_probs), ("entropies", entropies, &self.entropies)]
        {
            let error = relative_error(&got, expected);
            assert!(error <= VALUES, "{what} of {} tokens differ by {error:.1e} of the largest", self.ids.len());
        }
    }
}

/// The pictures whose pixels the file holds.
fn stored_pictures(index: usize, row: &Value, tensors: &Tensors, patch: usize) -> Vec<Patches> {
    let (shape, bytes) = &tensors[&format!("{index}.pixels")];
    let (padding, len) = (numbers(row, "padding_pictures"), shape[1..].iter().product::<usize>());
    // transformers drops padding pictures; Percept's batches have none
    let real = (0..shape[0]).filter(|&picture| !padding.contains(&(picture as u32)));
    let patches = |picture: usize| {
        let pixels: Vec<f32> = bytes[picture * len..][..len].iter().map(|&byte| (byte as f32 / 255.0 - 0.5) / 0.5).collect();
        Patches::from_pixels(Tiling::WHOLE, &pixels, [shape[1], shape[2], shape[3]], patch)
    };
    real.map(patches).collect()
}

fn numbers(row: &Value, key: &str) -> Vec<u32> {
    row[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

/// Shapes and values by name.
pub(super) type Tensors = HashMap<String, (Vec<usize>, Vec<f64>)>;

/// Shape and values of every tensor of a file with f32 and u8 tensors (the engine does not read u8).
fn read_safetensors(bytes: &[u8]) -> Tensors {
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: HashMap<String, Value> = serde_json::from_slice(&bytes[8..][..header_len]).unwrap();
    let data = &bytes[8 + header_len..];
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__").map(|(name, of)| {
        let numbers = |key: &str| -> Vec<usize> { of[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect() };
        let offsets = numbers("data_offsets");
        let data = &data[offsets[0]..offsets[1]];
        let values = match of["dtype"].as_str().unwrap() {
            "F32" => data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect(),
            "U8" => data.iter().map(|&byte| byte.into()).collect(),
            other => panic!("{name}: {other}"),
        };
        (name, (numbers("shape"), values))
    });
    tensors.collect()
}
