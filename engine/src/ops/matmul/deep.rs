//! Products with a long inner axis and a small result: the gradient of a weight over all tokens of a batch, that of the hidden states over a whole vocabulary, a layer
//! of a large model over few tokens.
//!
//! A GPU gives every tile of the result to one workgroup. Of a small result there are few tiles, and most of the GPU would wait while a few workgroups walk the long
//! axis. So the axis is cut into slices, which are multiplied side by side as a batch, and the products are added, in a fixed order ("split-k").

use super::plan::{Cut, ProductSizes, RightAxis};
use super::rows::{RowRule, rule};
use super::variants::slices;
use super::{Kernels, Store, launch, product, product_shape};
use crate::layout::Layout;
use crate::tensor::Tensor;

/// A gradient, the product `[m, k] · [k, n] -> [m, n]` without one of its own, cut if that keeps the device busy.
pub(super) fn gradient(a: &Tensor, b: &Tensor) -> Tensor {
    cut(a, b, Cut::Gradient, None).unwrap_or_else(|| product(a, b, &product_shape("gradient", a, b), Kernels::Exact))
}

/// The same product in place of what is in `y`.
pub(crate) fn gradient_into(y: &Tensor, a: &Tensor, b: &Tensor) {
    if cut(a, b, Cut::Gradient, Some(y)).is_none() {
        launch(a, b, y, Store::Overwrite, Kernels::Exact);
    }
}

/// The same product on top of what is in `y`.
pub(crate) fn add_gradient(y: &Tensor, a: &Tensor, b: &Tensor) {
    match cut(a, b, Cut::Gradient, None) {
        Some(product) => y.add_(&product),
        None => launch(a, b, y, Store::Accumulate, Kernels::Exact),
    }
}

/// The product of a forward pass, if it is better cut. Which bits a row has then depends on the number of rows: never while decoding.
pub(super) fn forward(a: &Tensor, b: &Tensor) -> Option<Tensor> {
    (rule() == RowRule::Count).then(|| cut(&a.detach(), &b.detach(), Cut::Forward, None)).flatten()
}

/// The product, if it is better cut; `into` this memory, if that is given.
fn cut(a: &Tensor, b: &Tensor, cut: Cut, into: Option<&Tensor>) -> Option<Tensor> {
    if a.rank() != 2 || b.rank() != 2 || a.device().is_cpu() {
        return None;
    }
    let (a_all, b_all) = (a.layout(), b.layout());
    let [a_row, a_step] = [a_all.strides[0], a_all.strides[1]];
    let [b_step, b_column] = [b_all.strides[0], b_all.strides[1]];
    let right = if b_step == 1 { RightAxis::Inner } else { RightAxis::Columns };
    let k = a.dim(1);
    let slices = slices(a.device(), ProductSizes { batches: 1, m: a.dim(0), n: b.dim(1), k, right }, cut);
    if slices == 1 {
        return None;
    }
    // a multiple of 16: each slice is read in vectors of four, as the whole is
    let steps = k / slices / 16 * 16;
    let a_cut = Layout { shape: vec![slices, a.dim(0), steps], strides: vec![steps * a_step, a_row, a_step], offset: a_all.offset };
    let b_cut = Layout { shape: vec![slices, steps, b.dim(1)], strides: vec![steps * b_step, b_step, b_column], offset: b_all.offset };
    let kernels = if cut == Cut::Gradient { Kernels::Exact } else { Kernels::Tuned };
    let products = product(&a.view(a_cut), &b.view(b_cut), &[slices, a.dim(0), b.dim(1)], kernels);
    let y = products.sum_first_axis(into);
    let done = slices * steps;
    if done < k {
        launch(&a.slice(1, done, k - done), &b.slice(0, done, k - done), &y, Store::Accumulate, kernels);
    }
    Some(y)
}
