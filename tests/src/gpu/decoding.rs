//! Attention of single queries over many keys, which a GPU cuts into parts.

use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{DType, Tensor, random};

use crate::common::{gpu, open};

const HEADS: [usize; 3] = [6, 2, 24];
const ROWS: usize = 1500;

/// What the queries see: a prompt that two share, and keys of their own.
fn segments(which: &[usize]) -> Segments {
    let all = [(0..500, 500..513), (0..500, 513..514), (514..520, 520..526), (600..600, 600..1300), (526..600, 1300..1482)];
    let segment = |(query, &which): (usize, &usize)| {
        let (prefix, keys) = all[which].clone();
        Segment { query: query..query + 1, keys, prefix: Some(prefix), mask: Mask::Causal }
    };
    Segments::new(which.iter().enumerate().map(segment).collect(), which.len(), ROWS)
}

#[test]
fn a_decoded_query_has_the_same_bits_alone_and_beside_others() {
    let [heads, kv_heads, head_dim] = HEADS;
    for device in [gpu(), open(|selector| selector.within_webgpu())] {
        let input =
            |stream, shape: [usize; 3]| Tensor::from_slice(&device, &random::normal(8, stream, shape.iter().product(), 1.0), &shape);
        let (queries, keys) = (input(1, [5, heads, head_dim]), input(2, [ROWS, kv_heads, head_dim]));
        let values = input(3, [ROWS, kv_heads, head_dim]);
        let attend = |which: &[usize]| {
            let rows: Vec<Tensor> = which.iter().map(|&row| queries.slice(0, row, 1)).collect();
            let queries = Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0);
            let mixed = queries.attention(&keys, &values, &segments(which), 0.3).to_vec::<f32>().unwrap();
            mixed.chunks(heads * head_dim).map(|row| row.iter().map(|x| x.to_bits()).collect()).collect::<Vec<Vec<u32>>>()
        };
        let together = attend(&[0, 1, 2, 3, 4]);
        for which in [&[0][..], &[1], &[2], &[3], &[4], &[2, 3], &[3, 2, 0], &[4, 1]] {
            for (row, &number) in attend(which).iter().zip(which) {
                assert_eq!(*row, together[number], "query {number} among {which:?}");
            }
        }
    }
}

/// A second launch costs as much as the first: only for what is long.
#[test]
fn short_sequences_are_not_cut() {
    let device = open(|selector| selector);
    let [heads, kv_heads, head_dim] = HEADS;
    let tensor = |tokens, heads| Tensor::full(&device, &[tokens, heads, head_dim], 0.5, DType::F32);
    let (keys, launches) = (tensor(ROWS, kv_heads), || device.counters().launches);
    for (which, expected) in [(&[2][..], 1), (&[2, 4], 1), (&[0], 2), (&[2, 3], 2)] {
        let (queries, segments) = (tensor(which.len(), heads), segments(which));
        let before = launches();
        queries.attention(&keys, &keys, &segments, 0.3);
        assert_eq!(launches() - before, expected, "{which:?}");
    }
}
