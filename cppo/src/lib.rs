//! Reinforcement learning for vision-language models, and the program `percept`. This file is the floor plan: five wings (`problems`, `methods`, `records`,
//! `training`, `studies`), their configuration (`config`) and the commands that use them (`commands`).

pub mod error;
pub mod methods;
pub mod random;
pub mod terminal;

/// The configuration of a run. It is plain data: nothing is loaded or drawn here.
pub mod config {
    mod bounds;
    mod compare;
    mod documented;
    mod keys;
    mod load;
    mod method;
    mod model;
    mod optim;
    mod other_names;
    mod reference;
    pub mod reference_pages;
    mod reward;
    mod run;
    mod sft;
    pub mod shipped;
    mod train;
    mod wrap;

    pub use compare::{Budget, CompareConfig, CompareSection, Row, Variation, cell_name};
    pub use load::{ConfigError, Settings, changed, value_of};
    pub use method::MethodConfig;
    pub use model::{LoraSection, ModelConfig, WeightPrecision};
    pub use optim::{OptimConfig, Schedule};
    pub use other_names::{OtherName, other_names};
    pub use reference::{Section, Setting, compare_reference, reference};
    pub use run::RunConfig;
    pub(crate) use run::rfc3339;
    pub use sft::{Preset, SftConfig, SftRunConfig};
    pub use train::{CachePrecision, Config, EvalConfig, Reduce, RolloutConfig, TrainConfig};
    pub use wrap::{WIDTH, wrapped};
}

/// What is asked: drawn tasks and data files, answers and rewards, prompts, and the perturbed views of a picture.
pub mod problems {
    pub mod answer;
    pub mod data;
    pub mod prompts;
    pub mod reading;
    pub mod reward;
    pub mod tasks;
    pub mod views;
}

/// What is written down: the folder of a run, its metrics, samples and report, and the statistics in them.
pub mod records {
    pub(crate) mod files;
    pub mod predictions;
    pub mod report;
    pub mod run;
    pub mod statistics;
}

/// How a model learns: rollout, update, checkpoint, evaluation, and the supervised start.
pub mod training {
    pub mod checkpoint;
    pub mod collect;
    pub mod evaluate;
    pub mod group;
    pub mod optimise;
    pub mod policy;
    pub mod reduce;
    pub mod rewards;
    pub mod rollout;
    pub mod samples;
    pub mod sft;
    pub mod shard;
    mod tensors;
    pub mod trainer;
    pub mod update;
    pub mod world;
}

/// What is learnt about a model, or about a machine, without a run.
pub mod studies {
    pub mod bench;
    pub mod compare;
    pub mod gradients;
    pub mod inspect;
    pub mod plan;
    pub mod robustness;
    pub mod scale;
}

/// The program `percept`: one file for each subcommand, with its arguments and what it prints. The work is done elsewhere.
pub mod commands {
    mod arguments;
    mod bench;
    mod cli;
    mod compare;
    mod completions;
    mod config;
    mod data;
    mod device;
    mod doctor;
    mod eval;
    mod export;
    mod generate;
    mod inspect;
    mod interrupt;
    mod outcome;
    mod overview;
    mod place;
    mod plan;
    mod question;
    mod ranks;
    mod report;
    mod resumed;
    mod score;
    mod session;
    mod sft;
    mod sources;
    mod train;
    mod words;

    pub use cli::run;
    pub use outcome::Outcome;
}
