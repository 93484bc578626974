//! Picture files of every format, whole, cut off and hostile (`golden/image/make_formats.py` made the goldens, with Pillow).

use std::path::Path;

use percept_model::foreign::contain;
use percept_model::image::{DecodeOptions, Format, ImageError, RgbImage, Transparency, decode, open, read};
use serde_json::Value;

use crate::image::crc;

struct Case {
    name: String,
    file: Vec<u8>,
    size: (u32, u32),
    differs: u8,
    white: Vec<u8>,
    drop: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let rows: Vec<Value> = serde_json::from_str(include_str!("../golden/image/formats.json")).unwrap();
    let case = |row: Value| {
        let side = |at: usize| row["size"][at].as_u64().unwrap() as u32;
        let white = hex(&row["white"]);
        Case {
            name: row["name"].as_str().unwrap().to_owned(),
            file: hex(&row["file"]),
            size: (side(0), side(1)),
            differs: row["differs"].as_u64().unwrap() as u8,
            drop: if row["drop"].is_null() { white.clone() } else { hex(&row["drop"]) },
            white,
        }
    };
    rows.into_iter().map(case).collect()
}

/// The file of the case with this name.
fn file(name: &str) -> Vec<u8> {
    cases().into_iter().find(|case| case.name == name).unwrap().file
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn decoded(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    decode(bytes, "made", DecodeOptions::default())
}

fn message(bytes: &[u8]) -> String {
    decoded(bytes).unwrap_err().to_string()
}

#[test]
fn every_format_reads_as_in_pillow_upright_and_over_white() {
    let mut wrong = Vec::new();
    for case in cases() {
        for (transparency, expected) in [(Transparency::OverWhite, &case.white), (Transparency::Drop, &case.drop)] {
            let options = DecodeOptions { transparency, ..DecodeOptions::default() };
            match decode(&case.file, "golden", options) {
                Ok(image) if image.dimensions() == case.size => {
                    let difference = image.as_raw().iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                    if difference > case.differs {
                        wrong.push(format!("{} {transparency:?}: differs by {difference}", case.name));
                    }
                }
                Ok(image) => wrong.push(format!("{}: {:?} for {:?}", case.name, image.dimensions(), case.size)),
                Err(error) => wrong.push(format!("{}: {error}", case.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_goldens_turn_pictures_in_all_ways() {
    // else the test above would pass with an orientation that is read wrongly and a golden that ignores it
    let turned: std::collections::HashSet<Vec<u8>> =
        cases().iter().filter(|case| case.name.starts_with("png, EXIF orientation")).map(|case| case.white.clone()).collect();
    assert_eq!(turned.len(), 8);
}

#[test]
fn formats_are_known_by_their_bytes() {
    for case in cases() {
        let extension = Format::of(&case.file).map(Format::extension);
        let first = case.name.split([' ', ',']).next().unwrap();
        assert_eq!(extension, Some(first.replace("jpeg", "jpg").replace("tiff", "tif").as_str()), "{}", case.name);
    }
}

/// Whatever is missing: the picture is refused, or nothing of it is missing. It is never grey below.
#[test]
fn cut_off_files_are_refused_or_whole() {
    let names = [
        "webp, lossless",
        "webp, lossy",
        "gif",
        "gif, transparent",
        "bmp",
        "bmp, palette",
        "tiff, None",
        "tiff, tiff_lzw",
        "jpeg, progressive",
    ];
    for case in cases().into_iter().filter(|case| names.contains(&case.name.as_str())) {
        let whole = decoded(&case.file).unwrap();
        let mut refused = 0;
        for length in 0..case.file.len() {
            match decoded(&case.file[..length]) {
                Ok(image) => assert!(image == whole, "{} of {length} bytes is another picture", case.name),
                Err(error) => {
                    assert!(error.to_string().starts_with("made: "), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > case.file.len() / 2, "{}: {refused} of {} cuts refused", case.name, case.file.len());
    }
}

/// A damaged byte gives a picture or an error, but no panic and no hang.
#[test]
fn damaged_bytes_never_panic() {
    for case in cases() {
        for at in 0..case.file.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = case.file.clone();
                bytes[at] ^= change;
                let options = DecodeOptions { max_pixels: 1 << 20, ..DecodeOptions::default() };
                if let Err(error) = decode(&bytes, "made", options) {
                    assert!(!error.to_string().contains("the reader failed"), "{}, byte {at}: {error}", case.name);
                }
            }
        }
    }
}

#[test]
fn a_panic_of_a_reader_is_an_error() {
    assert_eq!(contain(|| 3), Ok(3));
    let index = std::hint::black_box(7);
    let error = contain(|| [1, 2, 3][index]).unwrap_err();
    assert_eq!(error, "the reader failed: index out of bounds: the len is 3 but the index is 7");
    // also one inside another: the outer still holds
    let inner = || -> i32 { panic!("within") };
    assert_eq!(
        contain(|| (contain(inner), contain(inner))).unwrap(),
        (Err("the reader failed: within".into()), Err("the reader failed: within".into()))
    );
}

#[test]
fn other_formats_are_named() {
    let named = [
        (&b"\0\0\0\x1cftypavif\0\0\0\0"[..], "got AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "got HEIC (HEIF)"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "got a video (MP4 or QuickTime)"),
        (b"%PDF-1.7\n", "got PDF"),
        (b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- drawn -->\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "got SVG"),
        (b"<svg/>", "got SVG"),
        (b"<!DOCTYPE html><html><body>404<svg></svg></body>", "got a web page (HTML)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "got a Git LFS pointer"),
        (b"", "got an empty file"),
        (b"P6 1 1 255\n", "got 11 bytes that start with [50, 36,"),
    ];
    for (bytes, expected) in named {
        let error = message(bytes);
        assert!(error.starts_with("made: expected a PNG, JPEG, WebP, GIF, BMP or TIFF picture, ") && error.contains(expected), "{error}");
    }
}

#[test]
fn small_files_of_huge_pictures_are_refused_in_every_format() {
    let patched = |name: &str, patches: &[(usize, &[u8])]| {
        let mut bytes = file(name);
        patches.iter().for_each(|(at, patch)| bytes[*at..*at + patch.len()].copy_from_slice(patch));
        bytes
    };
    // in a TIFF the sides are the values of the tags 256 and 257, wherever they stand; 278 is the height of a strip
    let mut tiff = file("tiff, None");
    for tag in [[0, 1], [1, 1], [22, 1]] {
        let at = (0..tiff.len() - 12).find(|&at| tiff[at..at + 2] == tag && tiff[at + 2..at + 8] == [4, 0, 1, 0, 0, 0]);
        let at =
            at.or_else(|| (0..tiff.len() - 12).find(|&at| tiff[at..at + 2] == tag && tiff[at + 2..at + 8] == [3, 0, 1, 0, 0, 0])).unwrap();
        tiff[at + 8..at + 10].copy_from_slice(&30_000_u16.to_le_bytes());
    }
    let bombs = [
        ("gif", patched("gif", &[(6, &[0x30, 0x75, 0x30, 0x75])])),
        ("bmp", patched("bmp", &[(18, &30_000_u32.to_le_bytes()), (22, &30_000_u32.to_le_bytes())])),
        ("tiff", tiff),
    ];
    for (name, bytes) in bombs {
        let error = decoded(&bytes).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { width: 30_000, height: 30_000, .. }), "{name}: {error}");
    }
    let tight = DecodeOptions { max_pixels: 14, ..DecodeOptions::default() };
    for name in ["webp, lossless", "webp, animated", "gif", "bmp", "tiff, None", "png, EXIF orientation 1"] {
        let error = decode(&file(name), "made", tight).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{name}: {error}");
        decode(&file(name), "made", DecodeOptions { max_pixels: 15, ..tight }).unwrap();
    }
}

#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("got a folder"), "{error}");
    #[cfg(unix)]
    {
        let pipe = folder.path().join("pipe.png");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = read(path).unwrap_err();
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            assert!(std::error::Error::source(&error).unwrap().to_string().contains("got a pipe or a device"), "{error}");
        }
    }
}

#[test]
fn grey_of_16_bits_with_a_transparent_value_is_laid_over_white() {
    let goldens: Value = serde_json::from_str(include_str!("../golden/image/goldens.json")).unwrap();
    let rows = goldens["decode"].as_array().unwrap();
    let case = rows.iter().find(|case| case["name"] == "grey16 with transparency").unwrap();
    let (mut png, mut expected) = (hex(&case["png"]), hex(&case["rgb"]));
    // another transparent value, which clipping would not make white: 2, the third of the row
    let at = png.windows(4).position(|kind| kind == b"tRNS").unwrap();
    png[at + 4..at + 6].copy_from_slice(&[0, 2]);
    let checksum = crc(&png[at..at + 6]) as u32;
    png[at + 6..at + 10].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(expected[6..9], [2; 3]);
    assert_eq!(
        *decode(&png, "made", DecodeOptions { transparency: Transparency::Drop, ..DecodeOptions::default() }).unwrap().as_raw(),
        expected
    );
    expected[6..9].fill(255);
    assert_eq!(*decoded(&png).unwrap().as_raw(), expected);
}
