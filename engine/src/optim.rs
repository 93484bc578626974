//! Optimisers: [`AdamW`] and [`Sgd`], which are [`Optimiser`] with two rules of updating a parameter.
//!
//! A step is a few launches to square up the gradients, one to decide, and one to update each parameter, or all of a block
//! ([`Tensor::laid_in_blocks`](crate::Tensor::laid_in_blocks)) with the same settings: decay, moments, clipping and rounding to the
//! storage type are fused in it. Nothing is read back: the norm, the clip factor and the decision to skip a step whose gradients are not finite
//! stay on the device, with the step count. Parameters stored as halves keep an f32 master copy.

mod adamw;
mod norm;
mod optimiser;
mod sgd;

pub use adamw::{AdamW, AdamWConfig};
pub use optimiser::{Optimiser, ParamGroup, StepReport, Update, UpdateRule};
pub use sgd::{Sgd, SgdConfig};

pub(crate) use adamw::KERNELS as ADAMW_KERNELS;
pub(crate) use norm::KERNELS as NORM_KERNELS;
pub(crate) use sgd::KERNELS as SGD_KERNELS;
