//! Loads a model directory and saves it again: `cargo run --example resave -- FROM TO`.
//! `tests/golden/idefics3/check_saved.py` then loads what was saved in transformers and compares the logits.

use std::path::Path;

use percept_engine::Device;
use percept_model::{Model, ModelFiles, Precision};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, from, to] = arguments.as_slice() else { return Err("usage: resave FROM TO".into()) };
    let (from, to) = (Path::new(from), Path::new(to));
    let model = Model::load(from, &Device::cpu(), Precision::AsStored)?;
    model.save(to, &ModelFiles::read(from)?)?;
    println!("{}: {} tensors", to.display(), model.parameters().count());
    Ok(())
}
