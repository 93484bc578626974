//! Contrastive Perception Policy Optimization: tasks, data, views, rewards, advantages, losses, runs and their reports, and the program `percept`.

pub mod advantages;
pub mod answer;
pub mod checkpoint;
pub mod commands;
pub mod config;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod inspect;
pub mod losses;
pub mod prompts;
pub mod random;
pub mod report;
pub mod reward;
pub mod rollout;
pub mod run;
pub mod samples;
pub mod selection;
pub mod sft;
pub mod statistics;
pub mod step;
pub mod tasks;
pub mod trainer;
pub mod views;
