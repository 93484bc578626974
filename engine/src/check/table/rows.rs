//! Rows of the ops over the last axis.

use crate::ops;
use crate::tensor::Tensor;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow {
            name: "softmax",
            kernels: ops::softmax::KERNELS,
            samples: || softmax_samples(Tensor::softmax),
            random: |rng| random_softmax(rng, Tensor::softmax),
        },
        OpRow {
            name: "log_softmax",
            kernels: ops::softmax::KERNELS,
            samples: || softmax_samples(Tensor::log_softmax),
            random: |rng| random_softmax(rng, Tensor::log_softmax),
        },
        OpRow {
            name: "rms_norm",
            kernels: ops::rms_norm::KERNELS,
            samples: || norm_shapes().map(rms_norm).collect(),
            random: |rng| rms_norm((rng.clone(), random_norm_shape(rng))),
        },
        OpRow {
            name: "add_rms_norm",
            kernels: ops::rms_norm::KERNELS,
            samples: || {
                let mut samples: Vec<Sample> = norm_shapes().map(|sample| add_rms_norm(sample, |y| y)).collect();
                samples.push(add_rms_norm((Rng::new(14), vec![5, 31]), |[_, normed]| [normed.clone(), normed]));
                samples.push(add_rms_norm((Rng::new(14), vec![5, 31]), |[sum, _]| [sum.clone(), sum]));
                samples
            },
            random: |rng| add_rms_norm((rng.clone(), random_norm_shape(rng)), |y| y),
        },
        OpRow {
            name: "layer_norm",
            kernels: ops::layer_norm::KERNELS,
            samples: || norm_shapes().map(layer_norm).collect(),
            random: |rng| layer_norm((rng.clone(), random_norm_shape(rng))),
        },
        OpRow {
            name: "swiglu",
            kernels: ops::swiglu::KERNELS,
            samples: || SHAPES.iter().map(|shape| swiglu(&mut Rng::new(12), shape)).collect(),
            random: |rng| {
                let shape = [rng.length(20), 7 + rng.length(300)];
                swiglu(rng, &shape)
            },
        },
    ]
}

/// Row shapes that break kernels: one element, odd, prime, more than a workgroup, more rows than columns, empty.
const SHAPES: [&[usize]; 7] = [&[1], &[1, 1], &[3, 31], &[2, 3, 257], &[2, 1000], &[67, 5], &[0, 4]];

fn softmax_samples(f: fn(&Tensor) -> Tensor) -> Vec<Sample> {
    let mut rng = Rng::new(11);
    let mut samples: Vec<Sample> =
        SHAPES.iter().map(|&shape| Sample::new(format!("{shape:?}"), vec![rng.input(shape, -4.0, 4.0)], move |x| vec![f(&x[0])])).collect();
    samples.push(Sample::new("no columns", vec![rng.input(&[4, 0], 0.0, 1.0)], move |x| vec![f(&x[0])]));
    samples.push(Sample::new("transposed [31, 5]", vec![rng.input(&[31, 5], -4.0, 4.0)], move |x| vec![f(&x[0].t())]));
    let large = rng.input(&[2, 9], 900.0, 910.0).fixed();
    samples.push(Sample::new("values that overflow exp", vec![large], move |x| vec![f(&x[0])]));
    samples
}

fn random_softmax(rng: &mut Rng, f: fn(&Tensor) -> Tensor) -> Sample {
    // enough rows that not all are all but certain of one column, where the gradient has no scale; single rows stand among the fixed samples
    let shape = [7 + rng.length(20), rng.length(600)];
    Sample::new(format!("{shape:?}"), vec![rng.input(&shape, -4.0, 4.0)], move |x| vec![f(&x[0])])
}

/// A few columns at least: the gradient of a row of one is a difference that all but vanishes.
fn random_norm_shape(rng: &mut Rng) -> Vec<usize> {
    vec![rng.length(70), 7 + rng.length(300)]
}

/// With rows for more than one block of weight gradients.
fn norm_shapes() -> impl Iterator<Item = (Rng, Vec<usize>)> {
    let many_rows: &[usize] = &[67, 3];
    SHAPES.into_iter().filter(|shape| shape.last() != Some(&1)).chain([many_rows]).map(|shape| (Rng::new(13), shape.to_vec()))
}

fn rms_norm((mut rng, shape): (Rng, Vec<usize>)) -> Sample {
    let n = *shape.last().expect("an axis");
    let inputs = vec![rng.input(&shape, -2.0, 2.0), rng.input(&[n], 0.5, 1.5)];
    Sample::new(format!("{shape:?}"), inputs, |x| vec![x[0].rms_norm(&x[1], 1e-5)])
}

/// With what is used of the sum and its norm: a gradient may arrive at one of them alone.
fn add_rms_norm((mut rng, shape): (Rng, Vec<usize>), used: fn([Tensor; 2]) -> [Tensor; 2]) -> Sample {
    let n = *shape.last().expect("an axis");
    let inputs = vec![rng.input(&shape, -2.0, 2.0), rng.input(&shape, -2.0, 2.0), rng.input(&[n], 0.5, 1.5)];
    Sample::new(format!("{shape:?}"), inputs, move |x| used(x[0].add_rms_norm(&x[1], &x[2], 1e-5)).to_vec())
}

fn layer_norm((mut rng, shape): (Rng, Vec<usize>)) -> Sample {
    let n = *shape.last().expect("an axis");
    // away from zero: the mean must be subtracted, not lost
    let inputs = vec![rng.input(&shape, 1.0, 4.0), rng.input(&[n], 0.5, 1.5), rng.input(&[n], -1.0, 1.0)];
    Sample::new(format!("{shape:?}"), inputs, |x| vec![x[0].layer_norm(&x[1], &x[2], 1e-5)])
}

/// `shape` is that of the result.
fn swiglu(rng: &mut Rng, shape: &[usize]) -> Sample {
    let mut joint = shape.to_vec();
    *joint.last_mut().expect("an axis") *= 2;
    Sample::new(format!("{joint:?}"), vec![rng.input(&joint, -6.0, 6.0)], |x| vec![x[0].swiglu()])
}
