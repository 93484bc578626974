//! Bytes to the numbers that a vision tower reads.

use super::patches::{Patches, Tiling};
use super::resize::size;
use ::image::RgbImage;
use rayon::prelude::*;

/// What each byte of each channel becomes.
#[derive(Clone, Debug)]
pub struct Normalisation(Box<[[f32; 256]; 3]>);

impl Normalisation {
    /// `value(channel, byte)` for red, green and blue and every byte.
    pub fn new(value: impl Fn(usize, u8) -> f32) -> Self {
        Self(Box::new(std::array::from_fn(|channel| std::array::from_fn(|byte| value(channel, byte as u8)))))
    }

    /// Cuts tiles into patches of `patch` × `patch` pixels, the numbers of each as (channel, y, x). What they leave over at the right and at the bottom is not read, as in a convolution
    /// without padding. Runs on rayon's pool.
    ///
    /// # Panics
    /// If a tile is smaller than a patch, or the tiles are not as many as the tiling says.
    #[track_caller]
    pub fn patches(&self, tiling: Tiling, tiles: &[RgbImage], patch: usize) -> Patches {
        let mut grids = Vec::with_capacity(tiles.len());
        for tile in tiles {
            let (width, height) = size(tile);
            assert!(patch > 0 && height >= patch && width >= patch, "patches: patches of {patch} in {height} × {width} pixels");
            grids.push([height / patch, width / patch]);
        }
        let width = 3 * patch * patch;
        let mut values = vec![0.0; grids.iter().map(|[rows, cols]| rows * cols * width).sum()];
        let mut rest = values.as_mut_slice();
        let mut strips = Vec::new();
        for (tile, &[rows, cols]) in tiles.iter().zip(&grids) {
            for row in 0..rows {
                let (strip, after) = std::mem::take(&mut rest).split_at_mut(cols * width);
                strips.push((tile, row, strip));
                rest = after;
            }
        }
        strips.into_par_iter().for_each(|(tile, row, strip)| self.fill(tile, row, strip, patch));
        Patches::new(tiling, grids, width, values)
    }

    /// The patches of one row. `-> [cols, 3·patch²]`
    fn fill(&self, tile: &RgbImage, row: usize, strip: &mut [f32], patch: usize) {
        let stride = 3 * tile.width() as usize;
        let [reds, greens, blues] = &*self.0;
        for (col, out) in strip.chunks_exact_mut(3 * patch * patch).enumerate() {
            let (red, out) = out.split_at_mut(patch * patch);
            let (green, blue) = out.split_at_mut(patch * patch);
            let lines = red.chunks_exact_mut(patch).zip(green.chunks_exact_mut(patch)).zip(blue.chunks_exact_mut(patch));
            for (y, ((red, green), blue)) in lines.enumerate() {
                let pixels = &tile.as_raw()[(row * patch + y) * stride + 3 * col * patch..][..3 * patch];
                for (x, &[r, g, b]) in pixels.as_chunks::<3>().0.iter().enumerate() {
                    (red[x], green[x], blue[x]) = (reds[usize::from(r)], greens[usize::from(g)], blues[usize::from(b)]);
                }
            }
        }
    }
}
