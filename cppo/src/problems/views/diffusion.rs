//! Noise as diffusion models add it, the stronger the later the stage: a picture fades into noise, and both together keep their variance
//! (Ho et al. 2020, arXiv 2006.11239, equation 4, with the schedule of NoisyRollout, arXiv 2504.13055).
//!
//! ```text
//! β_i = sigmoid(u_i)·(5e-3 − 1e-5) + 1e-5,   u from −6 to 6 in 1,000 equal steps
//! ᾱ_k = Π (1 − β_i)  over i = 0..k
//! x_k = √ᾱ_k · x + √(1 − ᾱ_k) · ε,           x in [0, 1], ε standard normal; then cut to [0, 1]
//! ```

use image::RgbImage;

use crate::random::Random;

/// Number of stages of the schedule.
pub const STAGES: u16 = 1000;

/// A picture at stage `stage` of the schedule; stages past its end are its last.
pub(super) fn diffuse(picture: &RgbImage, stage: u16, random: &mut Random) -> RgbImage {
    let kept = kept_variance(stage);
    let (signal, noise) = (kept.sqrt() as f32, (1.0 - kept).sqrt() as f32);
    let mut out = picture.clone();
    for pixel in out.pixels_mut() {
        pixel.0 = pixel.0.map(|value| (signal * f32::from(value) + 255.0 * noise * random.normal()).round().clamp(0.0, 255.0) as u8);
    }
    out
}

/// Share of the variance that is still the picture's at a stage (ᾱ). From nearly 1 at stage 0 to about 0.08; stages past the end are the last.
pub fn kept_variance(stage: u16) -> f64 {
    let last = STAGES - 1;
    let beta = |i: u16| {
        let u = -6.0 + 12.0 * f64::from(i) / f64::from(last);
        (5e-3 - 1e-5) / (1.0 + (-u).exp()) + 1e-5
    };
    (0..=stage.min(last)).map(|i| 1.0 - beta(i)).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: β_0 = 0.00499 / (1 + e⁶) + 0.00001; the sum of all β is 1,000 · (0.00499 / 2 + 0.00001), since the schedule is even about its middle.
    #[test]
    fn the_schedule_is_the_published_one() {
        assert!((kept_variance(0) - (1.0 - 2.233_84e-5)).abs() < 1e-9, "{}", kept_variance(0));
        assert!((kept_variance(999).ln() + 2.505).abs() < 0.01, "{}", kept_variance(999));
        assert_eq!(kept_variance(1000), kept_variance(999));
    }

    #[test]
    fn a_picture_fades_and_noise_takes_its_place() {
        let grey = RgbImage::from_pixel(128, 128, image::Rgb([128; 3]));
        for stage in [50, 300] {
            let noised = diffuse(&grey, stage, &mut Random::new(1, "test", 0));
            let values: Vec<f64> = noised.as_raw().iter().map(|&value| f64::from(value)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
            let kept = kept_variance(stage);
            let (expected_mean, expected_std) = (128.0 * kept.sqrt(), 255.0 * (1.0 - kept).sqrt());
            assert!((mean - expected_mean).abs() < 1.0, "stage {stage}: mean {mean}, not {expected_mean}");
            assert!((variance.sqrt() / expected_std - 1.0).abs() < 0.03, "stage {stage}: {} not {expected_std}", variance.sqrt());
        }
    }
}
