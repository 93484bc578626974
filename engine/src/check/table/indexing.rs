//! Rows of the ops that take rows by number.

use crate::dtype::DType;
use crate::indices::Indices;
use crate::ops;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "embedding", kernels: ops::rows::KERNELS, samples: embedding_samples, random: random_embedding },
        OpRow { name: "index_select", kernels: ops::rows::KERNELS, samples: select_samples, random: random_select },
        OpRow { name: "scatter_add_rows", kernels: ops::rows::KERNELS, samples: scatter_samples, random: random_scatter },
    ]
}

fn random_ids(rng: &mut Rng, count: usize, below: usize) -> Vec<u32> {
    (0..count).map(|_| rng.below(below) as u32).collect()
}

fn embedding(rng: &mut Rng, table: [usize; 2], shape: &'static [usize]) -> Sample {
    let ids = random_ids(rng, shape.iter().product(), table[0]);
    Sample::new(format!("{table:?} by {shape:?}"), vec![rng.input(&table, -1.0, 1.0)], move |x| {
        vec![x[0].embedding(&Indices::new(x[0].device(), &ids, shape))]
    })
}

fn embedding_samples() -> Vec<Sample> {
    let mut rng = Rng::new(40);
    let mut samples = vec![
        embedding(&mut rng, [7, 5], &[2, 3]),
        embedding(&mut rng, [3, 1], &[31]),
        embedding(&mut rng, [300, 257], &[1]),
        embedding(&mut rng, [5, 4], &[0]),
    ];
    for dtype in [DType::F16, DType::BF16] {
        let ids = random_ids(&mut rng, 9, 11);
        let table = rng.input(&[11, 3], -1.0, 1.0).stored_as(dtype);
        samples.push(Sample::new(format!("[11, 3] {dtype}"), vec![table], move |x| {
            vec![x[0].embedding(&Indices::new(x[0].device(), &ids, &[9]))]
        }));
    }
    let inputs = vec![rng.input(&[11, 6], -1.0, 1.0), rng.indices(&[5], 11)];
    samples.push(Sample::new("ids on the device", inputs, |x| vec![x[0].embedding(&Indices::on_device(&x[1]))]).forward_only());
    samples
}

fn random_embedding(rng: &mut Rng) -> Sample {
    let table = [rng.length(50), rng.length(300)];
    embedding(rng, table, &[3, 7])
}

fn select(rng: &mut Rng, shape: &[usize], count: usize) -> Sample {
    let ids = random_ids(rng, count, shape[0]);
    Sample::new(format!("{count} of {shape:?}"), vec![rng.input(shape, -1.0, 1.0)], move |x| {
        vec![x[0].index_select(&Indices::new(x[0].device(), &ids, &[ids.len()]))]
    })
}

fn select_samples() -> Vec<Sample> {
    let mut rng = Rng::new(41);
    vec![select(&mut rng, &[5], 9), select(&mut rng, &[31, 2, 3], 4), select(&mut rng, &[2, 300], 3), select(&mut rng, &[4, 0], 3)]
}

fn random_select(rng: &mut Rng) -> Sample {
    let (shape, count) = ([rng.length(40), rng.length(300)], rng.length(20));
    select(rng, &shape, count)
}

fn scatter(rng: &mut Rng, shape: &[usize], rows: usize) -> Sample {
    let ids = random_ids(rng, shape[0], rows);
    Sample::new(format!("{shape:?} to {rows} rows"), vec![rng.input(shape, -1.0, 1.0)], move |x| {
        vec![x[0].scatter_add_rows(&Indices::new(x[0].device(), &ids, &[ids.len()]), rows)]
    })
}

fn scatter_samples() -> Vec<Sample> {
    let mut rng = Rng::new(42);
    let mut samples =
        vec![scatter(&mut rng, &[9], 5), scatter(&mut rng, &[31, 3, 2], 7), scatter(&mut rng, &[3, 300], 2), scatter(&mut rng, &[0, 4], 3)];
    samples.push(Sample::new("a transposed view", vec![rng.input(&[4, 6], -1.0, 1.0)], |x| {
        vec![x[0].t().scatter_add_rows(&Indices::new(x[0].device(), &[1, 1, 0, 4, 2, 1], &[6]), 5)]
    }));
    samples
}

fn random_scatter(rng: &mut Rng) -> Sample {
    let (shape, rows) = ([rng.length(40), rng.length(300)], rng.length(40));
    scatter(rng, &shape, rows)
}
