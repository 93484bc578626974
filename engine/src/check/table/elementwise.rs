//! Rows of the elementwise ops.

use crate::check::Input;
use crate::dtype::DType;
use crate::ops;
use crate::tensor::Tensor;

use super::{AWKWARD, OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        unary("neg", || unary_samples(Tensor::neg, -2.0, 2.0), |rng| random_unary(rng, Tensor::neg, -2.0, 2.0)),
        unary("exp", || unary_samples(Tensor::exp, -3.0, 3.0), |rng| random_unary(rng, Tensor::exp, -3.0, 3.0)),
        unary("log", || unary_samples(Tensor::log, 0.1, 3.0), |rng| random_unary(rng, Tensor::log, 0.1, 3.0)),
        unary("tanh", || unary_samples(Tensor::tanh, -4.0, 4.0), |rng| random_unary(rng, Tensor::tanh, -4.0, 4.0)),
        unary("sigmoid", || unary_samples(Tensor::sigmoid, -9.0, 9.0), |rng| random_unary(rng, Tensor::sigmoid, -9.0, 9.0)),
        unary("softplus", || unary_samples(Tensor::softplus, -9.0, 9.0), |rng| random_unary(rng, Tensor::softplus, -9.0, 9.0)),
        unary("relu", || unary_samples(Tensor::relu, 0.1, 2.0), |rng| random_unary(rng, Tensor::relu, -2.0, -0.1)),
        unary("sqrt", || unary_samples(Tensor::sqrt, 0.2, 4.0), |rng| random_unary(rng, Tensor::sqrt, 0.2, 4.0)),
        unary("square", || unary_samples(Tensor::square, -2.0, 2.0), |rng| random_unary(rng, Tensor::square, -2.0, 2.0)),
        unary("abs", || unary_samples(Tensor::abs, -2.0, -0.1), |rng| random_unary(rng, Tensor::abs, 0.1, 2.0)),
        unary("gelu_tanh", || unary_samples(Tensor::gelu_tanh, -4.0, 4.0), |rng| random_unary(rng, Tensor::gelu_tanh, -4.0, 4.0)),
        unary("gelu_erf", || unary_samples(Tensor::gelu_erf, -4.0, 4.0), |rng| random_unary(rng, Tensor::gelu_erf, -4.0, 4.0)),
        unary("silu", || unary_samples(Tensor::silu, -6.0, 6.0), |rng| random_unary(rng, Tensor::silu, -6.0, 6.0)),
        unary("sin", || unary_samples(Tensor::sin, -3.0, 3.0), |rng| random_unary(rng, Tensor::sin, -3.0, 3.0)),
        unary("cos", || unary_samples(Tensor::cos, -3.0, 3.0), |rng| random_unary(rng, Tensor::cos, -3.0, 3.0)),
        unary("recip", || unary_samples(Tensor::recip, 0.5, 3.0), |rng| random_unary(rng, Tensor::recip, 0.5, 3.0)),
        unary("affine", || unary_samples(|x| x.affine(1.5, -0.25), -2.0, 2.0), |rng| random_unary(rng, |x| x.affine(-0.5, 2.0), -2.0, 2.0)),
        unary("clamp", || unary_samples(|x| x.clamp(-1.0, 0.5), -0.9, 0.4), |rng| random_unary(rng, |x| x.clamp(-1.0, 0.5), 0.6, 2.0)),
        binary("add", || binary_samples(Tensor::add), |rng| random_binary(rng, Tensor::add)),
        binary("sub", || binary_samples(Tensor::sub), |rng| random_binary(rng, Tensor::sub)),
        binary("mul", || binary_samples(Tensor::mul), |rng| random_binary(rng, Tensor::mul)),
        binary("div", || binary_samples(Tensor::div), |rng| random_binary(rng, Tensor::div)),
        binary("maximum", || binary_samples(Tensor::maximum), |rng| random_binary(rng, Tensor::maximum)),
        binary("minimum", || binary_samples(Tensor::minimum), |rng| random_binary(rng, Tensor::minimum)),
        binary("gt", || forward_only(binary_samples(Tensor::gt)), |rng| random_binary(rng, Tensor::gt).forward_only()),
        binary("ge", || forward_only(binary_samples(Tensor::ge)), |rng| random_binary(rng, Tensor::ge).forward_only()),
        binary("lt", || forward_only(binary_samples(Tensor::lt)), |rng| random_binary(rng, Tensor::lt).forward_only()),
        binary("le", || forward_only(binary_samples(Tensor::le)), |rng| random_binary(rng, Tensor::le).forward_only()),
        binary("eq", || forward_only(binary_samples(Tensor::eq)), |rng| random_binary(rng, Tensor::eq).forward_only()),
        OpRow { name: "where", kernels: ops::where_::KERNELS, samples: where_samples, random: random_where },
        OpRow { name: "cast", kernels: ops::cast::KERNELS, samples: cast_samples, random: random_cast },
    ]
}

fn unary(name: &'static str, samples: fn() -> Vec<Sample>, random: fn(&mut Rng) -> Sample) -> OpRow {
    OpRow { name, kernels: ops::unary::KERNELS, samples, random }
}

fn binary(name: &'static str, samples: fn() -> Vec<Sample>, random: fn(&mut Rng) -> Sample) -> OpRow {
    OpRow { name, kernels: ops::binary::KERNELS, samples, random }
}

fn forward_only(samples: Vec<Sample>) -> Vec<Sample> {
    samples.into_iter().map(Sample::forward_only).collect()
}

fn unary_samples(f: fn(&Tensor) -> Tensor, low: f64, high: f64) -> Vec<Sample> {
    let mut rng = Rng::new(1);
    let mut samples: Vec<Sample> =
        AWKWARD.iter().map(|&n| Sample::new(format!("[{n}]"), vec![rng.input(&[n], low, high)], move |x| vec![f(&x[0])])).collect();
    samples.push(Sample::new("empty", vec![rng.input(&[0, 3], low, high)], move |x| vec![f(&x[0])]));
    samples.push(Sample::new("transposed [7, 5]", vec![rng.input(&[7, 5], low, high)], move |x| vec![f(&x[0].t())]));
    samples
}

fn random_unary(rng: &mut Rng, f: fn(&Tensor) -> Tensor, low: f64, high: f64) -> Sample {
    let shape = [rng.length(20), rng.length(300)];
    Sample::new(format!("{shape:?}"), vec![rng.input(&shape, low, high)], move |x| vec![f(&x[0])])
}

fn binary_samples(f: fn(&Tensor, &Tensor) -> Tensor) -> Vec<Sample> {
    let mut rng = Rng::new(2);
    let shapes: [(&[usize], &[usize]); 9] = [
        (&[1], &[1]),
        (&[257], &[257]),
        (&[3, 31], &[31]),
        (&[31], &[3, 31]),
        (&[2, 3, 5], &[2, 1, 5]),
        (&[2, 1, 4, 1], &[1, 3, 1, 7]),
        (&[], &[6]),
        (&[0, 4], &[4]),
        (&[300, 3], &[300, 1]),
    ];
    let mut samples: Vec<Sample> = shapes
        .iter()
        .map(|(a, b)| {
            // apart, so that no pair is equal and division stays tame
            let inputs = vec![rng.input(a, -2.0, 2.0), rng.input(b, 2.1, 3.0)];
            Sample::new(format!("{a:?} {b:?}"), inputs, move |x| vec![f(&x[0], &x[1])])
        })
        .collect();
    let inputs = vec![rng.input(&[5, 7], -1.0, 1.0), rng.input(&[7, 5], 1.5, 2.0)];
    samples.push(Sample::new("[5, 7] and a transposed view", inputs, move |x| vec![f(&x[0], &x[1].t())]));
    let inputs = vec![rng.input(&[9], 1.0, 2.0)];
    samples.push(Sample::new("a tensor with itself", inputs, move |x| vec![f(&x[0], &x[0])]).forward_only());
    samples
}

fn random_binary(rng: &mut Rng, f: fn(&Tensor, &Tensor) -> Tensor) -> Sample {
    let full = [rng.length(6), rng.length(9), rng.length(70)];
    let squeeze = |rng: &mut Rng| full.map(|length| if rng.below(3) == 0 { 1 } else { length });
    let (a, b) = (squeeze(rng), squeeze(rng));
    let inputs = vec![rng.input(&a, -2.0, 2.0), rng.input(&b, 2.1, 3.0)];
    Sample::new(format!("{a:?} {b:?}"), inputs, move |x| vec![f(&x[0], &x[1])])
}

fn where_samples() -> Vec<Sample> {
    let mut rng = Rng::new(8);
    let shapes: [(&[usize], &[usize], &[usize]); 7] = [
        (&[1], &[1], &[1]),
        (&[257], &[257], &[257]),
        (&[3, 1], &[3, 31], &[31]),
        (&[2, 1, 5], &[], &[3, 1]),
        (&[4, 7], &[4, 1], &[]),
        (&[1000], &[1], &[1000]),
        (&[0, 4], &[4], &[]),
    ];
    let mut samples: Vec<Sample> =
        shapes.iter().flat_map(|(condition, a, b)| [0, 1].map(|kind| where_sample(&mut rng, kind, condition, a, b))).collect();
    let signed_zeros = Input::new(vec![0.0, -0.0, -1.0, 1e-30], &[4]).fixed();
    let inputs = vec![signed_zeros, rng.input(&[4], 1.0, 2.0), rng.input(&[4], 3.0, 4.0)];
    samples.push(Sample::new("signed zeros", inputs, |x| vec![x[0].where_(&x[1], &x[2])]));
    let inputs = vec![rng.indices(&[7, 5], 2), rng.input(&[7, 5], 1.0, 2.0), rng.input(&[5, 7], 3.0, 4.0)];
    samples.push(Sample::new("transposed views", inputs, |x| vec![x[0].t().where_(&x[1].t(), &x[2])]));
    samples
}

fn where_sample(rng: &mut Rng, kind: usize, condition: &[usize], a: &[usize], b: &[usize]) -> Sample {
    let mut mask = rng.indices(condition, 2);
    if kind == 1 {
        mask = mask.stored_as(DType::F32);
    }
    let label = format!("{} {condition:?} {a:?} {b:?}", mask.dtype);
    Sample::new(label, vec![mask, rng.input(a, -2.0, 2.0), rng.input(b, -2.0, 2.0)], |x| vec![x[0].where_(&x[1], &x[2])])
}

fn random_where(rng: &mut Rng) -> Sample {
    let full = [rng.length(6), rng.length(9), rng.length(70)];
    let shapes: [_; 3] = std::array::from_fn(|_| full.map(|length| if rng.below(3) == 0 { 1 } else { length }));
    let kind = rng.below(2);
    where_sample(rng, kind, &shapes[0], &shapes[1], &shapes[2])
}

/// Between all types. Rounding has no derivative, so only the casts to f32 are differentiated; the exact bits stand in a test of their own.
fn cast_samples() -> Vec<Sample> {
    let mut rng = Rng::new(9);
    let mut samples = Vec::new();
    for to in [DType::F32, DType::F16, DType::BF16] {
        for from in [DType::F32, DType::F16, DType::BF16, DType::U32] {
            for n in AWKWARD.into_iter().chain([0]) {
                samples.push(cast_sample(&mut rng, from, to, n));
            }
        }
    }
    samples
}

fn cast_sample(rng: &mut Rng, from: DType, to: DType, n: usize) -> Sample {
    let input = if from == DType::U32 { rng.indices(&[n], 2000) } else { rng.input(&[n], -9.0, 9.0).stored_as(from) };
    let sample = Sample::new(format!("[{n}] {from} to {to}"), vec![input], move |x| vec![x[0].cast(to)]);
    if to == DType::F32 && from != DType::U32 { sample } else { sample.forward_only() }
}

fn random_cast(rng: &mut Rng) -> Sample {
    let types = [DType::F32, DType::F16, DType::BF16];
    let (from, to, n) = (types[rng.below(3)], types[rng.below(3)], rng.length(2000));
    cast_sample(rng, from, to, n)
}
