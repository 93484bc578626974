//! PEPO against values by hand, against GRPO, and its measure against a pass over each response by itself.

use percept_cppo::methods::pepo::Pepo;
use percept_cppo::methods::policy::PolicyConfig;
use percept_cppo::methods::signal::{Measure, Signal};
use percept_cppo::methods::view::{Moment, View};
use percept_cppo::methods::{AnyMethod, Method};
use percept_cppo::training::reduce::Adding;
use percept_cppo::training::update::{UpdateConfig, compute_update, score};
use percept_cppo::training::world::World;
use percept_engine::DType;
use percept_model::Packing;

use crate::methods::reading;
use crate::update::{MOMENT, TEMPERATURE, gradients, groups, model};

/// Equal similarities and entropies give equal weights. By hand, with ε = 0: weights e⁰ and e¹ of two tokens whose similarities are 1.8 apart.
#[test]
fn pepo_weights_add_up_to_the_number_of_tokens() {
    let signal = |similarity: &[f32], entropy: &[f32]| {
        let mut original = reading(View::Original, &vec![0.0; entropy.len()], entropy);
        original.measures = vec![(Measure::PictureSimilarity, similarity.to_vec())];
        Signal { readings: vec![original], advantage: 1.0, ..Signal::default() }
    };
    let weighed = |method: &Pepo, signal: &Signal, step| method.weigh(&[signal], Moment { step, steps: 4 }, 0).responses[0].tokens.clone();
    let plain = Pepo { strength: 0.0, ..Pepo::default() };
    // the weights count for three quarters in the last of four steps, and for nothing in the first
    let two = signal(&[-0.9, 0.9], &[0.3, 0.1]);
    let larger = 2.0 * 1f64.exp() / (1.0 + 1f64.exp());
    let got = weighed(&plain, &two, 4);
    assert!((f64::from(got[1]) - (0.25 + 0.75 * larger)).abs() < 1e-6 && (got[0] + got[1] - 2.0).abs() < 1e-6, "{got:?}");
    assert_eq!(weighed(&plain, &two, 1), [1.0, 1.0]);
    // without a picture every similarity is 0, and a large entropy alone changes nothing
    assert_eq!(weighed(&Pepo::default(), &signal(&[0.0; 3], &[0.1, 2.0, 0.4]), 4), [1.0; 3]);
    // similarity and entropy both raise the similarity that the softmax sees
    let (apart, entropy) = (signal(&[0.5; 3], &[0.0, 1.0, 0.5]), Pepo { strength: 1.0, ..Pepo::default() });
    let got = weighed(&entropy, &apart, 4);
    assert!(got[1] > got[2] && got[2] > got[0] && (got.iter().sum::<f32>() - 3.0).abs() < 1e-5, "{got:?}");
}

/// In the first step all weights are 1, and nothing is added, scaled or rounded otherwise.
#[test]
fn pepo_begins_as_grpo_bit_for_bit() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let policy = PolicyConfig { kl_coef: 0.001, ..PolicyConfig::default() };
    let at = |method: &dyn Method, step| {
        let moment = Moment { step, ..MOMENT };
        let world = World::alone();
        let config = UpdateConfig {
            method,
            policy: &policy,
            temperature: TEMPERATURE,
            micro_batch_tokens: 60,
            seed: 3,
            moment,
            adding: Adding::Packed,
            world: &world,
        };
        gradients(&model, &compute_update(&model, Some(&reference), &mut groups(&model), &config).unwrap())
    };
    let (grpo, pepo) = (AnyMethod::named("grpo").unwrap(), Pepo::default());
    assert_eq!(at(&pepo, 1), at(grpo.as_method(), 1));
    assert_ne!(at(&pepo, 2), at(grpo.as_method(), 2));
}

/// Against a pass over each prompt and response by themselves, with the cosine of every pair of hidden states.
#[test]
fn similarity_to_the_picture_is_the_mean_cosine_over_layers() {
    let model = model(DType::F64, 1);
    let mut groups = groups(&model);
    groups[0].encoded.tiles.clear();
    groups[0].encoded.tokens.retain(|&token| token != model.config().image_token_id);
    score(&model, &mut groups, &[], &[Measure::PictureSimilarity], TEMPERATURE, 100).unwrap();
    for (number, group) in groups.iter().enumerate() {
        let prompt = &group.encoded.tokens;
        let visual: Vec<usize> = (0..prompt.len()).filter(|&at| prompt[at] == model.config().image_token_id).collect();
        assert_eq!(visual.is_empty(), number == 0);
        for response in &group.responses {
            let tokens = response.tokens();
            let mut packing = Packing::new(model.config());
            packing.row(prompt, &group.encoded.tiles, &[tokens, &[0]].concat()).unwrap();
            let (mut expected, mut layers) = (vec![0.0; tokens.len()], 0);
            model.visit_hidden(&packing.into_batch(&model), |hidden| {
                let values = hidden.to_f64_vec().unwrap();
                let rows: Vec<&[f64]> = values.chunks(hidden.dim(1)).collect();
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let cosine = |a: &[f64], b: &[f64]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
                for (token, sum) in expected.iter_mut().enumerate() {
                    let row = rows[prompt.len() + token];
                    *sum += visual.iter().map(|&at| cosine(row, rows[at])).sum::<f64>() / visual.len().max(1) as f64;
                }
                layers += 1;
            });
            assert_eq!(layers, model.config().text.num_hidden_layers + 1);
            let got = response.signal.on(View::Original).unwrap().measure(Measure::PictureSimilarity);
            for (got, sum) in got.iter().zip(expected) {
                assert!(
                    (f64::from(*got) - sum / f64::from(layers as u32)).abs() < 1e-5,
                    "group {number}: {got} for {}",
                    sum / layers as f64
                );
            }
        }
    }
}
