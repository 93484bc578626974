//! The CPU device: pooled, aligned buffers, and the calling of CPU kernels.

mod args;
mod buffer;
mod device;
pub mod disjoint;
pub mod float;
pub mod gemm;
pub mod math;
pub mod parallel;
pub mod reduce;
pub mod simd;
pub mod threads;

pub use args::CpuArgs;
pub(crate) use buffer::CpuBuffer;
pub(crate) use device::CpuDevice;
pub use float::Float;
pub use math::Math;
