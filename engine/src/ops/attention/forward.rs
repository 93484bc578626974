//! The forward pass on the CPU: blocks of scores through the GEMM, the softmax kept as running maximum and sum (Dao et al. 2022).
#![allow(unsafe_code)] // tasks write interleaved rows of one output

use std::ops::Range;

use half::{bf16, f16};

use crate::cpu::disjoint::Disjoint;
use crate::cpu::gemm::{Block, Product, Right, multiply};
use crate::cpu::threads::for_each_with;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::dtype::{DType, Element};

use super::Params;
use super::table::Row;
use crate::parallel;

/// Queries of a tile. Larger tiles multiply faster, but waste more on the diagonal of a causal segment.
pub(super) const QUERIES: usize = 64;
/// Keys of a block: its scores with a tile of queries stay in the second-level cache.
pub(super) const KEYS: usize = 256;
/// So many keys of a lone query do not stay in a near cache.
const LONG: usize = 1024;
/// So many lone queries are work for all threads, one query for each.
const MANY: usize = 16;

/// table, q, k, v -> out, lse; shapes as in attention.wgsl.
pub(super) fn attention<F: Float + Product>(params: &Params, args: CpuArgs) {
    match args.input_dtype(2) {
        DType::F16 => attention_over::<F, f16>(params, args),
        DType::BF16 => attention_over::<F, bf16>(params, args),
        _ => attention_over::<F, F>(params, args),
    }
}

/// [`attention`] over keys and values that are stored as `S`.
fn attention_over<F: Float, S: Right<F>>(params: &Params, mut args: CpuArgs) {
    let sizes = Sizes::of(params, &args);
    let (q, k, v) = (args.input::<F>(1), args.input::<S>(2), args.input::<S>(3));
    let (out, lse) = (Disjoint::new(args.output::<F>(0)), Disjoint::new(args.output::<F>(1)));
    let Sizes { heads, head_dim, .. } = sizes;
    let tiles = Tile::all(&Row::read(&args.input::<u32>(0)[..params.tile_table as usize]), &sizes);
    parallel!(for_each_with(tiles.len(), Scratch::default), |scratch, tile| {
        let tile = &tiles[tile];
        tile.attend(&sizes, &q[tile.row(&sizes, 0) * head_dim..], k, v, scratch);
        let stride = if tile.heads > 1 { 1 } else { heads };
        for row in 0..tile.rows() {
            let at = tile.row(&sizes, 0) + row * stride;
            // SAFETY: each (query, head) is a row of one tile.
            let (out, lse) = unsafe { (out.piece(at * head_dim, head_dim), lse.piece(at, 1)) };
            lse[0] = scratch.finish(row, head_dim, out);
        }
    });
}

/// The sizes all tiles share.
pub(super) struct Sizes<F> {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// Query heads that share a key head.
    pub(super) group: usize,
    pub(super) head_dim: usize,
    pub(super) scale: F,
}

impl<F: Float> Sizes<F> {
    pub(super) fn of(params: &Params, args: &CpuArgs) -> Sizes<F> {
        let (heads, kv_heads) = (params.heads as usize, params.kv_heads as usize);
        let head_dim = args.constant("HEAD_DIM") as usize;
        Sizes { heads, kv_heads, group: heads / kv_heads, head_dim, scale: F::of(params.scale.into()) }
    }
}

/// Queries of one segment under one head, or one query under all heads that share a key head, or one under all heads: for each key head, the rows of a matrix of scores.
struct Tile {
    segment: Row,
    first: usize,
    queries: usize,
    head: usize,
    heads: usize,
}

impl Tile {
    fn all<F>(segments: &[Row], sizes: &Sizes<F>) -> Vec<Tile> {
        let mut tiles = Vec::new();
        let is_long = |segment: &Row| segment.queries == 1 && segment.prefix + segment.keys >= LONG;
        let are_many = segments.iter().filter(|segment| is_long(segment)).count() >= MANY;
        for &segment in segments {
            // A lone query (decoding) takes all heads that share a key head as rows, so that the keys are read once. Where many see many keys, it takes all heads: a key's heads lie
            // beside each other in memory, which is then walked in its order.
            let heads = match segment.queries {
                1 if are_many && is_long(&segment) => sizes.heads,
                1 => sizes.group,
                _ => 1,
            };
            for head in (0..sizes.heads).step_by(heads) {
                for first in (0..segment.queries).step_by(QUERIES) {
                    tiles.push(Tile { segment, first, queries: QUERIES.min(segment.queries - first), head, heads });
                }
            }
        }
        tiles
    }

    fn rows(&self) -> usize {
        self.queries * self.heads
    }

    /// Index of the (query, head) pair of a query of the tile under its first head.
    fn row<F>(&self, sizes: &Sizes<F>, query: usize) -> usize {
        (self.segment.query_start + self.first + query) * sizes.heads + self.head
    }

    /// Leaves the unnormalised output of the tile in the scratch. `q` begins at the tile's first row.
    #[inline(always)]
    fn attend<F: Float, S: Right<F>>(&self, sizes: &Sizes<F>, q: &[F], k: &[S], v: &[S], scratch: &mut Scratch<F>) {
        let &Sizes { heads, kv_heads, group, head_dim, .. } = sizes;
        scratch.start(self.rows(), head_dim);
        let (kv_len, key_heads) = (kv_heads * head_dim, self.heads.div_ceil(group));
        for block in KeyBlock::seen_by(&self.segment, self.first + self.queries) {
            if key_heads > 1 {
                let rows = block.start * kv_len..(block.start + block.keys) * kv_len;
                fetch(&k[rows.clone()]);
                fetch(&v[rows]);
            }
            for key_head in 0..key_heads {
                let rows = self.rows() / key_heads;
                let q = Block::rows(&q[key_head * rows * head_dim..], if self.heads > 1 { head_dim } else { heads * head_dim });
                let offset = (block.start * kv_heads + self.head / group + key_head) * head_dim;
                let (keys, values) = (Block::rows(&k[offset..], kv_len), Block::rows(&v[offset..], kv_len));
                self.attend_block(sizes, &block, key_head * rows..(key_head + 1) * rows, q, [keys, values], scratch);
            }
        }
    }

    /// Adds the keys of a block to the rows of one key head.
    #[inline(always)]
    fn attend_block<F: Float, S: Right<F>>(
        &self,
        sizes: &Sizes<F>,
        block: &KeyBlock,
        rows: Range<usize>,
        q: Block<F>,
        [keys, values]: [Block<S>; 2],
        scratch: &mut Scratch<F>,
    ) {
        let &Sizes { head_dim, scale, .. } = sizes;
        let (first, rows, width) = (rows.start, rows.len(), block.keys);
        let scores = grown(&mut scratch.scores, rows * width);
        multiply([rows, width, head_dim], scale, q, keys.t(), F::ZERO, scores, width);
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            let place = self.first + if self.heads > 1 { 0 } else { row };
            let row = first + row;
            let (scores, unseen) = scores.split_at_mut(block.seen(&self.segment, place));
            unseen.fill(F::ZERO);
            let before = scratch.highest[row];
            let highest = before.max(reduce::max(scores));
            if scores.is_empty() {
                continue;
            }
            for score in scores.iter_mut() {
                *score = (*score - highest).fast_exp();
            }
            if highest > before && scratch.total[row] > F::ZERO {
                let shrink = (before - highest).fast_exp();
                scratch.total[row] *= shrink;
                for out in &mut scratch.out[row * head_dim..][..head_dim] {
                    *out *= shrink;
                }
            }
            scratch.total[row] += reduce::sum(scores);
            scratch.highest[row] = highest;
        }
        let weights = Block::rows(&scratch.scores, width);
        multiply([rows, head_dim, width], F::ONE, weights, values, F::ONE, &mut scratch.out[first * head_dim..], head_dim);
    }
}

/// Reads memory in its order into a near cache: walked head by head it would come slowly, in steps that the processor does not foresee.
fn fetch<T: Element>(values: &[T]) {
    let lines = bytemuck::cast_slice::<T, u8>(values).chunks(64);
    std::hint::black_box(lines.fold(0u8, |sum, line| sum ^ line[0]));
}

#[derive(Default)]
struct Scratch<F> {
    scores: Vec<F>,
    out: Vec<F>,
    highest: Vec<F>,
    total: Vec<F>,
}

impl<F: Float> Scratch<F> {
    fn start(&mut self, rows: usize, head_dim: usize) {
        for (values, len, start) in
            [(&mut self.out, rows * head_dim, F::ZERO), (&mut self.total, rows, F::ZERO), (&mut self.highest, rows, F::MINUS_INFINITY)]
        {
            values.clear();
            values.resize(len, start);
        }
    }

    /// Writes a row of the output and returns its log-sum-exp; zeros if the row saw no key.
    #[inline(always)]
    fn finish(&self, row: usize, head_dim: usize, out: &mut [F]) -> F {
        let total = self.total[row];
        let norm = if total > F::ZERO { F::ONE / total } else { F::ZERO };
        for (out, &sum) in out.iter_mut().zip(&self.out[row * head_dim..]) {
            *out = sum * norm;
        }
        if total > F::ZERO { self.highest[row] + total.fast_ln() } else { F::ZERO }
    }
}

/// The first `len` elements of a buffer that grows and never shrinks.
pub(super) fn grown<F: Float>(buffer: &mut Vec<F>, len: usize) -> &mut [F] {
    if buffer.len() < len {
        buffer.resize(len, F::ZERO);
    }
    &mut buffer[..len]
}

/// At most [`KEYS`] neighbouring keys of a segment.
pub(super) struct KeyBlock {
    pub(super) start: usize,
    pub(super) keys: usize,
    /// Place of the first among the segment's own keys; none in the prefix, which is seen whole.
    own: Option<usize>,
}

impl KeyBlock {
    /// The blocks that some query before `end` of the segment sees.
    pub(super) fn seen_by(segment: &Row, end: usize) -> impl Iterator<Item = KeyBlock> + use<> {
        let (prefix, prefix_start, keys_start) = (segment.prefix, segment.prefix_start, segment.keys_start);
        let visible = if end == 0 { 0 } else { segment.visible(end - 1) };
        let of_prefix = move |first| KeyBlock { start: prefix_start + first, keys: KEYS.min(prefix - first), own: None };
        let of_own = move |first| KeyBlock { start: keys_start + first, keys: KEYS.min(visible - first), own: Some(first) };
        (0..prefix).step_by(KEYS).map(of_prefix).chain((0..visible).step_by(KEYS).map(of_own))
    }

    /// How many of the block's keys the segment's query `place` sees.
    pub(super) fn seen(&self, segment: &Row, place: usize) -> usize {
        match self.own {
            Some(first) => segment.visible(place).saturating_sub(first).min(self.keys),
            None => self.keys,
        }
    }
}
