//! Qwen2.5-VL against what transformers computes in float32 (`tests/golden/qwen2_5_vl/make.py`), and what only this family has.
//!
//! Other ports of this family were wrong in the ways below; the test beside each fails when the mistake is made here (`golden`: the layouts match on CPU and GPU).
//!
//! | mistake | found by |
//! |---|---|
//! | sides of pictures are rounded with halves up | `sides_become_multiples_with_halves_to_the_even` |
//! | a side that rounds to nothing is lifted before the bound on pixels is looked at | the same |
//! | patches, or their rows and columns, are not in the order of merging | `golden` |
//! | the order of windows is taken for its inverse | `golden`, `windows_that_do_not_divide_the_picture_are_cut_off` |
//! | no list of layers that see all, or one of strings | `absent_keys_take_the_defaults_of_transformers`, `what_does_not_fit_is_named` |
//! | layers that see windows and layers that see all are swapped | `golden` |
//! | pictures of a batch see each other | `golden`, which has two pictures in a prompt |
//! | the merger has the other GELU | `golden` |
//! | no bias in the vision tower's MLP, or one in the decoder's | `the_published_model_has_its_tensors`, `golden` |
//! | positions in one dimension, or sections of angles interleaved | `golden` |
//! | what follows a picture goes on after its number of tokens | `golden` |
//! | responses go on at a position counted by tokens | `golden`, whose responses stand behind pictures |
//! | sequences of a batch go on at the position of the first | `responses_go_on_behind_pictures_of_any_form` |
//! | prompts of the same tokens share what was made of other pictures | `pictures_tell_prompts_of_the_same_tokens_apart` |
//! | `generation_config.json` changes what is sampled in training | `what_the_directory_says_of_sampling_changes_nothing` |
//! | a tied head is a matrix of its own, or the other way round | `absent_keys_take_the_defaults_of_transformers`, `golden` |
//! | f16 overflows | `the_residual_stream_of_f16_weights_is_not_f16` |
//! | padding on the wrong side | nothing is padded: sequences are packed, `responses_go_on_behind_pictures_of_any_form` |
//! | sampling and training divide by the temperature in different places | `generate::…` in `tests/src/generate.rs`, at temperature 0.8 |
//! | other bounds on pixels in sampling and in training | pictures are processed once; `pictures_that_are_no_longer_what_the_prompt_says_are_refused` |
//! | words beyond the tokenizer are drawn | `marks_of_pictures_and_rows_beyond_the_tokenizer_are_never_said`, `suppressed_tokens_are_never_drawn_and_have_no_probability` |
//! | names of one layout alone, or one shard | `golden`: one file of old names, five of new ones |

use std::path::{Path, PathBuf};

use percept_engine::ops::Sampling;
use percept_engine::{DType, Device};
use percept_model::families::qwen2_5_vl::{Qwen25Vl, smart_resize};
use percept_model::image::{ImageProcessor, Patches, RgbImage};
use percept_model::{
    GenerationOptions, GenerationRequest, LoraConfig, Model, ModelConfig, ModelFiles, Packing, Precision, ResponseRows, generate,
    parameter_count, parameter_shapes,
};
use serde_json::{Value, json};

use super::adapters::adapt;
use super::assert_every_weight_has_its_gradient;
use super::parity::{Golden, Tensors};
use crate::common::gpu;

fn directory(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/qwen2_5_vl").join(case)
}

fn load(case: &str, device: &Device) -> Model {
    Model::load(&directory(case), device, Precision::Float32).unwrap()
}

/// As `picture` of the generator.
fn picture(number: u32, [height, width]: [u32; 2]) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([x * 31 + 40 * number, y * 17 + x * x / 5, (x + 1) * (y + 3) * (number + 1) / 7].map(|colour| (colour % 256) as u8))
    })
}

/// The pictures of a sequence, through the image processor; their pixels are compared with transformers'.
fn pictures(processor: &ImageProcessor, index: usize, row: &Value, tensors: &Tensors) -> Vec<Patches> {
    let pairs = |key: &str| -> Vec<[u32; 2]> { serde_json::from_value(row[key].clone()).unwrap() };
    let made: Vec<Patches> = pairs("pictures").iter().zip(0..).map(|(&size, number)| processor.process(&picture(number, size))).collect();
    let grids: Vec<[u32; 2]> = made.iter().flat_map(Patches::grids).map(|grid| grid.map(|side| side as u32)).collect();
    assert_eq!(grids, pairs("grids"));
    // transformers has the patches of a visual token side by side, and each twice, as two frames
    let rows: Vec<&[f32]> = made
        .iter()
        .flat_map(|picture| {
            let [rows, cols] = picture.grids()[0];
            let tokens = (0..rows / 2).flat_map(move |y| (0..cols / 2).map(move |x| (2 * y, 2 * x)));
            tokens
                .flat_map(move |(y, x)| [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)].map(|(y, x)| y * cols + x))
                .map(|patch| &picture.values()[patch * picture.width()..][..picture.width()])
        })
        .collect();
    if let Some((_, expected)) = tensors.get(&format!("{index}.pixels")) {
        for (at, expected) in (0..).step_by(997).zip(expected) {
            let (row, channel, pixel) = (rows[at / 1176], at % 1176 / 392, at % 196);
            let got = f64::from(row[channel * 196 + pixel]);
            assert!((got - expected).abs() < 1e-6, "picture {index}, value {at}: {got}, expected {expected}");
        }
    }
    made
}

fn golden(case: &str) -> Golden {
    let directory = directory(case);
    let config = ModelConfig::from_file(&directory.join("config.json")).unwrap();
    let processor = ImageProcessor::from_directory(&directory, &config).unwrap();
    Golden::read_with(&directory, |index, row, tensors| pictures(&processor, index, row, tensors))
}

#[test]
fn the_published_layout_matches_on_the_cpu() {
    golden("flat").compare(&load("flat", &Device::cpu()));
}

#[test]
fn the_layout_of_transformers_5_matches_on_the_cpu() {
    golden("nested").compare(&load("nested", &Device::cpu()));
    let halves = Model::load(&directory("nested"), &Device::cpu(), Precision::AsStored).unwrap();
    assert_eq!(halves.dtype(), DType::BF16);
    golden("nested").compare(&halves);
}

/// Adapters stand in the vision tower, its windows and the merger, too.
#[test]
fn adapters_of_all_linear_layers_are_trained() {
    let golden = golden("flat");
    let sequence = golden.sequences.iter().find(|sequence| !sequence.pictures.is_empty()).unwrap();
    let mut model = load("flat", &Device::cpu());
    adapt(&mut model, &[LoraConfig::ALL_LINEAR]);
    let model = model.to(&Device::cpu(), DType::F64).unwrap();
    assert_every_weight_has_its_gradient(&model, &sequence.ids, &sequence.pictures);
}

#[test]
fn both_layouts_match_on_the_gpu() {
    for case in ["flat", "nested"] {
        golden(case).compare(&load(case, &gpu()));
    }
}

/// The sizes of pictures, with the settings of the published files where none are named.
#[test]
fn sides_become_multiples_with_halves_to_the_even() {
    let published = [3136, 12_845_056];
    for (from, to, pixels) in [
        ([70, 70], [56, 56], published),
        ([42, 42], [56, 56], published),
        ([14, 1000], [28, 476], published),
        ([480, 640], [476, 644], published),
        ([300, 500], [308, 504], published),
        ([1080, 1920], [1092, 1932], published),
        ([2160, 3840], [2156, 3836], published),
        ([1080, 1920], [728, 1316], [3136, 1_003_520]),
        ([448, 448], [532, 532], [262_144, 4_194_304]),
    ] {
        assert_eq!(smart_resize(from, 28, pixels), to, "{from:?} within {pixels:?}");
    }
}

/// Qwen2.5-VL-3B, from its sizes alone.
#[test]
fn the_published_model_has_its_tensors() {
    let text = include_str!("qwen2_5_vl_3b.json");
    let config = ModelConfig::from_json(Path::new("config.json"), text).unwrap();
    let shapes = parameter_shapes(&config);
    assert_eq!((shapes.len(), parameter_count(&config)), (824, 3_754_622_976));
    let of = |name: &str| shapes.iter().find(|(known, _)| known == name).map(|(_, shape)| shape.clone());
    assert_eq!(of("visual.patch_embed.proj.weight"), Some(vec![1280, 3, 2, 14, 14]));
    assert_eq!(of("visual.blocks.31.attn.qkv.bias"), Some(vec![3840]));
    assert_eq!(of("visual.blocks.0.mlp.gate_proj.weight"), Some(vec![3420, 1280]));
    assert_eq!(of("visual.merger.mlp.2.weight"), Some(vec![2048, 5120]));
    assert_eq!(of("model.layers.35.self_attn.k_proj.bias"), Some(vec![256]));
    assert_eq!(of("lm_head.weight"), None);
    let vision = |name: &str| name.starts_with("visual.");
    let count = |is_vision: bool| {
        shapes.iter().filter(|(name, _)| vision(name) == is_vision).map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
    };
    assert_eq!((count(true), count(false)), (668_684_288, 3_085_938_688));
}

/// Sequences of the golden models, of which some have two pictures, as prompts: each is sampled twice, and read again.
fn decoding_is_reading(device: &Device, dtype: DType, tolerance: f64) {
    let model = load("flat", &Device::cpu()).to(device, dtype).unwrap();
    let sequences = golden("flat").sequences;
    let request = |i: usize| GenerationRequest { prompt: &sequences[i].ids, pictures: &sequences[i].pictures, streams: 0..2 };
    let options =
        GenerationOptions { max_new_tokens: 5, sampling: Sampling::plain(1), stop_tokens: vec![], check_every: None, kv_cache: DType::F32 };
    let drawn = generate(&model, &[request(1), request(3), request(0)], &options).unwrap();

    let (mut shared, mut alone) = (Packing::new(model.config()), Packing::new(model.config()));
    let (mut shared_rows, mut alone_rows, mut expected) = (Vec::new(), Vec::new(), Vec::<f32>::new());
    for (i, completions) in [1, 3, 0].into_iter().zip(&drawn) {
        let packed = shared.prompt(&sequences[i].ids, &sequences[i].pictures).unwrap();
        for completion in completions {
            shared_rows.push(shared.response(&packed, &completion.tokens).unwrap());
            alone_rows.push(alone.row(&sequences[i].ids, &sequences[i].pictures, &completion.tokens).unwrap());
            expected.extend(&completion.log_probs);
        }
    }
    for (packing, rows) in [(shared, shared_rows), (alone, alone_rows)] {
        let hidden = model.hidden(&packing.into_batch(&model));
        let log_probs = model.log_probs(&hidden, &ResponseRows::concat(&rows), 1.0).0.to_f64_vec().unwrap();
        let error = log_probs.iter().zip(&expected).map(|(a, &b)| (a - f64::from(b)).abs()).fold(0.0, f64::max);
        assert!(log_probs.len() == 30 && error < tolerance, "{error}");
    }
}

#[test]
fn responses_go_on_behind_pictures_of_any_form() {
    decoding_is_reading(&Device::cpu(), DType::F64, 2e-6);
    decoding_is_reading(&gpu(), DType::F32, 1e-4);
}

/// A directory with everything: the model, and a tokenizer whose tokens have this family's names.
pub(crate) fn whole_directory(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(directory(case)).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer").join(name)).unwrap();
        let named = text
            .replace("<image>", "<|image_pad|>")
            .replace("<fake_token_around_image>", "<|vision_start|>")
            .replace("<global-img>", "<|vision_end|>");
        std::fs::write(folder.path().join(name), named).unwrap();
    }
    let template = "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}{% if part.type == 'image' %}\
                    <|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}\
                    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    folder
}

#[test]
fn what_is_saved_has_the_published_names_and_loads_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for case in ["flat", "nested"] {
        let path = whole_directory("flat");
        for file in std::fs::read_dir(directory(case)).unwrap().map(|file| file.unwrap()) {
            std::fs::copy(file.path(), path.path().join(file.file_name())).unwrap();
        }
        if case == "nested" {
            std::fs::remove_file(path.path().join("model.safetensors")).unwrap();
            // the tokenizer has more tokens than this model
            std::fs::copy(directory("flat").join("config.json"), path.path().join("config.json")).unwrap();
        }
        let (files, saved) = (ModelFiles::read(path.path()).unwrap(), folder.path().join(case));
        let config = ModelConfig::from_file(&directory(case).join("config.json")).unwrap();
        let model = Model::load(&directory(case), &Device::cpu(), Precision::AsStored).unwrap();
        model.save(&saved, &files).unwrap();
        let again = Model::load(&saved, &Device::cpu(), Precision::AsStored).unwrap();
        assert_eq!(again.dtype(), model.dtype());
        for ((name, tensor), (_, expected)) in again.parameters().zip(model.parameters()) {
            assert_eq!(tensor.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap(), "{name}");
        }
        let written: Value = serde_json::from_str(&std::fs::read_to_string(saved.join("config.json")).unwrap()).unwrap();
        assert_eq!((written.get("text_config").is_some(), &written["model_type"]), (case == "nested", &json!("qwen2_5_vl")));
        assert_eq!(Qwen25Vl::of(again.config()), Qwen25Vl::of(&config));
        let names: Vec<String> =
            percept_engine::safetensors::Checkpoint::open(&saved.join("model.safetensors")).unwrap().names().map(str::to_owned).collect();
        assert!(
            names.iter().all(|name| ["visual.", "model.layers.", "model.embed_tokens.", "model.norm.", "lm_head."]
                .iter()
                .any(|start| name.starts_with(start))),
            "{names:?}"
        );
    }
}

/// The file of the golden model with one field changed.
fn changed(case: &str, pointer: &str, value: Value) -> Result<ModelConfig, String> {
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(directory(case).join("config.json")).unwrap()).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match (config.pointer_mut(parent), value) {
        (Some(Value::Object(map)), Value::Null) => drop(map.remove(key)),
        (Some(Value::Object(map)), value) => drop(map.insert(key.into(), value)),
        (other, _) => panic!("{pointer}: {other:?}"),
    }
    ModelConfig::from_json(Path::new("config.json"), &config.to_string()).map_err(|error| error.to_string())
}

/// Each was a mistake of some port.
#[test]
fn absent_keys_take_the_defaults_of_transformers() {
    // a tower without the list is not one that looks into windows alone
    let mut deep: Value = serde_json::from_str(include_str!("qwen2_5_vl_3b.json")).unwrap();
    deep["vision_config"].as_object_mut().unwrap().remove("fullatt_block_indexes");
    let config = ModelConfig::from_json(Path::new("config.json"), &deep.to_string()).unwrap();
    assert_eq!(Qwen25Vl::of(&config).vision.fullatt_block_indexes, [7, 15, 23, 31]);
    assert_eq!(Qwen25Vl::of(&config).mrope_section, [16, 24, 24]);
    assert_eq!((config.text.head_dim, config.text.rope_theta, config.tie_word_embeddings), (128, 1e6, true));
    assert_eq!(changed("nested", "/text_config/rope_parameters/rope_theta", Value::Null).unwrap().text.rope_theta, 1e6);
    // tied if either place says so
    assert!(changed("nested", "/text_config/tie_word_embeddings", json!(true)).unwrap().tie_word_embeddings);
    assert!(changed("nested", "/tie_word_embeddings", json!(true)).unwrap().tie_word_embeddings);
    // a window is ignored unless it is used
    assert!(changed("flat", "/sliding_window", json!(16)).is_ok());
}

#[test]
fn what_does_not_fit_is_named() {
    for (case, pointer, value, expected) in [
        (
            "flat",
            "/vision_config/fullatt_block_indexes",
            json!(["1", "3"]),
            "vision_config.fullatt_block_indexes: expected a list of whole numbers",
        ),
        (
            "flat",
            "/vision_config/fullatt_block_indexes",
            json!([4]),
            "vision_config.fullatt_block_indexes: expected numbers of layers below depth (4), got [4]",
        ),
        ("flat", "/rope_scaling/mrope_section", json!([2, 3]), "rope_scaling.mrope_section: expected three whole numbers, got [2,3]"),
        (
            "nested",
            "/text_config/rope_parameters/mrope_section",
            json!([2, 3, 4]),
            "text_config.rope_parameters.mrope_section: expected three numbers with the sum 8 (half a head), got [2, 3, 4]",
        ),
        ("flat", "/rope_scaling/type", json!("yarn"), "rope_scaling.type: expected mrope or default, got \"yarn\""),
        ("flat", "/use_sliding_window", json!(true), "use_sliding_window: expected false, got true"),
        (
            "flat",
            "/vision_config/out_hidden_size",
            json!(40),
            "vision_config.out_hidden_size: expected 48 (hidden_size of the decoder), got 40",
        ),
        (
            "flat",
            "/vision_config/window_size",
            json!(20),
            "vision_config.window_size: expected at least the side of a visual token (28), got 20",
        ),
        ("flat", "/vision_config/in_chans", json!(1), "vision_config.in_chans: expected 3 (red, green, blue), got 1"),
        ("flat", "/num_key_value_heads", json!(2), "num_attention_heads: expected a multiple of num_key_value_heads (2), got 3"),
        ("flat", "/image_token_id", json!(400), "image_token_id: expected an id below vocab_size (384), got 400"),
        ("flat", "/num_hidden_layers", json!(5000), "num_hidden_layers: expected at most 4096, got 5000"),
    ] {
        let error = changed(case, pointer, value).unwrap_err();
        assert!(error.contains(expected), "{error}\nlacks {expected}");
    }
    let settings = |fields: Value| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("preprocessor_config.json"), fields.to_string()).unwrap();
        ImageProcessor::from_directory(folder.path(), &changed("flat", "/x", json!(1)).unwrap())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    settings(json!({})).unwrap();
    for (fields, expected) in [
        (json!({"patch_size": 16}), "patch_size: expected 14 (vision_config of config.json), got 16"),
        (json!({"min_pixels": 5000, "max_pixels": 4000}), "min_pixels: expected at most max_pixels (4000), got 5000"),
        (json!({"image_std": [1, 1]}), "image_std: expected three numbers, got [1,1]"),
        (json!({"do_rescale": false}), "do_rescale: expected true, got false"),
        (json!({"size": {"longest_edge": 1_u64 << 40}}), "size.longest_edge: expected at most"),
    ] {
        let error = settings(fields).unwrap_err();
        assert!(error.contains(&format!("preprocessor_config.json: {expected}")), "{error}");
    }
}

#[test]
fn pictures_that_are_too_long_are_refused() {
    let config = changed("flat", "/x", json!(1)).unwrap();
    let processor = ImageProcessor::from_directory(&directory("flat"), &config).unwrap();
    let error = processor.check(&RgbImage::new(2, 402)).unwrap_err().to_string();
    assert_eq!(error, "expected a picture whose longer side is at most 200 times the shorter, got 2x402 pixels");
    processor.check(&RgbImage::new(2, 400)).unwrap();
}

/// The same tokens, and as many of them visual; nothing that was made of one picture serves another.
#[test]
fn pictures_tell_prompts_of_the_same_tokens_apart() {
    let model = load("flat", &Device::cpu());
    let config = ModelConfig::from_file(&directory("flat").join("config.json")).unwrap();
    let processor = ImageProcessor::from_directory(&directory("flat"), &config).unwrap();
    let pictures = [0, 1].map(|number| processor.process(&picture(number, [56, 84])));
    let mut prompt = vec![11, 12];
    prompt.extend([config.image_token_id; 6]);
    prompt.extend([13, 14]);
    let options =
        GenerationOptions { max_new_tokens: 4, sampling: Sampling::plain(1), stop_tokens: vec![], check_every: None, kv_cache: DType::F32 };
    let request = |i: usize| GenerationRequest { prompt: &prompt, pictures: &pictures[i..=i], streams: 0..1 };
    let together = generate(&model, &[request(0), request(1), request(0)], &options).unwrap();
    let alone = [0, 1, 0].map(|i| generate(&model, &[request(i)], &options).unwrap().remove(0));
    let log_probs =
        |drawn: &[Vec<percept_model::Completion>]| -> Vec<Vec<f32>> { drawn.iter().map(|one| one[0].log_probs.clone()).collect() };
    let (together, alone) = (log_probs(&together), log_probs(&alone));
    assert_eq!(together[0], together[2]);
    assert!(together[0].iter().zip(&together[1]).any(|(a, b)| (a - b).abs() > 1e-3), "{together:?}");
    for (a, b) in together.concat().iter().zip(alone.concat()) {
        assert!((a - b).abs() < 1e-4, "{together:?}\n{alone:?}");
    }
}

/// Published directories have a repetition penalty and a temperature near 0 there: what is drawn in training would not be the model's own distribution.
#[test]
fn what_the_directory_says_of_sampling_changes_nothing() {
    let path = whole_directory("flat");
    let drawn = || {
        let model = Model::load(path.path(), &Device::cpu(), Precision::Float32).unwrap();
        let sampling = Sampling { temperature: 4.0, ..Sampling::plain(1) };
        let options = GenerationOptions { max_new_tokens: 6, sampling, stop_tokens: vec![], check_every: None, kv_cache: DType::F32 };
        let drawn = generate(&model, &[GenerationRequest { prompt: &[11, 12, 13], pictures: &[], streams: 0..4 }], &options).unwrap();
        drawn[0].iter().map(|one| (one.tokens.clone(), one.log_probs.clone())).collect::<Vec<_>>()
    };
    let before = drawn();
    let says =
        json!({ "repetition_penalty": 1.9, "temperature": 1e-6, "top_k": 1, "top_p": 0.001, "do_sample": false, "eos_token_id": [2] });
    std::fs::write(path.path().join("generation_config.json"), says.to_string()).unwrap();
    assert_eq!(drawn(), before);
    assert!(before.iter().any(|one| *one != before[0]), "{before:?}");
}

/// A picture of another size than the one whose tokens stand in the prompt.
#[test]
fn pictures_that_are_no_longer_what_the_prompt_says_are_refused() {
    let config = ModelConfig::from_file(&directory("flat").join("config.json")).unwrap();
    let processor = ImageProcessor::from_directory(&directory("flat"), &config).unwrap();
    let mut prompt = vec![11];
    prompt.extend([config.image_token_id; 6]);
    let mut packing = Packing::new(&config);
    assert!(packing.prompt(&prompt, &[processor.process(&picture(0, [56, 84]))]).is_ok());
    assert!(packing.prompt(&prompt, &[processor.process(&picture(0, [84, 84]))]).is_err());
}

/// The stream goes beyond what f16 holds, as in single channels of large models.
#[test]
fn the_residual_stream_of_f16_weights_is_not_f16() {
    for device in [Device::cpu(), gpu()] {
        let single = load("flat", &Device::cpu());
        for (name, tensor) in single.parameters() {
            let scale = match name {
                _ if name.ends_with("embed_tokens.weight") => 4e4,
                _ if name.ends_with("mlp.down_proj.weight") => 3e4,
                _ => continue,
            };
            let values: Vec<f32> = (0..tensor.len()).map(|i| scale * (1.0 + (i % 7) as f32 / 20.0)).collect();
            tensor.write_slice(&values);
        }
        let halves = single.to(&device, DType::F16).unwrap();
        assert_eq!((halves.dtype(), halves.arithmetic_dtype()), (DType::F16, DType::F32));
        let single = halves.to(&device, DType::F32).unwrap();
        let last = |model: &Model| {
            let mut packing = Packing::new(model.config());
            packing.prompt(&[11, 12, 13, 14, 15], &[]).unwrap();
            let (mut most, mut last) = (0.0_f64, Vec::new());
            model.visit_hidden(&packing.into_batch(model), |hidden| {
                assert_eq!(hidden.dtype(), DType::F32);
                last = hidden.to_f64_vec().unwrap();
                most = last.iter().fold(most, |most, value| most.max(value.abs()));
            });
            (most, last)
        };
        let ((most, got), (_, expected)) = (last(&halves), last(&single));
        assert!(most > 65_504.0, "{most}: f16 would hold it");
        assert!(got.iter().all(|value| value.is_finite()));
        assert!(super::relative_error(&got, &expected) < 1e-5);
    }
}
