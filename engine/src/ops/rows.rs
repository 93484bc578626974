//! Rows by number: gather and scatter-add.

use crate::autograd::assert_no_grad;
use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::{DType, Element};
use crate::indices::Indices;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    /// The number of rows of the indexed tensor and of elements in each, and the number of indices.
    struct Params { rows: u32, cols: u32, count: u32 }
}

const SHADER: Shader = wgsl!("common/half.wgsl", "rows.wgsl");
static GATHER: Kernel = kernel!(SHADER, "gather", Params, gather).overriding(&[("DTYPE", DType::CODES)]);
static SCATTER_ADD: Kernel = kernel!(SHADER, "scatter_add", Params, scatter_add);
pub(crate) const KERNELS: &[&Kernel] = &[&GATHER, &SCATTER_ADD];

impl Tensor {
    /// Takes rows by number; halves are read into f32. The gradient adds up the rows that were taken more than once, in the order of the indices.
    /// `[rows, ..] -> [count, ..]`, count being the number of indices.
    ///
    /// # Panics
    /// If the tensor is a scalar, an index is no row, or a gradient is needed and the host does not know the indices.
    #[track_caller]
    pub fn index_select(&self, indices: &Indices) -> Tensor {
        gather_rows("index_select", self, indices)
    }

    /// Starts from zeros and adds row `i` of this tensor to row `indices[i]`, for each `i`. Deterministic: no atomics. `[count, ..] -> [rows, ..]`
    ///
    /// # Panics
    /// If the number of indices is not `count`, an index is no row, or the host does not know the indices.
    #[track_caller]
    pub fn scatter_add_rows(&self, indices: &Indices, rows: usize) -> Tensor {
        super::assert_arithmetic("scatter_add_rows", &[self]);
        assert!(
            self.rank() > 0 && self.shape()[0] == indices.len(),
            "scatter_add_rows: one index a row: {:?} by indices {:?} ({} indices)",
            self.shape(),
            indices.shape(),
            indices.len()
        );
        assert!(indices.host().is_some(), "scatter_add_rows: the host must know the indices {:?}: use Indices::new", indices.shape());
        let mut shape = self.shape().to_vec();
        shape[0] = rows;
        indices.assert_rows_of("scatter_add_rows", &shape);
        let saved = indices.clone();
        sum_rows(self, indices, &shape).with_grad("scatter_add_rows", [self], move |dy| [Some(dy.index_select(&saved))])
    }
}

/// `index_select` under another op's name, for its messages.
#[track_caller]
pub(super) fn gather_rows(op: &'static str, x: &Tensor, indices: &Indices) -> Tensor {
    assert!(x.rank() > 0, "{op}: a scalar has no rows: {:?} by indices {:?}", x.shape(), indices.shape());
    indices.assert_rows_of(op, x.shape());
    if indices.host().is_none() {
        assert_no_grad(op, &[x]);
    }
    let packed = x.contiguous();
    let mut shape = x.shape().to_vec();
    shape[0] = indices.len();
    let dtype = if x.dtype().is_half() { DType::F32 } else { x.dtype() };
    let y = Tensor::uninit(x.device(), &shape, dtype, op);
    let constants = [("DTYPE", f64::from(x.dtype().code()))];
    let params = params(x, indices);
    let launch = GATHER.launch(&params).constants(&constants).input(&packed).input(indices.tensor()).output(&y);
    launch.groups(y.len().div_ceil(ELEMENTS_PER_GROUP)).run();
    let (saved, before) = (indices.clone(), x.shape().to_vec());
    y.with_grad(op, [x], move |dy| [Some(sum_rows(dy, &saved, &before))])
}

fn sum_rows(x: &Tensor, indices: &Indices, shape: &[usize]) -> Tensor {
    if x.is_empty() {
        return Tensor::zeros(x.device(), shape, x.dtype());
    }
    let y = Tensor::uninit(x.device(), shape, x.dtype(), "scatter_add_rows");
    let inverse = indices.inverse(shape[0]);
    let x = x.contiguous();
    let params = params(&y, indices);
    let launch = SCATTER_ADD.launch(&params).input(&x).input(&inverse.starts).input(&inverse.order).output(&y);
    launch.groups(y.len().div_ceil(ELEMENTS_PER_GROUP)).run();
    y
}

fn params(rows: &Tensor, indices: &Indices) -> Params {
    let cols: usize = rows.shape()[1..].iter().product();
    Params { rows: rows.shape()[0] as u32, cols: cols as u32, count: indices.len() as u32 }
}

fn gather<F: Float>(params: &Params, args: CpuArgs) {
    match args.input_dtype(0) {
        DType::F32 => gather_as::<f32, f32>(params, args, |x| x),
        DType::F64 => gather_as::<f64, f64>(params, args, |x| x),
        DType::U32 => gather_as::<u32, u32>(params, args, |x| x),
        DType::F16 => gather_as::<half::f16, f32>(params, args, half::f16::to_f32),
        DType::BF16 => gather_as::<half::bf16, f32>(params, args, half::bf16::to_f32),
    }
}

fn gather_as<T: Element, U: Element>(params: &Params, mut args: CpuArgs, convert: impl Fn(T) -> U + Sync) {
    let (x, ids, y) = (args.input::<T>(0), args.input::<u32>(1), args.output::<U>(0));
    let cols = params.cols as usize;
    parallel!(for_row_blocks(y, cols), |first, rows| {
        for (row, &id) in rows.chunks_mut(cols).zip(&ids[first..]) {
            assert!(id < params.rows, "gather: index {id} of {} rows", params.rows);
            row.iter_mut().zip(&x[id as usize * cols..]).for_each(|(y, &x)| *y = convert(x));
        }
    });
}

fn scatter_add<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, starts, order, y) = (args.input::<F>(0), args.input::<u32>(1), args.input::<u32>(2), args.output::<F>(0));
    let cols = params.cols as usize;
    parallel!(for_row_blocks(y, cols), |first, rows| {
        for (row, range) in rows.chunks_mut(cols).zip(starts[first..].windows(2)) {
            row.fill(F::ZERO);
            for &from in &order[range[0] as usize..range[1] as usize] {
                row.iter_mut().zip(&x[from as usize * cols..]).for_each(|(y, &x)| *y += x);
            }
        }
    });
}
