//! Idefics3, and SmolVLM with it.

mod config;
pub(crate) mod connector;
pub(crate) mod processor;
pub(crate) mod prompt;
pub(crate) mod tiny_tokenizer;
pub(crate) mod vision;
