//! The ops. Each file holds one op or family: the public method first, with its gradient, then its kernels.

use crate::dtype::DType;
use crate::tensor::Tensor;
pub use crate::tune::MatmulVariant;

pub(crate) mod accumulate;
pub(crate) mod argmax;
pub(crate) mod attention;
pub(crate) mod binary;
pub(crate) mod cast;
pub(crate) mod concat;
pub(crate) mod copy;
pub(crate) mod embedding;
pub(crate) mod fill;
pub(crate) mod fused_linear;
pub(crate) mod head;
pub(crate) mod layer_norm;
pub(crate) mod linear_kl;
pub(crate) mod linear_log_probs;
pub(crate) mod matmul;
pub(crate) mod pixel_shuffle;
pub(crate) mod reduce;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod rows;
pub(crate) mod sample;
pub(crate) mod softmax;
pub(crate) mod split_heads;
pub(crate) mod swiglu;
pub(crate) mod top_k_mask;
pub(crate) mod unary;
pub(crate) mod views;
pub(crate) mod where_;

pub use attention::{Mask, Segment, Segments};
pub use fused_linear::{Adapters, Epilogue, FusedLinear, are_best_fused};
pub use head::Head;
pub use linear_kl::linear_kl;
pub use matmul::{Cut, FEW_ROWS, ProductPlan, ProductSizes, RightAxis, RowRule, product_plan, with_row_rule, with_rows_alike};
pub use rope::RopeTable;
pub use sample::Sampling;
pub use split_heads::Heads;

/// Elements per workgroup of the elementwise shaders.
pub(crate) const ELEMENTS_PER_GROUP: usize = 256;

/// Lanes per workgroup of the shaders that give a workgroup to each row.
pub(crate) const LANES_PER_ROW: usize = 64;

/// Rows whose weight gradients one thread adds up. The blocks are summed in a second pass, so the order of additions depends on the shape alone.
pub(crate) const ROWS_PER_BLOCK: usize = 32;

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

/// `[.., cols]` as rows. No columns count as no rows, so that nothing is launched.
#[track_caller]
pub(crate) fn rows_and_cols(op: &str, x: &Tensor) -> (usize, usize) {
    let Some(&cols) = x.shape().last() else { panic!("{op}: works on the last axis, shape [] has none") };
    (x.len().checked_div(cols).unwrap_or(0), cols)
}
