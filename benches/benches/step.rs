//! The update of CPPO on the preset `small`: the packed form against one row for each response and view, and CPPO against GRPO.
//!
//! What to quote stands in the lines that are printed: ratios of medians, measured in turn. In the batch half of the responses are rewarded, so
//! that half of them are seen on all views; answers are as long as those of the task or twice that.

use percept_benches::{median, seconds};
use percept_cppo::advantages::group_advantages;
use percept_cppo::losses::{ContrastiveConfig, PolicyConfig};
use percept_cppo::selection::SelectionConfig;
use percept_cppo::step::{BatchForm, Contrast, Group, Response, StepConfig, ViewTiles, compute_gradients};
use percept_engine::{DType, Device, GpuSelector};
use percept_model::image::Tiles;
use percept_model::{Model, ModelConfig, Tiling};

/// Prompts of a batch, and responses to each.
const PROMPTS: usize = 4;
const GROUP: usize = 8;
/// Tokens of the prompt's text, beside the visual tokens.
const WORDS: usize = 24;
const ROUNDS: usize = 7;

fn main() {
    for device in [Some(Device::cpu()), Device::gpu(&GpuSelector::from_env_or_hardware()).ok()].into_iter().flatten() {
        let model = Model::random(&ModelConfig::small(), &device, 1, DType::F32);
        for response_tokens in [32, 64] {
            compare(&model, response_tokens);
        }
    }
}

fn compare(model: &Model, response_tokens: usize) {
    let groups = groups(model.config(), response_tokens);
    let (contrastive, selection) = (ContrastiveConfig::default(), SelectionConfig::default());
    let contrast = Some(Contrast { loss: &contrastive, selection: &selection });
    let policy = PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() };
    let step = |contrast, form| StepConfig { policy: &policy, contrast, temperature: 1.0, micro_batch_tokens: 16384, form, seed: 0 };
    let variants = [step(contrast, BatchForm::Packed), step(contrast, BatchForm::Rows), step(None, BatchForm::Packed)];

    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        for (times, config) in times.iter_mut().zip(&variants) {
            let time = seconds(|| {
                compute_gradients(model, None, &groups, config).expect("the batch fits the model");
                model.device().synchronize().expect("the update");
            });
            // the first round warms up
            if round > 0 {
                times.push(time);
            }
        }
    }
    let [cppo, rows, grpo] = times.map(|mut times| median(&mut times));
    println!(
        "update on {}, {PROMPTS} prompts of {} tokens × {GROUP} responses of {response_tokens}, half of them rewarded: packed {:.2} of a row each \
         (contract: 0.33); CPPO {:+.0} % over GRPO without rollout",
        model.device(),
        groups[0].prompt.len(),
        cppo / rows,
        100.0 * (cppo / grpo - 1.0)
    );
}

/// Prompts with a picture and its views, and responses of which every other one is rewarded.
fn groups(config: &ModelConfig, response_tokens: usize) -> Vec<Group> {
    let edge = config.vision.image_size;
    let picture = |seed: usize| {
        let values = (0..3 * edge * edge).map(|i| ((i * i + 31 * seed) % 255) as f32 / 127.5 - 1.0).collect();
        vec![Tiles { tiling: Tiling { rows: 0, cols: 0 }, edge, values }]
    };
    let rewards: Vec<f32> = (0..GROUP).map(|response| (response % 2) as f32).collect();
    let group = |prompt: usize| {
        let responses = group_advantages(&rewards, GROUP).into_iter().enumerate().map(|(response, advantage)| {
            let tokens = (0..response_tokens).map(|i| (20 + (i * i + 7 * response + 3 * prompt) % 300) as u32).collect();
            Response { tokens, old_log_probs: None, advantage }
        });
        let image = std::iter::repeat_n(config.image_token_id, config.image_seq_len());
        Group {
            prompt: image.chain((0..WORDS as u32).map(|i| 20 + 3 * i)).collect(),
            original: picture(3 * prompt),
            views: Some(ViewTiles { preserved: picture(3 * prompt + 1), removed: picture(3 * prompt + 2) }),
            responses: responses.collect(),
        }
    };
    (0..PROMPTS).map(group).collect()
}
