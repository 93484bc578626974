//! What the CPU kernels share.

pub mod math;
pub mod reduce;
