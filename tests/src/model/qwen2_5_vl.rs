//! Qwen2.5-VL against what transformers computes in float32 (`tests/golden/qwen2_5_vl/make.py`), and what only this family has.

use std::path::{Path, PathBuf};

use percept_engine::{DType, Device};
use percept_model::families::qwen2_5_vl::smart_resize;
use percept_model::image::{ImageProcessor, Patches, RgbImage};
use percept_model::{Model, ModelConfig, Precision, parameter_count, parameter_shapes};
use serde_json::Value;

use super::parity::{Golden, Tensors};
use crate::common::gpu;

fn directory(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/qwen2_5_vl").join(case)
}

fn load(case: &str, device: &Device) -> Model {
    Model::load(&directory(case), device, Precision::Float32).unwrap()
}

/// As `picture` of the generator.
fn picture(number: u32, [height, width]: [u32; 2]) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([x * 31 + 40 * number, y * 17 + x * x / 5, (x + 1) * (y + 3) * (number + 1) / 7].map(|colour| (colour % 256) as u8))
    })
}

/// The pictures of a sequence, through the image processor; their pixels are compared with transformers'.
fn pictures(processor: &ImageProcessor, index: usize, row: &Value, tensors: &Tensors) -> Vec<Patches> {
    let pairs = |key: &str| -> Vec<[u32; 2]> { serde_json::from_value(row[key].clone()).unwrap() };
    let made: Vec<Patches> = pairs("pictures").iter().zip(0..).map(|(&size, number)| processor.process(&picture(number, size))).collect();
    let grids: Vec<[u32; 2]> = made.iter().flat_map(Patches::grids).map(|grid| grid.map(|side| side as u32)).collect();
    assert_eq!(grids, pairs("grids"));
    // transformers has the patches of a visual token side by side, and each twice, as two frames
    let rows: Vec<&[f32]> = made
        .iter()
        .flat_map(|picture| {
            let [rows, cols] = picture.grids()[0];
            let tokens = (0..rows / 2).flat_map(move |y| (0..cols / 2).map(move |x| (2 * y, 2 * x)));
            tokens
                .flat_map(move |(y, x)| [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)].map(|(y, x)| y * cols + x))
                .map(|patch| &picture.values()[patch * picture.width()..][..picture.width()])
        })
        .collect();
    if let Some((_, expected)) = tensors.get(&format!("{index}.pixels")) {
        for (at, expected) in (0..).step_by(997).zip(expected) {
            let (row, channel, pixel) = (rows[at / 1176], at % 1176 / 392, at % 196);
            let got = f64::from(row[channel * 196 + pixel]);
            assert!((got - expected).abs() < 1e-6, "picture {index}, value {at}: {got}, expected {expected}");
        }
    }
    made
}

fn golden(case: &str) -> Golden {
    let directory = directory(case);
    let config = ModelConfig::from_file(&directory.join("config.json")).unwrap();
    let processor = ImageProcessor::from_directory(&directory, &config).unwrap();
    Golden::read_with(&directory, |index, row, tensors| pictures(&processor, index, row, tensors))
}

#[test]
fn the_published_layout_matches_on_the_cpu() {
    golden("flat").compare(&load("flat", &Device::cpu()));
}

#[test]
fn the_layout_of_transformers_5_matches_on_the_cpu() {
    golden("nested").compare(&load("nested", &Device::cpu()));
    let halves = Model::load(&directory("nested"), &Device::cpu(), Precision::AsStored).unwrap();
    assert_eq!(halves.dtype(), DType::BF16);
    golden("nested").compare(&halves);
}

#[test]
fn both_layouts_match_on_the_gpu() {
    for case in ["flat", "nested"] {
        golden(case).compare(&load(case, &gpu()));
    }
}

/// The sizes of pictures, with the settings of the published files where none are named.
#[test]
fn sides_become_multiples_with_halves_to_the_even() {
    let published = [3136, 12_845_056];
    for (from, to, pixels) in [
        ([70, 70], [56, 56], published),
        ([42, 42], [56, 56], published),
        ([14, 1000], [28, 476], published),
        ([480, 640], [476, 644], published),
        ([300, 500], [308, 504], published),
        ([1080, 1920], [1092, 1932], published),
        ([2160, 3840], [2156, 3836], published),
        ([1080, 1920], [728, 1316], [3136, 1_003_520]),
        ([448, 448], [532, 532], [262_144, 4_194_304]),
    ] {
        assert_eq!(smart_resize(from, 28, pixels), to, "{from:?} within {pixels:?}");
    }
}

/// Qwen2.5-VL-3B, from its sizes alone.
#[test]
fn the_published_model_has_its_tensors() {
    let text = include_str!("qwen2_5_vl_3b.json");
    let config = ModelConfig::from_json(Path::new("config.json"), text).unwrap();
    let shapes = parameter_shapes(&config);
    assert_eq!((shapes.len(), parameter_count(&config)), (824, 3_754_622_976));
    let of = |name: &str| shapes.iter().find(|(known, _)| known == name).map(|(_, shape)| shape.clone());
    assert_eq!(of("visual.patch_embed.proj.weight"), Some(vec![1280, 3, 2, 14, 14]));
    assert_eq!(of("visual.blocks.31.attn.qkv.bias"), Some(vec![3840]));
    assert_eq!(of("visual.blocks.0.mlp.gate_proj.weight"), Some(vec![3420, 1280]));
    assert_eq!(of("visual.merger.mlp.2.weight"), Some(vec![2048, 5120]));
    assert_eq!(of("model.layers.35.self_attn.k_proj.bias"), Some(vec![256]));
    assert_eq!(of("lm_head.weight"), None);
    let vision = |name: &str| name.starts_with("visual.");
    let count = |is_vision: bool| {
        shapes.iter().filter(|(name, _)| vision(name) == is_vision).map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
    };
    assert_eq!((count(true), count(false)), (668_684_288, 3_085_938_688));
}
