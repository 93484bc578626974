//! Pillow's 8-bit resize, to the byte.
//!
//! A separable filter: a horizontal and a vertical pass, each to bytes, so their order matters; a pass that keeps its
//! size is skipped. For one axis, with `scale = input / output` and `support = filter support · max(scale, 1)`, output
//! pixel `i` has its centre at `c = (i + ½) · scale` of the input and sums the input pixels of
//! `[⌊c − support + ½⌋, ⌊c + support + ½⌋)` (clipped to the picture) with the weights
//! `filter((j − c + ½) / max(scale, 1))`, normalised to one. Weights are rounded to 22 fractional bits; a pass
//! accumulates in 32-bit integers from ½, shifts and clips to `0..=255`.
//!
//! The bytes are those of Pillow 12.2 and later. Before, the horizontal pass always came first; since, the vertical one
//! does where it shrinks the height by more than twice what the width loses (portrait pictures, mostly).
//!
//! Reference: Pillow's `src/libImaging/Resample.c`, described in its documentation under "Filters".

use percept_engine::widest;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use ::image::RgbImage;

/// An interpolation filter. Its serialised form is Pillow's `Image.Resampling` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub enum Filter {
    /// Windowed sinc with three lobes, support 3; Pillow's number 1.
    Lanczos,
    /// Triangle, support 1; Pillow's number 2.
    Bilinear,
    /// Cubic convolution with a = −0.5, support 2; Pillow's number 3.
    Bicubic,
}

/// Resizes to `width` x `height` as Pillow's `Image.resize((width, height), filter)` does for RGB, to the byte:
/// `[h, w, 3] -> [height, width, 3]`. Runs on rayon's pool.
///
/// # Panics
/// If `width` or `height` is zero.
#[track_caller]
pub fn resize(image: &RgbImage, width: usize, height: usize, filter: Filter) -> RgbImage {
    let (from_width, from_height) = size(image);
    assert!(width > 0 && height > 0, "resize: a side is zero: {width}x{height}");
    assert!(from_width > 0 && from_height > 0, "resize: a side of the picture is zero: {from_width}x{from_height}");
    let lost_width = from_width as i64 - width as i64;
    let lost_height = from_height as i64 - height as i64;
    let halfway;
    let image = match (lost_width == 0, lost_height == 0) {
        (true, true) => return image.clone(),
        (true, false) | (false, true) => image,
        (false, false) if lost_height > 0 && lost_height > 2 * lost_width => {
            halfway = resize_height(image, height, filter);
            &halfway
        }
        (false, false) => {
            halfway = resize_width(image, width, filter);
            &halfway
        }
    };
    if size(image).0 != width { resize_width(image, width, filter) } else { resize_height(image, height, filter) }
}

/// Fractional bits of a weight: 32 − 8 bits of the pixel − 2 bits of headroom for filters with negative lobes.
const FRACTION_BITS: u32 = 22;
const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// `[h, w, 3] -> [h, width, 3]`.
fn resize_width(image: &RgbImage, width: usize, filter: Filter) -> RgbImage {
    /// Rows that are resized together: 15 of 16 vector lanes are theirs.
    const ROWS: usize = 5;
    let (from_width, height) = size(image);
    let windows = Windows::new(from_width, width, filter);
    let (from, to) = (from_width * 3, width * 3);
    let mut pixels = vec![0u8; height * to];
    pixels.par_chunks_mut(ROWS * to).zip(image.as_raw().par_chunks(ROWS * from)).for_each_init(
        // The rows side by side, `[w, ROWS · 3]`, and behind them the zeros that a short last window reads.
        || vec![[0u8; 16]; from_width + windows.taps],
        |columns, (out, rows)| {
            widest!({
                for (row, bytes) in rows.chunks_exact(from).enumerate() {
                    for (column, pixel) in columns.iter_mut().zip(bytes.as_chunks::<3>().0) {
                        column[row * 3..row * 3 + 3].copy_from_slice(pixel);
                    }
                }
                for x in 0..width {
                    let (first, weights) = windows.get(x);
                    let mut sum = [HALF; 16];
                    for (column, &weight) in columns[first..first + weights.len()].iter().zip(weights) {
                        for (sum, &value) in sum.iter_mut().zip(column) {
                            *sum = multiply_add(*sum, value.into(), weight);
                        }
                    }
                    let column = sum.map(clip);
                    for (row, out) in out.chunks_exact_mut(to).enumerate() {
                        out[x * 3..x * 3 + 3].copy_from_slice(&column[row * 3..row * 3 + 3]);
                    }
                }
            })
        },
    );
    from_bytes(width, height, pixels)
}

/// `[h, w, 3] -> [height, w, 3]`.
fn resize_height(image: &RgbImage, height: usize, filter: Filter) -> RgbImage {
    /// Bytes of a row that are summed at a time: as many as fit in vector registers.
    const BLOCK: usize = 64;
    let (width, from_height) = size(image);
    let windows = Windows::new(from_height, height, filter);
    let stride = width * 3;
    let mut pixels = vec![0u8; height * stride];
    pixels.par_chunks_exact_mut(stride).enumerate().for_each(|(y, out)| {
        widest!({
            let (first, weights) = windows.get(y);
            let rows = &image.as_raw()[first * stride..];
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let mut sum = [HALF; BLOCK];
                for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
                    let row = &row[block * BLOCK..][..out.len()];
                    for (sum, &value) in sum.iter_mut().zip(row) {
                        *sum = multiply_add(*sum, value.into(), weight);
                    }
                }
                for (out, &sum) in out.iter_mut().zip(&sum) {
                    *out = clip(sum);
                }
            }
        })
    });
    from_bytes(width, height, pixels)
}

/// Width and height in pixels.
pub(super) fn size(image: &RgbImage) -> (usize, usize) {
    (image.width() as usize, image.height() as usize)
}

fn from_bytes(width: usize, height: usize, pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(width as u32, height as u32, pixels).expect("three bytes a pixel")
}

/// `sum + value · weight`. It cannot overflow (|sum| < 2³¹ by the two bits of headroom); said with wrapping operations
/// because overflow checks would keep the loops from being vectorised.
#[inline(always)]
fn multiply_add(sum: i32, value: i32, weight: i32) -> i32 {
    sum.wrapping_add(value.wrapping_mul(weight))
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// For each output pixel of one axis, where its window starts and the fixed-point weights of the window.
struct Windows {
    first: Vec<usize>,
    /// `[output, taps]`: every window has as many weights as the longest, so that the loops have one length; zeros
    /// fill the rest.
    weights: Vec<i32>,
    taps: usize,
}

impl Windows {
    fn new(input: usize, output: usize, filter: Filter) -> Self {
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let inverse_scale = 1.0 / filter_scale;
        let window = |index: usize| {
            let centre = (index as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            (centre, first, end)
        };
        let taps = (0..output).map(window).map(|(_, first, end)| end - first).max().unwrap_or(0);

        let mut firsts = Vec::with_capacity(output);
        let mut weights = vec![0i32; output * taps];
        let mut exact = Vec::with_capacity(taps);
        for (index, weights) in weights.chunks_exact_mut(taps).enumerate() {
            let (centre, first, end) = window(index);
            exact.clear();
            exact.extend((first..end).map(|at| filter.weight((at as f64 - centre + 0.5) * inverse_scale)));
            let mut total = 0.0;
            for &weight in &exact {
                total += weight; // in order: another order of summation may round otherwise
            }
            for (fixed, &weight) in weights.iter_mut().zip(&exact) {
                let weight = if total == 0.0 { weight } else { weight / total };
                *fixed = (weight * f64::from(1 << FRACTION_BITS) + 0.5f64.copysign(weight)) as i32;
            }
            firsts.push(first);
        }
        Self { first: firsts, weights, taps }
    }

    fn get(&self, index: usize) -> (usize, &[i32]) {
        (self.first[index], &self.weights[index * self.taps..][..self.taps])
    }
}

impl Filter {
    /// Half the width of the filter, in pixels of the coarser of the two grids.
    fn support(self) -> f64 {
        match self {
            Filter::Lanczos => 3.0,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Filter::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

impl From<Filter> for u64 {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Lanczos => 1,
            Filter::Bilinear => 2,
            Filter::Bicubic => 3,
        }
    }
}

impl TryFrom<u64> for Filter {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        match number {
            1 => Ok(Filter::Lanczos),
            2 => Ok(Filter::Bilinear),
            3 => Ok(Filter::Bicubic),
            other => Err(format!("resample: expected 1 (LANCZOS), 2 (BILINEAR) or 3 (BICUBIC), got {other}")),
        }
    }
}
