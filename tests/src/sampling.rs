//! Sampling: the right distribution, independent of the rest of the batch, the same on every run.

use percept_engine::{DType, Device, Sampling, Tensor};

/// Draws from one row of logits, a stream a draw.
fn draws(device: &Device, logits: &[f32], count: usize, step: u32, sampling: &Sampling) -> Vec<u32> {
    let logits = Tensor::from_slice(device, logits, &[1, logits.len()]).broadcast_to(&[count, logits.len()]);
    let streams = Tensor::from_slice(device, &(0..count as u32).collect::<Vec<_>>(), &[count]);
    logits.sample(&streams, step, sampling).0.to_vec().unwrap()
}

fn frequencies(device: &Device, logits: &[f32], count: usize, sampling: &Sampling) -> Vec<f64> {
    let mut frequencies = vec![0.0; logits.len()];
    for token in draws(device, logits, count, 0, sampling) {
        frequencies[token as usize] += 1.0 / count as f64;
    }
    frequencies
}

#[test]
fn frequencies_follow_the_softmax() {
    let logits = [1.0f32, 0.0, -1.0, 2.0, 0.5];
    for device in [Device::cpu(), crate::common::gpu()] {
        for temperature in [0.5f32, 1.0, 2.0] {
            let weights = logits.map(|z| f64::from(z / temperature).exp());
            let total: f64 = weights.iter().sum();
            let sampling = Sampling { temperature, ..Sampling::plain(42) };
            let seen = frequencies(&device, &logits, 8192, &sampling);
            for (seen, weight) in seen.iter().zip(weights) {
                // five standard deviations of a binomial share are at most 0.028
                assert!((seen - weight / total).abs() < 0.03, "{device} temperature {temperature}: {seen} for {}", weight / total);
            }
        }
    }
}

#[test]
fn cuts_leave_exactly_the_right_tokens() {
    let logits = [1.0f32, 0.0, -1.0, 2.0, 0.5];
    let kept = |device: &Device, sampling: Sampling| -> Vec<usize> {
        let seen = frequencies(device, &logits, 2048, &sampling);
        (0..logits.len()).filter(|&i| seen[i] > 0.0).collect()
    };
    for device in [Device::cpu(), crate::common::gpu()] {
        assert_eq!(kept(&device, Sampling { top_k: Some(2), ..Sampling::plain(1) }), [0, 3]);
        // shares 0.56, 0.21, 0.13, 0.08, 0.03: 0.7 needs the first two, 0.8 three
        assert_eq!(kept(&device, Sampling { top_p: 0.7, ..Sampling::plain(1) }), [0, 3]);
        assert_eq!(kept(&device, Sampling { top_p: 0.8, ..Sampling::plain(1) }), [0, 3, 4]);
        assert_eq!(kept(&device, Sampling::GREEDY), [3]);
    }
}

#[test]
fn a_sequence_draws_the_same_alone_and_in_a_batch() {
    let device = Device::cpu();
    let rows = 5;
    let values: Vec<f32> = (0..rows * 11).map(|i| ((i * 37) % 23) as f32 / 5.0).collect();
    let logits = Tensor::from_slice(&device, &values, &[rows, 11]);
    let sample = |logits: &Tensor, streams: &[u32], step| {
        let streams = Tensor::from_slice(&device, streams, &[streams.len()]);
        logits.sample(&streams, step, &Sampling::plain(9)).0.to_vec::<u32>().unwrap()
    };
    for step in 0..20 {
        let together = sample(&logits, &[0, 1, 2, 3, 4], step);
        assert_eq!(sample(&logits.slice(0, 3, 1), &[3], step), together[3..4]);
    }
    let first = draws(&device, &[0.0; 50], 40, 0, &Sampling::plain(9));
    assert_ne!(first, draws(&device, &[0.0; 50], 40, 1, &Sampling::plain(9)), "another step, other draws");
    assert_ne!(first, draws(&device, &[0.0; 50], 40, 0, &Sampling::plain(10)), "another seed, other draws");
}

#[test]
fn both_devices_draw_the_same_tokens() {
    let values: Vec<f32> = (0..7 * 301).map(|i| ((i * 7919) % 1009) as f32 / 300.0).collect();
    let sample = |device: &Device| {
        let logits = Tensor::from_slice(device, &values, &[7, 301]);
        let streams = Tensor::from_slice(device, &[0u32, 1, 2, 3, 4, 5, 6], &[7]);
        logits.sample(&streams, 3, &Sampling { top_k: Some(50), ..Sampling::plain(4) }).0.to_vec::<u32>().unwrap()
    };
    assert_eq!(sample(&Device::cpu()), sample(&crate::common::gpu()));
}

#[test]
#[should_panic(expected = "sample: top_p 0 is not in (0, 1]")]
fn a_top_p_of_zero_panics() {
    let logits = Tensor::zeros(&Device::cpu(), &[1, 2], DType::F32);
    let streams = Tensor::from_slice(&Device::cpu(), &[0u32], &[1]);
    logits.sample(&streams, 0, &Sampling { top_p: 0.0, ..Sampling::plain(0) });
}
