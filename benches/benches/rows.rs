//! Row ops and elementwise ops on the CPU in GB/s (bytes read and written once), beside a memory copy of the same tensor in the same run.

use std::hint::black_box;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use percept_engine::{Device, Tensor};
use rayon::prelude::*;

/// One that stays in the cache (4 MiB) and one that comes from memory (64 MiB).
const SHAPES: [[usize; 2]; 2] = [[1024, 1024], [16384, 1024]];

fn rows(criterion: &mut Criterion) {
    for shape in SHAPES {
        let mut group = criterion.benchmark_group(format!("rows {shape:?}"));
        let bytes = 4 * shape.iter().product::<usize>() as u64;
        group.throughput(Throughput::Bytes(2 * bytes));
        copy_probe(&mut group, shape.iter().product());
        ops(&mut group, shape, bytes);
        group.finish();
    }
}

/// A part per thread: what the memory gives at best.
fn copy_probe(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    let (source, mut target) = (vec![1.0f32; len], vec![0.0f32; len]);
    let part = len.div_ceil(rayon::current_num_threads());
    group.bench_function("copy", |bencher| {
        bencher.iter(|| {
            target.par_chunks_mut(part).zip(source.par_chunks(part)).for_each(|(target, source)| target.copy_from_slice(source));
            black_box(&mut target);
        });
    });
}

fn ops(group: &mut BenchmarkGroup<'_, WallTime>, shape: [usize; 2], bytes: u64) {
    let device = Device::cpu();
    let tensor = |seed: usize, shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| ((i * 7919 + seed) % 2003) as f32 / 500.0 - 2.0).collect();
        Tensor::from_slice(&device, &values, shape)
    };
    let (x, z, weight, bias) = (tensor(1, &shape), tensor(2, &shape), tensor(3, &shape[1..]), tensor(4, &shape[1..]));
    let gate_and_up = tensor(5, &[shape[0], 2 * shape[1]]);
    let mut op = |name: &str, tensors_moved: u64, run: &dyn Fn() -> Tensor| {
        group.throughput(Throughput::Bytes(tensors_moved * bytes));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| bencher.iter(|| black_box(run())));
    };
    op("softmax", 2, &|| x.softmax());
    op("log_softmax", 2, &|| x.log_softmax());
    op("rms_norm", 2, &|| x.rms_norm(&weight, 1e-5));
    op("layer_norm", 2, &|| x.layer_norm(&weight, &bias, 1e-5));
    op("gelu_tanh", 2, &|| x.gelu_tanh());
    op("gelu_erf", 2, &|| x.gelu_erf());
    op("silu", 2, &|| x.silu());
    op("exp", 2, &|| x.exp());
    op("affine", 2, &|| x.affine(2.0, 1.0));
    op("add_bias", 2, &|| x.add(&bias));
    op("add", 3, &|| x.add(&z));
    op("add_rms_norm", 4, &|| x.add_rms_norm(&z, &weight, 1e-5)[1].clone());
    op("swiglu", 3, &|| gate_and_up.swiglu());
    op("sum_rows", 1, &|| x.sum(&[-1]));
    op("sum_columns", 1, &|| x.sum(&[0]));
}

criterion_group!(benches, rows);
criterion_main!(benches);
