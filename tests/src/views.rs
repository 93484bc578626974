//! Views: same size, seeded, as strong as configured.

use image::{Rgb, RgbImage};
use percept_cppo::problems::tasks::{Family, Split, Task, TaskConfig};
use percept_cppo::problems::views::contact_sheet::{Tile, contact_sheet, write_contact_sheet};
use percept_cppo::problems::views::{
    Border, Fill, Preserving, Preset, Removing, ViewsConfig, draw_all_views, draw_views, preserve, remove,
};
use percept_cppo::random::Random;

const PRESERVING: [Preserving; 4] = [Preserving::ColourJitter, Preserving::Perspective, Preserving::Rotation, Preserving::GaussianBlur];
const REMOVING: [Removing; 5] = [Removing::Occlusion, Removing::ZoomCrop, Removing::PatchMask, Removing::GaussianNoise, Removing::NoImage];

fn picture(index: u64) -> RgbImage {
    let config = TaskConfig { families: Family::ALL.to_vec(), ..TaskConfig::default() };
    Task::new(&config).unwrap().problem(Split::Train, index).picture
}

/// 24 × 16 pixels, each of its own colour.
fn ramp() -> RgbImage {
    RgbImage::from_fn(24, 16, |x, y| Rgb([10 * x as u8, 15 * y as u8, (5 * (x + y)) as u8]))
}

fn random(counter: u64) -> Random {
    Random::new(0, "test", counter)
}

#[test]
fn views_keep_the_size_and_change_the_picture() {
    for preset in [Preset::Paper, Preset::SmallPicture] {
        let config = ViewsConfig { perspective_probability: 1.0, ..ViewsConfig::preset(preset) };
        config.check().unwrap();
        for picture in [picture(0), ramp(), RgbImage::from_fn(3, 2, |x, y| Rgb([(90 * x) as u8, (200 * y) as u8, 7]))] {
            for how in PRESERVING {
                let view = preserve(&picture, how, &config, &mut random(0));
                assert_eq!(view.dimensions(), picture.dimensions(), "{how:?}");
                assert!(view != picture || picture.width() == 3, "{how:?}");
            }
            for how in REMOVING {
                let view = remove(&picture, how, &config, &mut random(0));
                assert_eq!(view.dimensions(), picture.dimensions(), "{how:?}");
                assert!(view != picture || picture.width() == 3, "{how:?}"); // 3 pixels may be left as they are
            }
        }
    }
}

#[test]
fn views_are_functions_of_seed_prompt_and_epoch() {
    let pictures: Vec<RgbImage> = (0..6).map(picture).collect();
    let numbered: Vec<(u64, &RgbImage)> = (100..).zip(&pictures).collect();
    let config = ViewsConfig::default();
    let all = draw_all_views(&numbered, &config, 7, 2);
    for (&(prompt, picture), views) in numbered.iter().zip(&all).rev() {
        assert_eq!(&draw_views(picture, &config, 7, prompt, 2), views);
        for (seed, prompt, epoch) in [(8, prompt, 2), (7, prompt + 1000, 2), (7, prompt, 3)] {
            let other = draw_views(picture, &config, seed, prompt, epoch);
            assert_ne!((&other.preserved, &other.removed), (&views.preserved, &views.removed));
        }
    }
}

#[test]
fn every_perturbation_of_a_set_is_drawn() {
    let config = ViewsConfig { preserving: PRESERVING.to_vec(), removing: REMOVING.to_vec(), ..ViewsConfig::default() };
    let picture = ramp();
    let draws: Vec<_> = (0..100).map(|prompt| draw_views(&picture, &config, 0, prompt, 0)).collect();
    assert!(PRESERVING.iter().all(|how| draws.iter().any(|views| views.preserving == *how)));
    assert!(REMOVING.iter().all(|how| draws.iter().any(|views| views.removing == *how)));
}

#[test]
fn neutral_strengths_change_nothing() {
    let config = ViewsConfig {
        brightness: [1.0; 2],
        contrast: [1.0; 2],
        saturation: [1.0; 2],
        perspective_distortion: 0.0,
        perspective_probability: 1.0,
        rotation_degrees: 0.0,
        blur_kernel: 1,
        occlusion_count: 0,
        zoom_window: [1.0; 2],
        patch_probability: 0.0,
        noise_std: 0.0,
        ..ViewsConfig::default()
    };
    let picture = ramp();
    for how in PRESERVING {
        assert_eq!(preserve(&picture, how, &config, &mut random(1)), picture, "{how:?}");
    }
    for how in REMOVING.into_iter().filter(|how| *how != Removing::NoImage) {
        assert_eq!(remove(&picture, how, &config, &mut random(1)), picture, "{how:?}");
    }
}

#[test]
fn colour_jitter_is_torchvisions() {
    // Only one factor differs from 1, so the order does not matter. Values by hand: grey = 0.2989 r + 0.587 g + 0.114 b.
    let picture = RgbImage::from_vec(2, 1, vec![100, 200, 50, 20, 40, 60]).unwrap();
    let still = ViewsConfig { brightness: [1.0; 2], contrast: [1.0; 2], saturation: [1.0; 2], ..ViewsConfig::default() };
    let jitter = |config: &ViewsConfig| preserve(&picture, Preserving::ColourJitter, config, &mut random(0)).into_raw();
    assert_eq!(jitter(&ViewsConfig { brightness: [1.5; 2], ..still.clone() }), [150, 255, 75, 30, 60, 90]);
    // Greys are 152.99 and 36.298, their mean 94.644.
    assert_eq!(jitter(&ViewsConfig { contrast: [0.5; 2], ..still.clone() }), [97, 147, 72, 57, 67, 77]);
    assert_eq!(jitter(&ViewsConfig { saturation: [0.0; 2], ..still }), [153, 153, 153, 36, 36, 36]);
}

#[test]
fn rotation_turns_about_the_middle_and_fills_with_black() {
    let config = ViewsConfig { rotation_degrees: 180.0, ..ViewsConfig::default() };
    let white = RgbImage::from_pixel(32, 32, Rgb([255; 3]));
    let mut corners = 0;
    for counter in 0..20 {
        let view = preserve(&white, Preserving::Rotation, &config, &mut random(counter));
        assert_eq!(view.get_pixel(16, 16).0, [255; 3]);
        corners += usize::from(view.get_pixel(0, 0).0 == [0; 3]);
    }
    assert!(corners > 10, "{corners} of 20 turns uncover the corner");
}

#[test]
fn what_a_movement_uncovers_may_have_the_colour_of_the_edge() {
    let config = ViewsConfig { rotation_degrees: 45.0, perspective_probability: 1.0, border: Border::Edge, ..ViewsConfig::default() };
    let page = RgbImage::from_pixel(32, 32, Rgb([250, 240, 230]));
    for counter in 0..10 {
        for how in [Preserving::Rotation, Preserving::Perspective] {
            assert_eq!(preserve(&page, how, &config, &mut random(counter)), page);
        }
    }
}

#[test]
fn perspective_moves_the_corners_inwards_only() {
    let config = ViewsConfig { perspective_probability: 1.0, perspective_distortion: 0.5, ..ViewsConfig::default() };
    let white = RgbImage::from_pixel(64, 64, Rgb([255; 3]));
    for counter in 0..10 {
        let view = preserve(&white, Preserving::Perspective, &config, &mut random(counter));
        // A corner moves by at most a quarter of the picture: the middle half stays covered.
        let covered = |x: u32, y: u32| view.get_pixel(x, y).0 == [255; 3];
        assert!((17..47).all(|x| (17..47).all(|y| covered(x, y))));
        assert!(!(0..64).all(|x| covered(x, 0) && covered(x, 63)), "something is uncovered at the edge");
    }
}

#[test]
fn perspective_is_drawn_with_its_probability() {
    let config = ViewsConfig::preset(Preset::Paper);
    let picture = picture(1);
    let changed = (0..200).filter(|&n| preserve(&picture, Preserving::Perspective, &config, &mut random(n)) != picture).count();
    assert!((70..130).contains(&changed), "{changed} of 200");
}

#[test]
fn blur_spreads_one_point_as_a_gaussian() {
    let mut picture = RgbImage::new(5, 5);
    picture.put_pixel(2, 2, Rgb([255; 3]));
    let config = ViewsConfig { blur_kernel: 3, blur_sigma: 1.0, ..ViewsConfig::default() };
    let view = preserve(&picture, Preserving::GaussianBlur, &config, &mut random(0));
    // Weights e^(-1/2) / (1 + 2 e^(-1/2)) = 0.27407 and 0.45186, squared and crossed, times 255.
    assert_eq!([view.get_pixel(2, 2)[0], view.get_pixel(1, 2)[0], view.get_pixel(1, 1)[0]], [52, 32, 19]);
    assert_eq!(view.get_pixel(0, 2)[0], 0);
}

#[test]
fn zoom_crop_shows_a_window() {
    // Columns get brighter to the right: the range shown tells the window's width.
    let picture = RgbImage::from_fn(100, 100, |x, _| Rgb([2 * x as u8; 3]));
    let config = ViewsConfig { zoom_window: [0.4, 0.5], ..ViewsConfig::default() };
    for counter in 0..20 {
        let view = remove(&picture, Removing::ZoomCrop, &config, &mut random(counter));
        let width = (f32::from(view.get_pixel(99, 50)[0]) - f32::from(view.get_pixel(0, 50)[0])) / 2.0;
        assert!((38.0..=51.0).contains(&width), "{width}");
    }
}

#[test]
fn occlusion_covers_with_the_mean_or_with_noise() {
    let white = RgbImage::from_pixel(64, 64, Rgb([255; 3]));
    let mut half = white.clone();
    (0..64).for_each(|x| (0..32).for_each(|y| half.put_pixel(x, y, Rgb([0; 3]))));
    let config = ViewsConfig { occlusion_count: 1, occlusion_side: [0.25; 2], ..ViewsConfig::default() };
    let covered = |fill| {
        let config = ViewsConfig { occlusion_fill: fill, ..config.clone() };
        let view = remove(&half, Removing::Occlusion, &config, &mut random(3));
        let other: Vec<[u8; 3]> = view.pixels().map(|p| p.0).filter(|p| *p != [0; 3] && *p != [255; 3]).collect();
        other
    };
    let mean = covered(Fill::Mean);
    assert_eq!(mean.len(), 16 * 16);
    assert!(mean.iter().all(|pixel| *pixel == [128; 3]));
    let noise = covered(Fill::Noise);
    assert!((250..=256).contains(&noise.len()) && noise.iter().any(|p| p[0] != p[1]), "{}", noise.len());
}

#[test]
fn patches_are_masked_with_their_probability() {
    let white = RgbImage::from_pixel(100, 60, Rgb([255; 3]));
    let config = ViewsConfig { patch_pixels: 14, patch_probability: 0.6, ..ViewsConfig::default() };
    let mut masked = 0;
    let mut histories = vec![0u64; 5 * 8];
    for counter in 0..40 {
        let view = remove(&white, Removing::PatchMask, &config, &mut random(counter));
        for (row, column) in (0..5).flat_map(|row| (0..8).map(move |column| (row, column))) {
            let corner = view.get_pixel(column * 14, row * 14);
            masked += usize::from(corner.0 == [0; 3]);
            histories[(row * 8 + column) as usize] |= u64::from(corner.0 == [0; 3]) << counter;
            for (x, y) in [(column * 14 + 13, row * 14), (column * 14, row * 14 + 13)] {
                if x < 100 && y < 60 {
                    assert_eq!(view.get_pixel(x, y), corner);
                }
            }
        }
    }
    histories.sort_unstable();
    assert!(histories.windows(2).all(|pair| pair[0] != pair[1]), "two patches always share their fate");
    let share = masked as f64 / 1600.0;
    assert!((share - 0.6).abs() < 0.04, "{share}");
}

#[test]
fn noise_has_its_standard_deviation_on_normalised_pixels() {
    let grey = RgbImage::from_pixel(100, 100, Rgb([128; 3]));
    let config = ViewsConfig { noise_std: 0.2, ..ViewsConfig::default() };
    let view = remove(&grey, Removing::GaussianNoise, &config, &mut random(0));
    let normalised = |value: u8| (f64::from(value) - 128.0) / 127.5;
    let variance = view.as_raw().iter().map(|v| normalised(*v).powi(2)).sum::<f64>() / view.as_raw().len() as f64;
    assert!((variance.sqrt() - 0.2).abs() < 0.004, "{}", variance.sqrt());
}

#[test]
fn no_image_is_the_mean_colour() {
    let picture = RgbImage::from_vec(2, 1, vec![0, 10, 255, 100, 20, 254]).unwrap();
    let view = remove(&picture, Removing::NoImage, &ViewsConfig::default(), &mut random(0));
    assert_eq!(view.into_raw(), [50, 15, 255, 50, 15, 255]);
}

#[test]
fn a_table_is_laid_over_its_preset() {
    let config: ViewsConfig = toml::from_str("preset = 'paper'\nrotation_degrees = 3.0").unwrap();
    assert_eq!(config, ViewsConfig { rotation_degrees: 3.0, ..ViewsConfig::preset(Preset::Paper) });
    let config: ViewsConfig = toml::from_str("removing = ['no_image']").unwrap();
    assert_eq!(config, ViewsConfig { removing: vec![Removing::NoImage], ..ViewsConfig::preset(Preset::SmallPicture) });
    assert_eq!(toml::from_str::<ViewsConfig>("").unwrap(), ViewsConfig::default());
    for preset in [Preset::Paper, Preset::SmallPicture] {
        let config = ViewsConfig::preset(preset);
        assert_eq!(toml::from_str::<ViewsConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }
    for (wrong, named) in [("rotation = 3.0", "rotation"), ("preset = 'big'", "big"), ("zoom_window = 'x'", "x")] {
        let error = toml::from_str::<ViewsConfig>(wrong).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn impossible_views_name_the_field() {
    let base = ViewsConfig::default;
    let cases = [
        (ViewsConfig { removing: vec![], ..base() }, "removing"),
        (ViewsConfig { brightness: [1.2, 0.7], ..base() }, "brightness"),
        (ViewsConfig { blur_kernel: 2, ..base() }, "blur_kernel"),
        (ViewsConfig { zoom_window: [0.0, 0.5], ..base() }, "zoom_window"),
        (ViewsConfig { noise_std: f32::NAN, ..base() }, "noise_std"),
    ];
    for (config, field) in cases {
        let error = config.check().unwrap_err();
        assert!(error.starts_with(field), "{error}");
    }
}

#[test]
fn a_contact_sheet_shows_each_picture_enlarged() {
    let (picture, config) = (ramp(), ViewsConfig::default());
    let views = draw_views(&picture, &config, 0, 0, 0);
    let tile = |caption: &str, picture| Tile { caption: caption.into(), picture };
    let rows = [vec![tile("1", &picture), tile("", &views.preserved), tile("longer é", &views.removed)], vec![tile("2", &picture)]];
    let sheet = contact_sheet(&rows, 2);
    // a caption is wider than its picture
    assert_eq!(sheet.dimensions(), (6 + 2 * (48 + 6) + 8 * 8 + 6, 6 + 2 * (12 + 32 + 6)));
    assert_eq!(sheet.get_pixel(6 + 2 * 23 + 1, 18 + 2 * 15 + 1), picture.get_pixel(23, 15));
    assert_eq!(sheet.get_pixel(6 + 54, 18), views.preserved.get_pixel(0, 0));
    let inked = |left: u32, top: u32| (0..64).filter(|at| sheet.get_pixel(left + at % 8, top + at / 8).0 == [255; 3]).count();
    assert!(inked(6, 6) > 10 && inked(6, 56) > inked(6, 6), "a 1, and a 2, which has more ink");
    assert_eq!(
        (inked(60, 6), inked(114 + 48, 6), inked(114 + 56, 6)),
        (0, 0, 16),
        "no caption; a space; a question mark for what is not ASCII"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sheet.png");
    write_contact_sheet(&path, &rows, 2).unwrap();
    assert_eq!(image::open(&path).unwrap().to_rgb8(), sheet);
    assert!(write_contact_sheet(&folder.path().join("none/sheet.png"), &rows, 2).is_err());
}
