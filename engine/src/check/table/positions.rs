//! Rows of concat, patches, pixel shuffle and rotary positions.

use crate::ops::{self, RopeTable};
use crate::tensor::Tensor;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "concat", kernels: &[], samples: concat_samples, random: random_concat },
        OpRow { name: "pixel_shuffle", kernels: &[], samples: shuffle_samples, random: random_shuffle },
        OpRow { name: "rope", kernels: ops::rope::KERNELS, samples: rope_samples, random: random_rope },
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

fn rope(rng: &mut Rng, [tokens, heads, head_dim]: [usize; 3]) -> Sample {
    let positions: Vec<u32> = (0..tokens).map(|_| rng.below(9000) as u32).collect();
    let input = rng.input(&[tokens, heads, head_dim], -1.0, 1.0);
    Sample::new(format!("[{tokens}, {heads}, {head_dim}]"), vec![input], move |x| {
        vec![x[0].rope(&RopeTable::new(x[0].device(), &positions, head_dim, 1e5))]
    })
}

fn rope_samples() -> Vec<Sample> {
    let mut rng = Rng::new(53);
    let mut samples = vec![rope(&mut rng, [5, 3, 8]), rope(&mut rng, [1, 1, 2]), rope(&mut rng, [7, 9, 64]), rope(&mut rng, [0, 2, 4])];
    let inputs = vec![rng.input(&[2, 4, 6], -1.0, 1.0)];
    samples.push(Sample::new("a permuted view", inputs, |x| {
        vec![x[0].permute(&[1, 0, 2]).rope(&RopeTable::new(x[0].device(), &[3, 0, 8191, 7], 6, 1e4))]
    }));
    samples
}

fn random_rope(rng: &mut Rng) -> Sample {
    let shape = [rng.length(20), rng.length(5), 2 * rng.length(40)];
    rope(rng, shape)
}
