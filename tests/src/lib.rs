//! The tests live in `main.rs`, one binary for all.
