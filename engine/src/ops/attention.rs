//! Attention over packed segments, flash style: no `[seq, seq]` matrix, forward or backward.

use crate::autograd::assert_no_grad;
use crate::cpu::parallel::for_costly_rows;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

mod backward;
mod forward;
mod segments;
mod table;

use backward::attention_backward;
use forward::attention;
pub use segments::{Mask, Segment, Segments};

kernel_params! {
    /// Where the parts of the segments' table begin and how long they are, and the sizes.
    struct Params {
        heads: u32, kv_heads: u32, tiles: u32, tile_table: u32, key_tiles: u32, key_table: u32, kv_tokens: u32,
        part_table: u32, parts: u32, cut_table: u32, cuts: u32, longest: u32, scale: f32,
    }
}

kernel_params! {
    struct StatsParams { rows: u32 }
}

const FORWARD_SHADER: Shader = wgsl!("common/math.wgsl", "common/attention.wgsl", "common/stored_keys.wgsl", "attention.wgsl");
const DECODE_SHADER: Shader = wgsl!("common/math.wgsl", "common/attention.wgsl", "common/stored_keys.wgsl", "attention_decode.wgsl");
const BACKWARD_SHADER: Shader = wgsl!("common/attention.wgsl", "attention_backward.wgsl");
const STATS_SHADER: Shader = wgsl!("attention_stats.wgsl");
static FORWARD: Kernel = kernel!(FORWARD_SHADER, "forward", Params, attention).overriding(&[HEAD_DIM, KEY_TYPE]);
static DECODE: Kernel = kernel!(DECODE_SHADER, "decode", Params, attention).overriding(&[HEAD_DIM, KEY_TYPE]);
static JOIN: Kernel = kernel!(DECODE_SHADER, "join", Params, attention_join).overriding(&[HEAD_DIM]);
static BACKWARD: Kernel = kernel!(BACKWARD_SHADER, "backward", Params, attention_backward).overriding(&[HEAD_DIM]);
static STATS: Kernel = kernel!(STATS_SHADER, "stats_of_rows", StatsParams, attention_stats).overriding(&[HEAD_DIM]);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &DECODE, &JOIN, &BACKWARD, &STATS];

/// The head_dims of models (the shaders take more): 16 and 32 in small ones, 72 in SigLIP-so400m, 80 in the vision tower of Qwen2-VL, 64 and
/// 128 in most others.
const HEAD_DIM: (&str, &[u32]) = ("HEAD_DIM", &[16, 32, 64, 72, 80, 128]);
/// How keys and values are stored.
const KEY_TYPE: (&str, &[u32]) = ("KEY_TYPE", DType::FLOAT_CODES);
/// The largest head_dim: a thread keeps an eighth of four rows in registers.
const MAX_HEAD_DIM: usize = 128;
/// Rows (of queries and heads) that a workgroup takes when decoding.
const DECODE_ROWS: usize = 4;

impl Tensor {
    /// Attention of the queries (`self`) over the keys that `segments` lets them see:
    /// `out[i] = Σ_j softmax_j(scale · q[i] · k[j]) v[j]`, 0 where a query sees no key. `heads / kv_heads` neighbouring heads share a key head.
    /// Memory grows with the tokens, not with their product (FlashAttention, arXiv 2205.14135).
    ///
    /// Keys and values may be stored as f16 or bf16, as in a cache; arithmetic is in f32 all the same, and there is no gradient then.
    /// `[q_tokens, heads, head_dim], 2 × [kv_tokens, kv_heads, head_dim] -> [q_tokens, heads, head_dim]`
    ///
    /// # Panics
    /// If shapes do not fit each other or the segments, heads is no multiple of kv_heads, head_dim exceeds 128, a gradient is needed with keys and values of halves, or these
    /// have an odd head_dim (no multiple of 4) beside f64 queries.
    #[track_caller]
    pub fn attention(&self, keys: &Tensor, values: &Tensor, segments: &Segments, scale: f32) -> Tensor {
        let [heads, kv_heads, head_dim] = check(self, keys, values, segments);
        let (q, k, v) = (packed(self), packed(keys), packed(values));
        let table = segments.upload(self.device());
        let parts = segments.table();
        let padded = q.dim(-1);
        let key_type = if k.dtype() == DType::F64 { DType::F32 } else { k.dtype() };
        let constants = [("HEAD_DIM", padded as f64), ("KEY_TYPE", f64::from(key_type.code()))];
        let sizes = [constants[0]];
        let params = Params {
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            tiles: parts.tiles as u32,
            tile_table: parts.tile_table as u32,
            key_tiles: parts.key_tiles as u32,
            key_table: parts.key_table as u32,
            kv_tokens: segments.kv_tokens() as u32,
            part_table: parts.part_table as u32,
            parts: parts.parts as u32,
            cut_table: parts.cut_table as u32,
            cuts: parts.cuts as u32,
            longest: parts.longest as u32,
            scale,
        };
        let out = Tensor::uninit(q.device(), q.shape(), q.dtype(), "attention");
        let lse = Tensor::uninit(q.device(), &q.shape()[..2], q.dtype(), "attention");
        let tiles = parts.tiles * heads;
        let cost = 2 * parts.pairs * (heads * head_dim) as u64;
        if parts.is_decoding() {
            let kept = [parts.kept_parts.max(1) * parts.longest * heads, padded + 4];
            let kept = Tensor::uninit(q.device(), &kept, q.dtype(), "attention");
            let groups = parts.parts * kv_heads * (parts.longest * (heads / kv_heads)).div_ceil(DECODE_ROWS);
            let launch = DECODE.launch(&params).constants(&constants).input(&table).input(&q).input(&k).input(&v);
            launch.output(&out).output(&lse).output(&kept).groups(groups).cost(cost).run();
            let launch = JOIN.launch(&params).constants(&sizes).input(&table).input(&kept);
            launch.output(&out).output(&lse).groups(parts.cuts * heads).run();
        } else {
            let launch = FORWARD.launch(&params).constants(&constants).input(&table).input(&q).input(&k).input(&v);
            launch.output(&out).output(&lse).groups(2 * tiles).cost(cost).run();
        }

        let y = unpadded(&out, head_dim);
        let (groups, pairs) = (tiles + parts.key_tiles * kv_heads, parts.pairs);
        y.with_grad("attention", [self, keys, values], move |dy| {
            let dout = packed(dy);
            let rows = lse.len();
            let stats = Tensor::uninit(q.device(), &[rows, 2], q.dtype(), "attention");
            let stats_params = StatsParams { rows: rows as u32 };
            let launch = STATS.launch(&stats_params).constants(&sizes).input(&out).input(&dout).input(&lse);
            launch.output(&stats).groups(rows.div_ceil(64)).run();

            let dq = Tensor::uninit(q.device(), q.shape(), q.dtype(), "attention");
            let dkv = Tensor::uninit(q.device(), &[&[2], k.shape()].concat(), q.dtype(), "attention");
            let launch = BACKWARD.launch(&params).constants(&sizes);
            let launch = launch.input(&table).input(&q).input(&k).input(&v).input(&dout).input(&stats);
            launch.output(&dq).output(&dkv).groups(groups).cost(7 * pairs * (heads * head_dim) as u64).run();
            let half = |index| unpadded(&dkv.slice(0, index, 1).reshape(k.shape()), head_dim);
            [Some(unpadded(&dq, head_dim)), Some(half(0)), Some(half(1))]
        })
    }
}

#[track_caller]
fn check(q: &Tensor, k: &Tensor, v: &Tensor, segments: &Segments) -> [usize; 3] {
    if k.dtype().is_half() && k.dtype() == v.dtype() {
        super::assert_arithmetic("attention", &[q]);
        assert_no_grad("attention over keys and values of halves", &[q, k, v]);
        let (here, there) = (q.device(), k.device());
        assert!(here == there && here == v.device(), "attention: tensors on different devices: {here} and {there}");
    } else {
        super::assert_arithmetic("attention", &[q, k, v]);
    }
    let shapes = || format!("queries {:?}, keys {:?}, values {:?}", q.shape(), k.shape(), v.shape());
    let (&[query_tokens, heads, head_dim], &[kv_tokens, kv_heads, kv_dim]) = (q.shape(), k.shape()) else {
        panic!("attention: queries and keys have three axes (tokens, heads, head_dim): {}", shapes());
    };
    assert!(k.shape() == v.shape(), "attention: keys and values differ: {}", shapes());
    assert!(head_dim == kv_dim, "attention: head_dim of queries and keys: {} ({head_dim} and {kv_dim})", shapes());
    assert!((1..=MAX_HEAD_DIM).contains(&head_dim), "attention: head_dim from 1 to {MAX_HEAD_DIM}: {} ({head_dim})", shapes());
    assert!(
        kv_heads > 0 && heads > 0 && heads.is_multiple_of(kv_heads),
        "attention: heads must be a multiple of kv_heads: {} ({heads} and {kv_heads})",
        shapes()
    );
    assert!(
        (query_tokens, kv_tokens) == (segments.query_tokens(), segments.kv_tokens()),
        "attention: the segments are of other tokens: {} ({query_tokens} queries and {kv_tokens} keys; segments of {} and {})",
        shapes(),
        segments.query_tokens(),
        segments.kv_tokens()
    );
    assert!(
        !(k.dtype().is_half() && q.dtype() == DType::F64 && !head_dim.is_multiple_of(4)),
        "attention: f64 queries over keys of halves need a head_dim that is a multiple of 4: {} ({head_dim})",
        shapes()
    );
    [heads, kv_heads, head_dim]
}

/// Packed, with head_dim filled up with zeros to a multiple of 4, which changes no product: the shaders read vectors of four. Halves that need filling become f32, which changes no
/// value.
fn packed(x: &Tensor) -> Tensor {
    let x = x.detach();
    let head_dim = x.dim(-1);
    if head_dim.is_multiple_of(4) {
        return x.contiguous();
    }
    let x = if x.dtype().is_half() { x.cast(DType::F32) } else { x };
    let padded = Tensor::zeros(x.device(), &[x.dim(0), x.dim(1), head_dim.next_multiple_of(4)], x.dtype());
    padded.slice(-1, 0, head_dim).copy_from_(&x);
    padded
}

fn unpadded(x: &Tensor, head_dim: usize) -> Tensor {
    if x.dim(-1) == head_dim { x.clone() } else { x.slice(-1, 0, head_dim).contiguous() }
}

/// Nothing: the CPU goes over all keys of a query in [`attention`].
fn attention_join<F: Float>(_: &Params, _: CpuArgs) {}

/// out, dout, lse -> stats; shapes as in attention_stats.wgsl.
fn attention_stats<F: Float>(_: &StatsParams, mut args: CpuArgs) {
    let head_dim = args.constant("HEAD_DIM") as usize;
    let (out, dout, lse) = (args.input::<F>(0), args.input::<F>(1), args.input::<F>(2));
    parallel!(for_costly_rows(args.output::<F>(0), 2, 2 * head_dim), |first, stats| {
        let rows = out.chunks_exact(head_dim).zip(dout.chunks_exact(head_dim)).zip(lse).skip(first);
        for (stats, ((out, dout), &lse)) in stats.chunks_exact_mut(2).zip(rows) {
            stats.copy_from_slice(&[lse, reduce::dot(out, dout)]);
        }
    });
}
