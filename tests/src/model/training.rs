//! What is trained, and what it costs: checkpointing, freezing, adapters, reference policies.

use percept_engine::{AdamW, AdamWConfig, Device, Gradients, ParamGroup, no_grad};
use percept_model::image::Patches;
use percept_model::{Activations, LoraConfig, Model, Packing};

use super::{assert_gradients_close, gradients_by_name, load, oracle, picture, picture_of, prompt, relative_error, weighted_loss};

/// Log-probabilities of one response, and the gradients of their weighted sum.
fn step(model: &Model) -> (Vec<f64>, Gradients) {
    let mut packing = Packing::new(model.config());
    let rows = packing.row(&prompt(3), &[picture(1)], &[60, 61, 62, 63, 2]).unwrap();
    let (log_probs, entropies) = model.log_probs(&model.hidden(&packing.into_batch(model)), &rows, 1.0);
    (log_probs.to_f64_vec().unwrap(), weighted_loss(&log_probs, &entropies).backward())
}

#[test]
fn recomputed_activations_give_the_same_gradients() {
    let mut model = load("tied", &Device::cpu());
    let (log_probs, kept) = step(&model);
    let kept = gradients_by_name(&model, &kept);
    model.set_activations(Activations::Recompute);
    let (again, recomputed) = step(&model);
    assert_eq!(again, log_probs);
    assert_gradients_close(&gradients_by_name(&model, &recomputed), &kept, 1e-6);
}

#[test]
fn recomputing_keeps_less() {
    let device = Device::new_cpu();
    let mut model = load("tied", &device);
    let peak = |model: &Model| {
        device.reset_peak();
        let before = device.counters().live_bytes;
        step(model);
        device.counters().peak_bytes - before
    };
    let kept = peak(&model);
    model.set_activations(Activations::Recompute);
    let recomputed = peak(&model);
    assert!(recomputed < kept, "{recomputed} bytes against {kept}");
}

#[test]
fn every_weight_has_a_gradient() {
    let model = oracle();
    let (_, gradients) = step(&model);
    for (name, tensor) in model.parameters() {
        assert!(gradients.get(tensor).is_some(), "{name}");
    }
}

#[test]
fn a_frozen_vision_tower_has_no_gradients_and_the_rest_the_same() {
    let mut model = oracle();
    let all = model.trainable().len();
    let (log_probs, gradients) = step(&model);
    let expected = gradients_by_name(&model, &gradients);
    model.freeze_vision();
    let (frozen_log_probs, gradients) = step(&model);
    assert_eq!(frozen_log_probs, log_probs);
    let trainable = gradients_by_name(&model, &gradients);
    assert!(trainable.len() < all && trainable.iter().any(|(name, _)| name.starts_with("model.connector")));
    let expected: Vec<_> = expected.into_iter().filter(|(name, _)| !name.starts_with("model.vision_model.")).collect();
    assert_gradients_close(&trainable, &expected, 1e-12);
}

#[test]
fn adapters_begin_as_nothing_train_alone_and_merge() {
    let mut model = oracle();
    let (before, _) = step(&model);
    let targets = vec!["q_proj".to_string(), "down_proj".to_string()];
    model.add_lora(&LoraConfig { rank: 3, alpha: 6.0, targets, seed: 5, ..LoraConfig::default() });
    let (log_probs, gradients) = step(&model);
    assert_eq!(log_probs, before);
    let trainable = model.trainable();
    assert_eq!(trainable.len(), 2 * 2 * 2, "A and B of two projections in two layers");
    assert_eq!(gradients.len(), trainable.len());

    for (i, (name, tensor)) in trainable.iter().filter(|(name, _)| name.contains("lora_B")).enumerate() {
        assert!(gradients.get(tensor).unwrap().to_f64_vec().unwrap().iter().any(|g| g.abs() > 1e-6), "{name}");
        tensor.write_slice(&(0..tensor.len()).map(|j| ((i + 3 * j) % 7) as f64 * 0.02 - 0.05).collect::<Vec<_>>());
    }
    let (applied, _) = step(&model);
    assert!(relative_error(&applied, &before) > 1e-3);
    model.merge_lora().unwrap();
    model.unfreeze();
    let (merged, _) = step(&model);
    assert!(relative_error(&merged, &applied) < 1e-12);
}

#[test]
#[should_panic(expected = "add_lora: no projection qproj in the decoder")]
fn an_unknown_projection_panics() {
    oracle().add_lora(&LoraConfig { targets: vec!["qproj".into()], ..LoraConfig::default() });
}

#[test]
fn a_frozen_copy_does_not_follow() {
    let model = oracle();
    let copy = model.frozen_copy().unwrap();
    assert!(copy.trainable().is_empty());
    let hidden = |model: &Model| {
        let mut packing = Packing::new(model.config());
        packing.prompt(&prompt(3), &[picture(1)]).unwrap();
        model.hidden(&packing.into_batch(model)).to_f64_vec().unwrap()
    };
    let before = hidden(&copy);
    assert_eq!(before, hidden(&model));
    for (_, tensor) in model.trainable() {
        tensor.write_slice(&vec![0.01; tensor.len()]);
    }
    assert_eq!(hidden(&copy), before);
    assert_ne!(hidden(&model), before);
}

/// Multiplications of reading `pictures`, one after the other in one batch.
fn work_of_reading(model: &Model, pictures: &[Patches]) -> u64 {
    let before = model.device().counters().multiply_adds;
    model.image_features(&model.patch_batch(pictures).unwrap());
    model.device().counters().multiply_adds - before
}

#[test]
fn a_picture_is_encoded_once_by_what_is_not_trained() {
    let all_trained = load("tied", &Device::new_cpu());
    let pictures = [picture(1), picture(2)];
    let whole = work_of_reading(&all_trained, &pictures);
    assert_eq!(work_of_reading(&all_trained, &pictures), whole, "what is trained changes: it is computed each time");

    let mut connector_trained = load("tied", &Device::new_cpu());
    connector_trained.freeze_vision();
    let mut adapters_trained = load("tied", &Device::new_cpu());
    adapters_trained.add_lora(&LoraConfig::default());
    for (model, of_connector) in [(&connector_trained, true), (&adapters_trained, false)] {
        assert_eq!(work_of_reading(model, &pictures), whole);
        let again = work_of_reading(model, &pictures);
        assert!(again < whole / 4 && (again > 0) == of_connector, "{again} of {whole}");
        assert_eq!(
            work_of_reading(model, &[pictures[1].clone(), picture(3), picture(3), pictures[0].clone()]),
            whole + again,
            "two new ones, twice the connector"
        );
        assert_eq!(work_of_reading(model, &[picture(1), picture(2)]), whole, "the same pixels, but other pictures");
    }
    let (merged, new) = (adapters_trained.merged_for_decoding().unwrap().unwrap(), [picture(7)]);
    assert!(work_of_reading(&merged, &new) > 0);
    assert_eq!(work_of_reading(&adapters_trained, &new), 0, "known from decoding");
    assert_eq!(work_of_reading(&adapters_trained.without_lora(), &new), 0, "known to the reference policy");
}

/// What a tower that is trained gives without a graph is kept until somebody writes its weights: an optimiser, in the blocks where they lie, or the host.
#[test]
fn a_picture_is_encoded_again_when_the_weights_have_changed() {
    let mut model = load("tied", &Device::new_cpu());
    model.lay_for_training();
    let pictures = [picture(1), picture(2)];
    let batch = model.patch_batch(&pictures).unwrap();
    let kept = || no_grad(|| model.image_features(&batch)).to_vec::<f32>().unwrap();
    let computed = || model.image_features(&batch).to_vec::<f32>().unwrap();
    let first = kept();
    assert_eq!(no_grad(|| work_of_reading(&model, &pictures)), 0, "known");
    assert_eq!(first, computed());

    let features = model.image_features(&batch);
    let gradients = features.mul(&features).sum_all().backward();
    let groups = vec![ParamGroup { parameters: model.trainable(), lr_scale: 1.0, weight_decay: 0.0 }];
    AdamW::new(groups, AdamWConfig { lr: 1e-2, ..AdamWConfig::default() }).step(&gradients);
    let second = kept();
    assert_eq!(second, computed());
    assert_ne!(second, first);

    let (_, bias) = model.parameters().find(|(name, _)| name.ends_with("post_layernorm.bias")).unwrap();
    bias.write_slice(&vec![0.5f32; bias.len()]);
    assert_eq!(kept(), computed());
    assert_ne!(kept(), second);
}

#[test]
fn a_picture_that_is_known_gives_the_same() {
    let fresh = || {
        let mut model = oracle();
        model.freeze_vision();
        model
    };
    let (model, pictures) = (fresh(), [picture(1), picture_of(2, [24, 16]), picture(3)]);
    let features = |model: &Model, which: &[usize]| {
        let pictures: Vec<Patches> = which.iter().map(|&i| pictures[i].clone()).collect();
        model.image_features(&model.patch_batch(&pictures).unwrap()).to_f64_vec().unwrap()
    };
    for which in [vec![1], vec![0, 1], vec![2, 1, 0, 1, 2], vec![0, 2]] {
        assert!(relative_error(&features(&model, &which), &features(&fresh(), &which)) < 1e-12, "{which:?}");
    }
}

#[test]
fn what_is_kept_of_a_picture_goes_with_it() {
    let device = Device::new_cpu();
    let mut model = load("tied", &device);
    model.add_lora(&LoraConfig::default());
    let live = || device.counters().live_bytes;
    let before = live();
    let pictures = [picture(1), picture(2)];
    work_of_reading(&model, &pictures);
    assert!(live() > before);
    drop(pictures);
    let next = picture(3);
    work_of_reading(&model, std::slice::from_ref(&next));
    let with_one = live() - before;
    drop(next);
    for seed in 4..9 {
        work_of_reading(&model, &[picture(seed)]);
        assert!(live() - before <= with_one, "{} bytes after picture {seed}, {with_one} with one", live() - before);
    }
}
