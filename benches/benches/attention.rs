//! Segment attention beside the `gemm` crate at 512³, measured in turn.
//!
//! FLOPs are those of the products: 4 per (query, key it sees, column) forward and 10 backward, which computes the scores again; a causal query sees
//! half of its sequence.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use percept_benches::{gemm_512_gflops, gemm_512_seconds, median, seconds};
use percept_engine::check::Rng;
use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{DType, Device, GpuSelector, Tensor, no_grad};

const ROUNDS: usize = 15;

fn main() {
    compare();
    compare_caches();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

criterion_group!(benches, criterion_rows);

struct Case {
    label: &'static str,
    segments: Segments,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Pairs of a query and a key that it sees; in causal segments half of all.
    pairs: usize,
}

fn cases() -> Vec<Case> {
    let causal = |label, batch: usize, seq: usize, heads, kv_heads, head_dim| {
        let segments = Segments::causal(&vec![seq; batch]);
        Case { label, segments, heads, kv_heads, head_dim, pairs: batch * seq * seq / 2 }
    };
    let image = Segments::bidirectional(&[1024]);
    vec![
        causal("causal 4 x 512, 8 heads of 64", 4, 512, 8, 8, 64),
        causal("causal 4 x 512, 9 heads of 64 on 3 key heads", 4, 512, 9, 3, 64),
        causal("causal 8 x 128, 8 heads of 32", 8, 128, 8, 8, 32),
        Case { label: "image of 1024, 12 heads of 64", segments: image, heads: 12, kv_heads: 12, head_dim: 64, pairs: 1024 * 1024 },
        shared_prompt(),
        decode(),
    ]
}

/// A prompt of 512 tokens and 8 responses of 64.
fn shared_prompt() -> Case {
    let (prompt, responses, length) = (512, 8, 64);
    let mut segments = vec![Segment { query: 0..prompt, keys: 0..prompt, prefix: None, mask: Mask::Causal }];
    for response in 0..responses {
        let own = prompt + response * length..prompt + (response + 1) * length;
        segments.push(Segment { query: own.clone(), keys: own, prefix: Some(0..prompt), mask: Mask::Causal });
    }
    let tokens = prompt + responses * length;
    let pairs = prompt * prompt / 2 + responses * length * (prompt + length / 2);
    let segments = Segments::new(segments, tokens, tokens);
    Case { label: "prompt of 512, 8 responses of 64, 9 heads of 64 on 3", segments, heads: 9, kv_heads: 3, head_dim: 64, pairs }
}

/// The next token of 8 responses to a prompt of 512, 32 tokens in.
fn decode() -> Case {
    let (prompt, responses, room, length) = (512, 8, 64, 32);
    let segment = |response: usize| {
        let start = prompt + response * room;
        Segment { query: response..response + 1, keys: start..start + length, prefix: Some(0..prompt), mask: Mask::Causal }
    };
    let segments = Segments::new((0..responses).map(segment).collect(), responses, prompt + responses * room);
    let pairs = responses * (prompt + length);
    Case { label: "decode 8 against 512 + 32, 9 heads of 64 on 3", segments, heads: 9, kv_heads: 3, head_dim: 64, pairs }
}

struct Attention {
    inputs: [Tensor; 3],
    upstream: Tensor,
    case: Case,
}

impl Attention {
    fn new(case: Case, device: &Device) -> Attention {
        let mut rng = Rng::new(1);
        let mut random = |tokens, heads| {
            let input = rng.input(&[tokens, heads, case.head_dim], -1.0, 1.0);
            Tensor::from_f64(device, &input.values, &input.shape, DType::F32)
        };
        let (queries, keys) = (case.segments.query_tokens(), case.segments.kv_tokens());
        let upstream = random(queries, case.heads);
        let inputs = [random(queries, case.heads), random(keys, case.kv_heads), random(keys, case.kv_heads)].map(|x| x.parameter());
        Attention { inputs, upstream, case }
    }

    fn forward(&self) -> Tensor {
        let [q, k, v] = &self.inputs;
        q.attention(k, v, &self.case.segments, 1.0 / (self.case.head_dim as f32).sqrt())
    }

    fn both(&self) {
        drop(self.forward().backward_from(&self.upstream));
        self.finish();
    }

    fn forward_alone(&self) {
        drop(no_grad(|| self.forward()));
        self.finish();
    }

    fn finish(&self) {
        self.upstream.device().synchronize().expect("the device works");
    }

    fn flops(&self, per_pair: usize) -> f64 {
        (per_pair * self.case.pairs * self.case.heads * self.case.head_dim) as f64
    }
}

/// Attention and GEMM in turn, medians, ratios: the numbers to quote.
fn compare() {
    for case in cases() {
        let attention = Attention::new(case, &Device::cpu());
        attention.both();
        // As much work as the attention, so that other users of the machine slow both alike.
        let repeats = (attention.flops(14) / 1e9 / gemm_512_gflops(1.0)).ceil().max(1.0);
        let (mut forwards, mut boths, mut gemms) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            forwards.push(seconds(|| attention.forward_alone()));
            gemms.push((0..repeats as usize).map(|_| gemm_512_seconds()).sum::<f64>() / repeats);
            boths.push(seconds(|| attention.both()));
        }
        let gemm_rate = gemm_512_gflops(median(&mut gemms));
        let forward_rate = attention.flops(4) / median(&mut forwards) / 1e9;
        let both_rate = attention.flops(14) / median(&mut boths) / 1e9;
        println!(
            "{}: forward {forward_rate:.0} GFLOP/s, ratio {:.2}; forward and backward {both_rate:.0} GFLOP/s, ratio {:.2}; gemm 512³ {gemm_rate:.0} GFLOP/s",
            attention.case.label,
            forward_rate / gemm_rate,
            both_rate / gemm_rate
        );
    }
}

/// Decoding with long contexts on the CPU, over keys and values of each storage type in turn.
fn compare_caches() {
    let device = Device::cpu();
    for case in long_contexts() {
        let Case { label, segments, heads, kv_heads, head_dim, .. } = case;
        let mut rng = Rng::new(1);
        let mut random = |tokens, heads| {
            let input = rng.input(&[tokens, heads, head_dim], -1.0, 1.0);
            Tensor::from_f64(&device, &input.values, &input.shape, DType::F32)
        };
        let (queries, keys, values) =
            (random(segments.query_tokens(), heads), random(segments.kv_tokens(), kv_heads), random(segments.kv_tokens(), kv_heads));
        let types = [DType::F32, DType::F16, DType::BF16];
        let caches = types.map(|dtype| [keys.cast(dtype), values.cast(dtype)]);
        let attend = |[keys, values]: &[Tensor; 2]| drop(queries.attention(keys, values, &segments, 1.0 / (head_dim as f32).sqrt()));
        let mut times = types.map(|_| Vec::new());
        for round in 0..ROUNDS + 2 {
            for (times, cache) in times.iter_mut().zip(&caches) {
                let one = seconds(|| attend(cache));
                if round >= 2 {
                    times.push(one);
                }
            }
        }
        let [single, half, brain] = times.each_mut().map(|times| 1e3 * median(times));
        println!("{label}: f32 {single:.2} ms, f16 {half:.2} ms ({:.2}), bf16 {brain:.2} ms ({:.2})", half / single, brain / single);
    }
}

/// The next token of sequences with 4096 tokens before it, of their own or (all but 64) of a prompt that they share.
fn long_contexts() -> Vec<Case> {
    const LENGTH: usize = 4096;
    let own = |label, sequences: usize, [heads, kv_heads, head_dim]: [usize; 3]| {
        let segment = |i: usize| Segment { query: i..i + 1, keys: i * LENGTH..(i + 1) * LENGTH, prefix: None, mask: Mask::Causal };
        let segments = Segments::new((0..sequences).map(segment).collect(), sequences, sequences * LENGTH);
        Case { label, segments, heads, kv_heads, head_dim, pairs: sequences * LENGTH }
    };
    let shared = |label, sequences: usize, [heads, kv_heads, head_dim]: [usize; 3]| {
        let (prompt, room) = (LENGTH - 64, 64);
        let segment = |i: usize| {
            let start = prompt + i * room;
            Segment { query: i..i + 1, keys: start..start + room, prefix: Some(0..prompt), mask: Mask::Causal }
        };
        let segments = Segments::new((0..sequences).map(segment).collect(), sequences, prompt + sequences * room);
        Case { label, segments, heads, kv_heads, head_dim, pairs: sequences * LENGTH }
    };
    vec![
        own("decode 1 against 4096, 9 heads of 64 on 3", 1, [9, 3, 64]),
        own("decode 16 against 4096 each, 9 heads of 64 on 3", 16, [9, 3, 64]),
        own("decode 1 against 4096, 16 heads of 128 on 2", 1, [16, 2, 128]),
        own("decode 16 against 4096 each, 16 heads of 128 on 2", 16, [16, 2, 128]),
        shared("decode 16 against 4032 + 64, 16 heads of 128 on 2", 16, [16, 2, 128]),
    ]
}

/// On the CPU, and on a GPU if `PERCEPT_ADAPTER` names one or there is a hardware one.
fn criterion_rows(criterion: &mut Criterion) {
    let gpu = Device::gpu(&GpuSelector::from_env_or_hardware()).ok();
    let mut group = criterion.benchmark_group("attention");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for device in [Some(Device::cpu()), gpu].into_iter().flatten() {
        for case in cases() {
            let attention = Attention::new(case, &device);
            let id = |what: &str| BenchmarkId::new(format!("{what} on {device}"), attention.case.label);
            group.throughput(Throughput::Elements(attention.flops(4) as u64));
            group.bench_function(id("forward"), |b| b.iter(|| attention.forward_alone()));
            group.throughput(Throughput::Elements(attention.flops(14) as u64));
            group.bench_function(id("forward and backward"), |b| b.iter(|| attention.both()));
        }
    }
    group.finish();
}
