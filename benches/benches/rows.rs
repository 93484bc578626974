//! Row ops and elementwise ops on the CPU in GB/s (bytes read and written once), beside a memory copy of the same tensor in the same run.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use percept_engine::{Device, Tensor};
use rayon::prelude::*;

const SHAPE: [usize; 2] = [4096, 1024];
const BYTES: u64 = 4 * (SHAPE[0] * SHAPE[1]) as u64;

fn rows(criterion: &mut Criterion) {
    let device = Device::cpu();
    let values = |seed: usize, len: usize| -> Vec<f32> { (0..len).map(|i| ((i * 7919 + seed) % 2003) as f32 / 500.0 - 2.0).collect() };
    let tensor = |seed, shape: &[usize]| Tensor::from_slice(&device, &values(seed, shape.iter().product()), shape);
    let (x, z, weight, bias) = (tensor(1, &SHAPE), tensor(2, &SHAPE), tensor(3, &SHAPE[1..]), tensor(4, &SHAPE[1..]));

    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Bytes(2 * BYTES));
    let (source, mut target) = (values(1, x.len()), vec![0.0f32; x.len()]);
    group.bench_function(BenchmarkId::new("copy", "probe"), |b| {
        b.iter(|| {
            // a part per thread: what the memory gives at best
            let part = source.len().div_ceil(rayon::current_num_threads());
            target.par_chunks_mut(part).zip(source.par_chunks(part)).for_each(|(target, source)| target.copy_from_slice(source));
            black_box(target[0]);
        });
    });
    let mut op = |name: &str, run: &dyn Fn() -> Tensor| {
        group.bench_function(BenchmarkId::new(name, "forward"), |b| b.iter(|| black_box(run())));
    };
    op("softmax", &|| x.softmax());
    op("log_softmax", &|| x.log_softmax());
    op("rms_norm", &|| x.rms_norm(&weight, 1e-5));
    op("layer_norm", &|| x.layer_norm(&weight, &bias, 1e-5));
    op("gelu_tanh", &|| x.gelu_tanh());
    op("gelu_erf", &|| x.gelu_erf());
    op("silu", &|| x.silu());
    op("exp", &|| x.exp());
    op("affine", &|| x.affine(2.0, 1.0));
    op("bias_add", &|| x.add(&bias));

    // two inputs and one output
    group.throughput(Throughput::Bytes(3 * BYTES));
    let mut op = |name: &str, run: &dyn Fn() -> Tensor| {
        group.bench_function(BenchmarkId::new(name, "forward"), |b| b.iter(|| black_box(run())));
    };
    op("add", &|| x.add(&z));
    op("swiglu", &|| x.swiglu(&z));

    // read only
    group.throughput(Throughput::Bytes(BYTES));
    group.bench_function(BenchmarkId::new("sum", "rows"), |b| b.iter(|| black_box(x.sum(&[-1]))));
    group.bench_function(BenchmarkId::new("sum", "columns"), |b| b.iter(|| black_box(x.sum(&[0]))));
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
