//! The CPU kernel of the matrix product: batches of GEMMs.

use std::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;

use super::Params;
use crate::cpu::gemm::{Half, Matrix, Threads, multiply, multiply_half};
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;

pub(super) fn forward<F: Float>(params: &Params, mut args: CpuArgs) {
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

fn forward_full<F: Float>(params: &Params, a: &[F], b: &[F], y: &mut [F], keep: F) {
    let size = params.m as usize * params.n as usize;
    let one = |batch: usize, y: &mut [F], threads: Threads| {
        let (left, right) = (params.left(a, batch), params.right(b, batch));
        multiply(y, params.n as usize, left, right, keep, threads);
    };
    if params.batches > 1 && size * params.k as usize <= SMALL_BATCH {
        let per_task = (SMALL_BATCH / (size * params.k as usize).max(1)).max(1);
        y[..size * params.batches as usize].par_chunks_mut(size * per_task).enumerate().for_each(|(task, y)| {
            y.chunks_mut(size).enumerate().for_each(|(i, y)| one(task * per_task + i, y, Threads::One));
        });
    } else {
        y.chunks_mut(size).take(params.batches as usize).enumerate().for_each(|(batch, y)| one(batch, y, Threads::All));
    }
}

fn forward_half<F: Float, H: Half>(params: &Params, a: &[F], b: &[H], y: &mut [F], keep: F) {
    let size = params.m as usize * params.n as usize;
    for (batch, y) in y.chunks_mut(size).take(params.batches as usize).enumerate() {
        multiply_half(y, params.n as usize, params.left(a, batch), params.right(b, batch), keep);
    }
}

impl Params {
    fn left<'a, T>(&self, data: &'a [T], batch: usize) -> Matrix<'a, T> {
        let (outer, inner) = (batch / self.batch_inner as usize, batch % self.batch_inner as usize);
        Matrix {
            data: tail(data, self.a_offset as usize + outer * self.a_outer as usize + inner * self.a_inner as usize..data.len()),
            rows: self.m as usize,
            columns: self.k as usize,
            row_stride: self.a_row as usize,
            column_stride: self.a_column as usize,
        }
    }

    fn right<'a, T>(&self, data: &'a [T], batch: usize) -> Matrix<'a, T> {
        let (outer, inner) = (batch / self.batch_inner as usize, batch % self.batch_inner as usize);
        Matrix {
            data: tail(data, self.b_offset as usize + outer * self.b_outer as usize + inner * self.b_inner as usize..data.len()),
            rows: self.k as usize,
            columns: self.n as usize,
            row_stride: self.b_row as usize,
            column_stride: self.b_column as usize,
        }
    }
}

/// The slice, or nothing where a view of no elements starts beyond the end.
fn tail<T>(data: &[T], range: Range<usize>) -> &[T] {
    data.get(range).unwrap_or(&[])
}
