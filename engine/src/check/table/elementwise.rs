//! Rows of the elementwise ops.

use std::ops::Range;

use crate::check::Input;
use crate::dtype::DType;
use crate::ops;
use crate::tensor::Tensor;

use super::{AWKWARD, OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    let mut rows = ops::unary::unary_ops!(unary_rows);
    rows.extend(ops::binary::binary_ops!(binary_rows));
    rows.push(OpRow { name: "where", kernels: ops::where_::KERNELS, samples: where_samples, random: random_where });
    rows.push(OpRow { name: "cast", kernels: ops::cast::KERNELS, samples: cast_samples, random: random_cast });
    rows
}

macro_rules! unary_rows {
    ($($(#[$_doc:meta])* $_number:literal $name:ident($($_parameter:ident = $value:expr),*): $_f:expr, $_slope:expr, on [$($range:expr),+]
        $(, where $_holds:expr, $_message:literal)?;)*) => {
        vec![$(OpRow {
            name: stringify!($name),
            kernels: ops::unary::KERNELS,
            samples: || unary_samples(|x| x.$name($($value),*), &[$($range),+]),
            random: |rng| random_unary(rng, |x| x.$name($($value),*), &[$($range),+]),
        }),*]
    };
}
use unary_rows;

macro_rules! binary_rows {
    ($($(#[$_doc:meta])* $_number:literal $name:ident: $_f:expr, $gradient:ident;)*) => {
        [$(OpRow {
            name: stringify!($name),
            kernels: ops::binary::KERNELS,
            samples: || binary_samples(Tensor::$name, stringify!($gradient)),
            random: |rng| random_binary(rng, Tensor::$name, stringify!($gradient)),
        }),*]
    };
}
use binary_rows;

type Unary = fn(&Tensor) -> Tensor;
type Binary = fn(&Tensor, &Tensor) -> Tensor;

/// The awkward lengths with values of the first range; one length with values of each other range.
fn unary_samples(f: Unary, ranges: &[Range<f64>]) -> Vec<Sample> {
    let mut rng = Rng::new(1);
    let mut sample = |label: String, shape: &[usize], range: &Range<f64>, f: Unary| {
        Sample::new(label, vec![rng.input(shape, range.start, range.end)], move |x| vec![f(&x[0])])
    };
    let mut samples: Vec<Sample> = AWKWARD.iter().map(|&n| sample(format!("[{n}]"), &[n], &ranges[0], f)).collect();
    samples.push(sample("empty".into(), &[0, 3], &ranges[0], f));
    samples.extend(ranges[1..].iter().map(|range| sample(format!("[31] from {range:?}"), &[31], range, f)));
    let inputs = vec![rng.input(&[7, 5], ranges[0].start, ranges[0].end)];
    samples.push(Sample::new("transposed [7, 5]", inputs, move |x| vec![f(&x[0].t())]));
    samples
}

fn random_unary(rng: &mut Rng, f: Unary, ranges: &[Range<f64>]) -> Sample {
    // Enough numbers that not all lie where the function is flat and its gradient has no scale; short tensors stand among the fixed samples.
    let shape = [rng.length(20), 15 + rng.length(300)];
    let range = &ranges[rng.below(ranges.len())];
    Sample::new(format!("{shape:?} from {range:?}"), vec![rng.input(&shape, range.start, range.end)], move |x| vec![f(&x[0])])
}

fn binary_samples(f: Binary, gradient: &str) -> Vec<Sample> {
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
    samples.into_iter().map(|sample| with_gradient(sample, gradient)).collect()
}

fn random_binary(rng: &mut Rng, f: Binary, gradient: &str) -> Sample {
    let full = [rng.length(6), rng.length(9), rng.length(70)];
    let squeeze = |rng: &mut Rng| full.map(|length| if rng.below(3) == 0 { 1 } else { length });
    let (a, b) = (squeeze(rng), squeeze(rng));
    let inputs = vec![rng.input(&a, -2.0, 2.0), rng.input(&b, 2.1, 3.0)];
    with_gradient(Sample::new(format!("{a:?} {b:?}"), inputs, move |x| vec![f(&x[0], &x[1])]), gradient)
}

/// `gradient` names the function that attaches it.
fn with_gradient(sample: Sample, gradient: &str) -> Sample {
    if gradient == "no_gradient" { sample.forward_only() } else { sample }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel;

    #[test]
    fn every_row_has_one_wgsl_case_and_every_case_a_row() {
        for (kernel, rows) in [(ops::unary::KERNELS[0], ops::unary::NUMBERS), (ops::binary::KERNELS[0], ops::binary::NUMBERS)] {
            let mut rows = rows.to_vec();
            rows.sort_unstable();
            assert_eq!(cases(kernel), rows, "{}: its cases and the rows in Rust", kernel.shader.name);
        }
    }

    /// Numbers of the cases of `switch OP` in the kernel's shader, sorted.
    fn cases(kernel: &Kernel) -> Vec<u32> {
        let switch = kernel.shader.text.split("switch OP {").nth(1).and_then(|rest| rest.split("default:").next()).expect("a switch");
        let numbers = switch.split("case ").skip(1).map(|case| case.split("u:").next().and_then(|number| number.parse().ok()));
        let mut numbers: Vec<u32> = numbers.map(|number| number.expect("a number before each case")).collect();
        numbers.sort_unstable();
        numbers
    }
}
