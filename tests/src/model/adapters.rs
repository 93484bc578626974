//! LoRA adapters in PEFT's form: against what PEFT computes (`tests/golden/peft/make.py`), there and back, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use percept_engine::ops::{Mask, MatmulVariant, Segment, Segments};
use percept_engine::safetensors::{self, Checkpoint};
use percept_engine::tune::Tuning;
use percept_engine::{DType, Device, Indices, Tensor, no_grad};
use percept_model::Activations;
use percept_model::image::Patches;
use percept_model::{LoraConfig, Model, ModelFiles, ModelPlace, Packing, Precision, ResponseRows};
use serde_json::{Value, json};

use super::parity::Golden;
use crate::common::open;

use super::{assert_every_weight_has_its_gradient, case_directory, load, picture, prompt, relative_error};

fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/peft")
}

/// The tied golden with an adapter of PEFT's.
fn with_adapter(name: &str) -> Model {
    let place = ModelPlace::find(&golden_directory().join(name), Some(&case_directory("tied"))).unwrap();
    Model::load_from(&place, &Device::cpu(), Precision::AsStored).unwrap()
}

/// Log-probabilities of all tokens but the first of each golden sequence.
fn log_probs(model: &Model) -> Vec<Vec<f64>> {
    let of = |sequence: &super::parity::Sequence| {
        let mut packing = Packing::new(model.config());
        packing.prompt(&sequence.ids, &sequence.pictures).unwrap();
        let all = ResponseRows { rows: (0..sequence.ids.len() as u32 - 1).collect(), targets: sequence.ids[1..].to_vec() };
        model.log_probs(&model.hidden(&packing.into_batch(model)), &all, 1.0).0.to_f64_vec().unwrap()
    };
    Golden::read("tied").sequences.iter().map(of).collect()
}

#[track_caller]
fn assert_close(got: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let error = relative_error(got, expected);
        assert!(error <= 2e-5, "{error:.1e}");
    }
}

#[test]
fn adapters_of_peft_give_what_peft_computes() {
    let golden: Value = serde_json::from_str(&fs::read_to_string(golden_directory().join("golden.json")).unwrap()).unwrap();
    let base = log_probs(&load("tied", &Device::cpu()));
    for name in ["plain", "rslora", "patterns"] {
        let expected: Vec<Vec<f64>> = serde_json::from_value(golden[name]["log_probs"].clone()).unwrap();
        let mut model = with_adapter(name);
        assert_eq!(model.trainable().len(), 0, "nothing is trained beside an adapter from outside");
        assert_close(&log_probs(&model), &expected);
        assert!(relative_error(&base[0], &expected[0]) > 0.01, "{name} must make a difference");
        // pictures that the base has read are not those that the adapter of the vision tower has
        assert_close(&log_probs(&model.without_lora()), &base);
        assert_close(&log_probs(&model.merged_for_decoding().unwrap().unwrap()), &expected);
        model.merge_lora().unwrap();
        assert_close(&log_probs(&model), &expected);
    }
}

/// A picture that was read with the adapters of the vision tower is read again without them.
#[test]
fn what_an_adapted_tower_saw_is_not_taken_for_what_the_base_sees() {
    let model = with_adapter("plain");
    let hidden = |model: &Model, picture: &percept_model::image::Patches| {
        let mut packing = Packing::new(model.config());
        packing.prompt(&prompt(0), std::slice::from_ref(picture)).unwrap();
        model.hidden(&packing.into_batch(model)).to_f64_vec().unwrap()
    };
    let picture = picture(1);
    let adapted = hidden(&model, &picture);
    assert_eq!(hidden(&model.without_lora(), &picture), hidden(&load("tied", &Device::cpu()), &picture));
    assert_ne!(hidden(&model.without_lora(), &picture), adapted);
}

/// The tied golden with adapters that are not zero.
fn trained(targets: &[&str]) -> Model {
    let mut model = load("tied", &Device::cpu());
    adapt(&mut model, targets);
    model
}

/// Puts adapters that are not zero beside a model's layers.
pub(super) fn adapt(model: &mut Model, targets: &[&str]) {
    model.add_lora(&LoraConfig {
        rank: 3,
        alpha: 5.0,
        targets: targets.iter().map(|target| target.to_string()).collect(),
        seed: 1,
        ..LoraConfig::default()
    });
    for (i, (name, tensor)) in model.trainable().into_iter().enumerate() {
        if name.ends_with("lora_B.weight") {
            let values: Vec<f32> = (0..tensor.len()).map(|k| ((7 * k + i) % 13) as f32 / 40.0 - 0.15).collect();
            tensor.write_slice(&values);
        }
    }
}

/// Adapters stand in the vision tower and the connector, too, and are trained there as in the decoder.
#[test]
fn adapters_of_all_linear_layers_are_trained() {
    let sequence = &Golden::read("tied").sequences[0];
    let mut model = trained(&[LoraConfig::ALL_LINEAR]).to(&Device::cpu(), DType::F64).unwrap();
    for activations in [Activations::Keep, Activations::Recompute] {
        model.set_activations(activations);
        assert_every_weight_has_its_gradient(&model, &sequence.ids, &sequence.pictures);
    }
}

/// The largest difference between the last logits of a whole pass and of tokens that were written one by one, after the others had been read.
fn error_of_writing(model: &Model, ids: &[u32], pictures: &[Patches]) -> f64 {
    let mut packing = Packing::new(model.config());
    packing.prompt(ids, pictures).unwrap();
    let batch = packing.into_batch(model);
    let (embeddings, read) = (model.embed(&batch), ids.len() - 3);
    let (cache, few) = (model.new_cache(ids.len(), DType::F32), model.few_tokens());
    let next = |start: usize, count: usize| {
        let positions: Vec<u32> = (start..start + count).map(|position| position as u32).collect();
        let segment = Segment { query: 0..count, keys: 0..start + count, prefix: None, mask: Mask::Causal };
        let segments = Segments::new(vec![segment], count, cache.rows());
        let (rope, rows) = (model.rope(&model.text_positions(positions.clone())), Indices::new(model.device(), &positions, &[count]));
        let embeddings = embeddings.slice(0, start, count);
        match count {
            1 => few.logits_cached(&embeddings, &rope, &segments, &cache, &rows),
            _ => model.hidden_cached(&embeddings, &rope, &segments, &cache, &rows),
        }
    };
    next(0, read);
    let written: Vec<f64> = (read..ids.len()).flat_map(|at| next(at, 1).to_f64_vec().unwrap()).collect();
    let expected = no_grad(|| model.head().logits(&model.hidden(&batch).slice(0, read, 3)));
    relative_error(&written, &expected.to_f64_vec().unwrap())
}

#[test]
fn tokens_that_are_written_are_read_with_their_adapters() {
    let gpu = open(|selector| selector);
    gpu.set_tuning(Tuning { thin: Some(MatmulVariant::Skinny), wide: None });
    let sequence = &Golden::read("tied").sequences[0];
    // of several ranks; of some layers of those that are joined; of none
    for model in [with_adapter("plain"), with_adapter("patterns"), trained(&["q_proj", "up_proj", "o_proj"]), load("tied", &Device::cpu())]
    {
        for (device, dtype, tolerance) in [(&Device::cpu(), DType::F64, 1e-12), (&gpu, DType::BF16, 2e-5)] {
            let error = error_of_writing(&model.to(device, dtype).unwrap(), &sequence.ids, &sequence.pictures);
            assert!(error <= tolerance, "{device}: {error:.1e}");
        }
    }
}

#[test]
fn trained_adapters_are_saved_as_peft_reads_them_and_load_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter");
    let model = trained(&["q_proj", "down_proj"]);
    model.save_adapter(&path, Path::new("some/base")).unwrap();
    let config: Value = serde_json::from_str(&fs::read_to_string(path.join("adapter_config.json")).unwrap()).unwrap();
    let expected = [
        ("peft_type", json!("LORA")),
        ("task_type", json!("CAUSAL_LM")),
        ("base_model_name_or_path", json!("some/base")),
        ("r", json!(3)),
        ("lora_alpha", json!(5)),
        ("target_modules", json!(["down_proj", "q_proj"])),
        // those of the same name in the vision tower have none
        ("exclude_modules", json!(r"model\.vision_model\..*")),
        ("bias", json!("none")),
        ("use_rslora", json!(false)),
    ];
    for (field, value) in expected {
        assert_eq!(config[field], value, "{field}");
    }
    let checkpoint = Checkpoint::open(&path.join("adapter_model.safetensors")).unwrap();
    assert_eq!(checkpoint.names().count(), 2 * 2 * 2);
    let name = "base_model.model.model.text_model.layers.1.mlp.down_proj.lora_A.weight";
    assert_eq!(checkpoint.shape(name), Some(&[3, 40][..]));

    let mut again = load("tied", &Device::cpu());
    again.load_adapter(&path).unwrap();
    assert_eq!(log_probs(&again), log_probs(&model));
    // no layer of the vision tower is called so
    trained(&["down_proj"]).save_adapter(&path, Path::new("some/base")).unwrap();
    let config: Value = serde_json::from_str(&fs::read_to_string(path.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["exclude_modules"], Value::Null);
}

#[test]
fn adapters_of_several_ranks_are_saved_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter");
    let model = with_adapter("patterns");
    model.save_adapter(&path, Path::new("some/base")).unwrap();
    let config: Value = serde_json::from_str(&fs::read_to_string(path.join("adapter_config.json")).unwrap()).unwrap();
    let name = |part: &str| format!("model.text_model.layers.1.self_attn.{part}");
    assert_eq!((&config["r"], &config["rank_pattern"][name("q_proj")]), (&json!(2), &json!(4)));
    let alphas = json!({ name("q_proj"): 3, "model.vision_model.encoder.layers.1.mlp.fc1": 3, "model.vision_model.encoder.layers.1.self_attn.q_proj": 3 });
    assert_eq!((&config["lora_alpha"], &config["alpha_pattern"]), (&json!(8), &alphas));
    let mut again = load("tied", &Device::cpu());
    again.load_adapter(&path).unwrap();
    assert_eq!(log_probs(&again), log_probs(&model));
}

/// The directory of an adapter, of which `change` spoils a field.
fn spoiled(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(golden_directory().join("plain").join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(&path, config.to_string()).unwrap();
    folder
}

fn refusal(folder: &tempfile::TempDir) -> String {
    load("tied", &Device::cpu()).load_adapter(folder.path()).unwrap_err().to_string()
}

#[test]
fn what_an_adapter_asks_for_and_percept_has_not_is_named() {
    let cases = [
        ("peft_type", json!("IA3"), "peft_type: expected LORA, got \"IA3\""),
        ("task_type", json!("SEQ_CLS"), "task_type: expected CAUSAL_LM or null, got \"SEQ_CLS\""),
        ("bias", json!("all"), "bias: expected none, got \"all\""),
        ("use_dora", json!(true), "use_dora: expected nothing (Percept does not support it), got true"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save: expected nothing (Percept does not support it), got [\"lm_head\"]"),
        ("fan_in_fan_out", json!(true), "fan_in_fan_out: "),
        ("rank_pattern", json!({"q_proj": 0}), "rank_pattern.q_proj: expected a whole number above 0, got 0"),
        ("rank_pattern", json!([4]), "rank_pattern: expected an object"),
        ("rank_pattern", json!({"(q_proj": 4}), "rank_pattern: expected regular expressions, got (q_proj"),
        ("alpha_pattern", json!({"q_proj": "x"}), "alpha_pattern.q_proj: expected a number above 0, got \"x\""),
        (
            "alpha_pattern",
            json!({"q_proj": 1, "[qv]_proj": 2}),
            "alpha_pattern: expected one value for a layer, got [qv]_proj and q_proj, which both fit model.",
        ),
        ("layers_to_transform", json!("first"), "layers_to_transform: expected a whole number or a list of them, got \"first\""),
        ("layers_to_transform", json!(7), "target_modules: expected some of the model's linear layers"),
        ("a_later_field", json!(3), "a_later_field: "),
        ("init_lora_weights", json!("pissa"), "init_lora_weights: "),
        ("r", json!(0), "r: expected a whole number above 0, got 0"),
        ("r", json!(null), "r: expected a whole number above 0, got nothing"),
        ("lora_alpha", json!("5"), "lora_alpha: expected a number, got \"5\""),
        ("target_modules", json!(["query"]), "target_modules: expected some of the model's linear layers, got [\"query\"]"),
        ("target_modules", json!("(q_proj"), "target_modules: expected a list of names, a regular expression, or all-linear, got (q_proj"),
        ("target_modules", json!(7), "target_modules: expected a list of names, a regular expression, or all-linear, got 7"),
    ];
    for (field, value, expected) in cases {
        let error = refusal(&spoiled(|config| config[field] = value));
        assert!(error.contains(&format!("adapter_config.json: {expected}")), "{error}");
    }
    let error = refusal(&spoiled(|config| config["r"] = json!(4)));
    assert!(
        error.contains("adapter_model.safetensors: base_model.model.model.") && error.contains("expected [4, 24], got [3, 24]"),
        "{error}"
    );
    let error = refusal(&spoiled(|config| config["target_modules"] = json!(["q_proj"])));
    assert!(error.contains("surplus tensor base_model.model.model."), "{error}");
    let error = refusal(&spoiled(|config| config["target_modules"] = json!("all-linear")));
    assert!(error.contains("missing tensor base_model.model.model."), "{error}");
    let without = spoiled(|_| {});
    fs::rename(without.path().join("adapter_model.safetensors"), without.path().join("adapter_model.bin")).unwrap();
    let error = refusal(&without);
    assert!(error.contains("adapter_model.bin") && error.contains("pickle"), "{error}");
}

#[test]
fn an_adapter_that_is_not_a_number_is_named() {
    let folder = spoiled(|config| config["target_modules"] = json!(["q_proj"]));
    let checkpoint = Checkpoint::open(&golden_directory().join("plain/adapter_model.safetensors")).unwrap();
    let names: Vec<&str> = checkpoint.names().filter(|name| name.contains("q_proj")).collect();
    let tensors: Vec<(String, Tensor)> = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let shape = checkpoint.shape(name).unwrap();
            let mut values = vec![0.5; shape.iter().product()];
            values[0] = if i == 1 { f32::NAN } else { 0.5 };
            (name.to_string(), Tensor::from_slice(&Device::cpu(), &values, shape))
        })
        .collect();
    safetensors::save(&folder.path().join("adapter_model.safetensors"), &tensors, Default::default()).unwrap();
    let error = refusal(&folder);
    assert!(error.contains(&format!("{}: holds NaN or infinity", names[1])) && !error.contains(names[0]), "{error}");
}

#[test]
fn the_base_of_an_adapter_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (base, adapter) = (folder.path().join("base"), folder.path().join("adapter"));
    trained(&["q_proj"]).save_adapter(&adapter, &base).unwrap();
    let find = |path: &Path, base: Option<&Path>| ModelPlace::find(path, base).map_err(|error| error.to_string());
    let error = find(&adapter, None).unwrap_err();
    assert!(
        error.contains("adapter_config.json: base_model_name_or_path: expected a directory, or give the base model's with --base, got"),
        "{error}"
    );
    fs::create_dir(&base).unwrap();
    let found = ModelPlace { base: base.clone(), adapter: Some(adapter.clone()) };
    assert_eq!(find(&adapter, None).unwrap(), found);
    assert_eq!(find(&adapter, Some(&base)).unwrap(), found);
    assert_eq!(find(&base, None).unwrap(), ModelPlace { base: base.clone(), adapter: None });
    let error = find(&base, Some(&base)).unwrap_err();
    assert!(error.contains("adapter_config.json: not found (a base model is given"), "{error}");
    let error = find(&adapter, Some(&folder.path().join("nowhere"))).unwrap_err();
    assert!(error.contains("nowhere: expected a model directory, got nothing"), "{error}");
    // an adapter beside the weights of its base is not passed over, whatever it says of the base
    for name in ["config.json", "model.safetensors"] {
        fs::copy(case_directory("tied").join(name), adapter.join(name)).unwrap();
    }
    assert_eq!(find(&adapter, None).unwrap(), ModelPlace { base: adapter.clone(), adapter: Some(adapter.clone()) });
    assert!(Model::load(&adapter, &Device::cpu(), Precision::AsStored).unwrap().has_lora());
    // an adapter on an adapter
    let second = folder.path().join("second");
    trained(&["q_proj"]).save_adapter(&second, &adapter).unwrap();
    let error = find(&second, None).unwrap_err();
    assert!(error.contains("base_model_name_or_path: expected a base model without an adapter of its own"), "{error}");
}

#[test]
fn a_name_of_the_hub_gets_the_command_that_downloads_it() {
    let find = |path: &str| ModelPlace::find(Path::new(path), None).unwrap_err().to_string();
    let error = find("HuggingFaceTB/SmolVLM-256M-Instruct");
    let command = "hf download HuggingFaceTB/SmolVLM-256M-Instruct --local-dir SmolVLM-256M-Instruct";
    assert!(
        error.starts_with("HuggingFaceTB/SmolVLM-256M-Instruct: expected a model directory, got nothing") && error.ends_with(command),
        "{error}"
    );
    for path in ["runs/old/model", "models/gone", "./here", "no-such-model", "../a/b", "/a/b"] {
        assert!(!find(path).contains("hf download"), "{path}");
    }
    let error = ModelFiles::read(Path::new("org/name")).unwrap_err().to_string();
    assert!(error.ends_with("hf download org/name --local-dir name"), "{error}");
}

/// A model whose weights are halves keeps an adapter in f32 beside them.
#[test]
fn an_adapter_on_halves_is_not_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter");
    trained(&["q_proj"]).save_adapter(&path, Path::new("base")).unwrap();
    let halves = load("tied", &Device::cpu()).to(&Device::cpu(), DType::BF16).unwrap();
    let mut wide = halves.to(&Device::cpu(), DType::F32).unwrap();
    let mut halves = halves;
    wide.load_adapter(&path).unwrap();
    halves.load_adapter(&path).unwrap();
    assert_close(&log_probs(&halves), &log_probs(&wide));
}

/// Adapters on `all-linear` without some layers: those that PEFT chooses (`tests/golden/peft/make_targets.py`), in training, in the file, and read again.
#[test]
fn all_linear_without_some_is_what_peft_chooses() {
    let golden: Value = serde_json::from_str(&fs::read_to_string(golden_directory().join("targets.json")).unwrap()).unwrap();
    let qwen = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/qwen2_5_vl/flat");
    let folder = tempfile::tempdir().unwrap();
    for (family, base, vision, names) in [
        ("idefics3", case_directory("tied"), r"model\.vision_model\..*", &["q_proj", "mlp.fc1"][..]),
        ("qwen2_5_vl", qwen, r"model\.visual\..*", &["q_proj", "qkv", "mlp.0"]),
    ] {
        for (without, exclude, written) in
            [("nothing", &[][..], Value::Null), ("vision", &[vision], json!(vision)), ("names", names, Value::Null)]
        {
            let expected: Vec<String> = serde_json::from_value(golden[format!("{family} without {without}")].clone()).unwrap();
            let expected: Vec<String> = expected.iter().map(|layer| format!("base_model.model.{layer}.lora_A.weight")).collect();
            let mut model = Model::load(&base, &Device::cpu(), Precision::Float32).unwrap();
            let exclude = exclude.iter().map(|text| text.to_string()).collect();
            model.add_lora(&LoraConfig { rank: 2, targets: vec![LoraConfig::ALL_LINEAR.into()], exclude, ..LoraConfig::default() });
            let path = folder.path().join(format!("{family}-{without}"));
            model.save_adapter(&path, &base).unwrap();
            let checkpoint = Checkpoint::open(&path.join("adapter_model.safetensors")).unwrap();
            let mut saved: Vec<&str> = checkpoint.names().filter(|name| name.contains("lora_A")).collect();
            saved.sort();
            assert_eq!(saved, expected, "{family} without {without}");
            let config: Value = serde_json::from_str(&fs::read_to_string(path.join("adapter_config.json")).unwrap()).unwrap();
            assert_eq!(
                config["target_modules"] == "all-linear",
                without == "nothing",
                "{family} without {without}: {}",
                config["target_modules"]
            );
            assert_eq!(config["exclude_modules"], written, "{family} without {without}: {}", config["target_modules"]);
            let mut again = Model::load(&base, &Device::cpu(), Precision::Float32).unwrap();
            again.load_adapter(&path).unwrap();
        }
    }
}

#[test]
fn adapters_that_stand_nowhere_are_named() {
    let refused = |targets: &[&str], exclude: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
        LoraConfig { targets: texts(targets), exclude: texts(exclude), ..LoraConfig::default() }.check().unwrap_err()
    };
    assert!(refused(&["all-linear", "q_proj"], &[]).starts_with("targets: expected all-linear alone, or some of q_proj"));
    assert!(refused(&[], &[]).starts_with("targets: expected all-linear alone"));
    assert!(refused(&["q_proj"], &["(visual"]).starts_with("exclude: expected names or regular expressions, got (visual"));
}
