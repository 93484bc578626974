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

pub mod changes;
mod colour;
mod config;
pub mod contact_sheet;
pub mod diffusion;
mod geometry;
mod removing;

pub use config::{Border, Fill, Preserving, Preset, Removing, ViewsConfig};

use image::RgbImage;
use rayon::prelude::*;

use crate::random::Random;

/// The two views of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// The version that preserves the information (I⁺). Same size as the picture.
    pub preserved: RgbImage,
    /// How it was made.
    pub preserving: Preserving,
    /// The version that removes the information (I⁻). Same size as the picture.
    pub removed: RgbImage,
    /// How it was made.
    pub removing: Removing,
}

/// A way to perturb a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Perturbation {
    /// The question can still be answered.
    Preserving(Preserving),
    /// The question can hardly be answered.
    Removing(Removing),
    /// Noise of this stage of a diffusion schedule, 0 to 999; how much can still be read depends on the stage. See `views/diffusion.rs`.
    Diffused(u16),
}

/// What a perturbation is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PerturbationSet {
    /// The configured information-preserving ones, all equally likely.
    Preserving,
    /// The configured information-removing ones, all equally likely.
    Removing,
    /// Always this one.
    Only(Perturbation),
}

/// A picture that was perturbed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Perturbed {
    /// Same size as the original.
    pub picture: RgbImage,
    /// How it was made.
    pub how: Perturbation,
}

/// Draws a perturbation from each of `sets`, then perturbs `picture` by each. `[sets] -> [sets]`
///
/// # Panics
/// If a set of perturbations is empty ([`ViewsConfig::check`] says so beforehand).
#[track_caller]
pub fn draw_perturbed(picture: &RgbImage, sets: &[PerturbationSet], config: &ViewsConfig, random: &mut Random) -> Vec<Perturbed> {
    let draw = |set: &PerturbationSet| match set {
        PerturbationSet::Preserving => Perturbation::Preserving(*random.choose(&config.preserving)),
        PerturbationSet::Removing => Perturbation::Removing(*random.choose(&config.removing)),
        PerturbationSet::Only(perturbation) => *perturbation,
    };
    let drawn: Vec<Perturbation> = sets.iter().map(draw).collect();
    let perturb = |how: Perturbation| match how {
        Perturbation::Preserving(preserving) => Perturbed { picture: preserve(picture, preserving, config, random), how },
        Perturbation::Removing(removing) => Perturbed { picture: remove(picture, removing, config, random), how },
        Perturbation::Diffused(stage) => Perturbed { picture: diffusion::diffuse(picture, stage, random), how },
    };
    drawn.into_iter().map(perturb).collect()
}

/// The generator of the views of picture `number` of a prompt, in an epoch of a run with `seed`.
pub fn view_random(seed: u64, prompt: u64, number: usize, epoch: u64) -> Random {
    Random::new(Random::new(seed, "views", prompt ^ (number as u64) << 48).next_u64(), "epoch", epoch)
}

/// Draws both views of `picture`, the first of `prompt`, for `epoch`.
///
/// # Panics
/// If a set of perturbations is empty ([`ViewsConfig::check`] says so beforehand).
#[track_caller]
pub fn draw_views(picture: &RgbImage, config: &ViewsConfig, seed: u64, prompt: u64, epoch: u64) -> Views {
    both_views(picture, config, &mut view_random(seed, prompt, 0, epoch))
}

#[track_caller]
fn both_views(picture: &RgbImage, config: &ViewsConfig, random: &mut Random) -> Views {
    let mut drawn = draw_perturbed(picture, &[PerturbationSet::Preserving, PerturbationSet::Removing], config, random).into_iter();
    let (Some(Perturbed { picture: preserved, how: Perturbation::Preserving(preserving) }), Some(of_removed)) =
        (drawn.next(), drawn.next())
    else {
        unreachable!("one view is drawn from each set")
    };
    let Perturbed { picture: removed, how: Perturbation::Removing(removing) } = of_removed else {
        unreachable!("the second set removes information")
    };
    Views { preserved, preserving, removed, removing }
}

/// The views of all pictures of one prompt, each perturbed by itself. `[pictures] -> [pictures]`
#[track_caller]
pub fn draw_prompt_views(pictures: &[RgbImage], config: &ViewsConfig, seed: u64, prompt: u64, epoch: u64) -> Vec<Views> {
    let views = |(number, picture)| both_views(picture, config, &mut view_random(seed, prompt, number, epoch));
    pictures.iter().enumerate().map(views).collect()
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
        Preserving::Perspective => geometry::perspective(picture, config.perspective_distortion, config.border, random),
        Preserving::Rotation => {
            let limit = config.rotation_degrees;
            geometry::rotate(picture, random.uniform([-limit, limit]), config.border)
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
