//! `percept generate` and `percept score` on the golden model, and what they say to bad input.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use percept_cppo::commands::{self, Outcome};
use serde_json::Value;

use super::whole_directory;

/// Outcome, standard output, standard error.
fn percept(arguments: &[&str]) -> (Outcome, String, String) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("percept").chain(arguments.iter().copied()).map(OsString::from);
    let outcome = commands::run(arguments, &mut out, &mut errors);
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

/// A command about the golden picture.
fn ask(command: &str, directory: &Path, more: &[&str]) -> (Outcome, String, String) {
    let (model, image) = (directory.display().to_string(), directory.join("picture.png").display().to_string());
    percept(&[&[command, "--model", &model, "--image", &image, "--prompt", "What is the sum of the digits?"], more].concat())
}

#[test]
fn score_prints_what_transformers_computes() {
    let directory = whole_directory();
    let golden: Value = serde_json::from_slice(&fs::read(directory.path().join("score.json")).unwrap()).unwrap();
    for device in ["cpu", "gpu"] {
        for case in golden.as_array().unwrap() {
            let split = if case["split"] == true { "--split-image" } else { "--no-split-image" };
            let completion = case["completion"].as_str().unwrap();
            let (outcome, out, errors) = ask("score", directory.path(), &["--completion", completion, "--device", device, "--json", split]);
            assert_eq!(outcome, Outcome::Done, "{errors}");
            let report: Value = serde_json::from_str(&out).unwrap();
            assert_eq!((&report["prompt_tokens"], &report["tokens"]), (&case["prompt_tokens"], &case["tokens"]));
            for name in ["log_probs", "entropies"] {
                let numbers = |of: &Value| of[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
                let (got, expected) = (numbers(&report), numbers(case));
                assert_eq!(got.len(), expected.len());
                let error = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(error <= 1e-4, "{device} {split} {name}: {error:.1e}");
            }
        }
    }
}

/// PEFT's adapter on the golden model: given with its base, copied beside the base's weights, and merged into a directory of its own.
#[test]
fn an_adapter_is_scored_and_exported() {
    let base = whole_directory();
    let adapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/peft/plain");
    let picture = base.path().join("picture.png").display().to_string();
    let score = |model: &Path, more: &[&str]| {
        let model = model.display().to_string();
        let arguments =
            ["score", "--model", &model, "--image", &picture, "--prompt", "?", "--completion", "I see 3", "--json", "--device", "cpu"];
        let (outcome, out, errors) = percept(&[&arguments[..], more].concat());
        assert_eq!(outcome, Outcome::Done, "{errors}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let log_probs: Vec<f64> = report["log_probs"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        (log_probs, errors)
    };
    let base_text = base.path().display().to_string();
    let (expected, said) = score(&adapter, &["--base", &base_text]);
    assert!(said.contains(&format!("model: the adapter in {} on {base_text}", adapter.display())), "{said}");
    let (without, said) = score(base.path(), &[]);
    assert!(without != expected && !said.contains("adapter"), "{said}");

    let out = base.path().join("merged").display().to_string();
    let export = |model: &Path| percept(&["export", "--model", &model.display().to_string(), "--base", &base_text, "--out", &out]);
    let (outcome, said, errors) = export(&adapter);
    assert_eq!((outcome, said), (Outcome::Done, format!("model: {out}, the adapter merged\n")), "{errors}");
    let (merged, _) = score(Path::new(&out), &[]);
    let error = merged.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < 1e-4, "{merged:?}, expected {expected:?}");
    let (outcome, _, errors) = export(&adapter);
    assert!(outcome == Outcome::BadInput && errors.contains("--out: expected a directory that is not there yet"), "{errors}");
    let (outcome, _, errors) = export(base.path());
    assert_eq!(outcome, Outcome::BadInput, "{errors}");

    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(name), base.path().join(name)).unwrap();
    }
    let (noticed, said) = score(base.path(), &[]);
    assert!(noticed == expected && said.contains("model: the adapter in "), "{said}");
}

#[test]
fn several_pictures_are_read_in_their_order() {
    let directory = whole_directory();
    let other = directory.path().join("other.png").display().to_string();
    image::RgbImage::from_fn(40, 40, |x, y| image::Rgb([5 * x as u8, 5 * y as u8, 0])).save(&other).unwrap();
    let first = directory.path().join("picture.png").display().to_string();
    let score = |pictures: &[&str]| {
        let model = directory.path().display().to_string();
        let arguments = ["score", "--model", &model, "--prompt", "?", "--completion", "3", "--json", "--device", "cpu"];
        let pictures: Vec<&str> = pictures.iter().flat_map(|picture| ["--image", picture]).collect();
        let (outcome, out, errors) = percept(&[&arguments[..], &pictures].concat());
        assert_eq!(outcome, Outcome::Done, "{errors}");
        let report: Value = serde_json::from_str(&out).unwrap();
        (report["prompt_tokens"].as_u64().unwrap(), report["log_probs"][0].as_f64().unwrap())
    };
    let [(one, _), (_, of_two), (two, of_swapped)] = [score(&[&first]), score(&[&first, &other]), score(&[&other, &first])];
    assert!(two > one + 10 && of_two != of_swapped, "{one} and {two} tokens, {of_two} and {of_swapped} nats");
}

#[test]
fn score_prints_a_table_that_spells_the_completion() {
    let directory = whole_directory();
    let (outcome, out, errors) = ask("score", directory.path(), &["--completion", "-3 é.", "--device", "cpu"]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    assert!(errors.starts_with("on "), "{errors}");
    let rows: Vec<&str> = out.lines().skip(1).filter(|line| line.ends_with('"')).collect();
    let spelt: String = rows.iter().map(|row| row[row.find('"').unwrap() + 1..row.len() - 1].to_string()).collect();
    assert_eq!(spelt, "-3 é.");
}

#[test]
fn generate_prints_the_same_answer_for_the_same_seed() {
    let directory = whole_directory();
    let draw = |seed| {
        let (outcome, out, errors) = ask(
            "generate",
            directory.path(),
            &["--max-new-tokens", "8", "--temperature", "1", "--top-k", "200", "--top-p", "0.95", "--seed", seed, "--device", "cpu"],
        );
        assert_eq!(outcome, Outcome::Done, "{errors}");
        assert!(out.ends_with('\n') && out.len() > 1, "{out:?}");
        assert!(errors.contains("33 tokens read, "), "{errors}");
        out
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn bad_input_is_named_and_exits_with_2() {
    let directory = whole_directory();
    let path = directory.path();
    let refused = |(outcome, out, errors): (Outcome, String, String), expected: &[&str]| {
        assert_eq!((outcome, out.as_str()), (Outcome::BadInput, ""), "{errors}");
        for text in expected {
            assert!(errors.contains(text), "{errors:?} lacks {text:?}");
        }
    };
    refused(percept(&["generate", "--image", "x.png", "--prompt", "?"]), &["--model"]);
    refused(ask("generate", path, &["--temperature", "-1"]), &["--temperature", "from 0 up"]);
    refused(ask("generate", path, &["--top-p", "0"]), &["--top-p", "above 0"]);
    refused(ask("generate", path, &["--top-k", "0"]), &["--top-k"]);
    refused(ask("generate", path, &["--split-image", "--no-split-image"]), &["--split-image"]);
    refused(ask("generate", path, &["--max-new-tokens", "480", "--device", "cpu"]), &["prompt of 33 tokens + 480 new", "(512)"]);
    let long = "3 ".repeat(500);
    refused(ask("score", path, &["--completion", &long, "--device", "cpu"]), &["exceeds max_position_embeddings (512)"]);
    refused(ask("generate", &path.join("nowhere"), &[]), &["nowhere", "expected a model directory, got nothing"]);

    let spoiled = |file: &str, contents: &[u8]| {
        let directory = whole_directory();
        fs::write(directory.path().join(file), contents).unwrap();
        directory
    };
    let whole = |file: &str| fs::read(path.join(file)).unwrap();
    let score = |directory: &tempfile::TempDir| ask("score", directory.path(), &["--completion", "3", "--device", "cpu"]);
    refused(score(&spoiled("picture.png", &whole("picture.png")[..200])), &["picture.png", "truncated"]);
    refused(score(&spoiled("picture.png", b"hello")), &["picture.png", "expected a PNG, JPEG"]);
    let weights = whole("model.safetensors");
    refused(score(&spoiled("model.safetensors", &weights[..weights.len() / 2])), &["model.safetensors"]);
    refused(score(&spoiled("config.json", b"{")), &["config.json", "invalid JSON"]);
    let tokenizer = String::from_utf8(whole("tokenizer.json")).unwrap().replace("<image>", "<picture>");
    refused(score(&spoiled("tokenizer.json", tokenizer.as_bytes())), &["tokenizer.json", "<image>"]);
    let directory = whole_directory();
    fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    refused(score(&directory), &["model.safetensors", "not found"]);
    fs::remove_file(directory.path().join("picture.png")).unwrap();
    refused(score(&directory), &["picture.png", "cannot read"]);
}
