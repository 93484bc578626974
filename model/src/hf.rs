//! The files of a Hugging Face directory.

pub mod atomic;
pub(crate) mod chat;
pub(crate) mod directory;
pub(crate) mod generation_config;
pub(crate) mod json;
pub(crate) mod question;
mod tensors;
pub(crate) mod tokenizer;

pub use tensors::Precision;
