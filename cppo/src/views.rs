//! The two views of a picture that CPPO compares with the original: I⁺ keeps what is needed to answer, I⁻ does not.
//!
//! Step 1 of the training step: once per prompt and epoch, one perturbation is drawn from each set, the same for all responses to
//! the prompt. A view has the size of its picture, so the number of image tokens does not change.
//!
//! | symbol | here |
//! |---|---|
//! | I, I⁺, I⁻ | the picture, [`Views::preserved`], [`Views::removed`] |
//!
//! Two presets. `paper` has the strengths of CPPO (arXiv 2601.00501, as in the authors' recipes); `small_picture`, the default, has
//! milder ones to preserve and other ones to remove, for pictures of about 64 pixels: there the paper's colour jitter and rotation
//! cost accuracy, and its occlusion by noise makes a model confidently wrong instead of uncertain.
//!
//! The draw for a picture is a function of (seed, `views`, prompt, epoch), see [`crate::random`].

mod colour;
mod config;
pub mod contact_sheet;
mod geometry;
mod removing;

pub use config::{Fill, Preserving, Preset, Removing, ViewsConfig};

use image::RgbImage;
use rayon::prelude::*;

use crate::random::Random;

/// The two views of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// I⁺: the information is preserved. Same size as the picture.
    pub preserved: RgbImage,
    /// How.
    pub preserving: Preserving,
    /// I⁻: the information is removed. Same size as the picture.
    pub removed: RgbImage,
    /// How.
    pub removing: Removing,
}

/// Draws both views of `picture`, which belongs to `prompt`, for `epoch`.
///
/// # Panics
/// If a set of perturbations is empty ([`ViewsConfig::check`] says so beforehand).
#[track_caller]
pub fn draw_views(picture: &RgbImage, config: &ViewsConfig, seed: u64, prompt: u64, epoch: u64) -> Views {
    let mut random = Random::new(Random::new(seed, "views", prompt).next_u64(), "epoch", epoch);
    let preserving = *random.choose(&config.preserving);
    let removing = *random.choose(&config.removing);
    Views {
        preserved: preserve(picture, preserving, config, &mut random),
        preserving,
        removed: remove(picture, removing, config, &mut random),
        removing,
    }
}

/// The views of all pictures of one prompt, each perturbed by itself. `[pictures] -> [pictures]`
#[track_caller]
pub fn draw_prompt_views(pictures: &[RgbImage], config: &ViewsConfig, seed: u64, prompt: u64, epoch: u64) -> Vec<Views> {
    let id = |number: usize| prompt ^ (number as u64) << 48;
    pictures.iter().enumerate().map(|(number, picture)| draw_views(picture, config, seed, id(number), epoch)).collect()
}

/// Draws the views of several pictures in parallel: of each, its prompt and the picture. `[pictures] -> [pictures]`
#[track_caller]
pub fn draw_all_views(pictures: &[(u64, &RgbImage)], config: &ViewsConfig, seed: u64, epoch: u64) -> Vec<Views> {
    pictures.par_iter().map(|&(prompt, picture)| draw_views(picture, config, seed, prompt, epoch)).collect()
}

/// One information-preserving perturbation of `picture`, with strengths from `config`.
pub fn preserve(picture: &RgbImage, how: Preserving, config: &ViewsConfig, random: &mut Random) -> RgbImage {
    match how {
        Preserving::ColourJitter => colour::jitter(picture, config.brightness, config.contrast, config.saturation, random),
        Preserving::Perspective if !random.chance(config.perspective_probability) => picture.clone(),
        Preserving::Perspective => geometry::perspective(picture, config.perspective_distortion, random),
        Preserving::Rotation => {
            let limit = config.rotation_degrees;
            geometry::rotate(picture, random.uniform([-limit, limit]))
        }
        Preserving::GaussianBlur => colour::gaussian_blur(picture, config.blur_kernel, config.blur_sigma),
    }
}

/// One information-removing perturbation of `picture`, with strengths from `config`.
pub fn remove(picture: &RgbImage, how: Removing, config: &ViewsConfig, random: &mut Random) -> RgbImage {
    match how {
        Removing::Occlusion => removing::occlude(picture, config.occlusion_count, config.occlusion_side, config.occlusion_fill, random),
        Removing::ZoomCrop => geometry::zoom_crop(picture, config.zoom_window, random),
        Removing::PatchMask => removing::mask_patches(picture, config.patch_pixels, config.patch_probability, random),
        Removing::GaussianNoise => removing::add_noise(picture, config.noise_std, random),
        Removing::NoImage => removing::mean_picture(picture),
    }
}
