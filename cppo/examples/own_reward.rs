//! A reward of one's own, in code: `cargo run --package percept-cppo --example own_reward`.
//!
//! Two steps of GRPO on a random model, where a response is worth more the more digits it names.

use percept_cppo::config::{Config, MethodConfig};
use percept_cppo::problems::prompts::{Encoder, Problems};
use percept_cppo::problems::reward::{Graded, RewardFunction};
use percept_cppo::problems::tasks::Task;
use percept_cppo::training::trainer::Trainer;
use percept_engine::{DType, Device};
use percept_model::{Model, ModelConfig, ModelFiles};

/// The share of the characters that are digits.
struct Digits;

impl RewardFunction for Digits {
    fn rewards(&self, responses: &[Graded<'_>]) -> Result<Vec<f32>, String> {
        let share = |of: &Graded<'_>| {
            let digits = of.response.chars().filter(char::is_ascii_digit).count();
            digits as f32 / of.response.chars().count().max(1) as f32
        };
        Ok(responses.iter().map(share).collect())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config { method: MethodConfig::named("grpo"), ..Config::default() };
    (config.method.group_size, config.rollout.prompts_per_step, config.rollout.max_new_tokens) = (4, 2, 16);

    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-tokenizer");
    let model = Model::random(&ModelConfig::tiny(), &Device::cpu(), 0, DType::F32);
    let encoder = Encoder::new(ModelFiles::read_with_config(tokenizer.as_ref(), ModelConfig::tiny())?)?;
    let problems = Problems::Task(Box::new(Task::new(&config.task)?));

    // without an entry `[[reward]]` and without the next line, the reward would be the default one
    let mut trainer = Trainer::new(model, encoder, problems, config)?.with_reward("digits", 1.0, Digits);
    for _ in 0..2 {
        let output = trainer.step()?;
        println!("step {}: rewards/digits {:.3}", output.step, output.metrics.get("rewards/digits").unwrap_or(f64::NAN));
    }
    Ok(())
}
