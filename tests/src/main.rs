//! All tests of the project, in one binary (one link, one GPU device).

mod common;

// the engine
mod attention;
mod autograd;
mod blocks;
mod cast;
mod gpu;
mod memory;
mod misuse;
mod misuse_movement;
mod movement;
mod op_table;
mod optim;
mod products;
mod rust_source;
mod safetensors;
mod sampling;
#[cfg(feature = "shaders")]
mod shaders;
mod structure;
mod tune;

#[cfg(feature = "model")]
mod generate;
#[cfg(feature = "model")]
mod hf;
#[cfg(feature = "model")]
mod image;
#[cfg(feature = "model")]
mod model;
#[cfg(feature = "model")]
mod pictures;

#[cfg(feature = "cppo")]
mod answer;
#[cfg(feature = "cppo")]
mod anywhere;
#[cfg(feature = "cppo")]
mod bench;
#[cfg(feature = "cppo")]
mod cli;
#[cfg(feature = "cppo")]
mod compare;
#[cfg(feature = "cppo")]
mod config;
#[cfg(feature = "cppo")]
mod cppo_golden;
#[cfg(feature = "cppo")]
mod data;
#[cfg(feature = "cppo")]
mod data_files;
#[cfg(feature = "cppo")]
mod eval_command;
#[cfg(feature = "cppo")]
mod hostile;
#[cfg(feature = "cppo")]
mod inspect;
#[cfg(all(unix, feature = "cppo"))]
mod kills;
#[cfg(feature = "cppo")]
mod losses;
#[cfg(feature = "cppo")]
mod methods;
#[cfg(feature = "cppo")]
mod methods_golden;
#[cfg(feature = "cppo")]
mod other_family;
#[cfg(feature = "cppo")]
mod own_data;
#[cfg(feature = "cppo")]
mod pepo;
#[cfg(feature = "cppo")]
mod plan;
#[cfg(feature = "cppo")]
mod program;
#[cfg(feature = "cppo")]
mod ranks;
#[cfg(all(unix, feature = "cppo"))]
mod ranks_program;
#[cfg(feature = "cppo")]
mod reference;
#[cfg(feature = "cppo")]
mod report;
#[cfg(feature = "cppo")]
mod repository;
#[cfg(feature = "cppo")]
mod rewards;
#[cfg(feature = "cppo")]
mod run;
#[cfg(feature = "cppo")]
mod scale;
#[cfg(feature = "cppo")]
mod sft_command;
#[cfg(feature = "cppo")]
mod statistics;
#[cfg(feature = "cppo")]
mod tasks;
#[cfg(feature = "cppo")]
mod train_command;
#[cfg(feature = "cppo")]
mod trainer;
#[cfg(feature = "cppo")]
mod update;
#[cfg(feature = "cppo")]
mod users_day;
#[cfg(feature = "cppo")]
mod views;
#[cfg(feature = "cppo")]
mod world;
