//! The update of CPPO on the preset `small`: the packed form against one row for each response and view, and CPPO against GRPO, with the
//! rollout and without.
//!
//! What to quote stands in the lines that are printed: ratios of medians, measured in turn. In the batch half of the responses are rewarded, so
//! that half of them are seen on all views; answers are about as long as those of the task, or twice that.

use percept_benches::{median, seconds};
use percept_cppo::methods::Method;
use percept_cppo::methods::cppo::Cppo;
use percept_cppo::methods::grpo::Grpo;
use percept_cppo::methods::selection::{Gate, SelectionConfig};
use percept_cppo::problems::prompts::EncodedPrompt;
use percept_cppo::studies::bench::batch::{Size, update};
use percept_cppo::training::group::{Group, GroupView, Response};
use percept_engine::{DType, Device, GpuSelector, tune};
use percept_model::families::idefics3::Idefics3;
use percept_model::image::{Patches, Tiling};
use percept_model::{Model, ModelConfig};

/// Prompts of a batch, and responses to each.
const PROMPTS: usize = 4;
const GROUP: usize = 8;
/// Tokens of a prompt's text, beside the visual tokens.
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
    let size = Size { group: GROUP, response_tokens };
    let groups = size.groups(&prompts(model.config()));
    let rows = rows(&groups);
    let (cppo, grpo) = (Cppo::default(), Grpo {});
    let selection = SelectionConfig { gate: Gate::None, ..SelectionConfig::default() };
    let every_response = Cppo { selection, ..Cppo::default() };
    let variants: [(&dyn Method, &[Group]); 3] = [(&cppo, &groups), (&every_response, &rows), (&grpo, &groups)];

    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let synchronized = |f: &dyn Fn()| {
            seconds(|| {
                f();
                model.device().synchronize().expect("the device works");
            })
        };
        let updates = variants
            .iter()
            .map(|&(method, groups)| synchronized(&|| update(model, method, groups, 16384).expect("the batch fits the model")));
        let rollout = || size.sample(model, &groups).expect("the batch fits the model");
        let measured: Vec<f64> = updates.chain([synchronized(&rollout)]).collect();
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

/// Prompts with a picture.
fn prompts(config: &ModelConfig) -> Vec<EncodedPrompt> {
    let (own, edge) = (Idefics3::of(config), Idefics3::of(config).vision.image_size);
    let prompt = |seed: usize| {
        let pixels: Vec<f32> = (0..3 * edge * edge).map(|i| ((i * i + 31 * seed) % 255) as f32 / 127.5 - 1.0).collect();
        let image = std::iter::repeat_n(config.image_token_id, own.image_seq_len());
        EncodedPrompt {
            tokens: image.chain((0..WORDS as u32).map(|i| 20 + 3 * i)).collect(),
            tiles: vec![Patches::from_pixels(Tiling::WHOLE, &pixels, [3, edge, edge], own.vision.patch_size)],
        }
    };
    (0..PROMPTS).map(prompt).collect()
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
