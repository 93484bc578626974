//! Rows of concat, pixel shuffle, and the heads of attention with their rotary positions.

use crate::dtype::DType;
use crate::indices::Indices;
use crate::ops::{self, Heads, RopeTable};
use crate::tensor::Tensor;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "concat", kernels: &[], samples: concat_samples, random: random_concat },
        OpRow { name: "pixel_shuffle", kernels: &[], samples: shuffle_samples, random: random_shuffle },
        OpRow { name: "split_heads", kernels: ops::split_heads::KERNELS, samples: split_samples, random: random_split },
        OpRow { name: "split_heads_into", kernels: ops::split_heads::KERNELS, samples: split_into_samples, random: random_split_into },
    ]
}

fn concat(rng: &mut Rng, before: &[usize], lengths: &[usize], after: &[usize]) -> Sample {
    let axis = before.len() as isize;
    let inputs = lengths.iter().map(|&length| rng.input(&[before, &[length], after].concat(), -1.0, 1.0)).collect();
    Sample::new(format!("{before:?} {lengths:?} {after:?}"), inputs, move |x| vec![Tensor::concat(&x.iter().collect::<Vec<_>>(), axis)])
}

fn concat_samples() -> Vec<Sample> {
    let mut rng = Rng::new(50);
    let mut samples = vec![
        concat(&mut rng, &[], &[3, 1, 31], &[]),
        concat(&mut rng, &[2, 3], &[5, 0, 7], &[]),
        concat(&mut rng, &[3], &[1, 2], &[257]),
        concat(&mut rng, &[2], &[4], &[3]),
    ];
    let inputs = vec![rng.input(&[3, 4], -1.0, 1.0)];
    samples
        .push(Sample::new("one tensor twice, once transposed", inputs, |x| vec![Tensor::concat(&[&x[0].t(), &x[0].reshape(&[4, 3])], -1)]));
    samples
}

fn random_concat(rng: &mut Rng) -> Sample {
    let (before, lengths, after) = (rng.length(9), [rng.below(20), rng.length(40), rng.length(5)], rng.length(40));
    concat(rng, &[before], &lengths, &[after])
}

fn shuffle(rng: &mut Rng, n: usize, [rows, cols]: [usize; 2], scale: usize, d: usize) -> Sample {
    let grid = [rows * scale, cols * scale];
    let input = rng.input(&[n, grid[0] * grid[1], d], -1.0, 1.0);
    Sample::new(format!("{n} × {grid:?} × {d} by {scale}"), vec![input], move |x| vec![x[0].pixel_shuffle(grid, scale)])
}

fn shuffle_samples() -> Vec<Sample> {
    let mut rng = Rng::new(52);
    vec![
        shuffle(&mut rng, 2, [2, 3], 2, 5),
        shuffle(&mut rng, 1, [1, 1], 4, 17),
        shuffle(&mut rng, 3, [2, 1], 1, 3),
        shuffle(&mut rng, 1, [2, 2], 3, 1),
    ]
}

fn random_shuffle(rng: &mut Rng) -> Sample {
    let (n, grid, scale, d) = (rng.length(3), [rng.length(4), rng.length(4)], rng.length(4), rng.length(20));
    shuffle(rng, n, grid, scale, d)
}

fn split_heads(rng: &mut Rng, tokens: usize, [queries, kv, dim]: [usize; 3], turns: bool) -> Sample {
    let (heads, positions) = (Heads { queries, kv, dim }, positions(rng, tokens));
    let input = rng.input(&[tokens, heads.width()], -1.0, 1.0);
    let label = format!("{tokens} tokens, {queries} + 2 · {kv} heads of {dim}{}", if turns { "" } else { ", not turned" });
    Sample::new(label, vec![input], move |x| {
        let rope = turns.then(|| RopeTable::new(x[0].device(), &positions, dim, 1e5));
        x[0].split_heads(heads, rope.as_ref()).to_vec()
    })
}

fn positions(rng: &mut Rng, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|_| rng.below(9000) as u32).collect()
}

fn split_samples() -> Vec<Sample> {
    let mut rng = Rng::new(53);
    let mut samples = Vec::new();
    for turns in [true, false] {
        samples.push(split_heads(&mut rng, 5, [3, 1, 8], turns));
        samples.push(split_heads(&mut rng, 1, [1, 1, 2], turns));
        samples.push(split_heads(&mut rng, 7, [9, 3, 64], turns));
        samples.push(split_heads(&mut rng, 0, [2, 2, 4], turns));
    }
    let inputs = vec![rng.input(&[24, 2], -1.0, 1.0)];
    samples.push(Sample::new("a transposed view, and no gradient of the keys", inputs, |x| {
        let table = RopeTable::new(x[0].device(), &[8191, 7], 6, 1e4);
        let [q, _, v] = x[0].t().split_heads(Heads { queries: 2, kv: 1, dim: 6 }, Some(&table));
        vec![q, v]
    }));
    samples
}

fn random_split(rng: &mut Rng) -> Sample {
    let (tokens, kv, turns) = (rng.length(20), rng.length(3), rng.below(2) == 0);
    let heads = [kv * rng.length(3), kv, 2 * rng.length(40)];
    split_heads(rng, tokens, heads, turns)
}

fn split_into(rng: &mut Rng, rows: &[u32], cache: usize, [queries, kv, dim]: [usize; 3], dtype: DType) -> Sample {
    let (heads, positions, rows) = (Heads { queries, kv, dim }, positions(rng, rows.len()), rows.to_vec());
    let inputs = vec![
        rng.input(&[rows.len(), heads.width()], -1.0, 1.0),
        rng.input(&[cache, kv, dim], -1.0, 1.0).stored_as(dtype),
        rng.input(&[cache, kv, dim], -1.0, 1.0).stored_as(dtype),
    ];
    let sample = Sample::new(format!("rows {rows:?} of {cache}, {queries} + 2 · {kv} heads of {dim}, {dtype}"), inputs, move |x| {
        let device = x[0].device();
        // the inputs are the samples' own: the cache is a copy
        let [keys, values] = [&x[1], &x[2]].map(Tensor::deep_copy);
        let (table, rows) = (RopeTable::new(device, &positions, dim, 1e5), Indices::new(device, &rows, &[rows.len()]));
        let q = x[0].split_heads_into(heads, &table, &rows, [&keys, &values]);
        vec![q, keys, values]
    });
    // The oracle's new rows are not rounded: halves are off by half a unit in their last place, which cutting them off would not keep to.
    let half_unit = match dtype {
        DType::F16 => 1.0 / 2048.0,
        DType::BF16 => 1.0 / 256.0,
        _ => 0.0,
    };
    let tolerance = sample.tolerance + half_unit;
    sample.tolerance(tolerance).forward_only()
}

fn split_into_samples() -> Vec<Sample> {
    let mut rng = Rng::new(54);
    let mut samples = Vec::new();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        samples.push(split_into(&mut rng, &[4, 0, 2], 6, [3, 1, 8], dtype));
        samples.push(split_into(&mut rng, &[0], 1, [1, 1, 2], dtype));
        samples.push(split_into(&mut rng, &[30, 7, 8, 9, 1], 31, [9, 3, 64], dtype));
        // halves of a head that are odd: words of halves lie across them
        samples.push(split_into(&mut rng, &[1, 5, 2], 7, [2, 1, 6], dtype));
        samples.push(split_into(&mut rng, &[], 3, [2, 1, 4], dtype));
    }
    samples
}

fn random_split_into(rng: &mut Rng) -> Sample {
    let (tokens, kv) = (rng.length(20), rng.length(3));
    let heads = [kv * rng.length(3), kv, 2 * rng.length(40)];
    let first = rng.below(5) as u32;
    let rows: Vec<u32> = (first..).step_by(2).take(tokens).collect();
    let dtype = [DType::F32, DType::F16, DType::BF16][rng.below(3)];
    split_into(rng, &rows, 50, heads, dtype)
}
