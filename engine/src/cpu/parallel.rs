//! Splitting rows over threads.
#![allow(unsafe_code)] // tasks write chunks of their own

use super::disjoint::Disjoint;
use super::threads::{for_each, for_each_with};
use crate::parallel;

/// Fewer elements than this per task cost more in scheduling than they gain.
const MIN_ELEMENTS: usize = 16 * 1024;

/// Calls `f(index, chunk)` on all chunks of `chunk_len` elements, the last of which may be shorter, on all threads.
pub fn for_chunks<T: Send>(out: &mut [T], chunk_len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    parallel!(for_chunks_with(out, chunk_len, || ()), |(), index, chunk| f(index, chunk));
}

/// [`for_chunks`] with something that each thread makes once, such as scratch memory.
pub fn for_chunks_with<T: Send, S>(
    out: &mut [T],
    chunk_len: usize,
    start: impl Fn() -> S + Sync,
    f: impl Fn(&mut S, usize, &mut [T]) + Sync,
) {
    let len = out.len();
    let out = Disjoint::new(out);
    parallel!(for_each_with(len.div_ceil(chunk_len), start), |state, index| {
        let first = index * chunk_len;
        // SAFETY: each task has a number of its own, and so a chunk of its own
        f(state, index, unsafe { out.piece(first, chunk_len.min(len - first)) });
    });
}

/// Calls `f(first_row, rows)` on blocks of whole rows of `out`, in parallel when there is enough work.
///
/// Blocks depend on the sizes alone, so results do not depend on the number of threads as long as `f` treats rows independently.
pub fn for_row_blocks<T: Send>(out: &mut [T], row_len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    for_costly_rows(out, row_len, row_len, f);
}

/// [`for_row_blocks`] for rows whose work is that of `row_cost` elements: a reduction reads far more than it writes.
pub fn for_costly_rows<T: Send>(out: &mut [T], row_len: usize, row_cost: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() {
        return;
    }
    let rows_per_block = MIN_ELEMENTS.div_ceil(row_cost.max(1));
    parallel!(for_chunks(out, rows_per_block * row_len), |block, rows| f(block * rows_per_block, rows));
}

/// [`for_row_blocks`] over several outputs with the same number of rows, each with its own row length.
pub fn for_row_blocks_of<T: Send, const N: usize>(outs: [(&mut [T], usize); N], f: impl Fn(usize, [&mut [T]; N]) + Sync) {
    let row_cost = outs[0].1;
    for_costly_rows_of(outs, row_cost, f);
}

/// [`for_row_blocks_of`] for rows whose work is that of `row_cost` elements.
pub fn for_costly_rows_of<T: Send, const N: usize>(outs: [(&mut [T], usize); N], row_cost: usize, f: impl Fn(usize, [&mut [T]; N]) + Sync) {
    let rows = outs[0].0.len().checked_div(outs[0].1).unwrap_or(0);
    let rows_per_block = MIN_ELEMENTS.div_ceil(row_cost.max(1));
    let outs = outs.map(|(out, row_len)| {
        assert_eq!(out.len(), rows * row_len, "outputs have the same number of rows");
        (Disjoint::new(out), row_len)
    });
    parallel!(for_each(rows.div_ceil(rows_per_block)), |block| {
        let first = block * rows_per_block;
        let taken = rows_per_block.min(rows - first);
        // SAFETY: each task has a number of its own, and so rows of its own
        f(first, outs.each_ref().map(|(out, row_len)| unsafe { out.piece(first * row_len, taken * row_len) }));
    });
}

/// The innermost rows of strided inputs beside the contiguous output: calls `f(offsets, row)` for each, `offsets` being where the row starts in
/// each of the `N` inputs. `shape` has at least one axis; its last axis is the row.
pub fn for_strided_rows<T: Send, const N: usize>(
    out: &mut [T],
    shape: &[u32],
    strides: [&[u32]; N],
    offsets: [u32; N],
    f: impl Fn([usize; N], &mut [T]) + Sync,
) {
    let (&row_len, outer) = shape.split_last().expect("at least one axis");
    if row_len as usize > MIN_ELEMENTS {
        return for_long_rows(out, row_len as usize, outer, strides, offsets, f);
    }
    parallel!(for_row_blocks(out, row_len as usize), |first_row, rows| {
        let mut index = unravel(first_row, outer);
        for row in rows.chunks_mut(row_len as usize) {
            f(std::array::from_fn(|i| locate(offsets[i], &index, strides[i])), row);
            advance(&mut index, outer);
        }
    });
}

/// The same with rows so long that each is split over the threads.
fn for_long_rows<T: Send, const N: usize>(
    out: &mut [T],
    row_len: usize,
    outer: &[u32],
    strides: [&[u32]; N],
    offsets: [u32; N],
    f: impl Fn([usize; N], &mut [T]) + Sync,
) {
    let mut index = vec![0; outer.len()];
    for row in out.chunks_mut(row_len) {
        let starts: [usize; N] = std::array::from_fn(|i| locate(offsets[i], &index, strides[i]));
        parallel!(for_chunks(row, MIN_ELEMENTS), |chunk, part| {
            f(std::array::from_fn(|i| starts[i] + chunk * MIN_ELEMENTS * strides[i][outer.len()] as usize), part);
        });
        advance(&mut index, outer);
    }
}

fn locate(offset: u32, index: &[u32], strides: &[u32]) -> usize {
    let walked: usize = index.iter().zip(strides).map(|(&x, &stride)| x as usize * stride as usize).sum();
    offset as usize + walked
}

fn unravel(mut flat: usize, shape: &[u32]) -> Vec<u32> {
    let mut index = vec![0; shape.len()];
    for (slot, &length) in index.iter_mut().zip(shape).rev() {
        *slot = (flat % length as usize) as u32;
        flat /= length as usize;
    }
    index
}

fn advance(index: &mut [u32], shape: &[u32]) {
    for (slot, &length) in index.iter_mut().zip(shape).rev() {
        *slot += 1;
        if *slot < length {
            return;
        }
        *slot = 0;
    }
}
