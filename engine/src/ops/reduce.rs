//! Sums, means and maxima over axes.

use crate::cpu::parallel::for_costly_rows;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::LANES_PER_ROW;

kernel_params! {
    /// The middle axis is cut into parts of `chunk` elements, each of which is reduced: `[outer, len, inner] -> [outer, parts, inner]`
    struct Params { outer: u32, len: u32, inner: u32, parts: u32, chunk: u32 }
}

const SHADER: Shader = wgsl!("common/row_reduce.wgsl", "reduce.wgsl");
static COLUMNS: Kernel = kernel!(SHADER, "columns", Params, reduce_parts).overriding(OVERRIDES);
static ROWS: Kernel = kernel!(SHADER, "rows", Params, reduce_parts).overriding(OVERRIDES);
pub(crate) const KERNELS: &[&Kernel] = &[&COLUMNS, &ROWS];

const OVERRIDES: &[(&str, &[u32])] = &[("OP", &[ReduceOp::Sum as u32, ReduceOp::Max as u32])];

/// How many elements one thread of `columns`, or one workgroup of `rows`, reduces. Longer axes take several passes, so the order of additions depends on
/// the shape alone.
const COLUMN_CHUNK: usize = 256;
const ROW_CHUNK: usize = 4096;

/// What is done with the elements; the shader knows it by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum ReduceOp {
    Sum = 0,
    Max = 1,
}

impl Tensor {
    /// Sums over axes, which disappear; negative axes count from the end. Without axes it is the tensor itself.
    ///
    /// # Panics
    /// If an axis does not exist or stands twice.
    #[track_caller]
    pub fn sum(&self, axes: &[isize]) -> Tensor {
        super::assert_arithmetic("sum", &[self]);
        let reduced = self.reduced_axes("sum", axes);
        let (before, kept) = (self.shape().to_vec(), self.kept_shape(&reduced));
        reduce_axes(ReduceOp::Sum, self, &reduced).with_grad("sum", [self], move |dy| [Some(dy.reshape(&kept).broadcast_to(&before))])
    }

    /// The largest element over axes, which disappear. Equal maxima share the gradient equally, as in `torch.amax`. NaN is passed over or kept,
    /// depending on the device.
    ///
    /// # Panics
    /// As [`sum`](Tensor::sum), or over no elements.
    #[track_caller]
    pub fn max(&self, axes: &[isize]) -> Tensor {
        super::assert_arithmetic("max", &[self]);
        let reduced = self.reduced_axes("max", axes);
        assert!(reduced.iter().all(|&a| self.shape()[a] > 0), "max: over no elements: axes {axes:?} of {:?}", self.shape());
        let (x, kept) = (self.detach(), self.kept_shape(&reduced));
        let y = reduce_axes(ReduceOp::Max, self, &reduced);
        let saved_y = y.clone();
        y.with_grad("max", [self], move |dy| {
            let is_max = x.ge(&saved_y.reshape(&kept));
            let axes: Vec<isize> = reduced.iter().map(|&a| a as isize).collect();
            let share = dy.div(&is_max.sum(&axes)).reshape(&kept);
            [Some(is_max.mul(&share))]
        })
    }

    /// The mean over axes, which disappear.
    ///
    /// # Panics
    /// As [`sum`](Tensor::sum), or over no elements.
    #[track_caller]
    pub fn mean(&self, axes: &[isize]) -> Tensor {
        let count: usize = self.reduced_axes("mean", axes).iter().map(|&a| self.shape()[a]).product();
        assert!(count > 0, "mean: over no elements: axes {axes:?} of {:?}", self.shape());
        self.sum(axes).mul_scalar(1.0 / count as f32)
    }

    /// The sum of all elements. `[..] -> []`
    pub fn sum_all(&self) -> Tensor {
        self.reshape(&[self.len()]).sum(&[0])
    }

    /// The sum over the first axis, in the place of what is in `into` if that is given: packed, of the result's length. No gradient is recorded. `[rows, ..] -> [..]`
    #[track_caller]
    pub(crate) fn sum_first_axis(&self, into: Option<&Tensor>) -> Tensor {
        super::assert_arithmetic("sum_first_axis", &[self]);
        reduce_axis(ReduceOp::Sum, self, 0, into)
    }

    /// This shape with 1 where an axis is reduced.
    fn kept_shape(&self, reduced: &[usize]) -> Vec<usize> {
        self.shape().iter().enumerate().map(|(axis, &length)| if reduced.contains(&axis) { 1 } else { length }).collect()
    }

    #[track_caller]
    fn reduced_axes(&self, op: &str, axes: &[isize]) -> Vec<usize> {
        let mut resolved = Vec::new();
        // a loop, not a closure: panics report the caller's line
        for &axis in axes {
            resolved.push(self.axis(op, axis));
        }
        resolved.sort_unstable();
        assert!(resolved.windows(2).all(|w| w[0] != w[1]), "{op}: an axis stands twice in {axes:?}");
        resolved
    }
}

/// The last axis first, so that its rows are read as they lie.
fn reduce_axes(op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor {
    axes.iter().rev().fold(x.detach(), |y, &axis| reduce_axis(op, &y, axis, None))
}

/// `into` is memory for the result.
#[track_caller]
fn reduce_axis(op: ReduceOp, x: &Tensor, axis: usize, into: Option<&Tensor>) -> Tensor {
    let shape = x.shape().to_vec();
    let (outer, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    let (kernel, chunk) = if inner == 1 { (&ROWS, ROW_CHUNK) } else { (&COLUMNS, COLUMN_CHUNK) };
    let mut x = x.contiguous();
    let mut len = shape[axis];
    loop {
        let parts = len.div_ceil(chunk).max(1);
        let shape = [outer, parts, inner];
        let y = match into.filter(|_| parts == 1) {
            Some(into) => into.reshape(&shape),
            None => Tensor::uninit(x.device(), &shape, x.dtype(), "reduce"),
        };
        let params = Params { outer: outer as u32, len: len as u32, inner: inner as u32, parts: parts as u32, chunk: chunk as u32 };
        let groups = if inner == 1 { y.len() } else { y.len().div_ceil(LANES_PER_ROW) };
        kernel.launch(&params).constants(&[("OP", f64::from(op as u32))]).input(&x).output(&y).groups(groups).run();
        (x, len) = (y, parts);
        if parts == 1 {
            break;
        }
    }
    let kept: Vec<usize> = shape.iter().enumerate().filter(|(a, _)| *a != axis).map(|(_, &length)| length).collect();
    x.reshape(&kept)
}

fn reduce_parts<F: Float>(params: &Params, args: CpuArgs) {
    match args.constant("OP") as u32 {
        0 => parts_by(params, args, reduce::sum::<F>, |total, x| total + x),
        _ => parts_by(params, args, reduce::max::<F>, F::max),
    }
}

/// `of_row` reduces neighbours in memory, `join` two elements of a column.
#[inline(always)]
fn parts_by<F: Float>(params: &Params, mut args: CpuArgs, of_row: impl Fn(&[F]) -> F + Sync, join: impl Fn(F, F) -> F + Sync) {
    let (x, y) = (args.input::<F>(0), args.output::<F>(0));
    let [len, inner, parts, chunk] = [params.len, params.inner, params.parts, params.chunk].map(|v| v as usize);
    // one row of the output is one part: `inner` results over up to `chunk` rows
    parallel!(for_costly_rows(y, inner, inner * chunk.min(len)), |first, rows| {
        for (row, y) in rows.chunks_mut(inner).enumerate() {
            let (outer, part) = ((first + row) / parts, (first + row) % parts);
            let (start, end) = (part * chunk, ((part + 1) * chunk).min(len));
            let x = &x[(outer * len + start) * inner..(outer * len + end) * inner];
            if inner == 1 {
                y[0] = of_row(x);
                continue;
            }
            let (first, rest) = x.split_at(inner.min(x.len()));
            y.fill(F::ZERO); // the sum of no rows
            y[..first.len()].copy_from_slice(first);
            for x in rest.chunks(inner) {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = join(*y, x);
                }
            }
        }
    });
}
