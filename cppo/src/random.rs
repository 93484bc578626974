//! Random numbers as a function of (seed, stream, counter).
//!
//! Every draw of a scene, a view or a shuffle comes from a generator that is built on the spot from three values: the run's
//! `seed`, the name of the `stream` (what is drawn) and a `counter` (for which item). No state is carried from one item to the
//! next, so items come out the same to the bit in any order, on any number of threads and after a resume.
//!
//! The generator is PCG64 (O'Neill, 2014; the `rand_pcg` crate). Its 128-bit state and 128-bit increment are four words of
//! SplitMix64 (Steele et al., 2014), started from `seed`, the FNV-1a hash of `stream`, and `counter`, mixed one after the other.
//! Transcendental functions are `libm`'s, so a normal draw does not depend on the platform's C library.

use rand_core::Rng;
use rand_pcg::Pcg64;

/// A generator for one triple (seed, stream, counter).
#[derive(Clone, Debug)]
pub struct Random(Pcg64);

impl Random {
    /// The generator of item `counter` of `stream` under `seed`.
    pub fn new(seed: u64, stream: &str, counter: u64) -> Self {
        let key = split_mix(split_mix(split_mix(seed) ^ fnv1a(stream)) ^ counter);
        let word = |n: u64| split_mix(key.wrapping_add(n.wrapping_mul(GOLDEN_GAMMA)));
        let wide = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        Self(Pcg64::new(wide(word(1), word(2)), wide(word(3), word(4))))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform integer in `0..n`, without bias (Lemire, 2019).
    ///
    /// # Panics
    /// If `n` is 0.
    #[track_caller]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "Random::below: the range is empty");
        let n = n as u64;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if wide as u64 >= n.wrapping_neg() % n {
                return (wide >> 64) as usize;
            }
        }
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`; `low` if they are equal.
    pub fn uniform(&mut self, [low, high]: [f32; 2]) -> f32 {
        (f64::from(low) + (f64::from(high) - f64::from(low)) * self.unit()) as f32
    }

    /// Standard normal (Box–Muller, the cosine half).
    pub fn normal(&mut self) -> f32 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit())); // 1 - unit is never 0
        (radius * libm::cos(2.0 * std::f64::consts::PI * self.unit())) as f32
    }

    /// True with probability `probability`.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < f64::from(probability)
    }

    /// One of `items`, all equally likely.
    ///
    /// # Panics
    /// If `items` is empty.
    #[track_caller]
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Puts `items` in random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(GOLDEN_GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
