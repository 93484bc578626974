//! Hugging Face directories: configuration, tokenizer, chat template, prompts; against transformers and bad input.

mod config;
mod directory;
mod hostile;
mod prompt;
mod templates;
mod tokenizer;
#[cfg(feature = "cppo")]
mod vocabulary;

use std::path::{Path, PathBuf};

/// A path from the repository's root.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// `assets/tiny-tokenizer`.
fn tiny_tokenizer_directory() -> PathBuf {
    repository("assets/tiny-tokenizer")
}

/// The goldens of `tests/golden/tokenizer/make.py`.
fn tokenizer_golden() -> serde_json::Value {
    let text = std::fs::read_to_string(repository("tests/golden/tokenizer/golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}
