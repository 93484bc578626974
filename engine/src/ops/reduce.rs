//! Sums and means over axes.

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    /// `[outer, len, inner] -> [outer, parts, inner]`, part p summing elements `p·chunk ..` of the middle axis.
    struct Params { outer: u32, len: u32, inner: u32, parts: u32, chunk: u32 }
}

const SHADER: Shader = wgsl!("reduce.wgsl");
static SUM: Kernel = kernel!(SHADER, "sum", Params, sum);
pub(crate) const KERNELS: &[&Kernel] = &[&SUM];

/// Elements one thread sums. Longer axes are summed in several passes, so the order of additions depends on the shape alone.
const CHUNK: usize = 256;

impl Tensor {
    /// Sum over axes (negative count from the end), which disappear. No axes: the tensor itself.
    ///
    /// # Panics
    /// If an axis does not exist or stands twice.
    #[track_caller]
    pub fn sum(&self, axes: &[isize]) -> Tensor {
        super::assert_arithmetic("sum", &[self]);
        let reduced = self.reduced_axes("sum", axes);
        let mut y = self.detach();
        for axis in reduced.iter().rev() {
            y = sum_axis(&y, *axis);
        }
        let before = self.shape().to_vec();
        let kept: Vec<usize> = (0..self.rank()).map(|a| if reduced.contains(&a) { 1 } else { before[a] }).collect();
        y.with_grad("sum", [self], move |dy| [Some(dy.reshape(&kept).broadcast_to(&before))])
    }

    /// Mean over axes, which disappear.
    ///
    /// # Panics
    /// As [`sum`](Tensor::sum), or over no elements.
    #[track_caller]
    pub fn mean(&self, axes: &[isize]) -> Tensor {
        let count: usize = self.reduced_axes("mean", axes).iter().map(|&a| self.shape()[a]).product();
        assert!(count > 0, "mean: over no elements: axes {axes:?} of {:?}", self.shape());
        self.sum(axes).mul_scalar(1.0 / count as f32)
    }

    /// Sum of all elements, shape `[]`.
    pub fn sum_all(&self) -> Tensor {
        self.reshape(&[self.len()]).sum(&[0])
    }

    #[track_caller]
    fn reduced_axes(&self, op: &str, axes: &[isize]) -> Vec<usize> {
        let mut resolved: Vec<usize> = axes.iter().map(|&axis| self.axis(op, axis)).collect();
        resolved.sort_unstable();
        assert!(resolved.windows(2).all(|w| w[0] != w[1]), "{op}: an axis stands twice in {axes:?}");
        resolved
    }
}

fn sum_axis(x: &Tensor, axis: usize) -> Tensor {
    let shape = x.shape().to_vec();
    let (outer, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    let mut x = x.contiguous();
    let mut len = shape[axis];
    loop {
        let parts = len.div_ceil(CHUNK).max(1);
        let y = Tensor::uninit(x.device(), &[outer, parts, inner], x.dtype(), "sum");
        let params = Params { outer: outer as u32, len: len as u32, inner: inner as u32, parts: parts as u32, chunk: CHUNK as u32 };
        SUM.launch(&params).input(&x).output(&y).groups(y.len().div_ceil(ELEMENTS_PER_GROUP)).run();
        (x, len) = (y, parts);
        if parts == 1 {
            break;
        }
    }
    let kept: Vec<usize> = shape.iter().enumerate().filter(|(a, _)| *a != axis).map(|(_, &length)| length).collect();
    x.reshape(&kept)
}

fn sum<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, y) = (args.input::<F>(0), args.output::<F>(0));
    let [len, inner, parts, chunk] = [params.len, params.inner, params.parts, params.chunk].map(|v| v as usize);
    // one row of the output is one part: `inner` sums over up to `chunk` rows
    for_row_blocks(y, inner, |first, rows| {
        for (row, y) in rows.chunks_mut(inner).enumerate() {
            let (outer, part) = ((first + row) / parts, (first + row) % parts);
            let (start, end) = (part * chunk, ((part + 1) * chunk).min(len));
            let x = &x[(outer * len + start) * inner..(outer * len + end) * inner];
            if inner == 1 {
                y[0] = reduce::sum(x);
            } else {
                y.fill(F::ZERO);
                for x in x.chunks(inner) {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
                }
            }
        }
    });
}
