//! Rows of the reductions.

use crate::ops;
use crate::tensor::Tensor;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "sum", kernels: ops::reduce::KERNELS, samples: || samples(Tensor::sum), random: |rng| random(rng, Tensor::sum) },
        OpRow {
            name: "mean",
            kernels: ops::reduce::KERNELS,
            samples: || samples(Tensor::mean).into_iter().filter(|s| s.label != "[3, 0, 2] over [1]").collect(),
            random: |rng| random(rng, Tensor::mean),
        },
    ]
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
    let shape = [rng.length(8), rng.length(600), rng.length(8)];
    let axis = rng.below(3) as isize;
    Sample::new(format!("{shape:?} over {axis}"), vec![rng.input(&shape, -1.0, 1.0)], move |x| vec![f(&x[0], &[axis])])
}
