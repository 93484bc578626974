//! From a picture to the tiles that the vision tower reads.
//!
//! The steps of transformers' `Idefics3ImageProcessorPil` (5.x), in its order and its arithmetic:
//! 1. `do_resize`: resize so that the longest edge is `size.longest_edge` (small pictures are enlarged);
//! 2. with `do_image_splitting`, resize to multiples of the tile, cut into tiles in row-major order if there is more than
//!    one, and append the picture of this step, squashed into one tile; without, squash the picture of step 1 into one;
//! 3. per byte, `(byte · rescale_factor − mean) / std`: the product in f64, rounded to f32, the rest in f32.
//!
//! transformers pads a batch to the largest number of tiles with all-zero tiles, which the model drops again; that step
//! does not exist here.

pub(crate) mod config;

use std::borrow::Cow;

use rayon::prelude::*;

use super::prompt::Tiling;
use crate::image::{Filter, ImageError, RgbImage, resize};
use config::{ImageProcessorConfig, ImageSize};

/// The longest edge that step 1 resizes to, in pixels, as in transformers; also the largest tile accepted here.
const MAX_EDGE: usize = 4096;

/// Turns pictures into tiles.
#[derive(Debug, Clone)]
pub struct ImageProcessor {
    config: ImageProcessorConfig,
    /// The value of every byte, per channel.
    values: Box<[[f32; 256]; 3]>,
}

impl Tiling {
    /// Number of tiles: `rows · cols`, and one that shows the whole picture.
    pub fn tiles(self) -> usize {
        self.rows * self.cols + 1
    }
}

/// The tiles of one picture, `[tiles, 3, edge, edge]` in row-major order; the last tile shows the whole picture.
#[derive(Clone, PartialEq)]
pub struct Tiles<T> {
    /// How the picture was cut.
    pub tiling: Tiling,
    /// Side of a tile in pixels.
    pub edge: usize,
    /// The values, `[tiles, 3, edge, edge]`.
    pub values: Vec<T>,
}

impl<T> Tiles<T> {
    /// `[tiles, 3, edge, edge]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.tiling.tiles(), 3, self.edge, self.edge]
    }
}

impl<T> std::fmt::Debug for Tiles<T> {
    // Not derived: a failed assertion must not print millions of values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tiles({:?}, {:?})", self.tiling, self.shape())
    }
}

impl ImageProcessor {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ImageError::Config`] for a size of 0 or above 4096 pixels (`size.longest_edge` may be larger: as in
    /// transformers it then acts as 4096), a standard deviation of 0, or a number that is not finite.
    pub fn new(config: ImageProcessorConfig) -> Result<Self, ImageError> {
        let edge = |field, edge: usize, max: usize| {
            if (1..=max).contains(&edge) {
                return Ok(());
            }
            Err(ImageError::Config { field, expected: format!("1 to {max} pixels"), got: edge.to_string() })
        };
        edge("max_image_size.longest_edge", config.max_image_size.longest_edge, MAX_EDGE)?;
        match config.size {
            ImageSize::LongestEdge { longest_edge } => edge("size.longest_edge", longest_edge, usize::MAX)?,
            ImageSize::Exact { height, width } => {
                edge("size.height", height, MAX_EDGE)?;
                edge("size.width", width, MAX_EDGE)?;
            }
        }
        let finite = |field, values: &[f64]| match values.iter().find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(value) => Err(ImageError::Config { field, expected: "a finite number".into(), got: value.to_string() }),
        };
        finite("image_mean", &config.image_mean)?;
        finite("image_std", &config.image_std)?;
        finite("rescale_factor", &[config.rescale_factor])?;
        if config.image_std.iter().any(|&std| std as f32 == 0.0) {
            let (expected, got) = ("numbers other than 0".into(), format!("{:?}", config.image_std));
            return Err(ImageError::Config { field: "image_std", expected, got });
        }
        let values = std::array::from_fn(|channel| std::array::from_fn(|byte| value(&config, channel, byte as u8)));
        Ok(Self { config, values: Box::new(values) })
    }

    /// The settings.
    pub fn config(&self) -> &ImageProcessorConfig {
        &self.config
    }

    /// Side of a tile in pixels.
    pub fn tile_edge(&self) -> usize {
        self.config.max_image_size.longest_edge
    }

    /// How a picture of this size, in pixels, is cut; what the prompt needs to know of it.
    pub fn tiling(&self, width: usize, height: usize) -> Tiling {
        if !self.config.do_image_splitting {
            return Tiling { rows: 0, cols: 0 };
        }
        let edge = self.tile_edge();
        let (width, height) = self.first_size(width, height);
        let (width, height) = whole_tiles(width, height, edge);
        match (height / edge, width / edge) {
            (1, 1) => Tiling { rows: 0, cols: 0 },
            (rows, cols) => Tiling { rows, cols },
        }
    }

    /// The tiles of a picture, ready for the vision tower: `[h, w, 3] -> [tiles, 3, edge, edge]`.
    pub fn process(&self, image: &RgbImage) -> Tiles<f32> {
        self.cut(image, |channel, byte| self.values[channel][usize::from(byte)])
    }

    /// The tiles of a picture before rescaling and normalisation: `[h, w, 3] -> [tiles, 3, edge, edge]`.
    pub fn process_bytes(&self, image: &RgbImage) -> Tiles<u8> {
        self.cut(image, |_, byte| byte)
    }

    fn cut<T: Copy + Default + Send>(&self, image: &RgbImage, value: impl Fn(usize, u8) -> T + Sync) -> Tiles<T> {
        let (edge, filter) = (self.tile_edge(), self.config.resample);
        let tiling = self.tiling(image.width, image.height);

        let (width, height) = self.first_size(image.width, image.height);
        let mut image = resized(Cow::Borrowed(image), width, height, filter);
        if self.config.do_image_splitting {
            let (width, height) = whole_tiles(width, height, edge);
            image = resized(image, width, height, filter);
        }
        let whole = resized(Cow::Borrowed(&image), edge, edge, filter);

        let mut values = vec![T::default(); tiling.tiles() * 3 * edge * edge];
        values.par_chunks_exact_mut(3 * edge * edge).enumerate().for_each(|(tile, out)| {
            let (from, left, top) = if tile < tiling.rows * tiling.cols {
                (&image, tile % tiling.cols * edge, tile / tiling.cols * edge)
            } else {
                (&whole, 0, 0)
            };
            let (red, out) = out.split_at_mut(edge * edge);
            let (green, blue) = out.split_at_mut(edge * edge);
            let rows = (red.par_chunks_exact_mut(edge), green.par_chunks_exact_mut(edge), blue.par_chunks_exact_mut(edge));
            rows.into_par_iter().enumerate().with_min_len(16).for_each(|(y, (red, green, blue))| {
                let row = &from.pixels[((top + y) * from.width + left) * 3..][..edge * 3];
                for (x, &[r, g, b]) in row.as_chunks::<3>().0.iter().enumerate() {
                    (red[x], green[x], blue[x]) = (value(0, r), value(1, g), value(2, b));
                }
            });
        });
        Tiles { tiling, edge, values }
    }

    /// `(width, height)` after step 1.
    fn first_size(&self, width: usize, height: usize) -> (usize, usize) {
        match self.config.size {
            _ if !self.config.do_resize => (width, height),
            ImageSize::Exact { height, width } => (width, height),
            ImageSize::LongestEdge { longest_edge } => {
                let (width, height) = scale_to_longest_edge(width, height, longest_edge);
                shrink_to_max_edge(width, height)
            }
        }
    }
}

/// [`resize`] without a copy where the size stays.
fn resized(image: Cow<'_, RgbImage>, width: usize, height: usize, filter: Filter) -> Cow<'_, RgbImage> {
    if (image.width, image.height) == (width, height) {
        return image;
    }
    Cow::Owned(resize(&image, width, height, filter))
}

/// `(width, height)` with the longer side at `longest_edge` and the other, rounded down, made even.
fn scale_to_longest_edge(width: usize, height: usize, longest_edge: usize) -> (usize, usize) {
    let aspect_ratio = width as f64 / height as f64;
    if width >= height {
        let height = (longest_edge as f64 / aspect_ratio) as usize;
        (longest_edge, height.next_multiple_of(2).max(1))
    } else {
        let width = (longest_edge as f64 * aspect_ratio) as usize;
        (width.next_multiple_of(2).max(1), longest_edge)
    }
}

/// `(width, height)` with the longer side at most [`MAX_EDGE`].
fn shrink_to_max_edge(width: usize, height: usize) -> (usize, usize) {
    let aspect_ratio = width as f64 / height as f64;
    if width >= height && width > MAX_EDGE {
        (MAX_EDGE, ((MAX_EDGE as f64 / aspect_ratio) as usize).max(1))
    } else if height > width && height > MAX_EDGE {
        (((MAX_EDGE as f64 * aspect_ratio) as usize).max(1), MAX_EDGE)
    } else {
        (width, height)
    }
}

/// `(width, height)` raised to multiples of `edge`, the longer side first and the other from the aspect ratio.
fn whole_tiles(width: usize, height: usize, edge: usize) -> (usize, usize) {
    let aspect_ratio = width as f64 / height as f64;
    // At least one tile: 49 · (1 / 49) is below 1 in floating point, and transformers then fails.
    let raise = |side: usize| side.max(1).next_multiple_of(edge);
    if width >= height {
        let width = raise(width);
        (width, raise((width as f64 / aspect_ratio) as usize))
    } else {
        let height = raise(height);
        (raise((height as f64 * aspect_ratio) as usize), height)
    }
}

/// What a byte of a channel becomes.
fn value(config: &ImageProcessorConfig, channel: usize, byte: u8) -> f32 {
    let mut value = f32::from(byte);
    if config.do_rescale {
        value = (f64::from(byte) * config.rescale_factor) as f32;
    }
    if config.do_normalize {
        value = (value - config.image_mean[channel] as f32) / config.image_std[channel] as f32;
    }
    value
}
