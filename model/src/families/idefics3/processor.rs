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

pub(super) mod config;

use super::config::Idefics3;
use crate::config::ModelConfig;
use crate::image::{Filter, ImageError, ImageProcessor, Normalisation, Patches, RgbImage, Tiling, resize};
use config::{ImageProcessorConfig, ImageSize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The longest edge that step 1 resizes to, in pixels, as in transformers; also the largest tile accepted here.
const MAX_EDGE: usize = 4096;

/// The processor of a directory's settings.
pub(super) fn from_settings(config: &ModelConfig, settings: &Map<String, Value>) -> Result<ImageProcessor, ImageError> {
    let settings = serde_json::from_value(Value::Object(settings.clone())).expect("the settings were read before");
    let (processor, patch) = (Processor::new(settings)?, Idefics3::of(config).vision.patch_size);
    Ok(ImageProcessor::new(move |image| processor.process(image, patch)))
}

/// Turns pictures into tiles.
#[derive(Debug, Clone)]
pub struct Processor {
    config: ImageProcessorConfig,
    normalisation: Normalisation,
}

impl Processor {
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
            ImageSize::LongestEdge { longest_edge } => edge("size.longest_edge", longest_edge, u32::MAX as usize)?,
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
        let normalisation = Normalisation::new(|channel, byte| value(&config, channel, byte));
        Ok(Self { config, normalisation })
    }

    /// Side of a tile in pixels.
    pub fn tile_edge(&self) -> usize {
        self.config.max_image_size.longest_edge
    }

    /// The tiles into which a picture of this size, in pixels, is cut; the prompt depends on them.
    pub fn tiling(&self, width: usize, height: usize) -> Tiling {
        if !self.config.do_image_splitting {
            return Tiling::WHOLE;
        }
        let edge = self.tile_edge();
        let (width, height) = self.first_size(width, height);
        let (width, height) = whole_tiles(width, height, edge);
        match (height / edge, width / edge) {
            (1, 1) => Tiling::WHOLE,
            (rows, cols) => Tiling { rows, cols },
        }
    }

    /// A picture, ready for a vision tower with patches of `patch` pixels. `[h, w, 3] -> [patches, 3·patch²]`
    ///
    /// # Panics
    /// If a tile is smaller than a patch.
    #[track_caller]
    pub fn process(&self, image: &RgbImage, patch: usize) -> Patches {
        let (tiling, tiles) = self.tiles(image);
        self.normalisation.patches(tiling, &tiles, patch)
    }

    /// The tiles of a picture before rescaling and normalisation, in order; the last shows the whole picture. `-> [tiles][edge, edge, 3]`
    pub fn tiles(&self, image: &RgbImage) -> (Tiling, Vec<RgbImage>) {
        let (edge, filter) = (self.tile_edge(), self.config.resample);
        let (width, height) = (image.width() as usize, image.height() as usize);
        let tiling = self.tiling(width, height);

        let (width, height) = self.first_size(width, height);
        let mut image = resized(Cow::Borrowed(image), width, height, filter);
        if self.config.do_image_splitting {
            let (width, height) = whole_tiles(width, height, edge);
            image = resized(image, width, height, filter);
        }
        let places = (0..tiling.rows).flat_map(|row| (0..tiling.cols).map(move |col| (row, col)));
        let mut tiles: Vec<RgbImage> = places.map(|(row, col)| square(&image, row * edge, col * edge, edge)).collect();
        tiles.push(resized(Cow::Borrowed(&image), edge, edge, filter).into_owned());
        (tiling, tiles)
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

/// A square of a picture.
fn square(image: &RgbImage, top: usize, left: usize, edge: usize) -> RgbImage {
    let rows = image.as_raw().chunks_exact(3 * image.width() as usize).skip(top).take(edge);
    let mut pixels = Vec::with_capacity(3 * edge * edge);
    rows.for_each(|row| pixels.extend_from_slice(&row[3 * left..][..3 * edge]));
    RgbImage::from_raw(edge as u32, edge as u32, pixels).expect("the square lies in the picture")
}

/// [`resize`] without a copy where the size stays.
fn resized(image: Cow<'_, RgbImage>, width: usize, height: usize, filter: Filter) -> Cow<'_, RgbImage> {
    if (image.width() as usize, image.height() as usize) == (width, height) {
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
