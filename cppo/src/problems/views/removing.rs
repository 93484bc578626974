//! Perturbations that cover, mask or drown what the picture shows.

use image::{Rgb, RgbImage};

use super::Fill;
use crate::random::Random;

/// Covers the picture with `count` rectangles, each side a share of the picture's drawn from `side`, each wholly inside.
pub(super) fn occlude(picture: &RgbImage, count: usize, side: [f32; 2], fill: Fill, random: &mut Random) -> RgbImage {
    let mean = mean_colour(picture);
    let mut out = picture.clone();
    for _ in 0..count {
        let mut extent = |whole: u32| ((random.uniform(side) * whole as f32).round() as u32).clamp(1, whole);
        let (width, height) = (extent(picture.width()), extent(picture.height()));
        let left = random.below((picture.width() - width + 1) as usize) as u32;
        let top = random.below((picture.height() - height + 1) as usize) as u32;
        for (x, y) in (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y))) {
            let colour = match fill {
                Fill::Mean => mean,
                Fill::Noise => Rgb([0; 3].map(|_: u8| random.below(256) as u8)),
            };
            out.put_pixel(x, y, colour);
        }
    }
    out
}

/// Blackens each patch of a grid of `patch` × `patch` pixels with `probability`.
pub(super) fn mask_patches(picture: &RgbImage, patch: u32, probability: f32, random: &mut Random) -> RgbImage {
    let columns = picture.width().div_ceil(patch);
    let rows = picture.height().div_ceil(patch);
    let masked: Vec<bool> = (0..columns * rows).map(|_| random.chance(probability)).collect();
    let mut out = picture.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        if masked[((y / patch) * columns + x / patch) as usize] {
            *pixel = Rgb([0; 3]);
        }
    }
    out
}

/// Adds Gaussian noise of standard deviation `std` to pixels normalised as `(value / 255 − 0.5) / 0.5`.
pub(super) fn add_noise(picture: &RgbImage, std: f32, random: &mut Random) -> RgbImage {
    let scale = std * 0.5 * 255.0;
    let mut out = picture.clone();
    for pixel in out.pixels_mut() {
        pixel.0 = pixel.0.map(|value| (f32::from(value) + scale * random.normal()).round().clamp(0.0, 255.0) as u8);
    }
    out
}

/// A picture of the same size in the mean colour of `picture`.
pub(super) fn mean_picture(picture: &RgbImage) -> RgbImage {
    RgbImage::from_pixel(picture.width(), picture.height(), mean_colour(picture))
}

fn mean_colour(picture: &RgbImage) -> Rgb<u8> {
    let mut sums = [0u64; 3];
    for pixel in picture.pixels() {
        sums.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += u64::from(value));
    }
    let count = u64::from(picture.width() * picture.height()).max(1);
    Rgb(sums.map(|sum| ((sum + count / 2) / count) as u8))
}
