//! The op table and what is done with it: every row can be checked, on every device.
//!
//! A row is an op with samples; a sample is a set of inputs and a closure that applies the op. From that follow
//! - [`gradient_error`]: the f64 backward against central differences of the f64 forward,
//! - [`device_error`]: forward and backward on a device, in f32, against f64 on the CPU,
//! - [`examine`]: all of it on one device, with a verdict for each op.

mod compare;
mod examine;
mod sample;
mod table;

pub use compare::{DeviceError, GradientError, device_error, gradient_error, gradient_error_at};
pub use examine::{OpVerdict, examine};
pub use sample::{Input, Rng, Sample};
pub use table::{OpRow, kernels, ops};
