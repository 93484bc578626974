use percept_engine::{Device, Tensor, random};
use std::time::Instant;
fn main() {
    let d = Device::cpu();
    let shapes: Vec<(usize, usize, usize, &str)> = vec![
        (512, 512, 512, "nn"),
        (1024, 128, 128, "nt"),
        (1024, 256, 128, "nt"),
        (1024, 128, 256, "nt"),
        (7000, 128, 128, "nt"),
        (7000, 256, 128, "nt"),
        (7000, 384, 128, "nt"),
        (2048, 96, 96, "nt"),
        (2048, 384, 96, "nt"),
        (2048, 96, 384, "nt"),
        (1024, 576, 576, "nt"),
        (1024, 1536, 576, "nt"),
        (1024, 576, 1536, "nt"),
        (1024, 768, 768, "nt"),
        (1024, 3072, 768, "nt"),
        (1024, 768, 3072, "nt"),
        (1024, 576, 1536, "nn"),
        (1024, 256, 1024, "nn"),
        (1024, 1024, 256, "nn"),
        (1024, 768, 256, "nn"),
        (128, 128, 7000, "tn"),
        (256, 128, 7000, "tn"),
        (96, 384, 2048, "tn"),
        (576, 1536, 1024, "tn"),
        (256, 1024, 1024, "tn"),
        (1, 576, 576, "nt"),
        (1, 1536, 576, "nt"),
        (1, 49280, 576, "nt"),
        (8, 576, 576, "nt"),
        (8, 1536, 576, "nt"),
        (8, 576, 1536, "nt"),
        (8, 49280, 576, "nt"),
        (64, 576, 576, "nt"),
        (64, 1536, 576, "nt"),
        (256, 128, 128, "nt"),
        (256, 256, 128, "nt"),
        (256, 384, 128, "nt"),
        (32, 128, 128, "nt"),
    ];
    for (m, n, k, kind) in shapes {
        let (a, b) = match kind {
            "nn" => (vec![m, k], vec![k, n]),
            "nt" => (vec![m, k], vec![n, k]),
            _ => (vec![k, m], vec![k, n]),
        };
        let mk = |s: &[usize], i| Tensor::from_slice(&d, &random::normal(1, i, s.iter().product(), 1.0), s);
        let (a, b) = (mk(&a, 1), mk(&b, 2));
        let (a, b) = match kind {
            "nn" => (a, b),
            "nt" => (a, b.t()),
            _ => (a.t(), b),
        };
        let flops = 2.0 * (m * n * k) as f64;
        let reps = ((2e9 / flops) as usize).clamp(3, 400);
        let mut times = vec![];
        for _ in 0..9 {
            let t = Instant::now();
            for _ in 0..reps {
                std::hint::black_box(a.matmul(&b));
            }
            times.push(t.elapsed().as_secs_f64() / reps as f64);
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{kind} {m:5} {n:5} {k:5}  {:8.1} GFLOP/s best {:8.1}  {:9.2} us",
            flops / times[4] / 1e9,
            flops / times[0] / 1e9,
            times[4] * 1e6
        );
    }
}
