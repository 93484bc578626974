//! Matrix products and attention, at the sizes of models.

use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{Device, Tensor, random};

use super::{Effort, Limits, Row, Section, median, seconds};

/// Rows, outputs, inputs.
const PRODUCTS: [(&str, [usize; 3]); 11] = [
    ("a square", [512, 512, 512]),
    ("shipped model, attention", [4096, 128, 128]),
    ("shipped model, MLP in", [4096, 256, 128]),
    ("shipped model, MLP out", [4096, 128, 256]),
    ("256M decoder, attention", [1024, 576, 576]),
    ("256M decoder, MLP in", [1024, 1536, 576]),
    ("256M decoder, MLP out", [1024, 576, 1536]),
    ("256M vision, MLP in", [1024, 3072, 768]),
    ("256M decoder, 8 tokens", [8, 1536, 576]),
    ("256M decoder, 1 token", [1, 1536, 576]),
    ("256M head, 1 token", [1, 49280, 576]),
];

/// Speeds of products `x wᵀ`, the way layers compute them, and of their gradients, and of attention.
///
/// # Errors
/// Those of the device.
pub fn products(device: &Device, limits: &Limits, effort: Effort) -> anyhow::Result<Section> {
    let is_slow = device.adapter().is_some_and(|adapter| adapter.software);
    let largest = if effort == Effort::Quick || is_slow { 1 << 27 } else { usize::MAX };
    let mut rows = Vec::new();
    for (name, [m, n, k]) in PRODUCTS.into_iter().filter(|(_, sizes)| sizes.iter().product::<usize>() <= largest) {
        let matrix =
            |stream: u64, shape: [usize; 2]| Tensor::from_slice(device, &random::normal(1, stream, shape[0] * shape[1], 1.0), &shape);
        let (x, w, dy) = (matrix(1, [m, k]), matrix(2, [n, k]), matrix(3, [m, n]));
        let forward = speed(device, effort, 2 * m * n * k, || drop(x.matmul(&w.t())))?;
        rows.push(Row::below(format!("{name}: [{m}, {k}]·[{n}, {k}]ᵀ"), forward, limits.gflops));
        if m > 8 {
            let w = w.parameter();
            let both = speed(device, effort, 4 * m * n * k, || drop(x.matmul(&w.t()).backward_from(&dy)))?;
            rows.push(Row::below("  and the gradient of its weight", both, limits.gflops));
        }
    }
    rows.push(Row::below("attention, causal: 4 × 256 tokens, 8 heads of 32", attention(device, effort)?, limits.gflops));
    let about =
        "Billions of multiplications and additions in a second; at one token the weights have to come from memory, and the share is small.";
    Ok(Section::new("Matrix products", about, "GFLOP/s", rows))
}

/// GFLOP/s of a call that does `flops`, which is repeated until it takes some milliseconds: a GPU gets all of them before it is waited for.
pub(super) fn speed(device: &Device, effort: Effort, flops: usize, f: impl Fn()) -> anyhow::Result<f64> {
    const SECONDS: f64 = 5e-3;
    let repeated = |times: usize| {
        seconds(device, || {
            (0..times).for_each(|_| f());
            Ok(())
        })
    };
    repeated(1)?; // compiles shaders
    let mut repetitions = 1;
    while repetitions < 1024 && repeated(repetitions)? < SECONDS {
        repetitions *= 2;
    }
    let times = (0..effort.rounds()).map(|_| repeated(repetitions)).collect::<Result<Vec<_>, _>>()?;
    Ok(1e-9 * (flops * repetitions) as f64 / median(times))
}

fn attention(device: &Device, effort: Effort) -> anyhow::Result<f64> {
    const SEQUENCES: usize = 4;
    const TOKENS: usize = 256;
    const HEADS: usize = 8;
    const HEAD_DIM: usize = 32;
    let segment = |i: usize| {
        let tokens = i * TOKENS..(i + 1) * TOKENS;
        Segment { query: tokens.clone(), keys: tokens, prefix: None, mask: Mask::Causal }
    };
    let all = SEQUENCES * TOKENS;
    let segments = Segments::new((0..SEQUENCES).map(segment).collect(), all, all);
    let values = |stream: u64| Tensor::from_slice(device, &random::normal(2, stream, all * HEADS * HEAD_DIM, 1.0), &[all, HEADS, HEAD_DIM]);
    let (q, k, v) = (values(1), values(2), values(3));
    // half of the scores are seen; two products
    let flops = SEQUENCES * TOKENS * TOKENS / 2 * HEADS * HEAD_DIM * 2 * 2;
    speed(device, effort, flops, || drop(q.attention(&k, &v, &segments, 0.2)))
}
