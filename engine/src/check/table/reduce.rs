//! Rows of the reductions.

use crate::check::Input;
use crate::ops;
use crate::tensor::Tensor;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "sum", kernels: ops::reduce::KERNELS, samples: || samples(Tensor::sum), random: |rng| random(rng, Tensor::sum) },
        OpRow {
            name: "mean",
            kernels: ops::reduce::KERNELS,
            samples: || without_empty(samples(Tensor::mean)),
            random: |rng| random(rng, Tensor::mean),
        },
        OpRow { name: "max", kernels: ops::reduce::KERNELS, samples: max_samples, random: random_max },
        OpRow { name: "argmax", kernels: ops::argmax::KERNELS, samples: argmax_samples, random: random_argmax },
    ]
}

/// Means and maxima of nothing do not exist.
fn without_empty(samples: Vec<Sample>) -> Vec<Sample> {
    samples.into_iter().filter(|sample| sample.label != "[3, 0, 2] over [1]").collect()
}

fn samples(f: fn(&Tensor, &[isize]) -> Tensor) -> Vec<Sample> {
    let mut rng = Rng::new(3);
    let cases: [(&[usize], &'static [isize]); 8] = [
        (&[7], &[0]),
        (&[1], &[0]),
        (&[3, 257], &[-1]),
        (&[257, 3], &[0]),
        (&[2, 31, 5], &[1]),
        (&[2, 3, 4, 5], &[0, 2]),
        (&[3, 0, 2], &[1]),
        (&[70_001], &[0]),
    ];
    cases
        .iter()
        .map(|&(shape, axes)| {
            let inputs = vec![rng.input(shape, -1.0, 1.0)];
            Sample::new(format!("{shape:?} over {axes:?}"), inputs, move |x| vec![f(&x[0], axes)])
        })
        .collect()
}

fn random(rng: &mut Rng, f: fn(&Tensor, &[isize]) -> Tensor) -> Sample {
    // more than one sum, since a single one may come out next to nothing, without a scale; such shapes stand among the fixed samples
    let shape = [7 + rng.length(8), rng.length(600), 7 + rng.length(8)];
    let axis = rng.below(3) as isize;
    Sample::new(format!("{shape:?} over {axis}"), vec![rng.input(&shape, -1.0, 1.0)], move |x| vec![f(&x[0], &[axis])])
}

fn max_samples() -> Vec<Sample> {
    let mut samples = without_empty(samples(Tensor::max));
    samples.push(Sample::new("all negative", vec![distinct(&[3, 200], -9.0)], |x| vec![x[0].max(&[1]), x[0].max(&[0])]));
    // equal maxima share the gradient on every device alike, but have no derivative
    let equal = Input::new(vec![1.0, 3.0, 3.0, 2.0, 2.0, 2.0], &[2, 3]).fixed();
    samples.push(Sample::new("equal maxima", vec![equal], |x| {
        let x = x[0].parameter();
        let y = x.max(&[-1]).sum(&[0]);
        vec![y.backward().take(&x).expect("a gradient")]
    }));
    samples
}

fn argmax_samples() -> Vec<Sample> {
    let mut rng = Rng::new(15);
    let shapes: [&[usize]; 6] = [&[1], &[3, 31], &[2, 3, 257], &[2, 1000], &[300, 3], &[0, 4]];
    let mut samples: Vec<Sample> = shapes.iter().map(|shape| argmax(rng.input(shape, -4.0, 4.0))).collect();
    let equal = (0..600).map(|i| f64::from(i % 300 / 7 % 3)).collect();
    samples.push(argmax(Input::new(equal, &[2, 300])));
    samples
}

fn argmax(input: Input) -> Sample {
    Sample::new(format!("{:?}", input.shape), vec![input], |x| vec![x[0].argmax()]).forward_only()
}

fn random_argmax(rng: &mut Rng) -> Sample {
    let shape = [rng.length(20), rng.length(600)];
    argmax(rng.input(&shape, -4.0, 4.0))
}

/// Below `top`, further apart than the steps of the central differences: at a tie the maximum has no derivative.
fn distinct(shape: &[usize], top: f64) -> Input {
    let len: usize = shape.iter().product();
    Input::new((0..len).map(|i| top - 0.005 * (i * 7919 % len) as f64).collect(), shape)
}

fn random_max(rng: &mut Rng) -> Sample {
    let shape = [rng.length(6), rng.length(40), rng.length(6)];
    let axis = rng.below(3) as isize;
    Sample::new(format!("{shape:?} over {axis}"), vec![distinct(&shape, 2.0)], move |x| vec![x[0].max(&[axis])])
}
