//! Reverse mode itself: accumulation, reuse, checkpointing, freeing, and what it refuses.

use percept_engine::ops::Segments;
use percept_engine::{DType, Device, Gradients, Head, Indices, Sampling, Tensor, checkpoint, no_grad, random};

fn parameter(stream: u64, shape: &[usize]) -> Tensor {
    let values = random::normal(3, stream, shape.iter().product(), 0.5);
    Tensor::from_slice(&Device::cpu(), &values, shape).parameter()
}

fn gradient(gradients: &Gradients, x: &Tensor) -> Vec<f32> {
    gradients.get(x).expect("a gradient").to_vec().unwrap()
}

#[test]
fn a_tensor_used_many_times_gets_the_sum() {
    let x = Tensor::from_slice(&Device::cpu(), &[3.0f32], &[1]).parameter();
    // x³ + x, slope 3x² + 1
    let loss = x.mul(&x).mul(&x).add(&x);
    assert_eq!(gradient(&loss.backward(), &x), [28.0]);
}

#[test]
fn micro_batches_accumulate_to_the_whole() {
    let w = parameter(1, &[4]);
    let data = parameter(2, &[6, 4]).detach();
    let loss = |rows: Tensor| rows.mul(&w).tanh().sum_all();
    let whole = gradient(&loss(data.clone()).backward(), &w);
    let mut sum = Gradients::new();
    for start in [0, 2, 4] {
        sum.accumulate(loss(data.slice(0, start, 2)).backward());
    }
    for (part, whole) in gradient(&sum, &w).iter().zip(&whole) {
        assert!((part - whole).abs() < 1e-6, "{part} {whole}");
    }
}

#[test]
fn detached_and_unrecorded_tensors_get_nothing() {
    let (x, y) = (parameter(1, &[3]), parameter(2, &[3]));
    let frozen = no_grad(|| x.mul(&x));
    assert!(!frozen.requires_grad());
    let gradients = frozen.mul(&y).add(&x.detach()).sum_all().backward();
    assert!(gradients.get(&x).is_none());
    assert_eq!(gradient(&gradients, &y), frozen.to_vec::<f32>().unwrap());
}

#[test]
fn checkpointing_changes_memory_not_gradients() {
    let device = Device::new_cpu();
    let value = |stream, shape: &[usize]| Tensor::from_slice(&device, &random::normal(5, stream, shape.iter().product(), 0.3), shape);
    let weights: Vec<Tensor> = (0..8).map(|i| value(i, &[64]).parameter()).collect();
    let input = value(100, &[64, 64]).parameter();
    let block = |x: &Tensor, w: &Tensor| x.mul(w).tanh().mul(x).gelu_tanh().add(x);
    let run = |checkpointed: bool| {
        device.reset_peak();
        let before = device.counters().live_bytes;
        let mut x = input.clone();
        for w in &weights {
            x = match checkpointed {
                true => {
                    let w = w.clone();
                    checkpoint(&[&x], move |x| block(&x[0], &w))
                }
                false => block(&x, w),
            };
        }
        let gradients = x.square().sum_all().backward();
        let all: Vec<Vec<f32>> = weights.iter().chain([&input]).map(|p| gradient(&gradients, p)).collect();
        (all, device.counters().peak_bytes - before)
    };
    let ((plain, plain_bytes), (recomputed, fewer_bytes)) = (run(false), run(true));
    assert_eq!(plain, recomputed);
    assert!(2 * fewer_bytes < plain_bytes, "{fewer_bytes} against {plain_bytes}");
}

#[test]
fn the_graph_is_freed_as_backward_goes() {
    let device = Device::new_cpu();
    let x = Tensor::full(&device, &[1 << 16], 0.01, DType::F32).parameter();
    let step = || {
        let mut y = x.clone();
        for _ in 0..20 {
            y = y.tanh();
        }
        y.sum_all()
    };
    let loss = step();
    let graph_bytes = device.counters().live_bytes;
    device.reset_peak();
    let gradients = loss.backward();
    let tensor_bytes = 4 << 16;
    // never the graph and all gradients: one gradient comes as one saved tensor goes
    assert!(device.counters().peak_bytes < graph_bytes + 4 * tensor_bytes);
    drop(gradients);
    assert!(device.counters().live_bytes <= 3 * tensor_bytes, "{:?}", device.counters());
}

#[test]
fn a_long_chain_is_dropped_without_recursion() {
    let mut y = parameter(1, &[1]);
    for _ in 0..200_000 {
        y = y.neg();
    }
    drop(y);
}

#[test]
#[should_panic(expected = "was already used and freed")]
fn a_second_backward_panics() {
    let x = parameter(1, &[2]);
    let loss = x.square().sum_all();
    loss.backward();
    loss.backward();
}

#[test]
#[should_panic(expected = "backward: the loss must be one number, its shape is [2]")]
fn backward_from_a_vector_panics() {
    parameter(1, &[2]).square().backward();
}

#[test]
#[should_panic(expected = "top_k_mask: has no gradient, but an input needs one")]
fn an_op_without_a_gradient_panics_at_forward() {
    let k = Tensor::from_slice(&Device::cpu(), &[1u32], &[1]);
    parameter(1, &[1, 2]).top_k_mask(&k);
}

/// A small language model: embedding, attention over two packed texts, norm, fused head; gradients of everything, then a draw.
fn language_model_bits(device: &Device) -> Vec<u32> {
    let (tokens, width, vocab) = (37, 16, 50);
    let value =
        |stream, shape: &[usize]| Tensor::from_slice(device, &random::normal(8, stream, shape.iter().product(), 0.3), shape).parameter();
    let ids: Vec<u32> = (0..tokens as u32).map(|i| i * 7 % 11).collect();
    let (embedding, qkv, norm) = (value(1, &[vocab, width]), value(2, &[width, 3 * width]), value(3, &[width]));

    let x = embedding.embedding(&Indices::new(device, &ids, &[tokens])).rms_norm(&norm, 1e-5);
    let heads = x.matmul(&qkv).reshape(&[tokens, 3 * 2, width / 2]);
    let part = |i: usize| heads.slice(1, 2 * i, 2);
    let attended = part(0).attention(&part(1), &part(2), &Segments::causal(&[17, 20]), 0.35).reshape(&[tokens, width]);
    let hidden = x.add(&attended);
    let (log_probs, entropy) = hidden.linear_log_probs(&Head::new(&embedding), &Tensor::from_slice(device, &ids, &[tokens]), 1.0);
    let gradients = log_probs.sub(&entropy).mean(&[0]).backward();

    let logits = hidden.detach().matmul(&embedding.detach().t());
    let (drawn, _) = logits.sample(&Tensor::from_slice(device, &ids, &[tokens]), 0, &Sampling::plain(3));
    let mut bits = drawn.to_vec::<u32>().unwrap();
    bits.extend(entropy.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits));
    for parameter in [&embedding, &qkv, &norm] {
        bits.extend(gradient(&gradients, parameter).into_iter().map(f32::to_bits));
    }
    bits
}

#[test]
fn the_same_step_twice_gives_the_same_bits() {
    for device in [Device::cpu(), crate::common::gpu()] {
        let first = language_model_bits(&device);
        for _ in 0..3 {
            assert!(first == language_model_bits(&device), "{device}");
        }
    }
}

#[test]
fn over_the_budget_is_an_error_that_says_what_to_do() {
    let device = Device::new_cpu();
    device.set_memory_budget(1 << 20);
    let x = Tensor::zeros(&device, &[100, 1000], DType::F32);
    let y = x.broadcast_to(&[3, 100, 1000]).exp();
    let error = y.to_vec::<f32>().unwrap_err().to_string();
    assert!(error.contains("out of memory on cpu: contiguous [3, 100, 1000] f32 needs"), "{error}");
    assert!(error.contains("Lower the batch"), "{error}");
    // the device goes on, the tensor does not
    assert_eq!(x.exp().to_vec::<f32>().unwrap()[0], 1.0);
    device.set_memory_budget(u64::MAX);
    let error = y.neg().to_vec::<f32>().unwrap_err().to_string();
    assert!(error.contains("never computed, because an earlier op failed"), "{error}");
}
