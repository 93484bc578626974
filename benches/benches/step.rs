//! The update of CPPO on the preset `small`: the packed form against one row for each response and view, and CPPO against GRPO, with the
//! rollout and without.
//!
//! What to quote stands in the lines that are printed: ratios of medians, measured in turn. In the batch half of the responses are rewarded, so
//! that half of them are seen on all views; answers are about as long as those of the task, or twice that.

use percept_benches::{median, seconds};
use percept_cppo::advantages::group_advantages;
use percept_cppo::losses::{ContrastiveConfig, PolicyConfig};
use percept_cppo::selection::SelectionConfig;
use percept_cppo::step::{BatchForm, Contrast, Group, Response, StepConfig, ViewTiles, compute_gradients};
use percept_engine::ops::Sampling;
use percept_engine::{DType, Device, GpuSelector, tune};
use percept_model::image::Tiles;
use percept_model::{GenerationOptions, GenerationRequest, Model, ModelConfig, Tiling, generate};

/// Prompts of a batch, and responses to each.
const PROMPTS: usize = 4;
const GROUP: usize = 8;
/// Tokens of the prompt's text, beside the visual tokens.
const WORDS: usize = 24;
const ROUNDS: usize = 7;

fn main() {
    for device in [Some(Device::cpu()), Device::gpu(&GpuSelector::from_env_or_hardware()).inspect(tune::load).ok()].into_iter().flatten() {
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

    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let updates = variants.iter().map(|config| {
            seconds(|| {
                compute_gradients(model, None, &groups, config).expect("the batch fits the model");
                model.device().synchronize().expect("the update");
            })
        });
        let measured: Vec<f64> = updates.chain([seconds(|| sample(model, &groups, response_tokens))]).collect();
        // the first round warms up
        if round > 0 {
            times.iter_mut().zip(measured).for_each(|(times, time)| times.push(time));
        }
    }
    let [cppo, rows, grpo, rollout] = times.map(|mut times| median(&mut times));
    println!(
        "{}, {PROMPTS} prompts of {} tokens × {GROUP} responses of {response_tokens}, half of them rewarded: the packed update takes {:.2} of a row \
         each (contract: 0.33); CPPO {:+.0} % over GRPO, {:+.0} % with the rollout (paper: +39 %)",
        model.device(),
        groups[0].prompt.len(),
        cppo / rows,
        100.0 * (cppo / grpo - 1.0),
        100.0 * ((rollout + cppo) / (rollout + grpo) - 1.0)
    );
}

/// The rollout of such a batch: responses that do not stop early.
fn sample(model: &Model, groups: &[Group], response_tokens: usize) {
    let streams = |i: usize| (i * GROUP) as u32..((i + 1) * GROUP) as u32;
    let requests: Vec<GenerationRequest<'_>> = groups
        .iter()
        .enumerate()
        .map(|(i, group)| GenerationRequest { prompt: &group.prompt, pictures: &group.original, streams: streams(i) })
        .collect();
    let options =
        GenerationOptions { max_new_tokens: response_tokens, sampling: Sampling::plain(1), stop_tokens: Vec::new(), check_every: None };
    generate(model, &requests, &options).expect("the batch fits the model");
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
