//! `config.json` of this family.

mod presets;
mod read;
mod write;
