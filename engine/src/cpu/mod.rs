//! The CPU device: pooled, aligned buffers, and the calling of CPU kernels.

mod args;
pub mod block;
mod buffer;
pub mod disjoint;
pub mod float;
pub mod gemm;
pub mod math;
pub mod parallel;
mod product;
pub mod reduce;

pub use args::CpuArgs;
pub(crate) use buffer::{CpuBuffer, CpuDevice};
pub use float::Float;
pub use math::Math;
