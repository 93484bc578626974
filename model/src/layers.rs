//! What the networks of all families are built from.
//!
//! A layer is made by a function that takes a [`scope::Scope`] and says there which weights it has, by name and shape. With a scope that loads it gets
//! tensors; with one that records, the same function gives the list of a model's parameters, and nothing is computed.

pub(crate) mod activations;
pub(crate) mod attention;
pub(crate) mod cache;
pub(crate) mod decoder;
pub(crate) mod few_tokens;
pub(crate) mod joint;
pub(crate) mod linear;
pub(crate) mod lora;
pub(crate) mod mlp;
pub(crate) mod norms;
pub(crate) mod patches;
pub(crate) mod scope;
pub(crate) mod still_frames;
pub(crate) mod weights;
