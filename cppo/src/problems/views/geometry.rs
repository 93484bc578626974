//! Perturbations of geometry. Each maps a pixel of the new picture back into the old one and samples there, bilinear.

use image::{Rgb, RgbImage};

use super::Border;
use crate::random::Random;

/// Turns the picture about its middle. Positive is counter-clockwise.
pub(super) fn rotate(picture: &RgbImage, degrees: f32, border: Border) -> RgbImage {
    let (sin, cos) = (libm::sin(f64::from(degrees).to_radians()), libm::cos(f64::from(degrees).to_radians()));
    let (middle_x, middle_y) = (f64::from(picture.width()) / 2.0, f64::from(picture.height()) / 2.0);
    resample(picture, border, |x, y| {
        let (dx, dy) = (x - middle_x, y - middle_y);
        (middle_x + cos * dx - sin * dy, middle_y + sin * dx + cos * dy)
    })
}

/// Moves each row sideways by the tangent of the angle times its height above the middle, black where it uncovers nothing.
pub(super) fn shear(picture: &RgbImage, degrees: f32) -> RgbImage {
    let slope = libm::tan(f64::from(degrees).to_radians());
    let middle = f64::from(picture.height()) / 2.0;
    resample(picture, Border::Black, |x, y| (x + slope * (y - middle), y))
}

/// Moves each corner inwards by up to `distortion` of half the picture (torchvision's `RandomPerspective`).
pub(super) fn perspective(picture: &RgbImage, distortion: f32, border: Border, random: &mut Random) -> RgbImage {
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let mut shift = |side: f64| f64::from(random.uniform([0.0, distortion])) * side / 2.0;
    let moved = [
        (shift(width), shift(height)),
        (width - shift(width), shift(height)),
        (width - shift(width), height - shift(height)),
        (shift(width), height - shift(height)),
    ];
    let corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
    let h = homography(&moved, &corners);
    resample(picture, border, |x, y| {
        let w = h[6] * x + h[7] * y + 1.0;
        ((h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w)
    })
}

/// A window at a random place, its sides a share of the picture's drawn from `window`, blown up to the whole size.
pub(super) fn zoom_crop(picture: &RgbImage, window: [f32; 2], random: &mut Random) -> RgbImage {
    let share = f64::from(random.uniform(window));
    let left = random.unit() * (1.0 - share) * f64::from(picture.width());
    let top = random.unit() * (1.0 - share) * f64::from(picture.height());
    resample(picture, Border::Edge, |x, y| (left + share * x, top + share * y))
}

/// A picture of the same size whose pixel at (x, y) is the old one's at `source(x, y)`; pixel centres are at halves.
fn resample(picture: &RgbImage, border: Border, source: impl Fn(f64, f64) -> (f64, f64)) -> RgbImage {
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let at = |x: i64, y: i64| {
        let inside = (0..width).contains(&x) && (0..height).contains(&y);
        match inside || border == Border::Edge {
            true => {
                let pixel = picture.get_pixel(x.clamp(0, width - 1) as u32, y.clamp(0, height - 1) as u32);
                pixel.0.map(f64::from)
            }
            false => [0.0; 3],
        }
    };
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (x, y) = source(f64::from(x) + 0.5, f64::from(y) + 0.5);
        let (x, y) = (x - 0.5, y - 0.5);
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = (x - left, y - top);
        let (left, top) = (left as i64, top as i64);
        let corners = [at(left, top), at(left + 1, top), at(left, top + 1), at(left + 1, top + 1)];
        let weights = [(1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy];
        let channel = |c: usize| corners.iter().zip(weights).map(|(pixel, weight)| pixel[c] * weight).sum::<f64>();
        Rgb([0, 1, 2].map(|c| channel(c).round() as u8))
    })
}

/// The eight numbers of the projective map that takes each of `from` to its `to`; the ninth is 1.
fn homography(from: &[(f64, f64); 4], to: &[(f64, f64); 4]) -> [f64; 8] {
    // Two rows per point: h0·x + h1·y + h2 − h6·x·u − h7·y·u = u, and the like for v. Then Gauss with row pivots.
    let mut rows = [[0.0; 9]; 8];
    for (i, (&(x, y), &(u, v))) in from.iter().zip(to).enumerate() {
        rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -x * u, -y * u, u];
        rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -x * v, -y * v, v];
    }
    for column in 0..8 {
        let pivot = (column..8).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs())).unwrap_or(column);
        rows.swap(column, pivot);
        let pivot_row = rows[column].map(|value| value / rows[column][column]);
        rows[column] = pivot_row;
        for (_, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != column) {
            let factor = row[column];
            row.iter_mut().zip(pivot_row).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    rows.map(|row| row[8])
}
