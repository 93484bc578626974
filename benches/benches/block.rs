//! A training step of four transformer blocks (d 256, 8 heads, seq 128, batch 8, MLP × 4, causal, f32, AdamW; 3.16M parameters), as a share of the
//! GEMM rate of the same machine in the same minute.
//!
//! The share counts the multiplications that the mathematics needs: 6 per parameter of a matrix and token, and those of causal attention.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use percept_benches::{gemm_512_gflops, gemm_512_seconds, median, seconds};
use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{AdamW, AdamWConfig, Device, GpuSelector, Gradients, ParamGroup, Tensor, random, tune};

const WIDTH: usize = 256;
const HEADS: usize = 8;
const SEQ: usize = 128;
const BATCH: usize = 8;
const BLOCKS: usize = 4;
const ROUNDS: usize = 15;

fn main() {
    compare();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

criterion_group!(benches, criterion_rows);

fn criterion_rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training_step");
    group.throughput(Throughput::Elements(step_flops())).sample_size(10).warm_up_time(Duration::from_millis(500));
    for device in devices() {
        let mut training = Training::new(&device);
        group.bench_function(device.to_string(), |b| b.iter(|| training.step()));
    }
    group.finish();

    let mut group = criterion.benchmark_group("adamw");
    for device in devices() {
        let mut training = Training::new(&device);
        let gradients = training.gradients();
        // reads weight, gradient and two moments, writes weight and moments: seven f32 a parameter
        group.throughput(Throughput::Bytes(28 * training.parameters.iter().map(Tensor::len).sum::<usize>() as u64)).sample_size(10);
        group.bench_function(device.to_string(), |b| b.iter(|| training.update(&gradients)));
    }
    group.finish();
}

/// The CPU, and a GPU if `PERCEPT_ADAPTER` names one or there is a hardware one.
fn devices() -> Vec<Device> {
    [Some(Device::cpu()), Device::gpu(&GpuSelector::from_env_or_hardware()).inspect(tune::load).ok()].into_iter().flatten().collect()
}

/// Step and GEMM in turn, medians, one ratio: the number to quote.
fn compare() {
    let device = Device::cpu();
    let mut training = Training::new(&device);
    training.step();
    let (mut steps, mut gemms) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        steps.push(seconds(|| training.step()));
        gemms.push(gemm_512_seconds());
    }
    let step_rate = step_flops() as f64 / median(&mut steps) / 1e9;
    let gemm_rate = gemm_512_gflops(median(&mut gemms));
    println!(
        "training step of {BLOCKS} blocks, {} parameters: {step_rate:.0} GFLOP/s; gemm 512³: {gemm_rate:.0} GFLOP/s; ratio {:.2}",
        training.parameters.iter().map(Tensor::len).sum::<usize>(),
        step_rate / gemm_rate
    );
}

fn step_flops() -> u64 {
    let (tokens, matrices) = ((SEQ * BATCH) as u64, (BLOCKS * 12 * WIDTH * WIDTH) as u64);
    // causal: half of the scores; two products forward, five backward with the recomputed scores left out of the count
    let attention = (BLOCKS * BATCH * SEQ * SEQ / 2 * WIDTH * 2) as u64 * (2 + 4);
    6 * tokens * matrices + attention
}

/// Four pre-norm blocks, mean square as the loss.
struct Training {
    input: Tensor,
    segments: Segments,
    parameters: Vec<Tensor>,
    optimiser: AdamW,
}

/// Parameters of a block: two norms, attention in and out, MLP in and out.
const PER_BLOCK: usize = 12;

impl Training {
    fn new(device: &Device) -> Training {
        let values = |stream: usize, shape: &[usize], deviation: f32| {
            Tensor::from_slice(device, &random::normal(1, stream as u64, shape.iter().product(), deviation), shape)
        };
        let parameters: Vec<Tensor> = (0..BLOCKS)
            .flat_map(|block| {
                let matrix = |i: usize, shape: [usize; 2]| values(block * PER_BLOCK + i, &shape, 0.05).parameter();
                let constant = |length: usize, value: f32| Tensor::from_slice(device, &vec![value; length], &[length]).parameter();
                [
                    constant(WIDTH, 1.0),
                    constant(WIDTH, 0.0),
                    matrix(2, [WIDTH, 3 * WIDTH]),
                    constant(3 * WIDTH, 0.0),
                    matrix(4, [WIDTH, WIDTH]),
                    constant(WIDTH, 0.0),
                    constant(WIDTH, 1.0),
                    constant(WIDTH, 0.0),
                    matrix(8, [WIDTH, 4 * WIDTH]),
                    constant(4 * WIDTH, 0.0),
                    matrix(10, [4 * WIDTH, WIDTH]),
                    constant(WIDTH, 0.0),
                ]
            })
            .collect();
        let segments = (0..BATCH)
            .map(|row| {
                let tokens = row * SEQ..(row + 1) * SEQ;
                Segment { query: tokens.clone(), keys: tokens, prefix: None, mask: Mask::Causal }
            })
            .collect();
        let named = parameters.iter().enumerate().map(|(i, p)| (format!("p{i}"), p.clone())).collect();
        let group = ParamGroup { parameters: named, lr_scale: 1.0, weight_decay: 0.01 };
        Training {
            input: values(1000, &[BATCH * SEQ, WIDTH], 1.0),
            segments: Segments::new(segments, BATCH * SEQ, BATCH * SEQ),
            optimiser: AdamW::new(vec![group], AdamWConfig::default()),
            parameters,
        }
    }

    fn step(&mut self) {
        let gradients = self.gradients();
        self.update(&gradients);
    }

    fn gradients(&self) -> Gradients {
        let mut x = self.input.clone();
        for block in self.parameters.chunks(PER_BLOCK) {
            x = self.block(&x, block);
        }
        x.square().mean(&[0, 1]).backward()
    }

    fn update(&mut self, gradients: &Gradients) {
        self.optimiser.step(gradients);
        self.input.device().synchronize().expect("the step");
    }

    /// `[tokens, width] -> [tokens, width]`
    fn block(&self, x: &Tensor, parameters: &[Tensor]) -> Tensor {
        let tokens = x.dim(0);
        let [norm1, shift1, w_qkv, b_qkv, w_out, b_out, norm2, shift2, w_up, b_up, w_down, b_down] = parameters else {
            unreachable!("{PER_BLOCK} parameters a block")
        };
        let qkv = x.layer_norm(norm1, shift1, 1e-5).matmul(w_qkv).add(b_qkv);
        let head = |i: usize| qkv.slice(1, i * WIDTH, WIDTH).reshape(&[tokens, HEADS, WIDTH / HEADS]);
        let scale = 1.0 / ((WIDTH / HEADS) as f32).sqrt();
        let attended = head(0).attention(&head(1), &head(2), &self.segments, scale).reshape(&[tokens, WIDTH]);
        let x = x.add(&attended.matmul(w_out).add(b_out));
        let hidden = x.layer_norm(norm2, shift2, 1e-5).matmul(w_up).add(b_up).gelu_tanh();
        x.add(&hidden.matmul(w_down).add(b_down))
    }
}
