//! Products with a long inner axis and a small result: the gradient of a weight over all tokens of a batch, or that of the hidden states over a whole vocabulary.
//!
//! A GPU gives every tile of the result to one workgroup. Of a small result there are few tiles, and most of the GPU would wait while a few workgroups walk the long
//! axis. So the axis is cut into slices, which are multiplied side by side as a batch, and the products are added, in a fixed order ("split-k").

use super::plan::{ProductSizes, RightAxis};
use super::variants::slices;
use super::{Store, launch};
use crate::layout::Layout;
use crate::tensor::Tensor;

/// The product `[m, k] · [k, n] -> [m, n]` without a gradient, cut if that keeps the device busy. Which row of the result has which bits depends on its sizes.
pub(super) fn product(a: &Tensor, b: &Tensor) -> Tensor {
    let slices = if a.rank() == 2 && b.rank() == 2 { slices_of(a, b) } else { 1 };
    if slices <= 1 {
        return a.matmul(b);
    }
    let steps = a.dim(1) / slices;
    let (a_all, b_all) = (a.layout(), b.layout());
    let [a_row, a_step] = [a_all.strides[0], a_all.strides[1]];
    let [b_step, b_column] = [b_all.strides[0], b_all.strides[1]];
    let a_cut = Layout { shape: vec![slices, a.dim(0), steps], strides: vec![steps * a_step, a_row, a_step], offset: a_all.offset };
    let b_cut = Layout { shape: vec![slices, steps, b.dim(1)], strides: vec![steps * b_step, b_step, b_column], offset: b_all.offset };
    let y = a.view(a_cut).matmul(&b.view(b_cut)).sum(&[0]);
    let done = slices * steps;
    let rest = a.dim(1) - done;
    if rest > 0 {
        y.add_matmul_(&a.slice(1, done, rest), &b.slice(0, done, rest));
    }
    y
}

/// The product `[m, k] · [k, n]`, cut in the same way, in place of what is in `y`.
pub(crate) fn product_into(y: &Tensor, a: &Tensor, b: &Tensor) {
    if slices_of(a, b) <= 1 {
        launch(a, b, y, Store::Overwrite, None);
    } else {
        y.copy_from_(&product(a, b));
    }
}

fn slices_of(a: &Tensor, b: &Tensor) -> usize {
    slices(a.device(), ProductSizes { batches: 1, m: a.dim(0), n: b.dim(1), k: a.dim(1), right: RightAxis::Columns })
}
