//! What the processor can do at best, measured: the limits that speeds are compared with.

use std::hint::black_box;
use std::time::Instant;

use crate::cpu::parallel::for_chunks;
use crate::cpu::simd::{Simd, simd};
use crate::cpu::threads::{for_each, threads};
use crate::parallel;

/// Multiplications with additions in a second, in billions of both together (GFLOP/s), of f32 in registers, on all threads: no product can be faster.
pub fn fma_gflops() -> f64 {
    const STEPS: usize = 4_000_000; // long enough that the system has given every thread a core of its own
    // a register for each chain; two to a chain are more than AVX2 has
    let (lanes, seconds) = match simd() {
        Simd::Avx512 => (16, best_of(9, || parallel!(for_each(threads()), |_| chains::<16>(STEPS)))),
        _ => (8, best_of(9, || parallel!(for_each(threads()), |_| chains::<8>(STEPS)))),
    };
    1e-9 * (2 * lanes * CHAINS * STEPS * threads()) as f64 / seconds
}

/// Bytes read and written in a second by a copy of memory much larger than the caches, on all threads, in billions.
pub fn copy_gigabytes_per_second() -> f64 {
    const FLOATS: usize = 1 << 24;
    let (source, mut target) = (vec![1.0f32; FLOATS], vec![0.0f32; FLOATS]);
    let seconds = best_of(9, || {
        parallel!(for_chunks(&mut target, 1 << 14), |chunk, target| target.copy_from_slice(&source[chunk << 14..][..target.len()]))
    });
    black_box(&target);
    1e-9 * (8 * FLOATS) as f64 / seconds
}

/// A limit is the best that was seen: what else runs on the machine can only make it look lower.
fn best_of(rounds: usize, mut f: impl FnMut()) -> f64 {
    let seconds = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(seconds).fold(f64::INFINITY, f64::min)
}

const CHAINS: usize = 8;

/// Independent chains, enough to hide the latency of the instruction; each in a variable of its own, or the compiler keeps them in memory.
#[inline(always)]
fn chains<const LANES: usize>(steps: usize) {
    #[inline(always)]
    fn next<const LANES: usize>(sum: [f32; LANES], x: &[f32; LANES], y: &[f32; LANES]) -> [f32; LANES] {
        let mut result = sum;
        for lane in 0..LANES {
            result[lane] = sum[lane].mul_add(x[lane], y[lane]);
        }
        result
    }
    let (x, y) = (black_box([0.999f32; LANES]), black_box([0.001f32; LANES]));
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = black_box([[1.0f32; LANES]; CHAINS]);
    for _ in 0..steps {
        (a, b, c, d) = (next(a, &x, &y), next(b, &x, &y), next(c, &x, &y), next(d, &x, &y));
        (e, f, g, h) = (next(e, &x, &y), next(f, &x, &y), next(g, &x, &y), next(h, &x, &y));
    }
    black_box([a, b, c, d, e, f, g, h]);
}
