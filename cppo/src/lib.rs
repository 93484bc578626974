//! Contrastive Perception Policy Optimization: tasks, data, views, rewards, advantages, losses, runs and their reports, and the program `percept`.

pub mod advantages;
pub mod answer;
pub mod commands;
pub mod config;
pub mod data;
pub mod losses;
pub mod random;
pub mod report;
pub mod reward;
pub mod run;
pub mod selection;
pub mod statistics;
pub mod step;
pub mod tasks;
pub mod views;
