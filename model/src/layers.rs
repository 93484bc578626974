//! What networks are built from.

pub(crate) mod activations;
pub(crate) mod cache;
pub(crate) mod decoder;
pub(crate) mod weights;
