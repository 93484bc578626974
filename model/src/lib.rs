//! A compact vision-language transformer that speaks Hugging Face.
//!
//! Reads and writes the directories of SmolVLM/Idefics3 models: configuration, tokenizer, chat template, generation
//! defaults. [`ModelFiles`] is a whole directory but its weights, [`Model`] the weights and what they compute.

mod config;
mod error;
mod families;
mod generate;
mod hf;
pub mod image;
mod layers;
mod model;
mod packing;
mod parameters;
mod score;

pub use config::{Architecture, ModelConfig, TextConfig, VisionConfig, WeightDtype};
pub use error::ModelError;
pub use families::idefics3::prompt::{Tiling, encode_prompt, expand_image_tokens, image_prompt_tokens};
pub use families::idefics3::tiny_tokenizer::tiny_tokenizer_files;
pub use generate::{Completion, Finish, GenerationOptions, GenerationRequest, generate, stream};
pub use hf::chat::{ChatTemplate, Content, GenerationPrompt, Message, Part};
pub use hf::directory::ModelFiles;
pub use hf::generation_config::GenerationConfig;
pub use hf::question::Question;
pub use hf::tokenizer::{Detokenizer, FAKE_TOKEN_AROUND_IMAGE, GLOBAL_IMAGE_TOKEN, IMAGE_TOKEN, SpecialTokens, Tokenizer};
pub use hf::{Precision, atomic};
pub use layers::activations::Activations;
pub use layers::cache::KvCache;
pub use model::Model;
pub use model::lora::LoraConfig;
pub use packing::{PackedBatch, PackedPrompt, Packing, ResponseRows};
pub use parameters::{parameter_count, parameter_shapes};
pub use score::{Scores, score};
