//! The CPU kernel of the matrix product: batches of GEMMs.

use half::{bf16, f16};

use super::Params;
use super::rows::order;
use crate::cpu::gemm::{Block, Product, Right, Threads, multiply_on};
use crate::cpu::parallel::for_chunks;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::parallel;

pub(super) fn forward<F: Float + Product>(params: &Params, mut args: CpuArgs) {
    let keep = if args.constant("ACCUMULATE") == 1.0 { F::ONE } else { F::ZERO };
    let (a, y) = (args.input::<F>(0), args.output::<F>(0));
    match args.input_dtype(1) {
        DType::F16 => forward_half::<F, f16>(params, a, args.input(1), y, keep),
        DType::BF16 => forward_half::<F, bf16>(params, a, args.input(1), y, keep),
        _ => forward_full(params, a, args.input(1), y, keep),
    }
}

/// Batches smaller than this many multiply-adds run side by side, larger ones one after the other on all threads.
const SMALL_BATCH: usize = 64 * 64 * 64;

fn forward_full<F: Float + Product>(params: &Params, a: &[F], b: &[F], y: &mut [F], keep: F) {
    let [m, n, k] = params.sizes();
    let (size, order) = (m * n, order());
    let one = |batch: usize, y: &mut [F], threads: Threads| {
        multiply_on(threads, order, [m, n, k], F::ONE, params.left(a, batch), params.right(b, batch), keep, y, n);
    };
    if params.batches > 1 && size * k <= SMALL_BATCH {
        let per_task = (SMALL_BATCH / (size * k).max(1)).max(1);
        parallel!(for_chunks(&mut y[..size * params.batches as usize], size * per_task), |task, y| {
            y.chunks_mut(size).enumerate().for_each(|(i, y)| one(task * per_task + i, y, Threads::One));
        });
    } else {
        y.chunks_mut(size).take(params.batches as usize).enumerate().for_each(|(batch, y)| one(batch, y, Threads::All));
    }
}

fn forward_half<F: Float, H: Right<F>>(params: &Params, a: &[F], b: &[H], y: &mut [F], keep: F) {
    let [m, n, k] = params.sizes();
    for (batch, y) in y.chunks_mut(m * n).take(params.batches as usize).enumerate() {
        multiply_on(Threads::All, order(), [m, n, k], F::ONE, params.left(a, batch), params.right(b, batch), keep, y, n);
    }
}

impl Params {
    fn sizes(&self) -> [usize; 3] {
        [self.m, self.n, self.k].map(|size| size as usize)
    }

    fn left<'a, T>(&self, data: &'a [T], batch: usize) -> Block<'a, T> {
        let start = self.start(batch, self.a_offset, [self.a_outer, self.a_inner]);
        Block::new(tail(data, start), self.a_row as usize, self.a_column as usize)
    }

    fn right<'a, T>(&self, data: &'a [T], batch: usize) -> Block<'a, T> {
        let start = self.start(batch, self.b_offset, [self.b_outer, self.b_inner]);
        Block::new(tail(data, start), self.b_row as usize, self.b_column as usize)
    }

    /// Where the matrix of a batch begins, given the offset of the first and the strides of the two batch axes.
    fn start(&self, batch: usize, offset: u32, [outer, inner]: [u32; 2]) -> usize {
        let inner_length = self.batch_inner as usize;
        offset as usize + batch / inner_length * outer as usize + batch % inner_length * inner as usize
    }
}

/// The slice from `start` on, or nothing where a view of no elements starts beyond the end.
fn tail<T>(data: &[T], start: usize) -> &[T] {
    data.get(start..).unwrap_or(&[])
}
