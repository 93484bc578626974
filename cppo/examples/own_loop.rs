//! A task and a training loop of one's own: which side of the picture is brighter?
//!
//! ```sh
//! cargo run --release -p percept-cppo --example own_loop
//! ```
//!
//! The problems are made in memory, the loop is this file's, and the method is a field of the configuration. The shipped model has never seen such a
//! question: at first it answers as if it had been asked about digits.

use std::error::Error;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{ImageFormat, Rgb, RgbImage};
use percept_cppo::config::{Config, Settings};
use percept_cppo::problems::data::{Dataset, Example, ImageSource, RowPlace};
use percept_cppo::problems::prompts::Problems;
use percept_cppo::training::policy::{load_encoder, load_policy};
use percept_cppo::training::trainer::Trainer;
use percept_engine::Device;

fn main() -> Result<(), Box<dyn Error>> {
    let settings = "model.path = 'assets/tiny-vlm'\n[method]\nname = 'grpo'\ngroup_size = 8\n[rollout]\nprompts_per_step = 8\n[train]\nsteps = 20\n[optim]\nlearning_rate = 1e-4\n";
    let config = Config::parse(settings, "own_loop.rs", &[])?;
    let model = load_policy(&config.model, &Device::best(), config.run.seed)?;
    let encoder = load_encoder(&config.model)?;
    let problems = Problems::Data(Dataset { examples: (0..64).map(problem).collect(), ..Dataset::default() });
    let mut trainer = Trainer::new(model, encoder, problems, config.clone())?;

    for _ in 0..config.train.steps {
        let output = trainer.step()?; // samples responses, rewards them, updates the weights
        let value = |name: &str| output.metrics.get(name).unwrap_or(f64::NAN);
        println!("step {:>2}  reward {:.3}  entropy {:.3}", output.step, value("reward"), value("entropy"));
    }
    let said = &trainer.step()?.groups[0].responses[0].text;
    println!("it says: {said}");
    trainer.save(Path::new("runs/own-loop"))?; // a directory that transformers loads
    Ok(())
}

/// A picture of two halves, encoded as a PNG, and which of them is the brighter one: 0 for left, 1 for right.
fn problem(number: usize) -> Example {
    let right_is_brighter = number % 2 == 1;
    let shade = |x: u32| if (x >= 32) == right_is_brighter { 200 } else { 60 };
    let picture = RgbImage::from_fn(64, 64, |x, y| Rgb([shade(x), shade(x), (shade(x) as u32 + y) as u8]));
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).expect("a picture in memory can be encoded");
    Example {
        images: vec![ImageSource::Bytes(Arc::from(png.into_inner()))],
        decoding: Default::default(),
        problem: "Which half is brighter? 0 for left, 1 for right.".into(),
        answer: u8::from(right_is_brighter).to_string(),
        response: None,
        columns: Default::default(),
        place: RowPlace { path: "own_loop.rs".into(), row: number },
    }
}
