//! What one kernel launch costs on the GPU: processor time to record it, and wall time per dispatch of a long queue of tiny kernels.
//!
//! `PERCEPT_ADAPTER=software cargo bench --bench dispatch` runs it on lavapipe.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use percept_benches::median;
use percept_engine::{Device, GpuSelector, Tensor, no_grad};

fn dispatch(c: &mut Criterion) {
    let opened = Device::gpu(&GpuSelector::from_env_or_hardware()).or_else(|_| Device::gpu(&GpuSelector::software()));
    let device = opened.unwrap_or_else(|error| panic!("this bench needs a GPU or lavapipe: {error}"));
    println!("dispatch: on {device}");
    let x = Tensor::from_slice(&device, &[1.0f32; 64], &[64]);

    println!("recording an op takes {:.1} µs of this thread's processor time", recording_microseconds(&device, &x));

    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(1));
    group.bench_function("wall_time_per_dispatch", |b| {
        b.iter_custom(|launches| {
            device.synchronize().expect("the device works");
            let start = Instant::now();
            no_grad(|| (0..launches).for_each(|_| drop(black_box(x.add(&x)))));
            device.synchronize().expect("the device works");
            start.elapsed()
        });
    });
    group.bench_function("read_back_one_number", |b| {
        let one = Tensor::scalar(&device, 1.0);
        b.iter(|| one.item().expect("the device works"));
    });
    group.finish();
}

/// An op as the model calls it: check, allocate, record, free, and its share of the submission. Median of rounds long enough for the clock, which
/// may tick only every few milliseconds.
fn recording_microseconds(device: &Device, x: &Tensor) -> f64 {
    const LAUNCHES: u32 = 20_000;
    let round = |_| {
        device.synchronize().expect("the device works");
        let start = thread_cpu_time();
        no_grad(|| (0..LAUNCHES).for_each(|_| drop(black_box(x.add(x)))));
        (thread_cpu_time() - start).as_secs_f64() * 1e6 / f64::from(LAUNCHES)
    };
    median(&mut (0..9).map(round).collect::<Vec<f64>>())
}

/// Processor time of this thread, from Linux's scheduler; wall time elsewhere.
fn thread_cpu_time() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok()) {
        Some(nanoseconds) => Duration::from_nanos(nanoseconds),
        None => START.get_or_init(Instant::now).elapsed(),
    }
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
