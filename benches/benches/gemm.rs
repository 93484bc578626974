//! Matrix products beside the `gemm` crate and the processor's fused multiply-add rate.
//!
//! The table that is printed first is the one to quote: its entries are measured in turn, round by round, and its ratios are of medians.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use percept_benches::{gemm_crate, median};
use percept_engine::ops::MatmulVariant;
use percept_engine::probe::fma_gflops;
use percept_engine::{DType, Device, GpuSelector, Tensor, tune};

/// `[m, k] · [k, n]`: square, a decoder's MLP for few tokens, a language-model head, attention-like, decoding.
const SIZES: [[usize; 3]; 5] = [[512, 512, 512], [16, 576, 1536], [64, 576, 8192], [1024, 64, 1024], [1, 576, 1536]];

fn main() {
    let gpu = gpu();
    println!("fused multiply-add peak: {:.0} GFLOP/s", fma_gflops());
    for size in SIZES {
        compare(size, gpu.as_ref());
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}

criterion_group!(benches, criterion_rows);

fn criterion_rows(criterion: &mut Criterion) {
    for size in SIZES {
        let [m, k, n] = size;
        let mut group = criterion.benchmark_group(format!("gemm/{m}x{k}x{n}"));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64)).sample_size(20).warm_up_time(Duration::from_millis(300));
        for mut entry in cpu_entries(size) {
            group.bench_function(entry.name, |b| b.iter(&mut entry.run));
        }
        group.finish();
    }
}

/// Something that is timed: `products` products of the size at hand.
struct Entry {
    name: String,
    products: usize,
    run: Box<dyn FnMut()>,
}

/// Prints medians of rounds in which every entry runs once, beside the first entry of as many products.
fn compare(size: [usize; 3], gpu: Option<&Device>) {
    let [m, k, n] = size;
    println!("[{m}, {k}] · [{k}, {n}]");
    let mut entries = cpu_entries(size);
    entries.extend(gpu.into_iter().flat_map(|gpu| gpu_entries(gpu, size)));
    let mut seconds = vec![Vec::new(); entries.len()];
    entries.iter_mut().for_each(|entry| (entry.run)());
    let repeats = (50_000_000 / (m * k * n)).clamp(1, 50);
    for _ in 0..15 {
        for (entry, seconds) in entries.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            (0..repeats).for_each(|_| (entry.run)());
            seconds.push(start.elapsed().as_secs_f64() / repeats as f64);
        }
    }
    let medians: Vec<f64> = seconds.iter_mut().map(|s| median(s)).collect();
    for (entry, seconds) in entries.iter().zip(&medians) {
        let reference = entries.iter().position(|e| e.products == entry.products).expect("itself");
        let gflops = (2 * m * k * n * entry.products) as f64 / seconds / 1e9;
        println!("  {:<44} {gflops:8.2} GFLOP/s  {:6.3} of {}", entry.name, medians[reference] / seconds, entries[reference].name);
    }
}

fn cpu_entries([m, k, n]: [usize; 3]) -> Vec<Entry> {
    let (av, bv, dyv) = (values(m * k), values(k * n), values(m * n));
    let cpu = Device::cpu();
    let a = Tensor::from_slice(&cpu, &av, &[m, k]);
    let b = Tensor::from_slice(&cpu, &bv, &[k, n]);
    let dy = Tensor::from_slice(&cpu, &dyv, &[m, n]);
    let mut entries = Vec::new();
    let mut push = |name: &str, products, run: Box<dyn FnMut()>| entries.push(Entry { name: name.into(), products, run });

    let (av1, bv1, mut y) = (av.clone(), bv.clone(), vec![0.0; m * n]);
    push("gemm crate, forward", 1, Box::new(move || gemm_crate([m, k, n], &mut y, &av1, [k, 1], &bv1, [n, 1])));
    let (a1, b1) = (a.clone(), b.clone());
    push("percept cpu, forward", 1, Box::new(move || drop(black_box(a1.matmul(&b1)))));
    for dtype in [DType::F16, DType::BF16] {
        let wide: Vec<f64> = bv.iter().map(|&v| f64::from(v)).collect();
        let (a1, b1) = (a.clone(), Tensor::from_f64(&cpu, &wide, &[n, k], dtype));
        push(&format!("percept cpu, forward, {dtype} weights"), 1, Box::new(move || drop(black_box(a1.matmul(&b1.t())))));
    }

    // y = a b, da = dy bᵀ, db = aᵀ dy
    let (mut y, mut da, mut db) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; k * n]);
    let three = move || {
        gemm_crate([m, k, n], &mut y, &av, [k, 1], &bv, [n, 1]);
        gemm_crate([m, n, k], &mut da, &dyv, [n, 1], &bv, [1, n]);
        gemm_crate([k, m, n], &mut db, &av, [1, k], &dyv, [n, 1]);
    };
    push("gemm crate, forward and both gradients", 3, Box::new(three));
    let (a, b) = (a.parameter(), b.parameter());
    push("percept cpu, forward and both gradients", 3, Box::new(move || drop(black_box(a.matmul(&b).backward_from(&dy)))));
    entries
}

fn gpu_entries(gpu: &Device, [m, k, n]: [usize; 3]) -> Vec<Entry> {
    let a = Tensor::from_slice(gpu, &values(m * k), &[m, k]);
    let b = Tensor::from_slice(gpu, &values(k * n), &[k, n]);
    let mut entries = Vec::new();
    let mut push = |name: String, f: Box<dyn Fn() -> Tensor>| {
        let gpu = gpu.clone();
        let run = Box::new(move || {
            let y = f();
            gpu.synchronize().expect("the GPU works");
            drop(y);
        });
        entries.push(Entry { name, products: 1, run });
    };
    let (a1, b1) = (a.clone(), b.clone());
    push(format!("{gpu}, chosen"), Box::new(move || a1.matmul(&b1)));
    for variant in MatmulVariant::ALL.into_iter().filter(|v| v.runs_on(gpu)) {
        let is_of_interest = match variant {
            // the twin is for tests: its speed says nothing
            MatmulVariant::CooperativeScalar(_) => false,
            MatmulVariant::Plain => [m, k, n] == SIZES[0],
            MatmulVariant::Skinny => m <= 16,
            _ => true,
        };
        if is_of_interest {
            let (a, b) = (a.clone(), b.clone());
            push(format!("{gpu}, {variant:?}"), Box::new(move || a.matmul_by(&b, variant)));
        }
    }
    entries
}

/// The GPU of `PERCEPT_ADAPTER`, else a hardware one, else a software one.
fn gpu() -> Option<Device> {
    let device = Device::gpu(&GpuSelector::from_env_or_hardware()).or_else(|_| Device::gpu(&GpuSelector::software()));
    device.inspect(tune::load).inspect_err(|error| println!("no GPU: {error}")).ok()
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 1013) as f32 / 1013.0 - 0.5).collect()
}
