//! Families of models, a folder each.

pub(crate) mod idefics3;
