//! Rows of the ops that move data.

use crate::dtype::DType;
use crate::ops;
use crate::tensor::Tensor;

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "copy", kernels: ops::copy::KERNELS, samples: copy_samples, random: random_copy },
        OpRow { name: "accumulate", kernels: ops::accumulate::KERNELS, samples: accumulate_samples, random: random_accumulate },
        OpRow { name: "fill", kernels: ops::fill::KERNELS, samples: fill_samples, random: |_| fill_samples().remove(0) },
        OpRow { name: "views", kernels: &[], samples: view_samples, random: random_slice },
    ]
}

fn copy_samples() -> Vec<Sample> {
    let mut rng = Rng::new(4);
    let mut samples: Vec<Sample> =
        [(vec![5, 7], vec![1, 0]), (vec![2, 3, 5], vec![2, 0, 1]), (vec![2, 3, 2, 3, 2, 3], vec![5, 2, 0, 4, 1, 3])]
            .into_iter()
            .map(|(shape, axes): (Vec<usize>, Vec<usize>)| {
                let inputs = vec![rng.input(&shape, -1.0, 1.0)];
                Sample::new(format!("{shape:?} by {axes:?}"), inputs, move |x| vec![x[0].permute(&axes).contiguous()])
            })
            .collect();
    for dtype in [DType::F16, DType::BF16] {
        let inputs = vec![rng.input(&[5, 7], -1.0, 1.0).stored_as(dtype).fixed()];
        samples.push(Sample::new(format!("[5, 7] {dtype} transposed"), inputs, |x| vec![x[0].t().contiguous()]).forward_only());
    }
    samples
}

fn random_copy(rng: &mut Rng) -> Sample {
    let shape = [rng.length(20), rng.length(20), rng.length(40)];
    Sample::new(format!("{shape:?}"), vec![rng.input(&shape, -1.0, 1.0)], |x| vec![x[0].permute(&[2, 0, 1]).contiguous()])
}

fn accumulate(rng: &mut Rng, len: usize) -> Sample {
    let inputs = vec![rng.input(&[len], -1.0, 1.0).fixed(), rng.input(&[len], -1.0, 1.0).fixed()];
    let apply = |x: &[Tensor]| {
        let y = x[0].deep_copy();
        y.add_(&x[1]);
        vec![y]
    };
    Sample::new(format!("[{len}]"), inputs, apply).forward_only()
}

fn accumulate_samples() -> Vec<Sample> {
    let mut rng = Rng::new(41);
    vec![accumulate(&mut rng, 1), accumulate(&mut rng, 70_001)]
}

fn random_accumulate(rng: &mut Rng) -> Sample {
    let len = rng.length(3000);
    accumulate(rng, len)
}

fn fill_samples() -> Vec<Sample> {
    [DType::F32, DType::F16, DType::BF16, DType::U32]
        .into_iter()
        .map(|dtype| {
            let like = Rng::new(5).input(&[37], 0.0, 1.0).fixed();
            Sample::new(format!("[37] {dtype}"), vec![like], move |x| vec![Tensor::full(x[0].device(), &[37], 3.0, dtype)]).forward_only()
        })
        .collect()
}

fn view_samples() -> Vec<Sample> {
    let mut rng = Rng::new(6);
    let mut input = |shape: &[usize]| vec![rng.input(shape, -1.0, 1.0)];
    vec![
        Sample::new("slice [9, 5] rows 2..6", input(&[9, 5]), |x| vec![x[0].slice(0, 2, 4).square()]),
        Sample::new("slice [4, 9] columns 3..8", input(&[4, 9]), |x| vec![x[0].slice(-1, 3, 5).square()]),
        Sample::new("empty slice", input(&[4, 9]), |x| vec![x[0].slice(-1, 3, 0).square()]),
        Sample::new("reshape of a transposed view", input(&[4, 6]), |x| vec![x[0].t().reshape(&[3, 8]).square()]),
        Sample::new("broadcast [3, 1] to [2, 3, 4]", input(&[3, 1]), |x| vec![x[0].broadcast_to(&[2, 3, 4]).square()]),
        Sample::new("unsqueeze", input(&[3, 2]), |x| vec![x[0].unsqueeze(-1).unsqueeze(0).square()]),
    ]
}

fn random_slice(rng: &mut Rng) -> Sample {
    let shape = [rng.length(30), rng.length(60)];
    let start = rng.below(shape[1]);
    let length = rng.below(shape[1] - start + 1);
    Sample::new(format!("{shape:?} {start}+{length}"), vec![rng.input(&shape, -1.0, 1.0)], move |x| {
        vec![x[0].slice(1, start, length).square()]
    })
}
