//! The heads of attention out of one joint projection, queries and keys turned on the way (rotary position embedding, Su et al. 2021, arXiv 2104.09864, rotate-half form).

use half::{bf16, f16};

use crate::autograd::{assert_no_grad, with_grads_of};
use crate::cpu::gemm::Half;
use crate::cpu::parallel::{for_row_blocks, for_row_blocks_of};
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::indices::Indices;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;
use super::rope::RopeTable;

kernel_params! {
    /// Pairs of elements j and j + half in all heads of all tokens; `cache_rows` is for those that write a cache alone.
    struct Params { pairs: u32, heads: u32, kv_heads: u32, half: u32, cache_rows: u32 }
}

const SHADER: Shader = wgsl!("common/half.wgsl", "split_heads.wgsl");
static SPLIT: Kernel = kernel!(SHADER, "split", Params, split);
static SPLIT_PLAIN: Kernel = kernel!(SHADER, "split_plain", Params, split_plain);
static SPLIT_CACHED: Kernel = kernel!(SHADER, "split_cached", Params, split_cached);
static SPLIT_CACHED_HALF: Kernel =
    kernel!(SHADER, "split_cached_half", Params, split_cached_half).overriding(&[("DTYPE", DType::HALF_CODES)]);
static JOIN: Kernel = kernel!(SHADER, "join", Params, join);
static JOIN_PLAIN: Kernel = kernel!(SHADER, "join_plain", Params, join_plain);
pub(crate) const KERNELS: &[&Kernel] = &[&SPLIT, &SPLIT_PLAIN, &SPLIT_CACHED, &SPLIT_CACHED_HALF, &JOIN, &JOIN_PLAIN];

/// How many heads a joint projection holds, and how wide they are: the queries' come first, then the keys', then as many of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key heads; value heads are as many.
    pub kv: usize,
    /// Width of a head, even.
    pub dim: usize,
}

impl Heads {
    /// Width of a token in the joint projection: `(queries + 2 kv) · dim`.
    pub fn width(self) -> usize {
        (self.queries + 2 * self.kv) * self.dim
    }
}

impl Tensor {
    /// Cuts the joint projection of attention into queries, keys and values. With a table, each head of queries and keys is turned by its token's angles: element j pairs with
    /// element `j + dim/2`. `[tokens, (queries + 2 kv) · dim] -> [tokens, queries, dim], [tokens, kv, dim], [tokens, kv, dim]`
    ///
    /// # Panics
    /// If the tensor or the table has another shape, or the heads' width is odd.
    #[track_caller]
    pub fn split_heads(&self, heads: Heads, rope: Option<&RopeTable>) -> [Tensor; 3] {
        const OP: &str = "split_heads";
        check(OP, self, heads, rope);
        let (x, params, table) = (self.detach().contiguous(), params(self, heads), rope.cloned());
        let [queries, keys, values] = [heads.queries, heads.kv, heads.kv].map(|count| uninit(&x, &[x.dim(0), count, heads.dim]));
        let kernel = if table.is_some() { &SPLIT } else { &SPLIT_PLAIN };
        let mut launch = kernel.launch(&params).input(&x);
        if let Some(table) = &table {
            launch = launch.input(table.tensor());
        }
        launch.output(&queries).output(&keys).output(&values).groups(groups(&params)).run();

        let shapes = [&queries, &keys, &values].map(|y| y.shape().to_vec());
        with_grads_of([queries, keys, values], OP, &[self], move |upstream| {
            let [dq, dk, dv] = std::array::from_fn(|i| match &upstream[i] {
                Some(dy) => dy.contiguous(),
                None => Tensor::zeros(x.device(), &shapes[i], x.dtype()),
            });
            let dx = uninit(&x, x.shape());
            let kernel = if table.is_some() { &JOIN } else { &JOIN_PLAIN };
            let mut launch = kernel.launch(&params).input(&dq).input(&dk).input(&dv);
            if let Some(table) = &table {
                launch = launch.input(table.tensor());
            }
            launch.output(&dx).groups(groups(&params)).run();
            vec![Some(dx)]
        })
    }

    /// [`split_heads`](Tensor::split_heads) while decoding: the queries, and in place the new keys and values in rows of a cache, those of token i in row `rows[i]`. A cache of f16 or
    /// bf16 gets them rounded to nearest, ties to even. No gradient is recorded. `[tokens, (queries + 2 kv) · dim] -> [tokens, queries, dim]`, keys and values `[cache rows, kv, dim]`
    ///
    /// # Panics
    /// As [`split_heads`](Tensor::split_heads), if the cache has another shape or type, an index is no row of it or stands twice, or the projection needs a gradient.
    #[track_caller]
    pub fn split_heads_into(&self, heads: Heads, rope: &RopeTable, rows: &Indices, [keys, values]: [&Tensor; 2]) -> Tensor {
        const OP: &str = "split_heads_into";
        check(OP, self, heads, Some(rope));
        assert_no_grad(OP, &[self, keys, values]);
        let is_half = keys.dtype().is_half() && keys.dtype() == values.dtype();
        if !is_half {
            super::assert_arithmetic(OP, &[self, keys, values]);
        }
        assert!(
            keys.rank() == 3 && keys.shape()[1..] == [heads.kv, heads.dim] && values.shape() == keys.shape() && rows.len() == self.dim(0),
            "{OP}: needs a cache [rows, {}, {}] and a row for each of {} tokens: got keys {:?}, values {:?} and {} rows",
            heads.kv,
            heads.dim,
            self.dim(0),
            keys.shape(),
            values.shape(),
            rows.len()
        );
        rows.assert_rows_of(OP, keys.shape());
        assert_distinct(OP, rows);
        let x = self.contiguous();
        let params = Params { cache_rows: keys.dim(0) as u32, ..params(self, heads) };
        let queries = uninit(&x, &[x.dim(0), heads.queries, heads.dim]);
        let constants = [("DTYPE", f64::from(keys.dtype().code()))];
        let launch = if is_half { SPLIT_CACHED_HALF.launch(&params).constants(&constants) } else { SPLIT_CACHED.launch(&params) };
        let launch = launch.input(&x).input(rope.tensor()).input(rows.tensor());
        launch.output(&queries).output(keys).output(values).groups(groups(&params)).run();
        queries
    }
}

#[track_caller]
fn check(op: &str, x: &Tensor, heads: Heads, rope: Option<&RopeTable>) {
    super::assert_arithmetic(op, &[x]);
    let Heads { queries, kv, dim } = heads;
    assert!(
        x.rank() == 2 && x.dim(1) == heads.width() && queries > 0 && kv > 0 && dim > 0 && dim.is_multiple_of(2),
        "{op}: {:?} is not [tokens, (queries + 2 kv) · dim] of {queries} query heads and {kv} key heads, {dim} wide (an even number)",
        x.shape()
    );
    if let Some(table) = rope.map(RopeTable::tensor) {
        assert!(
            [x.dim(0), dim] == *table.shape(),
            "{op}: needs a table [tokens, dim]: got {:?} for {} tokens and heads of {dim}",
            table.shape(),
            x.dim(0)
        );
    }
}

#[track_caller]
fn assert_distinct(op: &str, indices: &Indices) {
    let mut sorted = indices.host().unwrap_or_default().to_vec();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
        panic!("{op}: row {} stands twice in indices {:?}", twice[0], indices.shape());
    }
}

fn params(x: &Tensor, heads: Heads) -> Params {
    let Heads { queries, kv, dim } = heads;
    Params { pairs: (x.len() / 2) as u32, heads: queries as u32, kv_heads: kv as u32, half: (dim / 2) as u32, cache_rows: 0 }
}

fn uninit(x: &Tensor, shape: &[usize]) -> Tensor {
    Tensor::uninit(x.device(), shape, x.dtype(), "split_heads")
}

fn groups(params: &Params) -> usize {
    (params.pairs as usize).div_ceil(ELEMENTS_PER_GROUP)
}

/// Widths of a token's queries, and of its keys (and values).
fn widths(params: &Params) -> [usize; 2] {
    [params.heads, params.kv_heads].map(|heads| (2 * heads * params.half) as usize)
}

/// Turns the heads of one token by its row of the table: forward with `sign` 1, back with -1.
#[inline(always)]
fn turn<F: Float>(x: &[F], angles: &[f32], sign: F, y: &mut [F]) {
    let half = angles.len() / 2;
    let (cosines, sines) = angles.split_at(half);
    for (x, y) in x.chunks(2 * half).zip(y.chunks_mut(2 * half)) {
        let ((x_low, x_high), (y_low, y_high)) = (x.split_at(half), y.split_at_mut(half));
        for j in 0..half {
            let (cosine, sine) = (F::of(f64::from(cosines[j])), sign * F::of(f64::from(sines[j])));
            y_low[j] = x_low[j] * cosine - x_high[j] * sine;
            y_high[j] = x_high[j] * cosine + x_low[j] * sine;
        }
    }
}

fn split<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, table) = (args.input::<F>(0), args.input::<f32>(1));
    let ([q_len, kv_len], dim) = (widths(params), 2 * params.half as usize);
    let outputs = [(args.output::<F>(0), q_len), (args.output::<F>(1), kv_len), (args.output::<F>(2), kv_len)];
    parallel!(for_row_blocks_of(outputs), |first, [q, k, v]| {
        let tokens = x.chunks(q_len + 2 * kv_len).zip(table.chunks(dim)).skip(first);
        let outputs = q.chunks_mut(q_len).zip(k.chunks_mut(kv_len)).zip(v.chunks_mut(kv_len));
        for ((x, angles), ((q, k), v)) in tokens.zip(outputs) {
            turn(&x[..q_len], angles, F::ONE, q);
            turn(&x[q_len..q_len + kv_len], angles, F::ONE, k);
            v.copy_from_slice(&x[q_len + kv_len..]);
        }
    });
}

fn split_plain<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, [q_len, kv_len]) = (args.input::<F>(0), widths(params));
    let outputs = [(args.output::<F>(0), q_len), (args.output::<F>(1), kv_len), (args.output::<F>(2), kv_len)];
    parallel!(for_row_blocks_of(outputs), |first, [q, k, v]| {
        let outputs = q.chunks_mut(q_len).zip(k.chunks_mut(kv_len)).zip(v.chunks_mut(kv_len));
        for (x, ((q, k), v)) in x.chunks(q_len + 2 * kv_len).skip(first).zip(outputs) {
            q.copy_from_slice(&x[..q_len]);
            k.copy_from_slice(&x[q_len..q_len + kv_len]);
            v.copy_from_slice(&x[q_len + kv_len..]);
        }
    });
}

fn split_cached<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, table, rows) = (args.input::<F>(0), args.input::<f32>(1), args.input::<u32>(2));
    let (q, keys, values) = (args.output::<F>(0), args.output::<F>(1), args.output::<F>(2));
    let ([q_len, kv_len], dim) = (widths(params), 2 * params.half as usize);
    let tokens = x.chunks(q_len + 2 * kv_len).zip(table.chunks(dim));
    for (((x, angles), q), &row) in tokens.zip(q.chunks_mut(q_len)).zip(rows) {
        assert!(row < params.cache_rows, "split_heads_into: index {row} of {} rows", params.cache_rows);
        let place = row as usize * kv_len..(row as usize + 1) * kv_len;
        turn(&x[..q_len], angles, F::ONE, q);
        turn(&x[q_len..q_len + kv_len], angles, F::ONE, &mut keys[place.clone()]);
        values[place].copy_from_slice(&x[q_len + kv_len..]);
    }
}

fn split_cached_half<F: Float>(params: &Params, args: CpuArgs) {
    match args.output_dtype(1) {
        DType::F16 => split_cached_as::<F, f16>(params, args),
        _ => split_cached_as::<F, bf16>(params, args),
    }
}

fn split_cached_as<F: Float, H: Half>(params: &Params, mut args: CpuArgs) {
    let (x, table, rows) = (args.input::<F>(0), args.input::<f32>(1), args.input::<u32>(2));
    let (q, keys, values) = (args.output::<F>(0), args.output::<H>(1), args.output::<H>(2));
    let ([q_len, kv_len], dim) = (widths(params), 2 * params.half as usize);
    let mut turned = vec![F::ZERO; kv_len];
    let tokens = x.chunks(q_len + 2 * kv_len).zip(table.chunks(dim));
    for (((x, angles), q), &row) in tokens.zip(q.chunks_mut(q_len)).zip(rows) {
        assert!(row < params.cache_rows, "split_heads_into: index {row} of {} rows", params.cache_rows);
        let place = row as usize * kv_len..(row as usize + 1) * kv_len;
        turn(&x[..q_len], angles, F::ONE, q);
        turn(&x[q_len..q_len + kv_len], angles, F::ONE, &mut turned);
        round(&turned, &mut keys[place.clone()]);
        round(&x[q_len + kv_len..], &mut values[place]);
    }
}

/// Stores a slice as halves.
fn round<F: Float, H: Half>(from: &[F], to: &mut [H]) {
    let mut single = [0.0f32; 256];
    for (from, to) in from.chunks(single.len()).zip(to.chunks_mut(single.len())) {
        single.iter_mut().zip(from).for_each(|(single, x)| *single = x.to_f64() as f32);
        H::narrow(&single[..from.len()], to);
    }
}

fn join<F: Float>(params: &Params, mut args: CpuArgs) {
    let (dq, dk, dv, table) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2), args.input::<f32>(3));
    let ([q_len, kv_len], dim) = (widths(params), 2 * params.half as usize);
    parallel!(for_row_blocks(args.output::<F>(0), q_len + 2 * kv_len), |first, rows| {
        let upstream = dq.chunks(q_len).zip(dk.chunks(kv_len)).zip(dv.chunks(kv_len)).zip(table.chunks(dim)).skip(first);
        for (dx, (((dq, dk), dv), angles)) in rows.chunks_mut(q_len + 2 * kv_len).zip(upstream) {
            turn(dq, angles, -F::ONE, &mut dx[..q_len]);
            turn(dk, angles, -F::ONE, &mut dx[q_len..q_len + kv_len]);
            dx[q_len + kv_len..].copy_from_slice(dv);
        }
    });
}

fn join_plain<F: Float>(params: &Params, mut args: CpuArgs) {
    let (dq, dk, dv, [q_len, kv_len]) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2), widths(params));
    parallel!(for_row_blocks(args.output::<F>(0), q_len + 2 * kv_len), |first, rows| {
        let upstream = dq.chunks(q_len).zip(dk.chunks(kv_len)).zip(dv.chunks(kv_len)).skip(first);
        for (dx, ((dq, dk), dv)) in rows.chunks_mut(q_len + 2 * kv_len).zip(upstream) {
            dx[..q_len].copy_from_slice(dq);
            dx[q_len..q_len + kv_len].copy_from_slice(dk);
            dx[q_len + kv_len..].copy_from_slice(dv);
        }
    });
}
