//! The backward pass on the CPU: the probabilities are recomputed block by block from the saved log-sum-exp.
#![allow(unsafe_code)] // tasks write interleaved rows of the outputs

use std::ops::Range;

use crate::cpu::disjoint::Disjoint;
use crate::cpu::gemm::{Block, Product, multiply};
use crate::cpu::parallel::for_row_blocks;
use crate::cpu::threads::for_each_with;
use crate::cpu::{CpuArgs, Float};

use super::Params;
use super::forward::{KeyBlock, QUERIES, Sizes, grown};
use super::table::Row;
use crate::parallel;

/// Fewer tasks than this, and heads that share a key head become tasks of their own, at the price of summing their gradients afterwards. The choice
/// depends on the shapes alone, so that the result does not depend on the number of threads.
const MIN_TASKS: usize = 16;

/// table, q, k, v, dout, stats -> dq, dkv; shapes as in attention_backward.wgsl.
pub(super) fn attention_backward<F: Float + Product>(params: &Params, mut args: CpuArgs) {
    let sizes = Sizes::of(params, &args);
    let Sizes { heads, kv_heads, group, head_dim, .. } = sizes;
    let (dq, dkv) = (args.output::<F>(0), args.output::<F>(1));
    let segments = Row::read(&args.input::<u32>(0)[..params.tile_table as usize]);
    let inputs = Inputs { q: args.input(1), k: args.input(2), v: args.input(3), dout: args.input(4), stats: args.input(5) };
    let families = families(&segments, params.kv_tokens as usize);
    let copies = if families.len() * kv_heads < MIN_TASKS { group } else { 1 };
    let (per_task, kv_len) = (group / copies, dkv.len());
    let mut parts = vec![F::ZERO; if copies > 1 { kv_len * copies } else { 0 }];
    {
        let dq = Disjoint::new(dq);
        let dkv = Disjoint::new(if copies > 1 { &mut parts } else { &mut *dkv });
        let tasks: Vec<_> = families.iter().flat_map(|family| (0..heads).step_by(per_task).map(move |head| (family, head))).collect();
        parallel!(for_each_with(tasks.len(), Scratch::default), |scratch, task| {
            let (family, first_head) = tasks[task];
            scratch.start(family.keys.iter().map(|range| range.len()).sum::<usize>() * head_dim);
            for head in first_head..first_head + per_task {
                for &segment in &family.segments {
                    let segment = &segments[segment];
                    for first in (0..segment.queries).step_by(QUERIES) {
                        let rows = QUERIES.min(segment.queries - first);
                        scratch.add_tile(&sizes, &inputs, family, segment, head, first, rows);
                        for row in 0..rows {
                            let at = (segment.query_start + first + row) * heads + head;
                            // SAFETY: a query belongs to one segment, and the segment to one family.
                            let dq = unsafe { dq.piece(at * head_dim, head_dim) };
                            dq.copy_from_slice(&scratch.dq[row * head_dim..][..head_dim]);
                        }
                    }
                }
            }
            let copy = first_head % group / per_task * kv_len;
            for (place, token) in family.keys.iter().cloned().flatten().enumerate() {
                let at = copy + (token * kv_heads + first_head / group) * head_dim;
                let local = place * head_dim..(place + 1) * head_dim;
                // SAFETY: a key belongs to one family, its key head in this copy to one task; dk and dv are the two halves.
                let (dk, dv) = unsafe { (dkv.piece(at, head_dim), dkv.piece(at + kv_len / 2, head_dim)) };
                dk.copy_from_slice(&scratch.dk[local.clone()]);
                dv.copy_from_slice(&scratch.dv[local]);
            }
        });
    }
    if copies > 1 {
        parallel!(for_row_blocks(dkv, 1), |start, sums| {
            sums.copy_from_slice(&parts[start..][..sums.len()]);
            for copy in parts.chunks_exact(kv_len).skip(1) {
                for (sum, &part) in sums.iter_mut().zip(&copy[start..]) {
                    *sum += part;
                }
            }
        });
    }
}

struct Inputs<'a, F> {
    q: &'a [F],
    k: &'a [F],
    v: &'a [F],
    dout: &'a [F],
    /// Log-sum-exp and `dout · out`, in pairs.
    stats: &'a [F],
}

#[derive(Default)]
struct Scratch<F> {
    p: Vec<F>,
    ds: Vec<F>,
    /// Of the current tile.
    dq: Vec<F>,
    /// Of the family's keys, one after the other.
    dk: Vec<F>,
    dv: Vec<F>,
}

impl<F: Float + Product> Scratch<F> {
    fn start(&mut self, len: usize) {
        for sums in [&mut self.dk, &mut self.dv] {
            sums.clear();
            sums.resize(len, F::ZERO);
        }
    }

    /// Adds to dk and dv what `rows` queries from `first` on give, and leaves their dq.
    #[inline(always)]
    fn add_tile(&mut self, sizes: &Sizes<F>, inputs: &Inputs<F>, family: &Family, segment: &Row, head: usize, first: usize, rows: usize) {
        let &Sizes { heads, kv_heads, group, head_dim, scale } = sizes;
        let (stride, kv_stride) = (heads * head_dim, kv_heads * head_dim);
        let row_of = |row: usize| (segment.query_start + first + row) * heads + head;
        let queries = Block::rows(&inputs.q[row_of(0) * head_dim..], stride);
        let dout = Block::rows(&inputs.dout[row_of(0) * head_dim..], stride);
        self.dq.clear();
        self.dq.resize(rows * head_dim, F::ZERO);
        for block in KeyBlock::seen_by(segment, first + rows) {
            let width = block.keys;
            let offset = block.start * kv_stride + head / group * head_dim;
            let keys = Block::rows(&inputs.k[offset..], kv_stride);
            let values = Block::rows(&inputs.v[offset..], kv_stride);
            let p = grown(&mut self.p, rows * width);
            let ds = grown(&mut self.ds, rows * width);
            multiply([rows, width, head_dim], scale, queries, keys.t(), F::ZERO, p, width);
            multiply([rows, width, head_dim], F::ONE, dout, values.t(), F::ZERO, ds, width);
            for (row, (p, ds)) in p.chunks_exact_mut(width).zip(ds.chunks_exact_mut(width)).enumerate() {
                let seen = block.seen(segment, first + row);
                let (lse, delta) = (inputs.stats[2 * row_of(row)], inputs.stats[2 * row_of(row) + 1]);
                p[seen..].fill(F::ZERO);
                ds[seen..].fill(F::ZERO);
                for (p, ds) in p[..seen].iter_mut().zip(&mut ds[..seen]) {
                    *p = (*p - lse).fast_exp();
                    *ds = *p * (*ds - delta) * scale;
                }
            }
            let (p, ds) = (Block::rows(p, width), Block::rows(ds, width));
            let local = family.place(block.start) * head_dim;
            multiply([width, head_dim, rows], F::ONE, p.t(), dout, F::ONE, &mut self.dv[local..], head_dim);
            multiply([width, head_dim, rows], F::ONE, ds.t(), queries, F::ONE, &mut self.dk[local..], head_dim);
            multiply([rows, head_dim, width], F::ONE, ds, keys, F::ONE, &mut self.dq, head_dim);
        }
    }
}

/// Segments that share keys, directly or through others, and all the keys they see: no other family touches either.
struct Family {
    segments: Vec<usize>,
    /// Ascending, apart from each other.
    keys: Vec<Range<usize>>,
}

impl Family {
    /// Where a key stands among the keys of the family.
    fn place(&self, token: usize) -> usize {
        self.keys.iter().map(|range| token.clamp(range.start, range.end) - range.start).sum()
    }
}

/// All segments and all keys in families; keys that nobody sees form one without segments.
fn families(segments: &[Row], kv_tokens: usize) -> Vec<Family> {
    let of = |segment: &Row| {
        [segment.keys_start..segment.keys_start + segment.keys, segment.prefix_start..segment.prefix_start + segment.prefix]
    };
    let mut ranges: Vec<(Range<usize>, usize)> = segments.iter().enumerate().flat_map(|(i, s)| of(s).map(|range| (range, i))).collect();
    ranges.retain(|(range, _)| !range.is_empty());
    ranges.sort_by_key(|(range, _)| range.start);

    // Sweep over the ranges: those that overlap form an island, whose segments join (union-find by the smallest index).
    let mut parents: Vec<usize> = (0..segments.len()).collect();
    let mut islands: Vec<(Range<usize>, usize)> = Vec::new();
    let mut unseen = Vec::new();
    let mut end = 0;
    for (range, segment) in ranges {
        match islands.last_mut() {
            Some((island, first)) if range.start < island.end => {
                island.end = island.end.max(range.end);
                let (a, b) = (root(&parents, *first), root(&parents, segment));
                parents[a.max(b)] = a.min(b);
            }
            _ => {
                unseen.push(end..range.start);
                islands.push((range.clone(), segment));
            }
        }
        end = end.max(range.end);
    }
    unseen.push(end..kv_tokens);
    unseen.retain(|range| !range.is_empty());

    let mut families: Vec<Family> = segments.iter().map(|_| Family { segments: Vec::new(), keys: Vec::new() }).collect();
    for segment in 0..segments.len() {
        families[root(&parents, segment)].segments.push(segment);
    }
    for (island, segment) in islands {
        families[root(&parents, segment)].keys.push(island);
    }
    families.push(Family { segments: Vec::new(), keys: unseen });
    families.retain(|family| !family.segments.is_empty() || !family.keys.is_empty());
    families
}

fn root(parents: &[usize], mut index: usize) -> usize {
    while parents[index] != index {
        index = parents[index];
    }
    index
}
