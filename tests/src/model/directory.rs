//! Model directories: round trip, random weights, strict loading.

use std::fs;
use std::path::Path;

use percept_engine::safetensors::{self, Checkpoint};
use percept_engine::{DType, Device, Tensor};
use percept_model::families::idefics3::Idefics3;
use percept_model::{LoraConfig, Model, ModelConfig, ModelFiles, Packing, Precision, parameter_count};

use super::{case_directory, load};

fn tiny_files(config: ModelConfig) -> ModelFiles {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer");
    ModelFiles::read_with_config(&tokenizer, config).unwrap()
}

fn logits(model: &Model) -> Vec<f64> {
    let mut packing = Packing::new(model.config());
    packing.prompt(&[1, 50, 60, 70], &[]).unwrap();
    model.logits(&model.hidden(&packing.into_batch(model))).to_f64_vec().unwrap()
}

#[test]
fn a_saved_model_loads_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let path = folder.path().join(dtype.to_string());
        let model = Model::random(&ModelConfig::tiny(), &Device::cpu(), 3, dtype);
        model.save(&path, &tiny_files(ModelConfig::tiny())).unwrap();
        model.save(&path, &tiny_files(ModelConfig::tiny())).unwrap(); // over an old one
        let loaded = Model::load(&path, &Device::cpu(), Precision::AsStored).unwrap();
        assert_eq!(loaded.dtype(), dtype);
        assert_eq!(logits(&loaded), logits(&model), "{dtype}");
        let files = ModelFiles::read(&path).unwrap();
        assert_eq!(files.config.dtype.name(), ["float32", "float16", "bfloat16"][dtype.code() as usize]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no temporary directory is left");
}

#[test]
fn adapters_are_merged_into_what_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let mut model = Model::random(&ModelConfig::tiny(), &Device::cpu(), 3, DType::F32);
    model.add_lora(&LoraConfig { rank: 2, ..LoraConfig::default() });
    for (name, tensor) in model.trainable() {
        if name.ends_with("lora_B.weight") {
            tensor.write_slice(&vec![0.02f32; tensor.len()]);
        }
    }
    model.save(&path, &tiny_files(ModelConfig::tiny())).unwrap();
    let loaded = Model::load(&path, &Device::cpu(), Precision::AsStored).unwrap();
    model.merge_lora().unwrap();
    assert_eq!(logits(&loaded), logits(&model));
}

#[test]
fn random_weights_are_as_transformers_draws_them() {
    let config = ModelConfig::tiny();
    let model = Model::random(&config, &Device::cpu(), 1, DType::F32);
    let counted: usize = model.parameters().map(|(_, tensor)| tensor.len()).sum();
    assert_eq!(counted, parameter_count(&ModelConfig::tiny()));
    for (name, tensor) in model.parameters() {
        let values = tensor.to_f64_vec().unwrap();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let deviation = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        match tensor.rank() {
            1 => assert_eq!((mean, deviation), (f64::from(!name.ends_with("bias")), 0.0), "{name}"),
            _ => {
                let is_text = name.starts_with("model.text_model");
                let vision = &Idefics3::of(&config).vision;
                let expected = if is_text { config.text.initializer_range } else { vision.initializer_range };
                assert!(mean.abs() < 0.1 * expected && (deviation - expected).abs() < 0.1 * expected, "{name}: {mean} ± {deviation}");
            }
        }
    }
    let again = Model::random(&ModelConfig::tiny(), &Device::cpu(), 1, DType::F32);
    assert_eq!(logits(&again), logits(&model));
    assert_ne!(logits(&Model::random(&ModelConfig::tiny(), &Device::cpu(), 2, DType::F32)), logits(&model));
}

/// Which number a weight draws depends on the order in which layers declare their weights: a run's seed must go on to mean the same model.
#[test]
fn random_weights_keep_their_bits() {
    let mut untied = ModelConfig::tiny();
    untied.tie_word_embeddings = false;
    for (config, expected) in
        [(ModelConfig::tiny(), 0x0e7c_a8fc_4764_f161), (untied, 0x82fb_0fcb_0c0a_7952), (ModelConfig::small(), 0x7c70_076e_e978_5aac)]
    {
        let model = Model::random(&config, &Device::cpu(), 7, DType::F32);
        // FNV-1a
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let hash = model.parameters().fold(0xcbf2_9ce4_8422_2325, |hash, (name, tensor)| {
            let values = tensor.to_vec::<f32>().unwrap().into_iter().flat_map(f32::to_le_bytes);
            name.bytes().chain(values).fold(hash, step)
        });
        assert_eq!(hash, expected, "{hash:#x}");
    }
}

/// A copy of the tied golden with its tensors changed.
fn with_tensors(change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(case_directory("tied").join("config.json"), folder.path().join("config.json")).unwrap();
    let mut tensors: Vec<_> = load("tied", &Device::cpu()).parameters().map(|(name, t)| (name.to_string(), t.detach())).collect();
    change(&mut tensors);
    safetensors::save(&folder.path().join("model.safetensors"), &tensors, Default::default()).unwrap();
    folder
}

fn load_error(folder: &Path) -> String {
    Model::load(folder, &Device::cpu(), Precision::Float32).err().expect("must not load").to_string()
}

#[test]
fn missing_surplus_and_misshapen_tensors_are_all_named() {
    let folder = with_tensors(|tensors| {
        tensors.retain(|(name, _)| name != "model.text_model.norm.weight");
        tensors.push(("model.text_model.more.weight".into(), Tensor::zeros(&Device::cpu(), &[384, 32], DType::F32)));
        let bias = tensors.iter_mut().find(|(name, _)| name == "model.vision_model.post_layernorm.bias").unwrap();
        bias.1 = Tensor::zeros(&Device::cpu(), &[25], DType::F32);
    });
    let error = load_error(folder.path());
    let path = folder.path().join("model.safetensors").display().to_string();
    assert_eq!(
        error,
        format!(
            "{path}: model.vision_model.post_layernorm.bias: expected [24], got [25]; missing tensor model.text_model.norm.weight [32]; \
             surplus tensor model.text_model.more.weight [384, 32]"
        )
    );
}

#[test]
fn a_directory_without_weights_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(case_directory("tied").join("config.json"), folder.path().join("config.json")).unwrap();
    let error = load_error(folder.path());
    assert!(error.ends_with("model.safetensors: not found (the weights, or the index of their shards)"), "{error}");
}

#[test]
fn a_missing_shard_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"] {
        fs::copy(case_directory("smolvlm").join(name), folder.path().join(name)).unwrap();
    }
    let error = load_error(folder.path());
    assert!(error.contains("model-00002-of-00002.safetensors"), "{error}");
}

#[test]
fn a_truncated_file_is_an_error() {
    let folder = with_tensors(|_| {});
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(Checkpoint::open(&path).is_err());
    let error = load_error(folder.path());
    assert!(error.contains("model.safetensors"), "{error}");
}

/// What transformers once saved beside the weights: a head that is the embedding table again, positions and angles.
#[test]
fn a_tied_head_and_buffers_are_passed_over() {
    let expected = logits(&load("tied", &Device::cpu()));
    let table =
        |tensors: &[(String, Tensor)]| tensors.iter().find(|(name, _)| name == "model.text_model.embed_tokens.weight").unwrap().1.clone();
    let positions = |count: u32| Tensor::from_slice(&Device::cpu(), &(0..count).collect::<Vec<_>>(), &[1, count as usize]);
    let folder = with_tensors(|tensors| {
        let head = table(tensors);
        tensors.push(("lm_head.weight".into(), head));
        tensors.push(("model.vision_model.embeddings.position_ids".into(), positions(64)));
        for name in ["rotary_emb.inv_freq", "layers.0.self_attn.rotary_emb.cos_cached", "layers.0.self_attn.rotary_emb.sin_cached"] {
            tensors.push((format!("model.text_model.{name}"), Tensor::zeros(&Device::cpu(), &[4], DType::F32)));
        }
    });
    assert_eq!(logits(&Model::load(folder.path(), &Device::cpu(), Precision::Float32).unwrap()), expected);

    // in another type, but with the same numbers
    let halves = with_tensors(|tensors| {
        for (name, tensor) in tensors.iter_mut().filter(|(name, _)| name == "model.text_model.embed_tokens.weight") {
            let rounded: Vec<f64> = tensor.to_f64_vec().unwrap().into_iter().map(|x| f64::from(half::bf16::from_f64(x))).collect();
            *tensor = Tensor::from_f64(&Device::cpu(), &rounded, &[384, 32], DType::F32);
            assert!(name.ends_with("weight"));
        }
        let head = Tensor::from_f64(&Device::cpu(), &table(tensors).to_f64_vec().unwrap(), &[384, 32], DType::BF16);
        tensors.push(("lm_head.weight".into(), head));
    });
    Model::load(halves.path(), &Device::cpu(), Precision::Float32).unwrap();

    let other = with_tensors(|tensors| {
        let mut values = table(tensors).to_vec::<f32>().unwrap();
        values[5] += 1e-3;
        tensors.push(("lm_head.weight".into(), Tensor::from_slice(&Device::cpu(), &values, &[384, 32])));
    });
    let error = load_error(other.path());
    let expected = "lm_head.weight: expected the values of model.text_model.embed_tokens.weight, to which it is tied (tie_word_embeddings), got others";
    assert!(error.ends_with(expected), "{error}");
    let wider = with_tensors(|tensors| tensors.push(("lm_head.weight".into(), Tensor::zeros(&Device::cpu(), &[385, 32], DType::F32))));
    assert!(load_error(wider.path()).ends_with("surplus tensor lm_head.weight [385, 32]"));
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let folder = with_tensors(|tensors| {
                for (name, tensor) in tensors.iter_mut() {
                    let mut values: Vec<f32> = tensor.to_f64_vec().unwrap().into_iter().map(|x| x as f32).collect();
                    if name == "model.text_model.layers.1.mlp.up_proj.weight" {
                        *values.last_mut().unwrap() = value;
                    }
                    *tensor = Tensor::from_f32(&Device::cpu(), &values, tensor.shape(), dtype);
                }
            });
            let error = load_error(folder.path());
            let expected = "model.safetensors: model.text_model.layers.1.mlp.up_proj.weight: expected numbers, got NaN or infinity";
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
