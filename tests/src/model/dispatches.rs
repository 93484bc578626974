//! How many kernels a layer of the decoder launches: on a GPU each waits for the one before it, and a small model waits more than it computes.

use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{AdamW, AdamWConfig, DType, Device, Indices, ParamGroup, Rates, Tensor};
use percept_model::{LoraConfig, Model, ModelConfig, Packing};

use super::weighted_loss;

const TOKENS: [u32; 6] = [1, 3, 5, 20, 31, 40];

/// Launches of a model with two layers more, by layer.
fn per_layer(adapters: bool, launches: impl Fn(&Model) -> Vec<u64>) -> Vec<u64> {
    of_layers(2, adapters, launches).into_iter().map(|launches| launches / 2).collect()
}

/// Launches that so many layers add to a model with one.
fn of_layers(layers: usize, adapters: bool, launches: impl Fn(&Model) -> Vec<u64>) -> Vec<u64> {
    let of = |layers: usize| {
        let mut config = ModelConfig::tiny();
        config.text.num_hidden_layers = layers;
        let mut model = Model::random(&config, &Device::new_cpu(), 0, DType::F32);
        if adapters {
            model.add_lora(&LoraConfig::default());
        }
        launches(&model)
    };
    of(1 + layers).into_iter().zip(of(1)).map(|(more, fewer)| more - fewer).collect()
}

/// Of the forward and of the backward pass.
fn training(model: &Model) -> Vec<u64> {
    let mut model = model.to(model.device(), model.dtype()).unwrap();
    model.lay_for_training();
    let launches = || model.device().counters().launches;
    let mut packing = Packing::new(model.config());
    let rows = packing.row(&TOKENS[..2], &[], &TOKENS[2..]).unwrap();
    let batch = packing.into_batch(&model);
    let before = launches();
    let (log_probs, entropies) = model.log_probs(&model.hidden(&batch), &rows, 1.0);
    let forward = launches();
    weighted_loss(&log_probs, &entropies).backward();
    vec![forward - before, launches() - forward]
}

/// Of one more token of two sequences.
fn decoding(model: &Model) -> Vec<u64> {
    let launches = || model.device().counters().launches;
    let cache = model.new_cache(8, DType::F32);
    let segment = |row: usize| Segment { query: row..row + 1, keys: row * 4..row * 4 + 1, prefix: None, mask: Mask::Causal };
    let segments = Segments::new(vec![segment(0), segment(1)], 2, cache.rows());
    let rope = model.rope(&model.text_positions([7, 9]));
    let rows = Indices::new(model.device(), &[0, 4], &[2]);
    let embeddings = Tensor::zeros(model.device(), &[2, model.config().text.hidden_size], DType::F32);
    let few = model.few_tokens();
    let logits = || few.logits_cached(&embeddings, &rope, &segments, &cache, &rows);
    // the first makes adapters ready
    logits();
    let before = launches();
    logits();
    vec![launches() - before]
}

#[test]
fn a_layer_of_the_decoder_launches_few_kernels() {
    // queries, keys and values with the norm before them; their heads; attention; back and the sum; gate and up with norm and gate; down and the sum
    assert_eq!(per_layer(false, decoding), [6]);
    // backward: two for each of the four products and for attention, one for the heads and the gate, three for each norm (its input, its weight in two)
    assert_eq!(per_layer(false, training), [9, 18]);
}

/// Of a step of the optimiser.
fn optimising(model: &Model) -> Vec<u64> {
    let mut model = model.to(model.device(), model.dtype()).unwrap();
    model.lay_for_training();
    let mut packing = Packing::new(model.config());
    let rows = packing.row(&TOKENS[..2], &[], &TOKENS[2..]).unwrap();
    let batch = packing.into_batch(&model);
    let (log_probs, entropies) = model.log_probs(&model.hidden(&batch), &rows, 1.0);
    let gradients = weighted_loss(&log_probs, &entropies).backward();
    let groups = vec![ParamGroup { parameters: model.trainable(), lr_scale: 1.0, weight_decay: 0.1 }];
    let mut optimiser = AdamW::new(groups, AdamWConfig::default());
    let before = model.device().counters().launches;
    optimiser.step(&gradients);
    vec![model.device().counters().launches - before]
}

#[test]
fn the_optimiser_launches_as_much_for_many_layers_as_for_one() {
    // but for one: the sums of more squares are added in two launches instead of one
    assert_eq!(of_layers(7, false, optimising), [1]);
}

#[test]
fn the_optimiser_launches_ten_kernels_for_smolvlm() {
    let device = Device::meta(Rates::INFINITE);
    let model = Model::planned(&ModelConfig::smolvlm_256m(), &device, DType::F32);
    let launches = optimising(&model)[0];
    assert!(launches <= 10, "{launches}");
}

#[test]
fn adapters_add_products_to_a_layer() {
    // one for the narrow side of each of the four products; the wide one goes along
    assert_eq!(per_layer(true, decoding), [10]);
    assert_eq!(per_layer(true, |model| decoding(&model.merged_for_decoding().unwrap().unwrap())), [6]);
    assert_eq!(per_layer(true, training), [39, 52]);
}
