//! Perturbations of colour and focus. Formulas are torchvision's `ColorJitter` and `GaussianBlur`.

use image::RgbImage;

use crate::random::Random;

/// Brightness, contrast and saturation by factors from the given ranges, in random order.
pub(super) fn jitter(picture: &RgbImage, brightness: [f32; 2], contrast: [f32; 2], saturation: [f32; 2], random: &mut Random) -> RgbImage {
    let mut pixels: Vec<[f32; 3]> = picture.pixels().map(|pixel| pixel.0.map(f32::from)).collect();
    let mut order = [Adjust::Brightness, Adjust::Contrast, Adjust::Saturation];
    random.shuffle(&mut order);
    for adjust in order {
        match adjust {
            Adjust::Brightness => {
                let factor = random.uniform(brightness);
                blend_each(&mut pixels, factor, |_| 0.0);
            }
            Adjust::Contrast => {
                let factor = random.uniform(contrast);
                let mean = pixels.iter().map(|pixel| f64::from(grey(pixel))).sum::<f64>() / pixels.len() as f64;
                blend_each(&mut pixels, factor, |_| mean as f32);
            }
            Adjust::Saturation => {
                let factor = random.uniform(saturation);
                blend_each(&mut pixels, factor, grey);
            }
        }
    }
    let mut out = picture.clone();
    for (pixel, value) in out.pixels_mut().zip(pixels) {
        pixel.0 = value.map(|channel| channel.round() as u8);
    }
    out
}

#[derive(Clone, Copy)]
enum Adjust {
    Brightness,
    Contrast,
    Saturation,
}

/// `factor · pixel + (1 − factor) · other(pixel)`, kept in 0 to 255.
fn blend_each(pixels: &mut [[f32; 3]], factor: f32, other: impl Fn(&[f32; 3]) -> f32) {
    for pixel in pixels {
        let other = other(pixel);
        *pixel = pixel.map(|channel| (factor * channel + (1.0 - factor) * other).clamp(0.0, 255.0));
    }
}

fn grey([r, g, b]: &[f32; 3]) -> f32 {
    0.2989 * r + 0.587 * g + 0.114 * b
}

/// A Gaussian blur with a kernel of `kernel` × `kernel` pixels (odd), the edge reflected.
pub(super) fn gaussian_blur(picture: &RgbImage, kernel: usize, sigma: f32) -> RgbImage {
    let half = (kernel / 2) as i64;
    let weight = |d: i64| libm::expf(-0.5 * (d as f32 / sigma).powi(2));
    let total: f32 = (-half..=half).map(weight).sum();
    let weights: Vec<(i64, f32)> = (-half..=half).map(|d| (d, weight(d) / total)).collect();
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let blur_line = |source: &[[f32; 3]], dx: i64, dy: i64| -> Vec<[f32; 3]> {
        let at = |i: i64| {
            let (x, y) = (i % width, i / width);
            let mut sum = [0.0; 3];
            for &(d, weight) in &weights {
                let (from_x, from_y) = (reflect(x + d * dx, width), reflect(y + d * dy, height));
                let pixel = source[(from_y * width + from_x) as usize];
                (0..3).for_each(|channel| sum[channel] += weight * pixel[channel]);
            }
            sum
        };
        (0..width * height).map(at).collect()
    };
    let pixels: Vec<[f32; 3]> = picture.pixels().map(|pixel| pixel.0.map(f32::from)).collect();
    let blurred = blur_line(&blur_line(&pixels, 1, 0), 0, 1);
    let mut out = picture.clone();
    for (pixel, value) in out.pixels_mut().zip(blurred) {
        pixel.0 = value.map(|channel| channel.round() as u8);
    }
    out
}

/// `c b | a b c | b a`: the edge itself is not repeated.
fn reflect(at: i64, length: i64) -> i64 {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length - 1);
    let folded = at.rem_euclid(period);
    folded.min(period - folded)
}
