//! Changes of a picture that leave its answer as it is, in rising strengths: what a policy is tested on, and training does not use.
//!
//! The views of training are one thing; whether a policy *sees* shows on changes it has not met. Each [`Change`] has three strengths. The values of the picture are
//! v in 0 to 1, lengths are those of a picture of 64 pixels and grow with it.
//!
//! | change | strength 1, 2, 3 |
//! |---|---|
//! | blur | Gaussian, σ = 0.7, 1, 1.5 pixels |
//! | jpeg | JPEG of quality 30, 15, 8, decoded again |
//! | gamma | v^γ or v^(1/γ), γ = 1.5, 2, 3 |
//! | dim | v times 0.65, 0.5, 0.4 |
//! | noise | Gaussian, σ = 0.1, 0.2, 0.3, each channel by itself |
//! | shear | x moves by tan(angle) times the height over the middle; 8°, 16°, 24° to either side |
//! | rotation | 10°, 15°, 20° to either side |
//! | perspective | corners move inwards by up to 0.2, 0.35, 0.5 of half the picture |
//! | thickness | bright strokes thicker or thinner: a share of 0.5, 0.75, 1 of the largest or least value among the 3 × 3 neighbours |
//! | low_resolution | scaled down to 0.7, 0.5, 0.4 of each side and up again, bilinear |
//!
//! The random part of a change (a sign, noise) is a function of the problem's number and the change alone, so that every policy is tested on the same pictures.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use super::{Border, colour, geometry, removing};
use crate::random::Random;

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the table above
pub enum Change {
    Blur,
    Jpeg,
    Gamma,
    Dim,
    Noise,
    Shear,
    Rotation,
    Perspective,
    Thickness,
    LowResolution,
}

/// The number of strengths of a change; they are counted from 1.
pub const STRENGTHS: usize = 3;

impl Change {
    /// All of them.
    pub const ALL: [Change; 10] = [
        Change::Blur,
        Change::Jpeg,
        Change::Gamma,
        Change::Dim,
        Change::Noise,
        Change::Shear,
        Change::Rotation,
        Change::Perspective,
        Change::Thickness,
        Change::LowResolution,
    ];

    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Change::Blur => "blur",
            Change::Jpeg => "jpeg",
            Change::Gamma => "gamma",
            Change::Dim => "dim",
            Change::Noise => "noise",
            Change::Shear => "shear",
            Change::Rotation => "rotation",
            Change::Perspective => "perspective",
            Change::Thickness => "thickness",
            Change::LowResolution => "low_resolution",
        }
    }

    /// The changed picture of a problem, of the same size. `strength` is 1 to [`STRENGTHS`].
    ///
    /// # Panics
    /// If there is no such strength.
    #[track_caller]
    pub fn apply(self, picture: &RgbImage, strength: usize, problem: u64) -> RgbImage {
        assert!((1..=STRENGTHS).contains(&strength), "Change::apply: strength {strength}: expected 1 to {STRENGTHS}");
        let random = &mut Random::new(0, self.name(), problem);
        let pick = |values: [f32; STRENGTHS]| values[strength - 1];
        let unit = picture.width() as f32 / 64.0;
        match self {
            Change::Blur => {
                let sigma = pick([0.7, 1.0, 1.5]) * unit;
                colour::gaussian_blur(picture, 2 * (3.0 * sigma).ceil() as usize + 1, sigma)
            }
            Change::Jpeg => jpeg(picture, pick([30.0, 15.0, 8.0]) as u8),
            Change::Gamma => {
                let gamma = pick([1.5, 2.0, 3.0]);
                let gamma = if random.chance(0.5) { gamma } else { 1.0 / gamma };
                each_value(picture, |value| libm::powf(value, gamma))
            }
            Change::Dim => each_value(picture, |value| value * pick([0.65, 0.5, 0.4])),
            // the noise is on pixels normalised to −1 to 1
            Change::Noise => removing::add_noise(picture, 2.0 * pick([0.1, 0.2, 0.3]), random),
            Change::Shear => geometry::shear(picture, signed(pick([8.0, 16.0, 24.0]), random)),
            Change::Rotation => geometry::rotate(picture, signed(pick([10.0, 15.0, 20.0]), random), Border::Black),
            Change::Perspective => geometry::perspective(picture, pick([0.2, 0.35, 0.5]), Border::Black, random),
            Change::Thickness => thickness(picture, signed(pick([0.5, 0.75, 1.0]), random)),
            Change::LowResolution => low_resolution(picture, pick([0.7, 0.5, 0.4])),
        }
    }
}

/// Ways to take the information out of a picture: what a policy says then must not be sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// Nothing but the mean colour.
    Blank,
    /// Squares of a sixteenth of the picture's side, in random order; larger ones leave enough for a policy that puts pieces together.
    Scrambled,
    /// The picture of another problem.
    Swapped,
}

impl Removal {
    /// All of them.
    pub const ALL: [Removal; 3] = [Removal::Blank, Removal::Scrambled, Removal::Swapped];

    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Removal::Blank => "blank",
            Removal::Scrambled => "scrambled",
            Removal::Swapped => "swapped",
        }
    }

    /// The picture without the information. `other` is that of another problem.
    pub fn apply(self, picture: &RgbImage, other: &RgbImage, problem: u64) -> RgbImage {
        match self {
            Removal::Blank => removing::mean_picture(picture),
            Removal::Scrambled => scramble(picture, &mut Random::new(0, self.name(), problem)),
            Removal::Swapped => other.clone(),
        }
    }
}

fn signed(value: f32, random: &mut Random) -> f32 {
    if random.chance(0.5) { value } else { -value }
}

/// Each channel of each pixel, 0 to 1, by itself.
fn each_value(picture: &RgbImage, new: impl Fn(f32) -> f32) -> RgbImage {
    let table: Vec<u8> = (0..256).map(|value| (new(value as f32 / 255.0) * 255.0).round().clamp(0.0, 255.0) as u8).collect();
    let mut out = picture.clone();
    out.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| table[usize::from(value)]));
    out
}

fn jpeg(picture: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(Cursor::new(&mut bytes), quality)
        .encode_image(picture)
        .expect("a picture of 8 bits can be written to memory");
    let read = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).expect("what was just written can be read");
    DynamicImage::into_rgb8(read)
}

/// Blends in the largest value among the neighbours, or for a negative share the least one.
fn thickness(picture: &RgbImage, share: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let near = |at: u32, side: u32| at.saturating_sub(1)..(at + 2).min(side);
        let neighbours = || near(y, height).flat_map(|y| near(x, width).map(move |x| picture.get_pixel(x, y)));
        let channel = |c: usize| {
            let values = neighbours().map(|pixel| pixel.0[c]);
            let extreme = if share > 0.0 { values.max() } else { values.min() };
            let own = f32::from(picture.get_pixel(x, y).0[c]);
            (own + share.abs() * (f32::from(extreme.unwrap_or_default()) - own)).round() as u8
        };
        Rgb([0, 1, 2].map(channel))
    })
}

fn low_resolution(picture: &RgbImage, share: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let smaller = |side: u32| ((side as f32 * share).round() as u32).max(1);
    let small = resize(picture, smaller(width), smaller(height), FilterType::Triangle);
    resize(&small, width, height, FilterType::Triangle)
}

fn scramble(picture: &RgbImage, random: &mut Random) -> RgbImage {
    const SQUARES: u32 = 16;
    let (width, height) = (picture.width() / SQUARES, picture.height() / SQUARES);
    let mut order: Vec<u32> = (0..SQUARES * SQUARES).collect();
    random.shuffle(&mut order);
    let mut out = picture.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut().filter(|(x, y, _)| *x < width * SQUARES && *y < height * SQUARES) {
        let from = order[(y / height * SQUARES + x / width) as usize];
        *pixel = *picture.get_pixel(from % SQUARES * width + x % width, from / SQUARES * height + y % height);
    }
    out
}
