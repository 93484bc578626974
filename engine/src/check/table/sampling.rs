//! Rows of sampling and selection.

use crate::ops::{self, Sampling};

use super::{Input, OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    vec![
        OpRow { name: "top_k_mask", kernels: ops::top_k_mask::KERNELS, samples: top_k_samples, random: random_top_k },
        OpRow { name: "sample", kernels: ops::sample::KERNELS, samples: sampling_samples, random: random_sampling },
    ]
}

fn top_k(rows: usize, cols: usize, k: Vec<u32>, values: Vec<f64>) -> Sample {
    let inputs = vec![Input::new(values, &[rows, cols]), Input::indices(k.clone(), &[rows])];
    Sample::new(format!("[{rows}, {cols}] k {k:?}"), inputs, |x| vec![x[0].top_k_mask(&x[1])]).forward_only()
}

fn top_k_samples() -> Vec<Sample> {
    let mut rng = Rng::new(30);
    let mut values = |n: usize| (0..n).map(|_| rng.uniform(-1.0, 1.0)).collect::<Vec<_>>();
    let padding = f64::NEG_INFINITY;
    vec![
        top_k(4, 5, vec![0, 1, 3, 9], values(20)),
        top_k(2, 301, vec![7, 150], values(602)),
        top_k(1, 1, vec![1], values(1)),
        top_k(0, 3, vec![], vec![]),
        // ties, zeros of both signs, padding
        top_k(2, 6, vec![2, 3], vec![0.5, 0.5, 0.5, 0.1, -0.0, 0.0, 0.0, -0.0, 0.0, padding, -1.0, padding]),
        top_k(1, 4, vec![4], vec![1.0, padding, -2.0, padding]),
    ]
}

fn random_top_k(rng: &mut Rng) -> Sample {
    let (rows, cols) = (rng.length(5), rng.length(300));
    let k = (0..rows).map(|_| rng.below(cols + 2) as u32).collect();
    let values = rng.input(&[rows, cols], -1.0, 1.0).values;
    top_k(rows, cols, k, values)
}

fn sampling(rng: &mut Rng, rows: usize, vocab: usize, sampling: Sampling) -> Sample {
    let streams = (0..rows as u32).map(|row| row * 7 + 1).collect();
    let inputs = vec![rng.normal(&[rows, vocab]), Input::indices(streams, &[rows])];
    Sample::new(format!("[{rows}, {vocab}] {sampling:?}"), inputs, move |x| {
        let (tokens, log_probs) = x[0].sample(&x[1], 5, &sampling);
        vec![tokens, log_probs]
    })
    .forward_only()
}

fn sampling_samples() -> Vec<Sample> {
    let mut rng = Rng::new(31);
    let plain = Sampling::plain(11);
    vec![
        sampling(&mut rng, 3, 7, plain),
        sampling(&mut rng, 5, 1009, plain),
        sampling(&mut rng, 2, 1, plain),
        sampling(&mut rng, 4, 65, Sampling::GREEDY),
        sampling(&mut rng, 6, 300, Sampling { temperature: 0.7, top_k: Some(5), ..plain }),
        sampling(&mut rng, 6, 300, Sampling { temperature: 1.3, top_p: 0.8, ..plain }),
        sampling(&mut rng, 6, 300, Sampling { temperature: 0.9, top_k: Some(40), top_p: 0.5, ..plain }),
        sampling(&mut rng, 2, 300, Sampling { top_p: 1e-6, ..plain }),
        sampling(&mut rng, 2, 30, Sampling { top_k: Some(100), ..plain }),
    ]
}

fn random_sampling(rng: &mut Rng) -> Sample {
    // enough rows that not all are all but certain, with a log-probability of next to nothing; single rows stand among the fixed samples
    let (rows, vocab) = (7 + rng.length(6), rng.length(400));
    let options = Sampling {
        temperature: rng.uniform(0.3, 2.0) as f32,
        top_k: (rng.below(2) == 0).then(|| 1 + rng.below(vocab) as u32),
        top_p: if rng.below(2) == 0 { 1.0 } else { rng.uniform(0.1, 0.99) as f32 },
        seed: rng.next_u64(),
    };
    sampling(rng, rows, vocab, options)
}
