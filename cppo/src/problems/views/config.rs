//! Which perturbations there are and how strong they are.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// Which views are drawn and how strong they are. In a configuration file every field that is left out has the value of the preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct ViewsConfig {
    /// Where the fields that are not given come from. Default `small_picture`.
    pub preset: Preset,
    /// The perturbations that preserve the information (I⁺), all equally likely. `paper`, `small_picture`: colour jitter, perspective, rotation.
    pub preserving: Vec<Preserving>,
    /// The perturbations that remove the information (I⁻), all equally likely. `paper`, `small_picture`: occlusion, zoom-crop.
    pub removing: Vec<Removing>,

    /// Range of the brightness factor, 1 changes nothing. `paper` `[0.2, 1.3]`, `small_picture` `[0.7, 1.2]`.
    pub brightness: [f32; 2],
    /// Range of the contrast factor, 1 changes nothing. `paper` `[0.2, 1.8]`, `small_picture` `[0.7, 1.3]`.
    pub contrast: [f32; 2],
    /// Range of the saturation factor, 1 changes nothing, 0 is grey. `paper` `[0.2, 1.8]`, `small_picture` `[0.7, 1.3]`.
    pub saturation: [f32; 2],
    /// How far corners move inwards, as a share of half the picture, 0 to below 1. `paper` 0.2, `small_picture` 0.1.
    pub perspective_distortion: f32,
    /// Probability that the perspective changes at all when it is drawn, 0 to 1. `paper`, `small_picture`: 0.5.
    pub perspective_probability: f32,
    /// Largest rotation to either side, degrees, 0 to 180. `paper` 10, `small_picture` 5.
    pub rotation_degrees: f32,
    /// What stands where perspective and rotation see nothing. Light pictures, such as pages and diagrams, get dark corners from `black`. `paper`,
    /// `small_picture`: black, as torchvision does.
    pub border: Border,
    /// Side of the blur's kernel, pixels, odd. `paper`, `small_picture`: 3.
    pub blur_kernel: usize,
    /// Standard deviation of the blur, pixels, above 0. `paper` 1, `small_picture` 0.6.
    pub blur_sigma: f32,

    /// Number of occluding rectangles. `paper` 50, `small_picture` 25.
    pub occlusion_count: usize,
    /// Range of each side of a rectangle, as a share of the picture's side, in (0, 1]. `paper` `[0.05, 0.15]`,
    /// `small_picture` `[0.15, 0.3]`.
    pub occlusion_side: [f32; 2],
    /// What the rectangles are filled with. `paper` noise, `small_picture` the picture's mean colour.
    pub occlusion_fill: Fill,
    /// Range of the zoomed window's side, as a share of the picture's side, in (0, 1]. `paper` `[0.6, 0.7]`,
    /// `small_picture` `[0.4, 0.5]`.
    pub zoom_window: [f32; 2],
    /// Side of a masked patch, pixels. `paper` 14, `small_picture` 8.
    pub patch_pixels: u32,
    /// Probability that a patch is masked, 0 to 1 (PAPO uses 0.6, VPPO 0.5). `paper`, `small_picture`: 0.6.
    pub patch_probability: f32,
    /// Standard deviation of the Gaussian noise on normalised pixels, `(value / 255 − 0.5) / 0.5`. `paper`, `small_picture`: 1.
    pub noise_std: f32,
}

/// Where the strengths that are not given come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The paper's: for photographs and figures of hundreds of pixels.
    Paper,
    /// Milder to preserve, stronger to remove: for pictures of about 64 pixels.
    SmallPicture,
}

/// A perturbation after which the question can still be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preserving {
    /// Brightness, contrast and saturation, in random order.
    ColourJitter,
    /// Another point of view.
    Perspective,
    /// A rotation about the middle.
    Rotation,
    /// A slight loss of focus.
    GaussianBlur,
}

/// A perturbation after which the question can hardly be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removing {
    /// Rectangles cover much of the picture.
    Occlusion,
    /// A window at a random place is all that is left, blown up.
    ZoomCrop,
    /// Patches are blackened (PAPO, arXiv 2507.06448; VPPO, arXiv 2510.09285).
    PatchMask,
    /// Noise on every pixel and channel.
    GaussianNoise,
    /// Nothing but the mean colour.
    NoImage,
}

impl Preserving {
    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Preserving::ColourJitter => "colour_jitter",
            Preserving::Perspective => "perspective",
            Preserving::Rotation => "rotation",
            Preserving::GaussianBlur => "gaussian_blur",
        }
    }
}

impl Removing {
    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Removing::Occlusion => "occlusion",
            Removing::ZoomCrop => "zoom_crop",
            Removing::PatchMask => "patch_mask",
            Removing::GaussianNoise => "gaussian_noise",
            Removing::NoImage => "no_image",
        }
    }
}

/// What a covered place shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// Uniform noise, each channel of each pixel by itself.
    Noise,
    /// The mean colour of the picture.
    Mean,
}

/// What stands where a moved picture is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// Black.
    Black,
    /// The colour of the nearest pixel of the picture.
    Edge,
}

impl Default for ViewsConfig {
    fn default() -> Self {
        Self::preset(Preset::SmallPicture)
    }
}

impl ViewsConfig {
    /// The strengths of a preset.
    pub fn preset(preset: Preset) -> Self {
        let paper = Self {
            preset: Preset::Paper,
            preserving: vec![Preserving::ColourJitter, Preserving::Perspective, Preserving::Rotation],
            removing: vec![Removing::Occlusion, Removing::ZoomCrop],
            brightness: [0.2, 1.3],
            contrast: [0.2, 1.8],
            saturation: [0.2, 1.8],
            perspective_distortion: 0.2,
            perspective_probability: 0.5,
            rotation_degrees: 10.0,
            border: Border::Black,
            blur_kernel: 3,
            blur_sigma: 1.0,
            occlusion_count: 50,
            occlusion_side: [0.05, 0.15],
            occlusion_fill: Fill::Noise,
            zoom_window: [0.6, 0.7],
            patch_pixels: 14,
            patch_probability: 0.6,
            noise_std: 1.0,
        };
        match preset {
            Preset::Paper => paper,
            Preset::SmallPicture => Self {
                preset: Preset::SmallPicture,
                brightness: [0.7, 1.2],
                contrast: [0.7, 1.3],
                saturation: [0.7, 1.3],
                perspective_distortion: 0.1,
                rotation_degrees: 5.0,
                blur_sigma: 0.6,
                occlusion_count: 25,
                occlusion_side: [0.15, 0.3],
                occlusion_fill: Fill::Mean,
                zoom_window: [0.4, 0.5],
                patch_pixels: 8,
                ..paper
            },
        }
    }

    /// The first field that is out of range: its name, what is expected and what was given.
    pub fn check(&self) -> Result<(), String> {
        let ordered = |[low, high]: [f32; 2], least: f32, most: f32| least <= low && low <= high && high <= most;
        let factor = |range| ordered(range, 0.0, 10.0);
        let share = |range| ordered(range, 0.001, 1.0);
        let unit = 0.0..=1.0;
        let checks = [
            (!self.preserving.is_empty(), "preserving: expected at least one perturbation"),
            (!self.removing.is_empty(), "removing: expected at least one perturbation"),
            (factor(self.brightness), "brightness: expected 0 ≤ least ≤ most ≤ 10"),
            (factor(self.contrast), "contrast: expected 0 ≤ least ≤ most ≤ 10"),
            (factor(self.saturation), "saturation: expected 0 ≤ least ≤ most ≤ 10"),
            ((0.0..1.0).contains(&self.perspective_distortion), "perspective_distortion: expected 0 to below 1"),
            (unit.contains(&self.perspective_probability), "perspective_probability: expected 0 to 1"),
            ((0.0..=180.0).contains(&self.rotation_degrees), "rotation_degrees: expected 0 to 180"),
            (self.blur_kernel % 2 == 1, "blur_kernel: expected an odd number"),
            (self.blur_sigma > 0.0 && self.blur_sigma.is_finite(), "blur_sigma: expected above 0"),
            (share(self.occlusion_side), "occlusion_side: expected 0.001 ≤ least ≤ most ≤ 1"),
            (share(self.zoom_window), "zoom_window: expected 0.001 ≤ least ≤ most ≤ 1"),
            (self.patch_pixels > 0, "patch_pixels: expected above 0"),
            (unit.contains(&self.patch_probability), "patch_probability: expected 0 to 1"),
            (self.noise_std >= 0.0 && self.noise_std.is_finite(), "noise_std: expected 0 or more"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, message)| Err(format!("{message}, got {self:?}")))
    }
}

// `remote = "Self"` leaves the derived functions under the type's own name; here they are wrapped, so that a table with a few
// fields is laid over its preset. Unknown fields are still errors.
impl<'de> Deserialize<'de> for ViewsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Map::<String, Value>::deserialize(deserializer)?;
        let preset = match given.get("preset") {
            Some(name) => Preset::deserialize(name).map_err(|e| D::Error::custom(format!("preset: {e}")))?,
            None => Preset::SmallPicture,
        };
        let mut whole = serde_json::to_value(Self::preset(preset)).map_err(D::Error::custom)?;
        for (field, value) in given {
            whole[field] = value;
        }
        Self::deserialize(whole).map_err(D::Error::custom)
    }
}

impl Serialize for ViewsConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}
