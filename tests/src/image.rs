//! The image processor against Pillow and transformers: no byte may differ (`golden/image/make.py` made the goldens).

use std::io::Cursor;

use percept_model::families::idefics3::{ImageProcessorConfig, ImageSize, LongestEdge, Processor};
use percept_model::image::{
    DecodeOptions, Filter, ImageError, Normalisation, Patches, RgbImage, Tiling, Transparency, decode, open, resize,
};
use percept_model::{ModelConfig, ModelFiles};
use serde_json::{Value, json};

#[test]
fn generated_pictures_are_those_of_the_goldens() {
    for case in cases("pictures") {
        let (width, height) = pair(&case["size"]);
        assert_eq!(crc(picture(width, height).as_raw()), number(&case["crc"]), "{width}x{height}");
    }
}

#[test]
fn resize_gives_pillow_bytes() {
    for case in cases("resize") {
        let ((width, height), (to_width, to_height)) = (pair(&case["size"]), pair(&case["to"]));
        let resized = resize(&picture(width, height), to_width, to_height, filter(&case["filter"]));
        assert_eq!(resized.dimensions(), (to_width as u32, to_height as u32));
        let last = &resized.as_raw()[resized.as_raw().len().saturating_sub(6)..];
        assert_eq!(json!(last), case["last"], "{case}");
        assert_eq!(crc(resized.as_raw()), number(&case["crc"]), "{case}");
    }
}

#[test]
fn processor_gives_transformers_bytes() {
    for case in cases("process") {
        let (width, height) = pair(&case["size"]);
        let image = decode(&png(&picture(width, height)), "generated", DecodeOptions::default());
        let mut config = sizes(&case);
        config.do_image_splitting = case["split"].as_bool().unwrap();
        config.do_resize = case.get("do_resize").is_none_or(|value| value.as_bool().unwrap());
        config.resample = filter(&case["filter"]);
        let (got, tiles) = Processor::new(config).unwrap().tiles(&image.unwrap());
        assert_eq!(got, tiling(&case), "{case}");
        assert_eq!(tiles.len(), got.tiles(), "{case}");
        let crcs: Vec<u64> = tiles.iter().map(|tile| crc(&planes(tile))).collect();
        assert_eq!(json!(crcs), case["crc"], "{case}");
    }
}

/// SmolVLM2's processor (`tests/golden/image/make_smolvlm2.py`): the settings it saves, and its tiles, of 384 pixels.
#[test]
fn the_processor_of_smolvlm2_gives_transformers_bytes() {
    let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/image/smolvlm2.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    for case in golden["process"].as_array().unwrap() {
        let (width, height) = pair(&case["size"]);
        let mut config: ImageProcessorConfig = serde_json::from_value(golden["settings"].clone()).unwrap();
        assert_eq!(config.image_processor_type, "SmolVLMImageProcessor");
        config.do_image_splitting = case["split"].as_bool().unwrap();
        let (got, tiles) = Processor::new(config).unwrap().tiles(&picture(width, height));
        let crcs: Vec<u64> = tiles.iter().map(|tile| crc(&planes(tile))).collect();
        assert_eq!((got, json!(crcs)), (tiling(case), case["crc"].clone()), "{case}");
    }
}

#[test]
fn patches_are_the_squares_of_their_tiles() {
    let mut config = ImageProcessorConfig::new(96, 32);
    for splitting in [true, false] {
        config.do_image_splitting = splitting;
        let (processor, image) = (Processor::new(config.clone()).unwrap(), picture(70, 50));
        let (tiling, tiles) = processor.tiles(&image);
        let pixels: Vec<f32> = tiles.iter().flat_map(planes).map(|byte| (f32::from(byte) / 255.0 - 0.5) / 0.5).collect();
        for patch in [4, 8, 16] {
            let expected = Patches::from_pixels(tiling, &pixels, [3, 32, 32], patch);
            assert!(processor.process(&image, patch) == expected, "patches of {patch}");
            assert_eq!(expected.grids(), vec![[32 / patch, 32 / patch]; tiles.len()]);
        }
    }
    // red is the number of the column, green of the row, blue of both; [2, 4] patches of 2 × 2
    let image = RgbImage::from_fn(8, 4, |x, y| ::image::Rgb([x as u8, y as u8, (10 * y + x) as u8]));
    let patches = Normalisation::new(|_, byte| f32::from(byte)).patches(Tiling::WHOLE, &[image], 2);
    assert_eq!(patches.grids(), [[2, 4]]);
    assert_eq!(patches.values()[5 * 12..6 * 12], [2.0, 3.0, 2.0, 3.0, 2.0, 2.0, 3.0, 3.0, 22.0, 23.0, 32.0, 33.0]);
}

#[test]
fn tiling_is_that_of_transformers() {
    for case in cases("tilings") {
        let (width, height) = pair(&case["size"]);
        let processor = Processor::new(sizes(&case)).unwrap();
        assert_eq!(processor.tiling(width, height), tiling(&case), "{case}");
    }
    // transformers fails on this one: 49 · (1 / 49) truncates to zero tiles.
    let mut config = ImageProcessorConfig::new(64, 49);
    config.do_resize = false;
    assert_eq!(Processor::new(config).unwrap().tiling(1, 49), Tiling::WHOLE);
}

#[test]
fn every_byte_has_the_value_of_transformers() {
    let ramp = (0..=255).flat_map(|byte: u8| [byte; 3]).collect();
    let ramp = RgbImage::from_raw(16, 16, ramp).unwrap();
    for case in cases("values") {
        let mut config = serde_json::to_value(ImageProcessorConfig::new(16, 16)).unwrap();
        for (key, value) in case["settings"].as_object().unwrap() {
            config[key] = value.clone();
        }
        let processor = Processor::new(serde_json::from_value(config).unwrap()).unwrap();
        let patches = processor.process(&ramp, 16); // one patch, [3, 16, 16]
        assert_eq!((patches.grids(), patches.width()), (&[[1, 1]][..], 3 * 16 * 16));
        for (channel, first) in case["first"].as_array().unwrap().iter().enumerate() {
            assert_eq!(patches.values()[channel * 256 + 1], first.as_f64().unwrap() as f32, "{case}");
        }
        let bytes: Vec<u8> = patches.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(crc(&bytes), number(&case["crc"]), "{case}");
    }
}

#[test]
fn pngs_of_every_kind_decode_as_in_pillow() {
    for case in cases("decode") {
        let png = hex(&case["png"]);
        for (transparency, key) in [(Transparency::Drop, "rgb"), (Transparency::OverWhite, "over_white")] {
            if case[key].is_null() {
                continue;
            }
            let options = DecodeOptions { transparency, ..DecodeOptions::default() };
            let image = decode(&png, "golden", options).unwrap();
            assert_eq!(*image.as_raw(), hex(&case[key]), "{} {key}", case["name"]);
        }
    }
}

#[test]
fn jpeg_decodes_close_to_its_source_and_is_turned_upright() {
    let gradient = (0..48 * 32).flat_map(|at| [at % 48 * 5, at / 48 * 7, 90].map(|value| value as u8));
    let source = RgbImage::from_raw(48, 32, gradient.collect()).unwrap();
    let mut jpeg = jpeg(&source);
    // An APP1 segment, EXIF, little-endian, one entry: orientation 6, a quarter turn.
    let exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());

    let image = decode(&jpeg, "generated", DecodeOptions::default()).unwrap();
    assert_eq!((image.width(), image.height()), (32, 48));
    let image = ::image::imageops::rotate270(&image);
    let difference = image.as_raw().iter().zip(source.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(difference <= Some(12), "largest difference {difference:?}");

    for cut in [2, 20, jpeg.len() / 3] {
        let error = decode(&jpeg[..jpeg.len() - cut], "cut.jpg", DecodeOptions::default()).unwrap_err();
        assert!(matches!(error, ImageError::Truncated { .. }), "{cut}: {error}");
    }
}

#[test]
fn damaged_pictures_are_clear_errors() {
    let whole = png(&picture(100, 80));
    let decode = |bytes: &[u8]| decode(bytes, "a/b.png", DecodeOptions::default()).unwrap_err();

    for length in [10, 20, 30, 40, whole.len() / 2, whole.len() - 40] {
        let error = decode(&whole[..length]);
        assert!(matches!(error, ImageError::Truncated { .. }), "{length}: {error}");
        assert!(error.to_string().contains(&format!("a/b.png: the picture is truncated: {length} bytes")), "{error}");
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x55;
    let error = decode(&flipped);
    assert!(matches!(error, ImageError::Decode { .. }), "{error}");
    assert!(error.to_string().starts_with("a/b.png: cannot decode the picture: "), "{error}");

    for bytes in [&b""[..], b"BM, this is text", b"hello, this is text"] {
        let error = decode(bytes);
        assert!(matches!(error, ImageError::Format { .. }), "{error}");
    }
    let error = decode(b"hello, this").to_string();
    let expected =
        "a/b.png: expected a PNG, JPEG, WebP, GIF, BMP or TIFF picture, got 11 bytes that start with [68, 65, 6c, 6c, 6f, 2c, 20, 74]";
    assert_eq!(error, expected);
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let sized = |width: u32, height: u32| {
        let mut bytes = png(&picture(3, 500));
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        decode(&bytes, "bomb.png", DecodeOptions::default()).unwrap_err()
    };
    for (width, height) in [(60_000, 60_000), (u32::MAX >> 1, u32::MAX >> 1), (65_536, 1), (1, 65_536), (9_459, 9_460)] {
        let error = sized(width, height);
        assert!(matches!(error, ImageError::TooLarge { .. }), "{width}x{height}: {error}");
    }
    assert_eq!(
        sized(60_000, 60_000).to_string(),
        "bomb.png: 60000x60000 (3600000000 pixels) exceeds the limit of 89478485 pixels or 65535 a side"
    );
    // Just below the limit it is the checksum of the forged header that is wrong.
    assert!(matches!(sized(9_459, 9_459), ImageError::Decode { .. }));

    let options = DecodeOptions { max_pixels: 48 * 32 - 1, ..DecodeOptions::default() };
    let error = decode(&jpeg(&picture(48, 32)), "bomb.jpg", options).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { width: 48, height: 32, .. }), "{error}");
}

#[test]
fn files_are_named_in_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("picture.png");
    let error = open(&path).unwrap_err();
    assert!(matches!(error, ImageError::Read { .. }) && error.to_string().contains("picture.png"), "{error}");

    std::fs::write(&path, "not a picture").unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, ImageError::Format { .. }) && error.to_string().contains("picture.png"), "{error}");

    std::fs::write(&path, png(&picture(100, 80))).unwrap();
    assert_eq!(open(&path).unwrap(), picture(100, 80));
}

#[test]
fn settings_round_trip_through_the_keys_of_transformers() {
    let golden = golden("config");
    let config: ImageProcessorConfig = serde_json::from_value(golden.clone()).unwrap();
    assert_eq!(config, ImageProcessorConfig::new(2048, 512));
    assert_eq!(serde_json::to_value(&config).unwrap(), golden);

    let older = r#"{"do_image_splitting": false, "processor_class": "Idefics3Processor", "resample": 3,
        "size": {"height": 32, "width": 48}, "video_sampling": {"fps": 1}}"#;
    let config: ImageProcessorConfig = serde_json::from_str(older).unwrap();
    assert!(!config.do_image_splitting && config.do_resize);
    assert_eq!(config.processor_class.as_deref(), Some("Idefics3Processor"));
    assert_eq!((config.resample, config.size), (Filter::Bicubic, ImageSize::Exact { height: 32, width: 48 }));
    assert_eq!(config.max_image_size, LongestEdge { longest_edge: 364 });
}

#[test]
fn settings_are_found_in_either_file_of_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let tokenizer = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer");
    ModelFiles::read_with_config(&tokenizer, ModelConfig::tiny()).unwrap().write(directory.path()).unwrap();
    for name in ["preprocessor_config.json", "processor_config.json"] {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let read = || ModelFiles::read(directory.path()).map(|files| Value::Object(files.image_settings().clone()));

    let error = read().unwrap_err().to_string();
    assert!(error.contains("preprocessor_config.json: not found"), "{error}");

    write("preprocessor_config.json", r#"{"max_image_size": {"longest_edge": 64}, "size": null}"#);
    let settings = read().unwrap();
    let expected = ImageProcessorConfig { max_image_size: LongestEdge { longest_edge: 64 }, ..ImageProcessorConfig::default() };
    assert_eq!(settings, json!(expected));

    write("processor_config.json", r#"{"image_seq_len": 16}"#);
    assert_eq!(read().unwrap(), settings);

    // As in transformers, settings nested in the newer file come first.
    let nested = ImageProcessorConfig::new(128, 64);
    write("processor_config.json", &json!({ "image_processor": nested }).to_string());
    assert_eq!(read().unwrap(), json!(nested));

    write("processor_config.json", r#"{"image_processor": {"do_resize": true, "image_mean": [0.5, "x", 0.5]}}"#);
    let error = read().unwrap_err().to_string();
    let expected = r#"processor_config.json: image_processor.image_mean: expected a usable setting, got [0.5,"x",0.5]"#;
    assert!(error.contains(expected), "{error}");
    let sizes = r#"{"max_image_size": {"longest_edge": 64}, "size": {"longest_edge": 0}}"#;
    write("processor_config.json", &format!(r#"{{"image_processor": {sizes}}}"#));
    let error = read().unwrap_err().to_string();
    assert!(error.contains("processor_config.json: image_processor.size.longest_edge: expected 1 to 4294967295 pixels, got 0"), "{error}");
}

#[test]
fn senseless_settings_are_clear_errors() {
    let parse = |text: &str| serde_json::from_str::<ImageProcessorConfig>(text).unwrap_err().to_string();
    let error = parse(r#"{"resample": 0}"#);
    assert!(error.contains("resample: expected 1 (LANCZOS), 2 (BILINEAR) or 3 (BICUBIC), got 0"), "{error}");
    let error = parse(r#"{"size": {"shortest_edge": 224}}"#);
    assert!(error.contains(r#"size: expected {"longest_edge": pixels} or"#), "{error}");

    let refused = |change: fn(&mut ImageProcessorConfig)| {
        let mut config = ImageProcessorConfig::new(64, 64);
        change(&mut config);
        Processor::new(config).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|config| config.max_image_size.longest_edge = 0),
        "image processor: max_image_size.longest_edge: expected 1 to 4096 pixels, got 0"
    );
    let error = refused(|config| config.size = ImageSize::Exact { height: 64, width: 1_000_000 });
    assert!(error.contains("size.width: expected 1 to 4096 pixels, got 1000000"), "{error}");
    let error = refused(|config| config.image_std[2] = 0.0);
    assert!(error.contains("image_std: expected numbers other than 0, got [0.5, 0.5, 0.0]"), "{error}");
    let error = refused(|config| config.image_mean[0] = f64::NAN);
    assert!(error.contains("image_mean: expected a finite number, got NaN"), "{error}");
}

/// The twin of `picture` in `golden/image/make.py`.
fn picture(width: usize, height: usize) -> RgbImage {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for (y, x, c) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
        pixels.push(match (x / 16 + y / 16) % 3 {
            0 => ((x * 255 / (width - 1).max(1) + y * 255 / (height - 1).max(1)) / 2) as u8,
            1 => {
                let [x, y, c] = [x, y, c].map(|value| value as u32);
                let noise = x.wrapping_mul(73856093) ^ y.wrapping_mul(19349663) ^ c.wrapping_mul(83492791);
                (noise >> 13) as u8
            }
            _ => {
                if (x + 2 * y + c) % 3 == 0 {
                    255
                } else {
                    0
                }
            }
        });
    }
    RgbImage::from_raw(width as u32, height as u32, pixels).unwrap()
}

/// `[h, w, 3] -> [3, h, w]`
fn planes(image: &RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel[channel])).collect()
}

fn png(image: &RgbImage) -> Vec<u8> {
    encode(image, ::image::ImageFormat::Png)
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    encode(image, ::image::ImageFormat::Jpeg)
}

fn encode(image: &RgbImage, format: ::image::ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn golden(key: &str) -> Value {
    let goldens: Value = serde_json::from_str(include_str!("../golden/image/goldens.json")).unwrap();
    goldens[key].clone()
}

fn cases(key: &str) -> Vec<Value> {
    let cases = golden(key).as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn sizes(case: &Value) -> ImageProcessorConfig {
    ImageProcessorConfig::new(number(&case["longest_edge"]) as usize, number(&case["tile_edge"]) as usize)
}

fn tiling(case: &Value) -> Tiling {
    Tiling { rows: number(&case["rows"]) as usize, cols: number(&case["cols"]) as usize }
}

fn filter(name: &Value) -> Filter {
    match name.as_str().unwrap() {
        "lanczos" => Filter::Lanczos,
        "bilinear" => Filter::Bilinear,
        "bicubic" => Filter::Bicubic,
        other => panic!("no filter {other}"),
    }
}

fn pair(value: &Value) -> (usize, usize) {
    (number(&value[0]) as usize, number(&value[1]) as usize)
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("expected a number, got {value}"))
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// CRC-32 as in PNG and Python's `zlib.crc32`.
pub(crate) fn crc(bytes: &[u8]) -> u64 {
    let table: [u32; 256] =
        std::array::from_fn(|byte| (0..8).fold(byte as u32, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb88320 } else { crc >> 1 }));
    let step = |crc: u32, &byte: &u8| table[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    u64::from(!bytes.iter().fold(!0, step))
}
