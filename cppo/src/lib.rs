//! Contrastive Perception Policy Optimization: tasks, data, views, rewards, advantages and the choice of perception tokens.

pub mod advantages;
pub mod answer;
pub mod data;
pub mod losses;
pub mod random;
pub mod reward;
pub mod selection;
pub mod step;
pub mod tasks;
pub mod views;
