//! Segment attention against a composite of plain ops with a [queries, keys] matrix, and its panics.

use percept_engine::check::Rng;
use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{DType, Device, Tensor};

/// The definition: every query against every key, the unseen ones weighted 0.
fn composite(q: &Tensor, k: &Tensor, v: &Tensor, segments: &Segments, scale: f32) -> Tensor {
    let (&[n, heads, head_dim], &[m, kv_heads, _]) = (q.shape(), k.shape()) else { unreachable!() };
    let group = heads / kv_heads;
    let mut sees = vec![0.0; n * m];
    let mut blind = vec![1.0; n];
    for segment in segments.list() {
        for (i, query) in segment.query.clone().enumerate() {
            let own = match segment.mask {
                Mask::Bidirectional => segment.keys.len(),
                Mask::Causal => (segment.keys.len() + i + 1).saturating_sub(segment.query.len()),
            };
            for key in segment.prefix.clone().into_iter().flatten().chain(segment.keys.clone().take(own)) {
                sees[query * m + key] = 1.0;
                blind[query] = 0.0;
            }
        }
    }
    let constant = |values: &[f64], shape: &[usize]| Tensor::from_f64(q.device(), values, shape, DType::F64);
    let q = q.reshape(&[n, kv_heads, group, 1, head_dim]);
    let keys = k.permute(&[1, 0, 2]).reshape(&[1, kv_heads, 1, m, head_dim]);
    let values = v.permute(&[1, 0, 2]).reshape(&[1, kv_heads, 1, m, head_dim]);
    let scores = q.mul(&keys).sum(&[-1]).mul_scalar(scale); // [n, kv_heads, group, m]
    let weights = scores.exp().mul(&constant(&sees, &[n, 1, 1, m]));
    let total = weights.sum(&[-1]).add(&constant(&blind, &[n, 1, 1]));
    let sums = weights.reshape(&[n, kv_heads, group, m, 1]).mul(&values).sum(&[3]);
    sums.div(&total.reshape(&[n, kv_heads, group, 1])).reshape(&[n, heads, head_dim])
}

fn ragged(mask: Mask, with_prefix: bool, queries_per_segment: Option<usize>) -> Segments {
    let mut segments = Vec::new();
    let (mut query, mut key) = (1, 70); // query 0 sees nothing, keys 0..70 are the prefix
    for keys in [3, 1, 67] {
        let queries = queries_per_segment.unwrap_or(keys);
        let prefix = with_prefix.then_some(0..70);
        segments.push(Segment { query: query..query + queries, keys: key..key + keys, prefix, mask });
        query += queries;
        key += keys;
    }
    Segments::new(segments, query, key + 2)
}

#[test]
fn every_combination_matches_the_composite() {
    let device = Device::cpu();
    let mut rng = Rng::new(5);
    for mask in [Mask::Causal, Mask::Bidirectional] {
        for with_prefix in [false, true] {
            for queries in [None, Some(1), Some(2), Some(5)] {
                for [heads, kv_heads] in [[2, 2], [4, 2], [3, 1]] {
                    let segments = ragged(mask, with_prefix, queries);
                    let mut input = |tokens, heads| rng.normal(&[tokens, heads, 6]);
                    let inputs = [
                        input(segments.query_tokens(), heads),
                        input(segments.kv_tokens(), kv_heads),
                        input(segments.kv_tokens(), kv_heads),
                    ];
                    let inputs = inputs.map(|x| Tensor::from_f64(&device, &x.values, &x.shape, DType::F64).parameter());
                    let dy = rng.normal(inputs[0].shape());
                    let dy = Tensor::from_f64(&device, &dy.values, &dy.shape, DType::F64);
                    let run = |op: fn(&Tensor, &Tensor, &Tensor, &Segments, f32) -> Tensor| {
                        let [q, k, v] = &inputs;
                        let y = op(q, k, v, &segments, 0.3);
                        let gradients = y.backward_from(&dy);
                        let mut all = vec![y.detach()];
                        all.extend(inputs.iter().map(|x| gradients.get(x).unwrap().clone()));
                        all.iter().map(|x| x.to_vec::<f64>().unwrap()).collect::<Vec<_>>()
                    };
                    for (what, (got, expected)) in ["out", "dq", "dk", "dv"].iter().zip(run(Tensor::attention).iter().zip(run(composite))) {
                        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                            let case = format!("{mask:?}, prefix {with_prefix}, queries {queries:?}, heads {heads}/{kv_heads}");
                            assert!((got - expected).abs() < 1e-11, "{case}: {what}[{i}]: {got}, expected {expected}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_are_the_same_bits_every_time() {
    let device = Device::cpu();
    let segments = Segments::causal(&[200, 130]);
    let x = Rng::new(6).normal(&[330, 4, 32]);
    let run = || {
        let [q, k, v] = [0, 1, 2].map(|_| Tensor::from_f64(&device, &x.values, &x.shape, DType::F32).parameter());
        let gradients = q.attention(&k, &v, &segments, 0.2).backward_from(&q.detach());
        [&q, &k, &v].map(|x| gradients.get(x).unwrap().to_vec::<f32>().unwrap())
    };
    assert_eq!(run(), run());
}

/// Many long sequences are walked in another order than one: key by key with all heads, not head by head.
#[test]
fn a_query_has_the_same_bits_alone_and_among_many() {
    let device = Device::cpu();
    let (sequences, length, [heads, kv_heads, head_dim]) = (16, 1100, [6, 2, 16]);
    let mut rng = Rng::new(7);
    let mut input = |tokens, heads| {
        let input = rng.normal(&[tokens, heads, head_dim]);
        Tensor::from_f64(&device, &input.values, &input.shape, DType::F32)
    };
    let (q, keys, values) = (input(sequences, heads), input(sequences * length, kv_heads), input(sequences * length, kv_heads));
    let own = |i: usize| segment(0..1, i * length..(i + 1) * length, None);
    let together = (0..sequences).map(|i| Segment { query: i..i + 1, ..own(i) }).collect();
    let together = Segments::new(together, sequences, sequences * length);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let (k, v) = (keys.cast(dtype), values.cast(dtype));
        let all = q.attention(&k, &v, &together, 0.25);
        for i in 0..sequences {
            let alone = q.slice(0, i, 1).attention(&k, &v, &Segments::new(vec![own(i)], 1, sequences * length), 0.25);
            assert_eq!(all.slice(0, i, 1).to_vec::<f32>().unwrap(), alone.to_vec::<f32>().unwrap(), "query {i} over {dtype}");
        }
    }
}

fn segment(query: std::ops::Range<usize>, keys: std::ops::Range<usize>, prefix: Option<std::ops::Range<usize>>) -> Segment {
    Segment { query, keys, prefix, mask: Mask::Causal }
}

#[test]
#[should_panic(expected = "segments: segment 0: keys range 2..6 does not lie in the 5 packed tokens")]
fn keys_past_the_end() {
    Segments::new(vec![segment(0..1, 2..6, None)], 1, 5);
}

#[test]
#[should_panic(expected = "segments: segments 1 and 0: queries 0..2 and 1..3 overlap")]
fn overlapping_queries() {
    Segments::new(vec![segment(1..3, 0..1, None), segment(0..2, 0..1, None)], 3, 3);
}

#[test]
#[should_panic(expected = "segments: segment 0: prefix 0..3 overlaps its keys 2..4: a key would count twice")]
fn prefix_over_own_keys() {
    Segments::new(vec![segment(0..1, 2..4, Some(0..3))], 1, 5);
}

#[track_caller]
fn attend(q: &[usize], k: &[usize], v: &[usize], segments: Segments) {
    let zeros = |shape| Tensor::zeros(&Device::cpu(), shape, DType::F32);
    zeros(q).attention(&zeros(k), &zeros(v), &segments, 1.0);
}

#[test]
#[should_panic(expected = "attention: keys and values differ: queries [2, 1, 4], keys [2, 1, 4], values [3, 1, 4]")]
fn keys_unlike_values() {
    attend(&[2, 1, 4], &[2, 1, 4], &[3, 1, 4], Segments::causal(&[2]));
}

#[test]
#[should_panic(expected = "attention: heads must be a multiple of kv_heads: queries [2, 3, 4], keys [2, 2, 4], values [2, 2, 4] (3 and 2)")]
fn ungrouped_heads() {
    attend(&[2, 3, 4], &[2, 2, 4], &[2, 2, 4], Segments::causal(&[2]));
}

#[test]
#[should_panic(expected = "attention: head_dim from 1 to 128: queries [2, 1, 130], keys [2, 1, 130], values [2, 1, 130] (130)")]
fn head_dim_too_large() {
    attend(&[2, 1, 130], &[2, 1, 130], &[2, 1, 130], Segments::causal(&[2]));
}

#[test]
#[should_panic(expected = "attention: the segments are of other tokens: queries [3, 1, 4], keys [3, 1, 4], values [3, 1, 4] (3 queries")]
fn segments_of_other_tokens() {
    attend(&[3, 1, 4], &[3, 1, 4], &[3, 1, 4], Segments::causal(&[2]));
}

#[test]
#[should_panic(expected = "attention over keys and values of halves: has no gradient, but an input needs one")]
fn a_gradient_past_halves() {
    let [q, k, v] = [DType::F32, DType::BF16, DType::BF16].map(|dtype| Tensor::zeros(&Device::cpu(), &[2, 1, 4], dtype));
    q.parameter().attention(&k, &v, &Segments::causal(&[2]), 1.0);
}

#[test]
#[should_panic(expected = "attention: arithmetic needs f32 (cast first): got f32 [2, 1, 4] and f16 [2, 1, 4]")]
fn keys_and_values_of_different_halves() {
    let [q, k, v] = [DType::F32, DType::F16, DType::BF16].map(|dtype| Tensor::zeros(&Device::cpu(), &[2, 1, 4], dtype));
    q.attention(&k, &v, &Segments::causal(&[2]), 1.0);
}
