//! A compact vision-language transformer that speaks Hugging Face.
//!
//! Reads and writes the directories of SmolVLM/Idefics3 models: configuration, tokenizer, chat template, generation
//! defaults. [`ModelFiles`] is a whole directory but its weights.

pub mod atomic;
mod chat;
mod config;
mod directory;
mod error;
mod generation_config;
pub mod image;
mod json;
mod parameters;
mod prompt;
mod tiny_tokenizer;
mod tokenizer;

pub use chat::{ChatTemplate, Content, GenerationPrompt, Message, Part};
pub use config::{Architecture, ModelConfig, TextConfig, VisionConfig, WeightDtype};
pub use directory::ModelFiles;
pub use error::ModelError;
pub use generation_config::GenerationConfig;
pub use parameters::{parameter_count, parameter_shapes};
pub use prompt::{Tiling, encode_prompt, expand_image_tokens, image_prompt_tokens};
pub use tiny_tokenizer::tiny_tokenizer_files;
pub use tokenizer::{Detokenizer, FAKE_TOKEN_AROUND_IMAGE, GLOBAL_IMAGE_TOKEN, IMAGE_TOKEN, SpecialTokens, Tokenizer};
