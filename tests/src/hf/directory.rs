use super::tiny_tokenizer_directory;
use percept_model::{GenerationConfig, ModelConfig, ModelError, ModelFiles, atomic};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A directory of the tiny preset, without weights.
fn tiny_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = ModelFiles::read_with_config(&tiny_tokenizer_directory(), ModelConfig::tiny()).unwrap();
    files.write(directory.path()).unwrap();
    directory
}

fn contents(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())).collect()
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(path).unwrap_or_else(|_| "{}".into());
    let mut value: Value = serde_json::from_str(&text).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_written_directory_reads_back_to_the_same_files() {
    let first = tiny_directory();
    edit_json(&first.path().join("processor_config.json"), |value| {
        value["audio_seq_len"] = json!(3);
        value["image_processor"]["do_image_splitting"] = json!(true);
    });
    edit_json(&first.path().join("generation_config.json"), |value| {
        value["eos_token_id"] = json!([2, 0]);
        value["temperature"] = json!(0.5);
        value["repetition_penalty"] = json!(1.25);
    });
    let files = ModelFiles::read(first.path()).unwrap();
    assert_eq!(files.generation.eos_token_ids, [2, 0]);
    assert_eq!(files.generation.temperature, Some(0.5));
    let second = tempfile::tempdir().unwrap();
    files.write(second.path()).unwrap();

    let (mut before, mut after) = (contents(first.path()), contents(second.path()));
    assert_eq!(after.len(), 8, "{:?}", after.keys());
    // formatted anew
    for name in ["generation_config.json", "processor_config.json"] {
        let [before, after] = [&mut before, &mut after].map(|files| serde_json::from_str::<Value>(&files.remove(name).unwrap()).unwrap());
        assert_eq!(before, after);
    }
    // the older file follows the newer one
    let preprocessor =
        [&mut before, &mut after].map(|files| serde_json::from_str::<Value>(&files.remove("preprocessor_config.json").unwrap()).unwrap());
    assert_eq!(preprocessor[0]["do_image_splitting"], false);
    assert_eq!(preprocessor[1]["do_image_splitting"], true);
    assert_eq!(before, after);
}

/// The error of reading a directory of the tiny preset after `damage`, without the directory's own path.
fn error_after(damage: impl FnOnce(&Path)) -> String {
    let directory = tiny_directory();
    damage(directory.path());
    let error = ModelFiles::read(directory.path()).unwrap_err().to_string();
    error.replace(&format!("{}{}", directory.path().display(), std::path::MAIN_SEPARATOR), "")
}

#[test]
fn missing_files_are_named() {
    let without = |name: &'static str| error_after(|directory| fs::remove_file(directory.join(name)).unwrap());
    assert_eq!(without("config.json"), "config.json: not found (the model's configuration)");
    assert_eq!(without("tokenizer.json"), "tokenizer.json: not found (the tokenizer)");
    assert!(without("chat_template.jinja").starts_with("chat_template.jinja: not found (a chat template;"));
    let error = ModelFiles::read(Path::new("no/such/directory")).unwrap_err();
    assert!(matches!(error, ModelError::NoDirectory { .. }));
}

#[test]
fn damaged_files_are_named() {
    for name in ["config.json", "generation_config.json", "tokenizer_config.json", "processor_config.json"] {
        let error = error_after(|directory| fs::write(directory.join(name), "{\"a\": [1,").unwrap());
        assert_eq!(error, format!("{name}: invalid JSON: EOF while parsing a value at line 1 column 9"));
    }
    let error = error_after(|directory| fs::write(directory.join("config.json"), [0xFF, 0xFE]).unwrap());
    assert_eq!(error, "config.json: invalid utf-8 sequence of 1 bytes from index 0");
    let error = error_after(|directory| fs::write(directory.join("chat_template.jinja"), "{% if %}").unwrap());
    assert!(error.starts_with("chat_template.jinja: chat template: line 1: "), "{error}");
}

#[test]
fn files_that_disagree_are_named() {
    let error = error_after(|directory| {
        edit_json(&directory.join("processor_config.json"), |value| value["image_seq_len"] = json!(64));
    });
    assert_eq!(error, "processor_config.json: image_seq_len: expected 16 (from config.json), got 64");
    let error = error_after(|directory| {
        edit_json(&directory.join("processor_config.json"), |value| {
            value["image_processor"]["max_image_size"] = json!({ "longest_edge": 32 });
        });
    });
    let expected = "max_image_size.longest_edge: expected 64 (vision_config.image_size of config.json), got 32";
    assert_eq!(error, format!("processor_config.json: {expected}"));
    let error = error_after(|directory| {
        edit_json(&directory.join("config.json"), |value| value["image_token_id"] = json!(5));
    });
    assert_eq!(error, "tokenizer.json: <image>: expected id 5 (image_token_id of config.json), got id 4");
}

#[test]
fn generation_settings_are_checked() {
    let read = |value: Value| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("generation_config.json");
        fs::write(&path, value.to_string()).unwrap();
        GenerationConfig::from_file(&path, &ModelConfig::tiny())
    };
    let config = read(json!({ "eos_token_id": 49279, "pad_token_id": 2, "do_sample": true, "top_k": 0, "top_p": 0.9 }));
    let config = config.unwrap();
    assert_eq!((config.eos_token_ids, config.pad_token_id, config.do_sample), (vec![49279], Some(2), true));
    assert_eq!((config.top_k, config.top_p, config.temperature), (Some(0), Some(0.9), None));

    let error = |value: Value| read(value).unwrap_err().to_string();
    assert!(error(json!({ "temperature": 0.0 })).ends_with("temperature: expected a number above 0, got 0"));
    assert!(error(json!({ "top_p": 1.5 })).ends_with("top_p: expected a number above 0, at most 1, got 1.5"));
    assert!(error(json!({ "eos_token_id": "</s>" })).contains("eos_token_id: expected a token id or a list"));

    let absent = GenerationConfig::from_file(Path::new("no/such/file"), &ModelConfig::tiny()).unwrap();
    assert_eq!(absent.eos_token_ids, [2]);
}

#[test]
fn a_directory_is_replaced_whole_or_not_at_all() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("model");
    let write = |contents: &'static str| move |directory: &Path| atomic::write_file(&directory.join("file"), contents.as_bytes());
    atomic::write_directory(&target, write("one")).unwrap();
    atomic::write_directory(&target, write("two")).unwrap();
    assert_eq!(contents(&target), BTreeMap::from([("file".into(), "two".into())]));

    let failed = atomic::write_directory(&target, |directory| {
        atomic::write_file(&directory.join("file"), b"three")?;
        atomic::write_file(&directory.join("no/such/directory/file"), b"")
    });
    assert!(matches!(failed, Err(ModelError::Io { .. })));
    assert_eq!(contents(&target), BTreeMap::from([("file".into(), "two".into())]));
    let left: Vec<_> = fs::read_dir(parent.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "temporary files are left behind: {left:?}");
}
