//! From a picture to patches, as transformers' `Qwen2VLImageProcessorPil` (5.x) does: sides become multiples of a visual token's, the number of pixels
//! stays within bounds, and bytes are rescaled and normalised.

use super::config::Qwen25Vl;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::hf::json::Fields;
use crate::image::{Filter, ImageError, ImageProcessor, Normalisation, RgbImage, Tiling, resize};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Longer sides may be so many times the shorter.
const MAX_ASPECT: usize = 200;
/// Bounds where the file names none.
const DEFAULT_PIXELS: [u64; 2] = [56 * 56, 28 * 28 * 1280];
/// Beyond every published setting: 4,096 × 4,096 pixels are 21,000 visual tokens.
const MAX_PIXELS: u64 = 1 << 28;

/// The settings of a directory, or of a new model. `min_pixels` and `max_pixels` stand at the top of older files, in `size` (as `shortest_edge` and `longest_edge`, which
/// are numbers of pixels, not edges) in newer ones; the former win, as they do in transformers.
pub(super) fn settings(config: &ModelConfig, fields: Option<&Fields>) -> Result<Map<String, Value>, ModelError> {
    let empty = Map::new();
    let none = Fields::new(std::path::Path::new(""), &empty);
    let fields = fields.unwrap_or(&none);
    let vision = &Qwen25Vl::of(config).vision;
    for (key, expected) in
        [("patch_size", vision.patch_size), ("temporal_patch_size", vision.temporal_patch_size), ("merge_size", vision.spatial_merge_size)]
    {
        if let Some(got) = fields.positive(key)?.filter(|&got| got != expected) {
            return Err(fields.error(key, &format!("{expected} (vision_config of config.json)"), got));
        }
    }
    for key in ["do_rescale", "do_normalize", "do_resize"] {
        fields.supports(key, "true", |value| value == true)?;
    }
    let size = fields.section("size")?;
    let bound = |older: &str, newer: &str, default: u64| -> Result<u64, ModelError> {
        let of_size = match &size {
            Some(size) => size.size(newer, MAX_PIXELS as usize)?,
            None => None,
        };
        Ok(fields.size(older, MAX_PIXELS as usize)?.or(of_size).map_or(default, |pixels| pixels as u64))
    };
    let least = bound("min_pixels", "shortest_edge", DEFAULT_PIXELS[0])?;
    let most = bound("max_pixels", "longest_edge", DEFAULT_PIXELS[1])?;
    if least > most {
        return Err(fields.error("min_pixels", &format!("at most max_pixels ({most})"), least));
    }
    let triple = |key: &str, default: [f64; 3]| -> Result<[f64; 3], ModelError> {
        let Some(value) = fields.map().get(key).filter(|value| !value.is_null()) else { return Ok(default) };
        let numbers = value.as_array().map(|values| values.iter().filter_map(Value::as_f64).collect::<Vec<_>>()).unwrap_or_default();
        <[f64; 3]>::try_from(numbers).map_err(|_| fields.error(key, "three numbers", value))
    };
    let std = triple("image_std", [0.268_629_54, 0.261_302_58, 0.275_777_11])?;
    if std.iter().any(|&std| std as f32 == 0.0) {
        return Err(fields.error("image_std", "numbers other than 0", format!("{std:?}")));
    }
    let settings = json!({
        "image_processor_type": "Qwen2VLImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "do_rescale": true,
        "do_normalize": true,
        "image_mean": triple("image_mean", [0.481_454_66, 0.457_827_5, 0.408_210_73])?,
        "image_std": std,
        "rescale_factor": fields.positive_number("rescale_factor")?.unwrap_or(1.0 / 255.0),
        "resample": read_filter(fields)?,
        "patch_size": vision.patch_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "merge_size": vision.spatial_merge_size,
        // under both names: transformers 4 reads the former, 5 the latter
        "min_pixels": least,
        "max_pixels": most,
        "size": { "shortest_edge": least, "longest_edge": most },
    });
    match settings {
        Value::Object(map) => Ok(map),
        other => unreachable!("settings are an object, not {other}"),
    }
}

fn read_filter(fields: &Fields) -> Result<Filter, ModelError> {
    match fields.map().get("resample") {
        None | Some(Value::Null) => Ok(Filter::Bicubic),
        Some(value) => {
            serde_json::from_value(value.clone()).map_err(|error| fields.error("resample", "1, 2 or 3", format!("{value} ({error})")))
        }
    }
}

/// What is used of the settings.
#[derive(Deserialize)]
struct Used {
    min_pixels: u64,
    max_pixels: u64,
    image_mean: [f64; 3],
    image_std: [f64; 3],
    rescale_factor: f64,
    resample: Filter,
}

/// The processor of a directory's settings.
pub(super) fn from_settings(config: &ModelConfig, settings: &Map<String, Value>) -> Result<ImageProcessor, ImageError> {
    let used: Used = serde_json::from_value(Value::Object(settings.clone())).expect("the settings were read before");
    let vision = &Qwen25Vl::of(config).vision;
    let (patch, factor, bounds) = (vision.patch_size, vision.factor(), [used.min_pixels, used.max_pixels]);
    let normalisation = Normalisation::new(|channel, byte| {
        ((f64::from(byte) * used.rescale_factor) as f32 - used.image_mean[channel] as f32) / used.image_std[channel] as f32
    });
    let process = move |image: &RgbImage| {
        let [height, width] = smart_resize([image.height() as usize, image.width() as usize], factor, bounds);
        normalisation.patches(Tiling::WHOLE, &[resize(image, width, height, used.resample)], patch)
    };
    Ok(ImageProcessor::new(process).with_aspects_up_to(MAX_ASPECT))
}

/// `[height, width]` of a picture as multiples of `factor` pixels, of about its aspect, with a number of pixels between the two of `pixels`.
///
/// As `smart_resize` of transformers, in f64 and with Python's rounding, where a half goes to the even neighbour.
pub fn smart_resize([height, width]: [usize; 2], factor: usize, [least, most]: [u64; 2]) -> [usize; 2] {
    let unit = factor as f64;
    let sides = [height as f64, width as f64];
    let rounded = sides.map(|side| (side / unit).round_ties_even() * unit);
    let area = sides[0] * sides[1];
    let resized = if rounded[0] * rounded[1] > most as f64 {
        let shrink = (area / most as f64).sqrt();
        sides.map(|side| ((side / shrink / unit).floor() * unit).max(unit))
    } else if rounded[0] * rounded[1] < least as f64 {
        let grow = (least as f64 / area).sqrt();
        sides.map(|side| (side * grow / unit).ceil() * unit)
    } else {
        rounded
    };
    // bounds narrower than one step can leave nothing; transformers fails there
    resized.map(|side| (side as usize).max(factor))
}
