//! Random numbers as a function of (seed, stream, counter): Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! The same bits in Rust and in WGSL (`shaders/common/philox.wgsl`), so a draw can be made on either device, in any order, and again after a resume.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// 128 random bits for a 128-bit counter and a 64-bit key.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [a, b] = [u64::from(counter[0]) * u64::from(MULTIPLIERS[0]), u64::from(counter[2]) * u64::from(MULTIPLIERS[1])];
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The two words of a seed, the key of [`philox`].
pub const fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// A uniform value in [0, 1), made from 24 of the bits, exact in f32.
pub fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 / 16_777_216.0
}

/// The first `len` uniform values in [low, high) of a stream of a seed.
pub fn uniform(seed: u64, stream: u64, len: usize, low: f32, high: f32) -> Vec<f32> {
    words(seed, stream).take(len).map(|bits| low + (high - low) * unit(bits)).collect()
}

/// The first `len` normally distributed values with mean 0 of a stream of a seed (Box and Muller 1958, in f64).
pub fn normal(seed: u64, stream: u64, len: usize, standard_deviation: f32) -> Vec<f32> {
    let mut bits = words(seed, stream);
    let mut next = || (f64::from(bits.next().expect("endless")) + 0.5) / 4_294_967_296.0;
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        let (radius, angle) = ((-2.0 * next().ln()).sqrt(), std::f64::consts::TAU * next());
        values.extend([
            (f64::from(standard_deviation) * radius * angle.cos()) as f32,
            (f64::from(standard_deviation) * radius * angle.sin()) as f32,
        ]);
    }
    values.truncate(len);
    values
}

/// The endless words of a stream.
fn words(seed: u64, stream: u64) -> impl Iterator<Item = u32> {
    let [low, high] = key(stream);
    (0u64..).flat_map(move |block| philox([block as u32, (block >> 32) as u32, low, high], key(seed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the reference implementation (Random123, `kat_vectors`).
    #[test]
    fn philox_matches_the_reference() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn normal_values_have_the_moments() {
        let x = normal(1, 2, 20_001, 2.0);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
        assert!(mean.abs() < 0.05 && (variance - 4.0).abs() < 0.12, "mean {mean}, variance {variance}");
        assert_eq!(x[..7], normal(1, 2, 7, 2.0));
        assert_ne!(x[..7], normal(1, 3, 7, 2.0));
    }
}
