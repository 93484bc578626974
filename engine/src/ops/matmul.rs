//! Matrix product, batched and broadcast, with transposed views and half-precision weights read in place.

mod cpu;
mod deep;
mod plan;
mod rows;
mod variants;

use crate::autograd::Places;
use crate::dtype::DType;
use crate::kernel_params;
use crate::layout::{Layout, broadcast_shapes, collapse};
use crate::tensor::Tensor;
use crate::tune::MatmulVariant;

pub(crate) use deep::{add_gradient, gradient_into};
pub(crate) use plan::few_rows_tile;
pub use plan::{Cut, ProductPlan, ProductSizes, RightAxis, product_plan};
pub(crate) use rows::order as cpu_order;
pub use rows::{FEW_ROWS, RowRule, with_row_rule, with_rows_alike};
pub(crate) use variants::{COOPERATIVE_KERNELS, KERNELS, chosen_for_few};

kernel_params! {
    /// Sizes, offsets and strides of one launch; explained in shaders/common/matmul.wgsl.
    struct Params {
        m: u32,
        n: u32,
        k: u32,
        batches: u32,
        batch_inner: u32,
        a_offset: u32,
        a_row: u32,
        a_column: u32,
        a_outer: u32,
        a_inner: u32,
        b_offset: u32,
        b_row: u32,
        b_column: u32,
        b_outer: u32,
        b_inner: u32,
    }
}

/// Which kernels may compute a product on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernels {
    /// Those that the device's tuning chose, though it may have chosen one that rounds to f16.
    Tuned,
    /// None that rounds: gradients may be smaller than all numbers that f16 has.
    Exact,
    /// This one.
    Only(MatmulVariant),
}

/// Whether the product replaces what is in the output, or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Overwrite,
    Accumulate,
}

impl Tensor {
    /// Matrix product over the last two axes; leading axes broadcast as in NumPy. Views (`.t()`, slices, broadcasts) are read without a copy, and
    /// the right side may be f16 or bf16: its elements widen to f32 as they are read. The gradient of a half right side is f32.
    /// `[.., m, k] · [.., k, n] -> [.., m, n]`
    ///
    /// # Panics
    /// If a side has fewer than two axes, the inner sizes differ, the leading axes do not broadcast, or the left side is not f32.
    #[track_caller]
    pub fn matmul(&self, rhs: &Tensor) -> Tensor {
        let shape = product_shape("matmul", self, rhs);
        let y = deep::forward(self, rhs).unwrap_or_else(|| product(self, rhs, &shape, Kernels::Tuned));
        let (a, b) = (self.detach(), rhs.detach());
        let (needs_a, needs_b) = (self.requires_grad(), rhs.requires_grad());
        y.with_grads_in_place("matmul", &[self, rhs], move |dy, places| {
            // y = a b
            let da = needs_a.then(|| deep::gradient(dy, &b.t()).sum_to(a.shape()));
            let db = needs_b.then(|| right_gradient(&a, &b, dy, places));
            vec![da, db]
        })
    }

    /// [`matmul`](Tensor::matmul) by the GPU kernel that the caller chooses (the CPU has only one), without a gradient: for tests and tuning.
    ///
    /// # Panics
    /// As [`matmul`](Tensor::matmul), or if the device cannot run the variant ([`MatmulVariant::runs_on`]).
    #[track_caller]
    pub fn matmul_by(&self, rhs: &Tensor, variant: MatmulVariant) -> Tensor {
        crate::autograd::assert_no_grad("matmul_by", &[self, rhs]);
        assert!(variant.runs_on(self.device()), "matmul_by: {} cannot run {variant:?}", self.device());
        let shape = product_shape("matmul_by", self, rhs);
        product(self, rhs, &shape, Kernels::Only(variant))
    }

    /// Adds the product `lhs · rhs` to this tensor, in place. No gradient is recorded. `[.., m, k] · [.., k, n]`
    ///
    /// # Panics
    /// As [`matmul`](Tensor::matmul), or if this tensor is not a packed `[.., m, n]` of the left side's type.
    #[track_caller]
    pub fn add_matmul_(&self, lhs: &Tensor, rhs: &Tensor) {
        let shape = product_shape("add_matmul_", lhs, rhs);
        assert!(
            self.shape() == shape && self.dtype() == lhs.dtype() && self.is_packed(),
            "add_matmul_: a product {shape:?} {} into {:?} {} (strides {:?})",
            lhs.dtype(),
            self.shape(),
            self.dtype(),
            self.layout().strides
        );
        launch(lhs, rhs, self, Store::Accumulate, Kernels::Tuned);
    }
}

#[track_caller]
fn product_shape(op: &str, a: &Tensor, b: &Tensor) -> Vec<usize> {
    assert!(a.rank() >= 2 && b.rank() >= 2, "{op}: both sides need two axes or more: {:?} and {:?}", a.shape(), b.shape());
    let ((a_batch, a_matrix), (b_batch, b_matrix)) = (a.shape().split_at(a.rank() - 2), b.shape().split_at(b.rank() - 2));
    assert!(
        a_matrix[1] == b_matrix[0],
        "{op}: inner sizes differ: {:?} and {:?} ({} and {})",
        a.shape(),
        b.shape(),
        a_matrix[1],
        b_matrix[0]
    );
    assert!(
        matches!(a.dtype(), DType::F32 | DType::F64) && (b.dtype() == a.dtype() || b.dtype().is_half()),
        "{op}: the left side is f32, the right f32, f16 or bf16: got {} {:?} and {} {:?}",
        a.dtype(),
        a.shape(),
        b.dtype(),
        b.shape()
    );
    let Some(mut shape) = broadcast_shapes(a_batch, b_batch) else {
        panic!("{op}: leading axes do not broadcast: {:?} and {:?}", a.shape(), b.shape())
    };
    shape.extend([a_matrix[0], b_matrix[1]]);
    shape
}

/// The gradient of the right side, db = aᵀ dy, summed over the axes along which b was broadcast. A b that is itself a transposed view gets a transposed gradient, so that the
/// gradient of the weight behind the view comes out packed.
fn right_gradient(a: &Tensor, b: &Tensor, dy: &Tensor, places: &mut Places<'_>) -> Tensor {
    let is_shared = b.shape()[..b.rank() - 2].iter().all(|&length| length == 1);
    let (a, dy) = if is_shared { (fold_rows(a), fold_rows(dy)) } else { (a.clone(), dy.clone()) };
    let strides = &b.layout().strides[b.rank() - 2..];
    let is_turned = strides[0] < strides[1];
    if b.rank() == 2
        && let Some(place) = places.of(1)
    {
        match is_turned {
            true => gradient_into(&place.t(), &dy.t(), &a),
            false => gradient_into(&place, &a.t(), &dy),
        }
        return place;
    }
    let db = if is_turned { deep::gradient(&dy.t(), &a).t() } else { deep::gradient(&a.t(), &dy) };
    if is_shared { db.broadcast_to(b.shape()) } else { db.sum_to(b.shape()) }
}

/// All leading axes as rows, as a view if the strides allow. `[.., columns] -> [rows, columns]`
fn fold_rows(x: &Tensor) -> Tensor {
    let (&columns, leading) = x.shape().split_last().expect("two axes or more");
    let rows = leading.iter().product();
    match merged_rows(x.layout()) {
        Some(stride) => {
            let strides = vec![stride, x.layout().strides[x.rank() - 1]];
            x.view(Layout { shape: vec![rows, columns], strides, offset: x.layout().offset })
        }
        None => x.contiguous().reshape(&[rows, columns]),
    }
}

/// The distance between rows if all axes but the last are walked with one stride.
fn merged_rows(layout: &Layout) -> Option<usize> {
    let axes = layout.shape.len() - 1;
    let rows = Layout { shape: layout.shape[..axes].to_vec(), strides: layout.strides[..axes].to_vec(), offset: 0 };
    match collapse([&rows]) {
        (shape, _) if shape.is_empty() => Some(0),
        (shape, [strides]) if shape.len() == 1 => Some(strides[0]),
        _ => None,
    }
}

/// The product of sides that fit, without a gradient. `-> shape`
#[track_caller]
fn product(a: &Tensor, b: &Tensor, shape: &[usize], kernels: Kernels) -> Tensor {
    let y = Tensor::uninit(a.device(), shape, a.dtype(), "matmul");
    launch(a, b, &y, Store::Overwrite, kernels);
    y
}

#[track_caller]
fn launch(a: &Tensor, b: &Tensor, y: &Tensor, store: Store, kernels: Kernels) {
    let batch_shape = &y.shape()[..y.rank() - 2];
    let Some(params) = params(a, b, batch_shape) else {
        // more than two kinds of batch stride: lay both sides out in full
        let full = |x: &Tensor| {
            let shape: Vec<usize> = batch_shape.iter().chain(&x.shape()[x.rank() - 2..]).copied().collect();
            x.detach().broadcast_to(&shape).contiguous()
        };
        return launch(&full(a), &full(b), y, store, kernels);
    };
    if y.is_empty() {
        return;
    }
    variants::launch(&params, a, b, y, store, kernels);
}

fn params(a: &Tensor, b: &Tensor, batch_shape: &[usize]) -> Option<Params> {
    let axes = batch_shape.len();
    let (mut m, k, n) = (a.dim(-2), a.dim(-1), b.dim(-1));
    let a_matrix = &a.layout().strides[a.rank() - 2..];
    let b_matrix = &b.layout().strides[b.rank() - 2..];
    let mut a_row = a_matrix[0];
    let batch_of = |x: &Tensor| {
        let count = x.rank() - 2;
        let own = Layout { shape: x.shape()[..count].to_vec(), strides: x.layout().strides[..count].to_vec(), offset: 0 };
        own.broadcast_to(batch_shape).expect("the common shape")
    };
    let (mut shape, [mut a_batch, mut b_batch]) = collapse([&batch_of(a), &batch_of(b)]);
    // one right side for all: the batch axes are more rows
    let is_shared = b.shape()[..b.rank() - 2].iter().all(|&length| length == 1);
    if axes > 0
        && is_shared
        && let Some(stride) = merged_rows(a.layout())
    {
        m *= batch_shape.iter().product::<usize>();
        a_row = stride;
        (shape, a_batch, b_batch) = (vec![], vec![], vec![]);
    }
    if shape.len() > 2 {
        return None;
    }
    let last = |values: &[usize], from_end: usize, default: usize| match values.len().checked_sub(from_end) {
        Some(at) => values[at] as u32,
        None => default as u32,
    };
    // the stride of an axis of length 1 means nothing: 0 leaves the layout of the others free
    let stride = |length: usize, stride: usize| if length == 1 { 0 } else { stride as u32 };
    Some(Params {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        batches: shape.iter().product::<usize>() as u32,
        batch_inner: last(&shape, 1, 1),
        a_offset: a.layout().offset as u32,
        a_row: stride(m, a_row),
        a_column: stride(k, a_matrix[1]),
        a_outer: last(&a_batch, 2, 0),
        a_inner: last(&a_batch, 1, 0),
        b_offset: b.layout().offset as u32,
        b_row: stride(k, b_matrix[0]),
        b_column: stride(n, b_matrix[1]),
        b_outer: last(&b_batch, 2, 0),
        b_inner: last(&b_batch, 1, 0),
    })
}
