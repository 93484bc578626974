//! A training step of four transformer blocks (d 256, 8 heads, seq 128, batch 8, MLP × 4, causal, f32, AdamW; 3.16M parameters), as a share of the
//! GEMM rate of the same machine in the same minute.
//!
//! The share counts the multiplications that the mathematics needs: 6 per parameter of a matrix and token, and those of causal attention.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use percept_benches::block::{Training, step_flops};
use percept_benches::{gemm_512_gflops, gemm_512_seconds, median, seconds};
use percept_engine::{Device, GpuSelector, Tensor, tune};

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
        "training step of four blocks, {} parameters: {step_rate:.0} GFLOP/s; gemm 512³: {gemm_rate:.0} GFLOP/s; ratio {:.2}",
        training.parameters.iter().map(Tensor::len).sum::<usize>(),
        step_rate / gemm_rate
    );
}
