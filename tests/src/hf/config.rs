use percept_model::families::idefics3::{IDEFICS3, Idefics3, SMOLVLM};
use percept_model::{ModelConfig, ModelError, WeightDtype, parameter_count, parameter_shapes};
use serde_json::{Value, json};
use std::path::Path;

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    ModelConfig::from_json(Path::new("dir/config.json"), &config.to_string())
}

/// SmolVLM-256M's file, in transformers 4's layout, with keys that Percept does not use.
fn smolvlm_256m_json() -> Value {
    json!({
        "architectures": ["Idefics3ForConditionalGeneration"],
        "model_type": "idefics3",
        "image_token_id": 49190,
        "pad_token_id": 128002,
        "scale_factor": 4,
        "tie_word_embeddings": false,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.0",
        "vocab_size": 49280,
        "text_config": {
            "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "rope_theta": 100000,
            "rms_norm_eps": 1e-5, "attention_bias": false, "hidden_act": "silu", "rope_scaling": null,
            "max_position_embeddings": 8192, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
            "vocab_size": 49280, "qk_layer_norms": false, "perceiver_config": { "resampler_depth": 6 },
        },
        "vision_config": {
            "hidden_size": 768, "image_size": 512, "patch_size": 16, "num_attention_heads": 12,
            "max_image_size": { "longest_edge": 512 }, "tie_word_embeddings": false,
        },
    })
}

#[test]
fn smolvlm_checkpoints_have_their_tensors() {
    let small = ModelConfig::smolvlm_256m();
    assert_eq!(parameter_shapes(&small).len(), 471);
    assert_eq!(parameter_count(&small), 256_484_928);
    assert_eq!(parameter_count(&ModelConfig::smolvlm_500m()), 507_482_304);
    assert_eq!(Idefics3::of(&small).image_seq_len(), 64);

    let shapes = parameter_shapes(&small);
    let shape = |name: &str| &shapes.iter().find(|(other, _)| other == name).expect(name).1;
    assert_eq!(shape("lm_head.weight"), &[49280, 576]);
    assert_eq!(shape("model.connector.modality_projection.proj.weight"), &[576, 12288]);
    assert_eq!(shape("model.vision_model.embeddings.patch_embedding.weight"), &[768, 3, 16, 16]);
    assert_eq!(shape("model.vision_model.embeddings.position_embedding.weight"), &[1024, 768]);
    assert_eq!(shape("model.text_model.layers.29.self_attn.k_proj.weight"), &[192, 576]);
}

#[test]
fn presets_have_their_sizes_and_are_valid() {
    for (config, count) in [(ModelConfig::tiny(), 900_000..1_300_000), (ModelConfig::small(), 14_000_000..16_000_000)] {
        assert!(count.contains(&parameter_count(&config)), "{}", parameter_count(&config));
        assert_eq!(Idefics3::of(&config).image_seq_len(), 16);
        config.validate(Path::new("preset")).unwrap();
        // a tied head has no tensor of its own
        assert!(parameter_shapes(&config).iter().all(|(name, _)| name != "lm_head.weight"));
    }
}

#[test]
fn transformers_4_layout_reads_as_the_preset() {
    let config = read(&smolvlm_256m_json()).unwrap();
    let preset = ModelConfig::smolvlm_256m();
    assert_eq!(config.text, preset.text);
    assert_eq!(Idefics3::of(&config), Idefics3::of(&preset));
    assert_eq!((config.architecture, config.dtype), (IDEFICS3, WeightDtype::Bf16));
}

#[test]
fn transformers_5_layout_reads_the_same() {
    let mut file = smolvlm_256m_json();
    file["dtype"] = file["torch_dtype"].take();
    let text = file["text_config"].as_object_mut().unwrap();
    text.remove("rope_theta");
    text.insert("rope_parameters".into(), json!({ "rope_theta": 100000.0, "rope_type": "default" }));
    let (new, old) = (read(&file).unwrap(), read(&smolvlm_256m_json()).unwrap());
    assert_eq!((new.text, new.dtype), (old.text, old.dtype));
}

#[test]
fn absent_keys_take_transformers_defaults() {
    let file = json!({ "model_type": "smolvlm", "image_token_id": 7, "vision_config": { "image_size": 384 },
        "text_config": { "num_attention_heads": 16 } });
    let config = read(&file).unwrap();
    assert_eq!(config.architecture, SMOLVLM);
    assert_eq!((Idefics3::of(&config).scale_factor, config.dtype), (2, WeightDtype::F32));
    let text = &config.text;
    assert_eq!((text.vocab_size, text.hidden_size, text.intermediate_size), (32000, 4096, 11008));
    assert_eq!((text.num_key_value_heads, text.head_dim, text.num_hidden_layers), (16, 256, 32));
    assert_eq!((text.rope_theta, text.rms_norm_eps), (10000.0, 1e-6));
    assert_eq!((text.bos_token_id, &text.eos_token_ids[..], text.pad_token_id), (Some(1), &[2][..], None));
    let vision = &Idefics3::of(&config).vision;
    assert_eq!((vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers), (1152, 3072, 12));
    assert_eq!((vision.num_attention_heads, vision.patch_size, vision.layer_norm_eps), (16, 32, 1e-6));
    // without a text section, transformers' default for Idefics3 is not Llama's
    let file = json!({ "model_type": "idefics3", "image_token_id": 7, "vision_config": { "image_size": 64 } });
    assert_eq!(read(&file).unwrap().text.rms_norm_eps, 1e-5);
}

#[test]
fn saving_keeps_unknown_keys_and_writes_both_layouts() {
    let mut config = read(&smolvlm_256m_json()).unwrap();
    config.text.num_hidden_layers = 2;
    config.tie_word_embeddings = true;
    config.text.eos_token_ids = vec![2, 5];
    let saved = Value::Object(config.to_json());
    assert_eq!(saved["pad_token_id"], 128002);
    assert_eq!(saved["text_config"]["perceiver_config"]["resampler_depth"], 6);
    assert_eq!(saved["vision_config"]["max_image_size"]["longest_edge"], 512);
    assert_eq!(saved["text_config"]["rope_theta"], 100000.0);
    assert_eq!(saved["text_config"]["rope_parameters"]["rope_theta"], 100000.0);
    assert_eq!((&saved["dtype"], &saved["torch_dtype"]), (&json!("bfloat16"), &json!("bfloat16")));
    assert_eq!(saved["text_config"]["tie_word_embeddings"], true);
    assert_eq!(saved["text_config"]["eos_token_id"], json!([2, 5]));
    let again = read(&saved).unwrap();
    assert_eq!((&again.text, Idefics3::of(&again)), (&config.text, Idefics3::of(&config)));
    assert_eq!(Value::Object(again.to_json()), saved);
    for preset in [ModelConfig::tiny(), ModelConfig::small(), ModelConfig::smolvlm_500m()] {
        let again = read(&Value::Object(preset.to_json())).unwrap();
        assert_eq!((&again.text, Idefics3::of(&again)), (&preset.text, Idefics3::of(&preset)));
    }
}

/// The error for the file with `value` at `pointer`.
fn error_with(pointer: &str, value: Value) -> String {
    let mut file = smolvlm_256m_json();
    let (section, key) = pointer.rsplit_once('/').unwrap();
    file.pointer_mut(section).unwrap().as_object_mut().unwrap().insert(key.into(), value);
    read(&file).unwrap_err().to_string()
}

#[test]
fn bad_values_are_named() {
    let cases = [
        ("/text_config/hidden_size", json!("576"), "text_config.hidden_size: expected a whole number above 0, got \"576\""),
        ("/text_config/num_hidden_layers", json!(-1), "text_config.num_hidden_layers: expected a whole number above 0, got -1"),
        ("/text_config/num_key_value_heads", json!(0), "text_config.num_key_value_heads: expected a whole number above 0, got 0"),
        (
            "/text_config/num_key_value_heads",
            json!(2),
            "text_config.num_attention_heads: expected a multiple of num_key_value_heads (2), got 9",
        ),
        ("/text_config/head_dim", json!(63), "text_config.head_dim: expected an even number (rotary positions turn pairs), got 63"),
        ("/text_config/model_type", json!("mistral"), "text_config.model_type: expected llama, got \"mistral\""),
        ("/text_config/hidden_act", json!("gelu"), "text_config.hidden_act: expected silu, got \"gelu\""),
        ("/text_config/attention_bias", json!(true), "text_config.attention_bias: expected false, got true"),
        (
            "/text_config/rope_parameters",
            json!({ "rope_type": "llama3", "rope_theta": 5e5 }),
            "text_config.rope_parameters.rope_type: expected default, got \"llama3\"",
        ),
        ("/text_config/rms_norm_eps", json!(0.0), "text_config.rms_norm_eps: expected a number above 0, got 0"),
        (
            "/text_config/eos_token_id",
            json!([1, "x"]),
            "text_config.eos_token_id: expected a token id or a list of token ids, got [1,\"x\"]",
        ),
        ("/text_config", json!(3), "text_config: expected an object, got 3"),
        ("/vision_config/patch_size", json!(15), "scale_factor: expected a divisor of the patches per side (34), got 4"),
        ("/vision_config/patch_size", json!(513), "vision_config.image_size: expected at least patch_size (513), got 512"),
        ("/vision_config/hidden_act", json!("gelu"), "vision_config.hidden_act: expected gelu_pytorch_tanh, got \"gelu\""),
        ("/vision_config/num_channels", json!(1), "vision_config.num_channels: expected 3 (red, green, blue), got 1"),
        ("/scale_factor", json!(3), "scale_factor: expected a divisor of the patches per side (32), got 3"),
        ("/image_token_id", json!(49280), "image_token_id: expected an id below text_config.vocab_size (49280), got 49280"),
        ("/torch_dtype", json!("float8"), "torch_dtype: expected float32, float16 or bfloat16, got float8"),
        (
            "/architectures",
            json!(["LlamaForCausalLM"]),
            "architectures: expected Idefics3ForConditionalGeneration or SmolVLMForConditionalGeneration or Qwen2_5_VLForConditionalGeneration, got [\"LlamaForCausalLM\"]",
        ),
    ];
    for (pointer, value, expected) in cases {
        assert_eq!(error_with(pointer, value), format!("dir/config.json: {expected}"));
    }
    let truncated = &smolvlm_256m_json().to_string()[..200];
    let error = ModelConfig::from_json(Path::new("dir/config.json"), truncated).unwrap_err().to_string();
    assert!(error.starts_with("dir/config.json: invalid JSON: EOF"), "{error}");
    let error = read(&json!([1])).unwrap_err().to_string();
    assert_eq!(error, "dir/config.json: (whole file): expected a JSON object, got [1]");
}

/// Sizes that no model has are refused before anything of that size is listed, multiplied or made.
#[test]
fn sizes_beyond_all_models_are_named() {
    let cases = [
        ("/text_config/num_hidden_layers", 20_000_000u64, "text_config.num_hidden_layers: expected at most 4096, got 20000000"),
        ("/text_config/vocab_size", 1 << 40, "text_config.vocab_size: expected at most 16777216, got 1099511627776"),
        ("/text_config/hidden_size", u64::MAX, "text_config.hidden_size: expected at most 1048576, got 18446744073709551615"),
        ("/text_config/intermediate_size", 1 << 32, "text_config.intermediate_size: "),
        ("/text_config/num_attention_heads", 3 << 40, "text_config.num_attention_heads: "),
        ("/text_config/num_key_value_heads", 3 << 40, "text_config.num_key_value_heads: "),
        ("/text_config/head_dim", 1 << 40, "text_config.head_dim: "),
        (
            "/text_config/head_dim",
            1 << 20,
            "text_config.head_dim: expected a number that times num_attention_heads is at most 1048576, got 1048576",
        ),
        ("/text_config/max_position_embeddings", 1 << 33, "text_config.max_position_embeddings: "),
        ("/vision_config/num_hidden_layers", 1 << 40, "vision_config.num_hidden_layers: "),
        ("/vision_config/hidden_size", 1 << 40, "vision_config.hidden_size: "),
        ("/vision_config/intermediate_size", 1 << 40, "vision_config.intermediate_size: "),
        ("/vision_config/num_attention_heads", 1 << 40, "vision_config.num_attention_heads: "),
        ("/vision_config/image_size", 1 << 40, "vision_config.image_size: expected at most 4096, got 1099511627776"),
        ("/vision_config/patch_size", 1 << 40, "vision_config.patch_size: "),
        ("/scale_factor", 1 << 40, "scale_factor: "),
    ];
    for (pointer, value, expected) in cases {
        let error = error_with(pointer, json!(value));
        assert!(error.starts_with(&format!("dir/config.json: {expected}")), "{error}");
    }
    let mut file = smolvlm_256m_json();
    file["scale_factor"] = json!(1);
    file["vision_config"]["patch_size"] = json!(2);
    let error = read(&file).unwrap_err().to_string();
    assert!(error.ends_with("scale_factor: expected one that leaves at most 16384 visual tokens of a tile, got 1"), "{error}");
}
