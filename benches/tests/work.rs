//! What a large GPU is asked to do, counted: no product of the models in the table gets few workgroups where it matters, and no kernel reads much twice.

use percept_benches::work::products::{Product, Sharing, decoding, training};
use percept_benches::work::{DECODERS, Decoder, kernels};

fn named(decoder: &Decoder, product: &Product) -> String {
    let (sizes, plan) = (product.sizes, product.plan);
    format!("{}, {}, {}: {} × {} × {}: {plan:?}", decoder.name, product.pass, product.weight, sizes.m, sizes.n, sizes.k)
}

#[test]
fn decoding_shares_every_product_among_all_processors() {
    for decoder in &DECODERS {
        for product in decoding(decoder, 64) {
            assert_eq!(product.sharing(), Sharing::Well, "{}", named(decoder, &product));
        }
    }
}

/// What is left is small, or between a quarter and all of the workgroups that are wanted, each with few steps.
#[test]
fn training_leaves_no_processor_without_work_for_long() {
    for decoder in &DECODERS {
        for product in [64, 512, 4096].into_iter().flat_map(|tokens| training(decoder, tokens)) {
            let missed = product.sharing() == Sharing::Missed;
            assert!(!missed || (product.plan.workgroups >= 132 && product.plan.steps <= 64), "{}", named(decoder, &product));
        }
    }
}

#[test]
fn a_product_for_few_rows_reads_its_weights_once() {
    for decoder in &DECODERS {
        for product in decoding(decoder, 64) {
            let [moved, _, fewest] = product.bytes();
            assert!(moved as f64 <= 1.02 * fewest as f64, "{}: {moved} bytes of {fewest}", named(decoder, &product));
        }
    }
}

#[test]
fn attention_norms_and_losses_move_little_more_than_they_must() {
    for decoder in &DECODERS {
        for moved in kernels::of(decoder) {
            let limit = match (moved.kernel, moved.case.split(' ').next()) {
                // the first keys of a long sequence need its last queries
                ("attention_backward.backward", Some("1")) => 1.5,
                _ => 1.25,
            };
            let ratio = moved.moved as f64 / moved.fewest as f64;
            assert!(ratio <= limit, "{}: {} on {}: {ratio:.2}", decoder.name, moved.kernel, moved.case);
        }
    }
}
