//! Mutated files for everything that reads what strangers wrote.
//!
//! [`targets`] are functions of a file's bytes, for any fuzzer; [`mutate`] makes bytes from good files, the same for the same seed; the program `percept-fuzz` runs the
//! one on the other, each target in a process of its own with bounded memory, and ends with an error after a panic, an abort, a hang, or an error that names no file.

mod folder;
pub mod mutate;
pub mod random;
pub mod targets;

pub use folder::Folder;
