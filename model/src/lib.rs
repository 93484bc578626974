//! A compact vision-language transformer that speaks Hugging Face.
//!
//! Reads and writes the directories of SmolVLM/Idefics3 models: configuration, tokenizer, chat template, generation
//! defaults. [`ModelFiles`] is a whole directory but its weights, [`Model`] the weights and what they compute.

mod activations;
pub mod atomic;
mod batch;
mod cache;
mod chat;
mod checkpoint;
mod config;
mod connector;
mod decoder;
mod directory;
mod error;
mod generate;
mod generation_config;
pub mod image;
mod json;
mod lora;
mod model;
mod parameters;
mod prompt;
mod question;
mod score;
mod tiny_tokenizer;
mod tokenizer;
mod vision;
mod weights;

pub use activations::Activations;
pub use batch::{PackedBatch, PackedPrompt, Packing, ResponseRows};
pub use cache::KvCache;
pub use chat::{ChatTemplate, Content, GenerationPrompt, Message, Part};
pub use checkpoint::Precision;
pub use config::{Architecture, ModelConfig, TextConfig, VisionConfig, WeightDtype};
pub use directory::ModelFiles;
pub use error::ModelError;
pub use generate::{Completion, Finish, GenerationOptions, GenerationRequest, generate, stream};
pub use generation_config::GenerationConfig;
pub use lora::LoraConfig;
pub use model::Model;
pub use parameters::{parameter_count, parameter_shapes};
pub use prompt::{Tiling, encode_prompt, expand_image_tokens, image_prompt_tokens};
pub use question::Question;
pub use score::{Scores, score};
pub use tiny_tokenizer::tiny_tokenizer_files;
pub use tokenizer::{Detokenizer, FAKE_TOKEN_AROUND_IMAGE, GLOBAL_IMAGE_TOKEN, IMAGE_TOKEN, SpecialTokens, Tokenizer};
