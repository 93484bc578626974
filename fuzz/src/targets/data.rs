//! Data sets, and what models said to them.

use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use percept_cppo::problems::data::{DataConfig, Purpose, import_for};
use percept_cppo::records::predictions::{accuracy_by_picture, read_predictions};
use serde_json::json;

use super::{Reader, Target, Verdict, read, write};

/// Rows as JSON lines.
pub(super) const JSONL: Target = Target { name: "jsonl", seeds: rows, open: read_data };
/// Rows as parquet.
pub(super) const PARQUET: Target = Target { name: "parquet", seeds: parquet, open: read_data };
/// Files of `percept eval --log-samples`.
pub(super) const PREDICTIONS: Target = Target { name: "predictions", seeds: predictions, open: read_said };

/// A small picture in base64.
fn png() -> String {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(5, 4, |x, y| Rgb([9 * x as u8, 9 * y as u8, 7])).write_to(&mut bytes, ImageFormat::Png).expect("a picture");
    STANDARD.encode(bytes.into_inner())
}

fn rows() -> Vec<(&'static str, Vec<u8>)> {
    let png = png();
    let rows = [
        json!({ "image": png, "problem": "<image>\nHow many?", "answer": 3 }),
        json!({ "images": [format!("data:image/png;base64,{png}")], "question": "What is $\\frac{1}{2}$?", "answer": "\\boxed{\\frac{1}{2}}" }),
        json!({ "image": "a.png", "problem": "q", "choices": ["red", "blue"], "answer": "B", "response": "<think>x</think>\\boxed{B}" }),
        json!({
            "decoded_image": { "bytes": png, "path": null },
            "messages": [{ "role": "user", "content": [{ "type": "image" }, { "type": "text", "text": "q" }] }, { "role": "assistant", "content": "3" }],
            "reward_model": { "ground_truth": "3" },
        }),
    ];
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    lines.iter().cloned().chain([lines.join("\n")]).map(|lines| ("data.jsonl", lines.into_bytes())).collect()
}

fn parquet() -> Vec<(&'static str, Vec<u8>)> {
    let names = ["geometry", "verl", "virl", "none", "snappy", "zstd", "gzip", "brotli", "lz4", "large_dictionary"];
    names.map(|name| ("data.parquet", read(&format!("tests/golden/data/{name}.parquet")))).into()
}

fn read_data(folder: &Path) -> Reader {
    let folder = folder.to_owned();
    write(&folder.join("a.png"), &STANDARD.decode(png()).expect("what was encoded"));
    Box::new(move |name, bytes| {
        let path = folder.join(name);
        write(&path, bytes);
        let config = DataConfig { path: path.into(), max_pixels: 1 << 22, ..DataConfig::default() };
        let purpose = [Purpose::Training, Purpose::Responses, Purpose::Measuring][bytes.len() % 3];
        let dataset = import_for(&config, purpose).and_then(|dataset| dataset.fingerprint());
        Verdict::of(dataset, name)
    })
}

fn predictions() -> Vec<(&'static str, Vec<u8>)> {
    let row = r#"{"model":"m","decoding":"sampled","problem":0,"row":null,"category":"digits","pictures":77,"question":"q","answer":"3","responses":[{"text":"\\boxed{3}","answer":"3","correct":true,"well_formed":false,"tokens":4,"clipped":false},{"text":"4","answer":"4","correct":false,"well_formed":false,"tokens":4,"clipped":false}]}"#;
    vec![("said.jsonl", format!("{row}\n{row}\n").into_bytes())]
}

fn read_said(folder: &Path) -> Reader {
    let folder = folder.to_owned();
    Box::new(move |name, bytes| {
        let path = folder.join(name);
        write(&path, bytes);
        let said = read_predictions(&path).map(|said| {
            said.iter().for_each(|prediction| _ = prediction.majority_is_right());
            accuracy_by_picture(&said.iter().collect::<Vec<_>>())
        });
        Verdict::of(said, name)
    })
}
