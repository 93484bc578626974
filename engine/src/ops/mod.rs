//! The ops. Each file holds one op or family: the public method first, with its gradient, then its kernels.

use crate::dtype::DType;
use crate::tensor::Tensor;

mod binary;
mod copy;
mod fill;
mod reduce;
mod unary;
mod views;

pub(crate) use binary::KERNELS as BINARY_KERNELS;
pub(crate) use copy::KERNELS as COPY_KERNELS;
pub(crate) use fill::KERNELS as FILL_KERNELS;
pub(crate) use reduce::KERNELS as REDUCE_KERNELS;
pub(crate) use unary::KERNELS as UNARY_KERNELS;

/// Elements per workgroup of the elementwise shaders.
pub(crate) const ELEMENTS_PER_GROUP: usize = 256;

/// Arithmetic runs in f32 (f64 for the oracle), on one device, without mixing types.
#[track_caller]
pub(crate) fn assert_arithmetic(op: &str, inputs: &[&Tensor]) {
    let first = inputs[0];
    for x in inputs {
        assert!(
            matches!(x.dtype(), DType::F32 | DType::F64) && x.dtype() == first.dtype(),
            "{op}: arithmetic needs f32 (cast first): got {} {:?} and {} {:?}",
            first.dtype(),
            first.shape(),
            x.dtype(),
            x.shape()
        );
        assert!(x.device() == first.device(), "{op}: tensors on different devices: {} and {}", first.device(), x.device());
    }
}
