//! Rows of the optimisers.

use std::collections::BTreeMap;

use crate::autograd::Gradients;
use crate::dtype::DType;
use crate::optim::{ADAMW_KERNELS, AdamW, AdamWConfig, NORM_KERNELS, ParamGroup, SGD_KERNELS, Sgd, SgdConfig};
use crate::tensor::Tensor;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "global_norm", kernels: NORM_KERNELS, samples: norm_samples, random: random_norm },
        OpRow { name: "adamw", kernels: ADAMW_KERNELS, samples: || samples(adamw), random: |rng| random(rng, adamw) },
        OpRow { name: "sgd", kernels: SGD_KERNELS, samples: || samples(sgd), random: |rng| random(rng, sgd) },
    ]
}

fn norm(rng: &mut Rng, lengths: &[usize]) -> Sample {
    let inputs = lengths.iter().map(|&length| rng.input(&[length], -1.0, 1.0).fixed()).collect();
    let apply = |x: &[Tensor]| {
        let mut gradients = Gradients::new();
        x.iter().for_each(|g| gradients.set(&g.parameter(), g));
        vec![gradients.global_norm()]
    };
    Sample::new(format!("{lengths:?}"), inputs, apply).forward_only()
}

fn norm_samples() -> Vec<Sample> {
    let mut rng = Rng::new(60);
    vec![norm(&mut rng, &[1]), norm(&mut rng, &[257, 31, 0, 1000]), norm(&mut rng, &[70_001])]
}

fn random_norm(rng: &mut Rng) -> Sample {
    let lengths = [rng.length(2000), rng.length(100), rng.length(10)];
    norm(rng, &lengths)
}

type Optimise = fn(&Tensor, &[Tensor]) -> BTreeMap<String, Tensor>;

fn groups(parameter: &Tensor) -> Vec<ParamGroup> {
    vec![ParamGroup { parameters: vec![("w".into(), parameter.clone())], lr_scale: 2.0, weight_decay: 0.1 }]
}

fn gradients_of(parameter: &Tensor, gradient: &Tensor) -> Gradients {
    let mut gradients = Gradients::new();
    gradients.set(parameter, gradient);
    gradients
}

fn adamw(parameter: &Tensor, steps: &[Tensor]) -> BTreeMap<String, Tensor> {
    let mut optimiser = AdamW::new(groups(parameter), AdamWConfig { lr: 0.05, clip_norm: 3.0, ..AdamWConfig::default() });
    steps.iter().for_each(|gradient| drop(optimiser.step(&gradients_of(parameter, gradient))));
    optimiser.state()
}

fn sgd(parameter: &Tensor, steps: &[Tensor]) -> BTreeMap<String, Tensor> {
    let mut optimiser = Sgd::new(groups(parameter), SgdConfig { lr: 0.05, momentum: 0.9, clip_norm: 3.0 });
    steps.iter().for_each(|gradient| drop(optimiser.step(&gradients_of(parameter, gradient))));
    optimiser.state()
}

/// Three steps, the last with a gradient that is infinite: it must change nothing. The parameter's values go in and come out as f32; the optimiser
/// works on a copy in the storage type.
fn sample(rng: &mut Rng, length: usize, dtype: DType, optimise: Optimise) -> Sample {
    let mut inputs: Vec<_> = (0..4).map(|_| rng.input(&[length], -1.0, 1.0).fixed()).collect();
    inputs[3].values[length / 2] = f64::INFINITY;
    inputs[0] = inputs[0].clone().stored_as(dtype);
    let apply = move |x: &[Tensor]| {
        let start = x[0].to_f64_vec().expect("a healthy device");
        let parameter = Tensor::from_f64(x[0].device(), &start, x[0].shape(), x[0].dtype()).parameter();
        let state = optimise(&parameter, &x[1..]);
        let mut outputs: Vec<Tensor> = ["w.m", "w.v"].iter().filter_map(|name| state.get(*name).cloned()).collect();
        outputs.push(parameter.detach());
        outputs
    };
    Sample::new(format!("[{length}] {dtype}"), inputs, apply).forward_only()
}

fn samples(optimise: Optimise) -> Vec<Sample> {
    let mut rng = Rng::new(61);
    let mut samples: Vec<Sample> = [1, 31, 257, 1000].into_iter().map(|length| sample(&mut rng, length, DType::F32, optimise)).collect();
    // halves: half a unit in the last of 11 (f16) or 8 (bf16) bits; a test of its own compares the bits
    for (dtype, tolerance) in [(DType::F16, 5e-4), (DType::BF16, 4e-3)] {
        samples.push(sample(&mut rng, 31, dtype, optimise).tolerance(tolerance));
        samples.push(sample(&mut rng, 514, dtype, optimise).tolerance(tolerance));
    }
    samples
}

fn random(rng: &mut Rng, optimise: Optimise) -> Sample {
    // Enough numbers that not all are next to nothing after a step; a single one stands among the fixed samples.
    let length = 7 + rng.length(2000);
    sample(rng, length, DType::F32, optimise)
}
