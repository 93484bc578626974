//! All tests of the project, in one binary (one link, one GPU device).

mod answer;
mod common;
mod cppo_golden;
mod data;
mod gpu;
mod hf;
mod image;
mod op_table;
mod safetensors;
mod tasks;
mod views;
