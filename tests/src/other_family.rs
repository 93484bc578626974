//! The program with a model of another family: pictures of any size, from data to a report.

use image::{Rgb, RgbImage};
use percept_cppo::commands::Outcome;
use percept_cppo::problems::prompts::Encoder;
use percept_cppo::studies::gradients::reach;
use percept_engine::Device;
use percept_model::{Model, ModelFiles, Precision};

use crate::model::qwen2_5_vl::whole_directory;
use crate::program::{percept, text};

/// Rows of two pictures, of which none has the size of another; one is too long for its width.
#[test]
fn pictures_of_any_size_are_trained_on() {
    let (model, folder) = (whole_directory("flat"), tempfile::tempdir().unwrap());
    let mut lines = String::new();
    for number in 0..8_u32 {
        let names = [0, 1].map(|at| format!("{number}-{at}.png"));
        for (name, at) in names.iter().zip(0..) {
            let [width, height] = if number == 3 && at == 1 { [1, 300] } else { [30 + 17 * number, 140 - 9 * number + 5 * at] };
            RgbImage::from_fn(width, height, |x, y| Rgb([x * 7, y * 5 + number, x * y].map(|colour| (colour % 256) as u8)))
                .save(folder.path().join(name))
                .unwrap();
        }
        lines += &format!("{{\"images\": {names:?}, \"problem\": \"How many?\", \"answer\": \"{number}\"}}\n");
    }
    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, lines).unwrap();
    let settings = folder.path().join("run.toml");
    let rewards = "[[reward]]\nname = 'accuracy'\nkind = 'accuracy'\n[[reward]]\nkind = 'regex'\npattern = '[aeiou]'\n";
    let text_of_settings = format!(
        "[model]\npath = '{}'\n[model.lora]\nrank = 2\n[data]\npath = '{}'\nmax_images = 2\n[method]\nname = 'cppo'\ngroup_size = 3\n{rewards}\
         [rollout]\nprompts_per_step = 2\nmax_new_tokens = 6\n[optim]\nlearning_rate = 0.01\n[train]\nsteps = 2\n[eval]\nholdout = 2\nproblems = 2\nsamples = 1\n\
         [run]\nfolder = '{}'\nname = 'other'\ndevice = 'cpu'\n",
        model.path().display(),
        data.display(),
        folder.path().display()
    );
    std::fs::write(&settings, text_of_settings).unwrap();
    let (outcome, out, errors) = percept(&["train", text(&settings)]);
    assert_eq!(outcome, Outcome::Done, "{errors}{out}");
    assert!(out.contains("row 4: ") && out.contains("longer side is at most 200 times the shorter, got 1x300 pixels"), "{out}");
    assert!(folder.path().join("other/report.html").is_file());
    let adapter = folder.path().join("other/checkpoints/last/adapter");
    let config = std::fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    assert!(config.contains("\"model.language_model.layers.0.self_attn.q_proj\"") || config.contains("\"q_proj\""), "{config}");

    let pictures = ["0-0.png", "5-1.png"].map(|name| folder.path().join(name));
    let ask = |more: &[&str]| {
        let asked = [
            "--image",
            text(&pictures[0]),
            "--image",
            text(&pictures[1]),
            "--prompt",
            "?",
            "--completion",
            "3",
            "--json",
            "--device",
            "cpu",
        ];
        let (outcome, out, errors) = percept(&[&["score"], more, &asked].concat());
        assert_eq!(outcome, Outcome::Done, "{errors}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["log_probs"][0].as_f64().unwrap()
    };
    let (base, last) = (model.path(), folder.path().join("other/checkpoints/last"));
    let (merged, adapted) = (ask(&["--model", text(&last)]), ask(&["--model", text(&adapter), "--base", text(base)]));
    assert!((merged - adapted).abs() < 1e-4 && (merged - ask(&["--model", text(base)])).abs() > 1e-4, "{merged} and {adapted}");
}

/// A tokenizer may have fewer tokens than the embedding table has rows.
#[test]
fn marks_of_pictures_and_rows_beyond_the_tokenizer_are_never_said() {
    let directory = whole_directory("flat");
    let config = directory.path().join("config.json");
    let text_of_config = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text_of_config.replace("\"vocab_size\": 384", "\"vocab_size\": 400")).unwrap();
    let files = ModelFiles::read(directory.path()).unwrap();
    let never = files.tokens_never_said();
    let marks = ["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"].map(|mark| files.tokenizer.token_to_id(mark).unwrap());
    assert!(marks.iter().all(|mark| never.contains(mark)), "{never:?}");
    let (known, rows) = (files.tokenizer.vocab_size() as u32, files.config.text.vocab_size as u32);
    assert!(known < rows && (known..rows).all(|id| never.contains(&id)), "{known} of {rows}: {never:?}");
    assert!(!never.contains(&files.tokenizer.token_to_id("a").unwrap()) && !never.contains(&files.generation.eos_token_ids[0]));
}

#[test]
fn a_gradient_reaches_every_weight() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-vlm");
    for (directory, weights) in [(tiny, 92), (text(whole_directory("flat").path()), 104)] {
        let (outcome, out, errors) = percept(&["doctor", "--model", directory]);
        assert_eq!(outcome, Outcome::Done, "{errors}{out}");
        assert!(out.contains(&format!("a gradient reaches {weights} of {weights} weights")), "{out}");
    }
    let (outcome, out, _) = percept(&["doctor", "--model", tiny, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((outcome, &report["ok"], &report["missed"]), (Outcome::Done, &true.into(), &serde_json::json!([])));
    // a final norm of zeros lets nothing through but the gradient of its own
    let directory = whole_directory("flat");
    let model = Model::load(directory.path(), &Device::cpu(), Precision::Float32).unwrap();
    let norm = model.parameters().find(|(name, _)| *name == "model.norm.weight").unwrap().1;
    norm.write_slice(&vec![0.0_f32; norm.len()]);
    let found = reach(&model, &Encoder::new(ModelFiles::read(directory.path()).unwrap()).unwrap()).unwrap();
    assert_eq!((found.reached, found.missed.len(), found.is_complete()), (1, 103, false));
}
