//! The update of CPPO on the preset `small`: the packed form against one row for each response and view, and CPPO against GRPO, with the
//! rollout and without.
//!
//! What to quote stands in the lines that are printed: ratios of medians, measured in turn. In the batch half of the responses are rewarded, so
//! that half of them are seen on all views; answers are about as long as those of the task, or twice that.

use percept_benches::{median, seconds};
use percept_cppo::methods::Method;
use percept_cppo::methods::advantages::group_advantages;
use percept_cppo::methods::cppo::Cppo;
use percept_cppo::methods::grpo::Grpo;
use percept_cppo::methods::policy::PolicyConfig;
use percept_cppo::methods::selection::{Gate, SelectionConfig};
use percept_cppo::methods::view::{Moment, View};
use percept_cppo::problems::prompts::EncodedPrompt;
use percept_cppo::training::group::{Group, GroupView, Response};
use percept_cppo::training::update::{UpdateConfig, compute_update};
use percept_cppo::training::world::World;
use percept_engine::ops::Sampling;
use percept_engine::{DType, Device, GpuSelector, tune};
use percept_model::families::idefics3::Idefics3;
use percept_model::image::{Patches, Tiling};
use percept_model::{GenerationOptions, GenerationRequest, Model, ModelConfig, generate};

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
    let rows = rows(&groups);
    let (cppo, grpo) = (Cppo::default(), Grpo {});
    let selection = SelectionConfig { gate: Gate::None, ..SelectionConfig::default() };
    let every_response = Cppo { selection, ..Cppo::default() };
    let policy = PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() };
    let world = World::alone();
    let variants: [(&dyn Method, &[Group]); 3] = [(&cppo, &groups), (&every_response, &rows), (&grpo, &groups)];

    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let updates = variants.iter().map(|&(method, groups)| {
            let mut groups = groups.to_vec();
            let config = UpdateConfig {
                method,
                policy: &policy,
                temperature: 1.0,
                micro_batch_tokens: 16384,
                seed: 0,
                moment: Moment { step: 1, steps: 1 },
                world: &world,
            };
            seconds(|| {
                compute_update(model, None, &mut groups, &config).expect("the batch fits the model");
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
        groups[0].encoded.tokens.len(),
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
        .map(|(i, group)| GenerationRequest { prompt: &group.encoded.tokens, pictures: &group.encoded.tiles, streams: streams(i) })
        .collect();
    let options =
        GenerationOptions { max_new_tokens: response_tokens, sampling: Sampling::plain(1), stop_tokens: Vec::new(), check_every: None };
    generate(model, &requests, &options).expect("the batch fits the model");
}

/// Prompts with a picture and its views, and responses of which every other one is rewarded.
fn groups(config: &ModelConfig, response_tokens: usize) -> Vec<Group> {
    let (own, edge) = (Idefics3::of(config), Idefics3::of(config).vision.image_size);
    let picture = |seed: usize| {
        let pixels: Vec<f32> = (0..3 * edge * edge).map(|i| ((i * i + 31 * seed) % 255) as f32 / 127.5 - 1.0).collect();
        vec![Patches::from_pixels(Tiling::WHOLE, &pixels, [3, edge, edge], own.vision.patch_size)]
    };
    let rewards: Vec<f32> = (0..GROUP).map(|response| (response % 2) as f32).collect();
    let view = |view, seed| GroupView { view, responses: 0..GROUP, how: Vec::new(), pictures: Vec::new(), tiles: Some(picture(seed)) };
    let group = |prompt: usize| {
        let responses = group_advantages(&rewards, GROUP).into_iter().enumerate().map(|(response, advantage)| {
            let tokens = (0..response_tokens).map(|i| (20 + (i * i + 7 * response + 3 * prompt) % 300) as u32).collect();
            let mut response = Response::given(tokens);
            response.signal.advantage = advantage;
            response
        });
        let image = std::iter::repeat_n(config.image_token_id, own.image_seq_len());
        let tokens = image.chain((0..WORDS as u32).map(|i| 20 + 3 * i)).collect();
        Group {
            encoded: EncodedPrompt { tokens, tiles: picture(3 * prompt) },
            views: vec![view(View::Preserved, 3 * prompt + 1), view(View::Removed, 3 * prompt + 2)],
            responses: responses.collect(),
            ..Group::default()
        }
    };
    (0..PROMPTS).map(group).collect()
}

/// The same responses, each in a group of its own: every one has its own prompts.
fn rows(groups: &[Group]) -> Vec<Group> {
    let row = |group: &Group, response: &Response| Group {
        views: group.views.iter().map(|view| GroupView { responses: 0..1, ..view.clone() }).collect(),
        responses: vec![response.clone()],
        ..group.clone()
    };
    groups.iter().flat_map(|group| group.responses.iter().map(move |response| row(group, response))).collect()
}
