//! A compact vision-language transformer that speaks Hugging Face.
//!
//! Reads and writes model directories: configuration, tokenizer, chat template, generation defaults. [`ModelFiles`] is a whole directory but its
//! weights, [`Model`] the weights and what they compute. Each family of models is a folder in [`families`]; all else serves every family.

mod config;
mod error;
pub mod families;
pub mod foreign;
mod generate;
mod hf;
pub mod image;
mod layers;
mod model;
mod packing;
mod positions;
mod score;

pub use config::{Architecture, Bias, FamilySettings, ModelConfig, TextConfig, WeightDtype};
pub use error::ModelError;
pub use families::{parameter_count, parameter_shapes};
pub use generate::{Completion, Finish, GenerationOptions, GenerationRequest, generate, stream};
pub use hf::atomic;
pub use hf::chat::{ChatTemplate, Content, GenerationPrompt, Message, Part};
pub use hf::directory::ModelFiles;
pub use hf::generation_config::GenerationConfig;
pub use hf::place::ModelPlace;
pub use hf::question::Question;
pub use hf::tensors::Precision;
pub use hf::tokenizer::{Detokenizer, SpecialTokens, Tokenizer};
pub use layers::activations::Activations;
pub use layers::cache::KvCache;
pub use layers::patches::PatchBatch;
pub use model::lora::LoraConfig;
pub use model::{FewTokens, Model};
pub use packing::batch::{PackedBatch, ResponseRows};
pub use packing::{PackedPrompt, Packing};
pub use positions::Positions;
pub use score::{Scores, score};
