//! Rows of the fused heads.

use crate::dtype::DType;
use crate::ops::{self, Head, linear_kl};
use crate::tensor::Tensor;

use super::{Input, OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow {
            name: "linear_log_probs",
            kernels: ops::linear_log_probs::KERNELS,
            samples: log_probs_samples,
            random: |rng| {
                // Enough tokens that not all are all but certain, with an entropy of next to nothing; a single one stands among the fixed samples.
                let (tokens, hidden, vocab) = (7 + rng.length(40), rng.length(20), 2 + rng.length(90));
                log_probs(rng, tokens, hidden, vocab, DType::F32)
            },
        },
        OpRow { name: "suppress", kernels: ops::head::KERNELS, samples: suppress_samples, random: random_suppress },
        OpRow {
            name: "linear_kl",
            kernels: ops::linear_kl::KERNELS,
            samples: kl_samples,
            random: |rng| {
                // Where the two distributions of a token nearly coincide its gradient is a small difference of large numbers. Further tokens and hidden
                // numbers give it a scale; one of each stands among the fixed samples.
                let (tokens, hidden, vocab) = (7 + rng.length(40), 2 + rng.length(20), 2 + rng.length(90));
                kl(rng, tokens, hidden, vocab)
            },
        },
    ]
}

fn log_probs_samples() -> Vec<Sample> {
    let mut rng = Rng::new(40);
    vec![
        log_probs(&mut rng, 5, 7, 11, DType::F32),
        log_probs(&mut rng, 1, 1, 2, DType::F32),
        log_probs(&mut rng, 0, 3, 5, DType::F32),
        log_probs(&mut rng, 3, 8, 301, DType::F32),
        log_probs(&mut rng, 6, 8, 40, DType::F16),
        log_probs(&mut rng, 6, 8, 40, DType::BF16),
        // three chunks of 64, 64 and 2 rows
        log_probs(&mut rng, 130, 2, 9000, DType::F32),
        composite(&mut rng),
        suppressed_log_probs(&mut rng),
    ]
}

fn log_probs(rng: &mut Rng, tokens: usize, hidden: usize, vocab: usize, dtype: DType) -> Sample {
    let weight = rng.input(&[vocab, hidden], -1.0, 1.0).stored_as(dtype);
    // the gradient of a half weight is f32, its values are not: only hidden is moved
    let weight = if dtype == DType::F32 { weight } else { weight.fixed() };
    let inputs = vec![rng.input(&[tokens, hidden], -2.0, 2.0), weight, rng.indices(&[tokens], vocab)];
    Sample::new(format!("[{tokens}, {hidden}] x {vocab} {dtype}"), inputs, |x| {
        let (log_probs, entropy) = x[0].linear_log_probs(&Head::new(&x[1]), &x[2], 0.7);
        vec![log_probs, entropy]
    })
}

/// The difference from the composite of matmul and log_softmax is zero.
fn composite(rng: &mut Rng) -> Sample {
    let inputs = vec![rng.input(&[9, 6], -2.0, 2.0), rng.input(&[33, 6], -1.0, 1.0), rng.indices(&[9], 33)];
    Sample::new("minus the composite", inputs, |x| {
        let (_, entropy) = x[0].linear_log_probs(&Head::new(&x[1]), &x[2], 0.5);
        let log_p = x[0].matmul(&x[1].t()).mul_scalar(2.0).log_softmax();
        let composite = log_p.exp().mul(&log_p).sum(&[-1]).neg();
        // beside the entropy itself, which sets the scale
        vec![Tensor::concat(&[&entropy.sub(&composite), &entropy], 0)]
    })
}

fn kl_samples() -> Vec<Sample> {
    let mut rng = Rng::new(41);
    vec![
        kl(&mut rng, 5, 7, 11),
        kl(&mut rng, 1, 3, 2),
        kl(&mut rng, 0, 3, 5),
        kl(&mut rng, 3, 8, 301),
        two_chunks(&mut rng),
        same_weight(&mut rng),
        kl(&mut rng, 4, 1, 9),
        suppressed_kl(&mut rng),
    ]
}

fn kl(rng: &mut Rng, tokens: usize, hidden: usize, vocab: usize) -> Sample {
    let side = |rng: &mut Rng| [rng.input(&[tokens, hidden], -1.0, 1.0), rng.input(&[vocab, hidden], -1.0, 1.0)];
    let inputs = [side(rng), side(rng)].concat();
    Sample::new(format!("[{tokens}, {hidden}] x {vocab}"), inputs, |x| {
        vec![linear_kl((&x[0], &Head::new(&x[1])), (&x[2], &Head::new(&x[3])), 0.8)]
    })
}

/// 64 rows and 2 more. The weights stay: their gradients are so small that central differences of the sum are rounding noise.
fn two_chunks(rng: &mut Rng) -> Sample {
    let mut sample = kl(rng, 66, 2, 17_000);
    for weight in [1, 3] {
        sample.inputs[weight].grad = false;
    }
    sample
}

fn same_weight(rng: &mut Rng) -> Sample {
    let inputs = vec![rng.input(&[4, 5], -1.0, 1.0), rng.input(&[4, 5], -1.0, 1.0), rng.input(&[21, 5], -1.0, 1.0)];
    Sample::new("two inputs of one head", inputs, |x| {
        let head = Head::new(&x[2]);
        vec![linear_kl((&x[0], &head), (&x[1], &head), 1.0)]
    })
}

/// Tokens at both ends and between are suppressed, none of them a target.
fn suppressed_log_probs(rng: &mut Rng) -> Sample {
    let inputs =
        vec![rng.input(&[9, 6], -2.0, 2.0), rng.input(&[301, 6], -1.0, 1.0), Input::indices(vec![1, 5, 150, 299, 2, 3, 4, 1, 1], &[9])];
    Sample::new("[9, 6] x 301 of which 3 are suppressed", inputs, |x| {
        let (log_probs, entropy) = x[0].linear_log_probs(&Head::new(&x[1]).suppressing(&[300, 0, 151]), &x[2], 0.7);
        vec![log_probs, entropy]
    })
}

fn suppressed_kl(rng: &mut Rng) -> Sample {
    let inputs = vec![rng.input(&[9, 6], -1.0, 1.0), rng.input(&[9, 6], -1.0, 1.0), rng.input(&[70, 6], -1.0, 1.0)];
    Sample::new("two inputs of one head, 2 of 70 tokens suppressed", inputs, |x| {
        let head = Head::new(&x[2]).suppressing(&[69, 3]);
        vec![linear_kl((&x[0], &head), (&x[1], &head), 0.8)]
    })
}

fn suppress_samples() -> Vec<Sample> {
    let mut rng = Rng::new(42);
    vec![
        suppress(&mut rng, 5, 11, vec![0, 10]),
        suppress(&mut rng, 1, 2, vec![1]),
        suppress(&mut rng, 0, 3, vec![2]),
        suppress(&mut rng, 3, 301, vec![300]),
        suppress(&mut rng, 2, 700, (1..650).collect()),
        suppressed_distribution(&mut rng),
        suppressed_behind_a_norm(&mut rng, DType::F32),
        suppressed_behind_a_norm(&mut rng, DType::BF16),
    ]
}

fn suppressed_behind_a_norm(rng: &mut Rng, dtype: DType) -> Sample {
    let inputs = vec![rng.input(&[7, 12], -2.0, 2.0), rng.input(&[31, 12], -1.0, 1.0).stored_as(dtype), rng.input(&[12], 0.5, 1.5)];
    Sample::new(format!("behind a norm, 3 of 31 tokens suppressed, {dtype}"), inputs, |x| {
        let logits = Head::new(&x[1]).suppressing(&[0, 17, 30]).fused_logits(&x[0], (&x[2], 1e-6));
        vec![logits.softmax(), logits.clamp(-20.0, 20.0)]
    })
    .forward_only()
}

/// With its gradient, which the softmax leaves at 0 where the probability is.
fn suppressed_distribution(rng: &mut Rng) -> Sample {
    let inputs = vec![rng.input(&[7, 4], -2.0, 2.0), rng.input(&[31, 4], -1.0, 1.0)];
    Sample::new("the distribution in 7 rows, 3 of 31 tokens suppressed", inputs, |x| {
        vec![Head::new(&x[1]).suppressing(&[0, 17, 30]).distribution(&x[0], 0.8)]
    })
}

fn random_suppress(rng: &mut Rng) -> Sample {
    let (rows, vocab) = (rng.length(40), 2 + rng.length(90));
    let tokens = (0..vocab as u32).filter(|token| token % 3 == 1).collect();
    suppress(rng, rows, vocab, tokens)
}

/// The distribution, which says what is left, and the logits themselves, whose lowest are cut so that they do not set the scale.
fn suppress(rng: &mut Rng, rows: usize, vocab: usize, tokens: Vec<u32>) -> Sample {
    let inputs = vec![rng.input(&[rows, 4], -2.0, 2.0).fixed(), rng.input(&[vocab, 4], -1.0, 1.0).fixed()];
    Sample::new(format!("{} of {vocab} tokens in {rows} rows", tokens.len()), inputs, move |x| {
        let head = Head::new(&x[1]).suppressing(&tokens);
        vec![head.distribution(&x[0], 0.8), head.logits(&x[0]).clamp(-20.0, 20.0)]
    })
    .forward_only()
}
