//! Model directories that were made to do harm, or that are damaged: an error that names the file, in little time and memory.

use super::tiny_tokenizer_directory;
use percept_model::{ChatTemplate, GenerationPrompt, Message, ModelConfig, ModelFiles, Question, SpecialTokens, Tokenizer, image};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn template(source: &str) -> Result<ChatTemplate, percept_model::ModelError> {
    ChatTemplate::new(Path::new("dir/chat_template.jinja"), source, BTreeMap::new())
}

/// A directory of the tiny preset, without weights, with this in one of its files.
fn directory_with(file: &str, contents: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = ModelFiles::read_with_config(&tiny_tokenizer_directory(), ModelConfig::tiny()).unwrap();
    files.write(directory.path()).unwrap();
    fs::write(directory.path().join(file), contents).unwrap();
    directory
}

/// Loops without an end, texts that double, text that is repeated: as a prompt, and where a prompt's form is found out.
#[test]
fn templates_that_work_without_end_are_stopped() {
    let sources = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}<image>",
        "{% set ns = namespace(x='aaaaaaaaaa') %}{% for a in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='aaaaaaaaaa') %}{% for a in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | length }}",
        "{% set ns = namespace(x='ab') %}{% for a in range(40) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for a in range(40) %}{% set ns.x = ns.x.replace('a', 'aaaaaaaaaaaaaaaaaaaa') %}{% endfor %}",
        "{{ 'a' * 100000000000 }}",
        "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    ];
    for source in sources {
        let template = template(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        for content in [r#"[{"role": "user", "content": "what"}]"#, r#"[{"role": "user", "content": [{"type": "text", "text": "what"}]}]"#]
        {
            let messages: Vec<Message> = serde_json::from_str(content).unwrap();
            let error = template.render(&messages, GenerationPrompt::Add).unwrap_err().to_string();
            assert!(error.starts_with("dir/chat_template.jinja: chat template: "), "{source}: {error}");
        }
    }
}

/// What a template does is not known before a prompt is asked for: a command that asks for none is not stopped by it.
#[test]
fn a_template_is_rendered_only_for_a_prompt() {
    let directory = directory_with("chat_template.jinja", b"{{ raise_exception('rendered') }}");
    let files = ModelFiles::read(directory.path()).unwrap();
    let picture = image::RgbImage::from_fn(8, 8, image_pixel);
    let error = Question::new(&files, &files.image_processor().unwrap(), &[picture], "?").unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja") && error.ends_with("rendered"), "{error}");
}

fn image_pixel(x: u32, y: u32) -> ::image::Rgb<u8> {
    ::image::Rgb([x as u8, y as u8, 7])
}

#[test]
fn templates_of_absurd_length_are_refused() {
    let long = "a".repeat((1 << 20) + 1);
    let error = template(&long).unwrap_err().to_string();
    assert!(error.ends_with("chat_template: expected at most 1048576 bytes, got 1048577"), "{error}");
    let error = ModelFiles::read(directory_with("chat_template.jinja", long.as_bytes()).path()).unwrap_err().to_string();
    assert!(error.ends_with("chat_template.jinja: (whole file): expected at most 1048576 bytes, got 1048577"), "{error}");
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(template(&nested).is_err());
    let nested = "{% if a %}".repeat(5000);
    assert!(template(&nested).is_err());
}

/// Files that are directories, or larger than they can be.
#[test]
fn files_that_are_none_are_refused() {
    let directory = directory_with("more.json", b"");
    let path = directory.path().join("generation_config.json");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = ModelFiles::read(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("generation_config.json: (whole file): expected a file, got a directory"), "{error}");

    let directory = directory_with("more.json", b"");
    // takes no room on the disk
    fs::File::create(directory.path().join("config.json")).unwrap().set_len(1 << 40).unwrap();
    let error = ModelFiles::read(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("config.json: (whole file): expected at most 67108864 bytes, got 1099511627776"), "{error}");
}

/// Opened, a pipe would wait for somebody who writes into it.
#[cfg(unix)]
#[test]
fn pipes_are_refused() {
    for name in ["config.json", "tokenizer.json", "vocab.json", "chat_template.jinja"] {
        let directory = directory_with("more.json", b"");
        let path = directory.path().join(name);
        let _ = fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let error = ModelFiles::read(directory.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("{name}: (whole file): expected a file, got a pipe, a device or the like")), "{error}");
    }
}

/// The decoder asks for more to be cut off a token than it has, which the tokenizer's crate does not check.
#[test]
fn a_tokenizer_that_panics_is_an_error() {
    let path = tiny_tokenizer_directory().join("tokenizer.json");
    let mut file: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    file["decoder"] = serde_json::json!({ "type": "Strip", "content": "e", "start": 9, "stop": 9 });
    let tokenizer = Tokenizer::from_json(Path::new("dir/tokenizer.json"), &file.to_string()).unwrap();
    let id = tokenizer.token_to_id("e").unwrap();
    let error = tokenizer.decode(&[id], SpecialTokens::Keep).unwrap_err().to_string();
    assert!(error.starts_with("dir/tokenizer.json: the tokenizer cannot do what its file asks for ("), "{error}");
    // and afterwards it is as it was
    assert_eq!(tokenizer.decode(&[tokenizer.token_to_id("a").unwrap()], SpecialTokens::Keep).unwrap(), "a");
}

/// Thousands of visual tokens for each of a thousand tiles: refused before their text is written out.
#[test]
fn pictures_of_more_tokens_than_positions_are_refused() {
    let mut config = ModelConfig::tiny();
    config.text.max_position_embeddings = 15;
    let files = ModelFiles::read_with_config(&tiny_tokenizer_directory(), config).unwrap();
    let picture = image::RgbImage::from_fn(8, 8, image_pixel);
    let error = Question::new(&files, &files.image_processor().unwrap(), &[picture], "?").unwrap_err().to_string();
    assert_eq!(error, "prompt of 16 tokens + 0 new exceeds max_position_embeddings (15)");
}
