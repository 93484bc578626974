//! The settings of the image processor, as they stand in `preprocessor_config.json`.

use super::super::config::Idefics3;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::hf::json::Fields;
use crate::image::Filter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The settings of a directory, or of a new model: pictures are then not cut into tiles.
pub(crate) fn settings(config: &ModelConfig, fields: Option<&Fields>) -> Result<Map<String, Value>, ModelError> {
    let side = Idefics3::of(config).vision.image_size;
    let settings = match fields {
        None => ImageProcessorConfig { do_image_splitting: false, ..ImageProcessorConfig::new(4 * side, side) },
        Some(fields) => {
            let settings = ImageProcessorConfig::from_fields(fields)?;
            let tile = settings.max_image_size.longest_edge;
            // the vision tower's positions were made for tiles of this size
            if tile != side {
                let expected = format!("{side} (vision_config.image_size of config.json)");
                return Err(ModelError::field(fields.path(), "max_image_size.longest_edge", expected, tile));
            }
            settings
        }
    };
    match json!(settings) {
        Value::Object(map) => Ok(map),
        other => unreachable!("settings are an object, not {other}"),
    }
}

/// The settings of transformers' `Idefics3ImageProcessor`, under its keys: read from `preprocessor_config.json` or from
/// `image_processor` in `processor_config.json`, and written back to the same keys. Keys not listed here are ignored;
/// absent ones have the defaults of transformers' class, which are not SmolVLM's: see [`ImageProcessorConfig::new`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageProcessorConfig {
    /// Kept for the round trip: every picture is RGB here.
    pub do_convert_rgb: bool,
    /// Cut the picture into tiles of `max_image_size` (and append the whole), instead of squashing it into one.
    pub do_image_splitting: bool,
    /// Subtract `image_mean` and divide by `image_std`.
    pub do_normalize: bool,
    /// Kept for the round trip: all tiles of a picture have one size, so there is nothing to pad.
    pub do_pad: bool,
    /// Multiply the bytes by `rescale_factor`.
    pub do_rescale: bool,
    /// Resize to `size` first.
    pub do_resize: bool,
    /// Mean of each channel, after rescaling.
    pub image_mean: [f64; 3],
    /// Name of the class in transformers.
    pub image_processor_type: String,
    /// Standard deviation of each channel, after rescaling.
    pub image_std: [f64; 3],
    /// Side of a tile.
    pub max_image_size: LongestEdge,
    /// Name of the processor's class in transformers, which older saves keep here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor_class: Option<String>,
    /// The filter of all resizes, as Pillow's number: 1 LANCZOS, 2 BILINEAR, 3 BICUBIC.
    pub resample: Filter,
    /// What a byte is multiplied by.
    pub rescale_factor: f64,
    /// Size of the first resize.
    pub size: ImageSize,
}

impl ImageProcessorConfig {
    /// SmolVLM's settings for other sizes, in pixels: pictures are first resized to `longest_edge`, then cut into tiles of
    /// `tile_edge`. SmolVLM itself has 2048 and 512.
    pub fn new(longest_edge: usize, tile_edge: usize) -> Self {
        Self { max_image_size: LongestEdge { longest_edge: tile_edge }, size: ImageSize::LongestEdge { longest_edge }, ..Self::default() }
    }

    fn from_fields(fields: &Fields) -> Result<Self, ModelError> {
        let present = fields.map().iter().filter(|(_, value)| !value.is_null());
        let map: Map<String, Value> = present.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self::deserialize(&Value::Object(map.clone())).map_err(|error| {
            // serde does not say which key it is: the one that fails alone, as the others have defaults.
            let fails = |key: &str, value: &Value| Self::deserialize(&json!({ key: value })).is_err();
            let at_fault = map.iter().find(|(key, value)| fails(key, value));
            let (key, value) = at_fault.map_or(("", &Value::Null), |(key, value)| (key, value));
            fields.error(key, "a usable setting", format!("{value} ({error})"))
        })
    }
}

impl Default for ImageProcessorConfig {
    /// The values of transformers' class for absent keys: longest edge 4·364, tiles of 364.
    fn default() -> Self {
        Self {
            do_convert_rgb: true,
            do_image_splitting: true,
            do_normalize: true,
            do_pad: true,
            do_rescale: true,
            do_resize: true,
            image_mean: [0.5; 3],
            image_processor_type: "Idefics3ImageProcessor".to_owned(),
            image_std: [0.5; 3],
            max_image_size: LongestEdge { longest_edge: 364 },
            processor_class: None,
            resample: Filter::Lanczos,
            rescale_factor: 1.0 / 255.0,
            size: ImageSize::LongestEdge { longest_edge: 4 * 364 },
        }
    }
}

/// A size that bounds the longest edge, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongestEdge {
    /// The longest edge in pixels.
    pub longest_edge: usize,
}

/// The size of the first resize, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "size: expected {\"longest_edge\": pixels} or {\"height\": pixels, \"width\": pixels}")]
pub enum ImageSize {
    /// The longest edge becomes this long; the aspect ratio stays.
    LongestEdge {
        /// The longest edge in pixels.
        longest_edge: usize,
    },
    /// Both sides are given; the aspect ratio changes.
    Exact {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
}
