//! Directories in the form of Hugging Face: the weights, and the files that stand beside them.

pub(crate) mod adapter;
pub mod atomic;
pub(crate) mod chat;
mod config;
pub(crate) mod directory;
mod files;
pub(crate) mod generation_config;
pub(crate) mod json;
pub(crate) mod place;
pub(crate) mod question;
pub(crate) mod tensors;
pub(crate) mod tokenizer;
