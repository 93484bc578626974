//! Packed batches: shared prompts, views, caches.

use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{DType, Indices, Tensor};
use percept_model::image::{Patches, Tiling};
use percept_model::{Model, ModelError, Packing, Positions, ResponseRows};

use super::{assert_gradients_close, gradients_by_name, oracle, picture, picture_of, prompt, relative_error, weighted_loss};

/// Responses of several lengths on two views of a prompt; one token and none among them.
fn responses() -> [Vec<Vec<u32>>; 2] {
    [vec![vec![40, 41, 42, 43, 2], vec![77], vec![], vec![50, 4, 52]], vec![vec![40, 41, 42, 43, 2], vec![99, 98]]]
}

/// Log-probabilities, entropies, gradients by name.
type Outcome = (Vec<f64>, Vec<f64>, Vec<(String, Vec<f64>)>);

fn log_probs_and_gradients(model: &Model, packing: Packing, rows: &[ResponseRows]) -> Outcome {
    let batch = packing.into_batch(model);
    let (log_probs, entropies) = model.log_probs(&model.hidden(&batch), &ResponseRows::concat(rows), 0.7);
    let gradients = weighted_loss(&log_probs, &entropies).backward();
    (log_probs.to_f64_vec().unwrap(), entropies.to_f64_vec().unwrap(), gradients_by_name(model, &gradients))
}

#[test]
fn shared_prompts_equal_one_row_per_response() {
    let model = oracle();
    let (mut shared, mut separate) = (Packing::new(model.config()), Packing::new(model.config()));
    let (mut shared_rows, mut separate_rows) = (Vec::new(), Vec::new());
    let prompts: Vec<_> = (0..2).map(|view| shared.prompt(&prompt(7), &[picture(view)]).unwrap()).collect();
    for (view, responses) in responses().iter().enumerate() {
        for response in responses {
            shared_rows.push(shared.response(&prompts[view], response).unwrap());
            separate_rows.push(separate.row(&prompt(7), &[picture(view)], response).unwrap());
        }
    }
    assert_eq!(shared.tokens(), 2 * 21 + 4 + 2 + 4 + 1);
    let shared = log_probs_and_gradients(&model, shared, &shared_rows);
    let separate = log_probs_and_gradients(&model, separate, &separate_rows);
    assert_eq!(shared.0.len(), 5 + 1 + 3 + 5 + 2);
    assert!(relative_error(&shared.0, &separate.0) < 1e-12);
    assert!(relative_error(&shared.1, &separate.1) < 1e-12);
    assert_gradients_close(&shared.2, &separate.2, 1e-10);
}

#[test]
fn a_response_depends_on_its_own_view_only() {
    let model = oracle();
    let log_probs = |second_picture: usize| {
        let mut packing = Packing::new(model.config());
        let first = packing.prompt(&prompt(1), &[picture(0)]).unwrap();
        let second = packing.prompt(&prompt(1), &[picture(second_picture)]).unwrap();
        let rows = [packing.response(&first, &[60, 61]).unwrap(), packing.response(&second, &[60, 61]).unwrap()];
        let hidden = model.hidden(&packing.into_batch(&model));
        model.log_probs(&hidden, &ResponseRows::concat(&rows), 1.0).0.to_f64_vec().unwrap()
    };
    let (same, other) = (log_probs(0), log_probs(3));
    assert_eq!(same[..2], same[2..]);
    assert_eq!(same[..2], other[..2]);
    assert!(relative_error(&other[2..], &same[2..]) > 1e-3);
}

#[test]
fn cached_decoding_equals_the_packed_forward() {
    let model = oracle();
    let (prompt, response) = (prompt(2), [50, 51, 52, 53]);
    let mut packing = Packing::new(model.config());
    packing.row(&prompt, &[picture(5)], &response).unwrap();
    let expected = model.hidden(&packing.into_batch(&model));

    let mut packing = Packing::new(model.config());
    packing.prompt(&prompt, &[picture(5)]).unwrap();
    let batch = packing.into_batch(&model);
    let cache = model.new_cache(40, DType::F32);
    let device = model.device();
    let read = |x: &Tensor, start: usize, count: usize| {
        let positions: Vec<u32> = (start..start + count).map(|p| p as u32).collect();
        let segment = Segment { query: 0..count, keys: 0..start + count, prefix: None, mask: Mask::Causal };
        let segments = Segments::new(vec![segment], count, cache.rows());
        model.hidden_cached(
            x,
            &model.rope(&model.text_positions(positions.iter().copied())),
            &segments,
            &cache,
            &Indices::new(device, &positions, &[count]),
        )
    };
    let mut parts = vec![read(&model.embed(&batch), 0, prompt.len())];
    for (i, &token) in response[..3].iter().enumerate() {
        parts.push(read(&model.embed_tokens(&Indices::new(device, &[token], &[1])), prompt.len() + i, 1));
    }
    let got = Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0);
    assert!(relative_error(&got.to_f64_vec().unwrap(), &expected.to_f64_vec().unwrap()) < 1e-12);
}

/// A prompt with as many image tokens as a picture of these pixels has visual tokens.
fn prompt_of(seed: u32, [height, width]: [usize; 2]) -> Vec<u32> {
    let image = std::iter::repeat_n(4, height / 8 * (width / 8));
    [1, 3].into_iter().chain(image).chain([5, 20 + seed]).collect()
}

#[test]
fn pictures_of_any_size_share_a_batch() {
    let model = oracle();
    let sizes = [[32, 32], [32, 32], [8, 32], [24, 16], [32, 32]];
    let hidden = |which: &[usize]| {
        let mut packing = Packing::new(model.config());
        for &i in which {
            packing.prompt(&prompt_of(i as u32, sizes[i]), &[picture_of(i, sizes[i])]).unwrap();
        }
        model.hidden(&packing.into_batch(&model)).to_f64_vec().unwrap()
    };
    let together = hidden(&[0, 1, 2, 3, 4]);
    let alone: Vec<f64> = (0..sizes.len()).flat_map(|i| hidden(&[i])).collect();
    assert!(relative_error(&together, &alone) < 1e-12);
}

#[test]
fn pictures_of_two_sizes_in_one_prompt_have_the_gradients_of_their_own() {
    let model = oracle();
    let gradients = |pictures: &[([usize; 2], usize)]| {
        let pictures: Vec<Patches> = pictures.iter().map(|&(size, seed)| picture_of(seed, size)).collect();
        let features = model.image_features(&model.patch_batch(&pictures).unwrap());
        let squares = features.mul(&features).sum_all();
        gradients_by_name(&model, &squares.backward())
    };
    let (wide, square) = (([8, 32], 1), ([32, 32], 2));
    let together = gradients(&[wide, square]);
    let sums = gradients(&[wide]).into_iter().zip(gradients(&[square])).map(|((name, mut of_wide), (_, of_square))| {
        of_wide.iter_mut().zip(of_square).for_each(|(sum, more)| *sum += more);
        (name, of_wide)
    });
    assert_gradients_close(&together, &sums.collect::<Vec<_>>(), 1e-12);
}

#[test]
#[should_panic(expected = "pictures: patches of 48 and of 192 values in a batch")]
fn pictures_of_other_patches_panic() {
    let model = oracle();
    let coarse = Patches::from_pixels(Tiling::WHOLE, &[0.0; 3 * 32 * 32], [3, 32, 32], 8);
    model.patch_batch(&[picture(0), coarse]);
}

#[test]
fn positions_have_as_many_rows_as_the_family_counts_along() {
    let mut positions = Positions::new(vec![vec![0, 1, 2], vec![0, 1, 1], vec![0, 1, 2]]);
    positions.extend(&Positions::of_text(3, 3..5));
    assert_eq!(positions.rows(), [[0, 1, 2, 3, 4], [0, 1, 1, 3, 4], [0, 1, 2, 3, 4]]);
    assert_eq!(positions.tokens(), 5);
    let model = oracle();
    let mut packing = Packing::new(model.config());
    let prompt = packing.prompt(&prompt(1), &[picture(0)]).unwrap();
    packing.response(&prompt, &[40, 41, 42]).unwrap();
    let expected: Vec<u32> = (0..21 + 2).collect();
    assert_eq!(packing.into_batch(&model).positions().rows(), [expected]);
}

#[test]
#[should_panic(expected = "positions: rows of [2, 3] tokens")]
fn positions_of_unequal_rows_panic() {
    Positions::new(vec![vec![0, 1], vec![0, 1, 2]]);
}

#[test]
fn prompts_that_do_not_fit_are_errors() {
    let model = oracle();
    let mut packing = Packing::new(model.config());
    let text = |result: Result<_, ModelError>| result.map(|_: ()| ()).unwrap_err().to_string();
    let error = text(packing.prompt(&prompt(0), &[]).map(drop));
    assert_eq!(error, "prompt: expected 0 <image> tokens for 0 pictures, got 16 <image> tokens");
    let error = text(packing.prompt(&prompt(0)[..10], &[picture(0)]).map(drop));
    assert_eq!(error, "prompt: expected 16 <image> tokens for 1 pictures, got 8 <image> tokens");
    assert_eq!(text(packing.prompt(&[], &[]).map(drop)), "prompt: expected at least one token, got none");
    let error = text(packing.prompt(&[9; 513], &[]).map(drop));
    assert_eq!(error, "prompt: expected at most 512 tokens (max_position_embeddings), got 513");
    let prompt = packing.prompt(&[9; 510], &[]).unwrap();
    assert_eq!(packing.response(&prompt, &[9; 3]).unwrap().rows, [509, 510, 511]);
    let error = text(packing.response(&prompt, &[9; 4]).map(drop));
    assert_eq!(error, "prompt: expected at most 512 tokens (max_position_embeddings), got 513");
}
