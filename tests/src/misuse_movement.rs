//! Misuse of the ops that move data, and of the optimisers, panics with op, shapes and numbers, at the caller's line.

use std::panic::{AssertUnwindSafe, catch_unwind};

use percept_engine::ops::Heads;
use percept_engine::optim::{AdamW, AdamWConfig, ParamGroup};
use percept_engine::{DType, Device, Gradients, Indices, RopeTable, Tensor};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(&Device::cpu(), shape, DType::F32)
}

fn ids(values: &[u32]) -> Indices {
    Indices::new(&Device::cpu(), values, &[values.len()])
}

fn unknown_ids(values: &[u32]) -> Indices {
    Indices::on_device(&Tensor::from_slice(&Device::cpu(), values, &[values.len()]))
}

const HEADS: Heads = Heads { queries: 1, kv: 1, dim: 4 };

/// Of two tokens.
fn table() -> RopeTable {
    RopeTable::new(&Device::cpu(), &[0, 1], 4, 1e4)
}

fn adamw(parameters: &[(&str, &Tensor)]) -> AdamW {
    let parameters = parameters.iter().map(|&(name, parameter)| (name.to_string(), parameter.clone())).collect();
    AdamW::new(vec![ParamGroup { parameters, lr_scale: 1.0, weight_decay: 0.0 }], AdamWConfig::default())
}

#[test]
fn misuse_panics_with_op_shapes_and_numbers() {
    type Case = (&'static str, fn());
    let cases: [Case; 18] = [
        ("embedding: index out of range: [5, 3] by indices [2] (index 5 at position 1, 5 rows)", || {
            drop(zeros(&[5, 3]).embedding(&ids(&[4, 5])))
        }),
        ("embedding: the table is [vocab, hidden], of floats: got f32 [5] for ids [1]", || drop(zeros(&[5]).embedding(&ids(&[0])))),
        ("embedding: has no gradient", || drop(zeros(&[5, 3]).parameter().embedding(&unknown_ids(&[1])))),
        ("index_select: index out of range: [2, 3] by indices [1] (index 9 at position 0, 2 rows)", || {
            drop(zeros(&[2, 3]).index_select(&ids(&[9])))
        }),
        ("index_select: a scalar has no rows", || drop(zeros(&[]).index_select(&ids(&[0])))),
        ("scatter_add_rows: one index a row: [2, 3] by indices [1] (1 indices)", || drop(zeros(&[2, 3]).scatter_add_rows(&ids(&[0]), 4))),
        ("scatter_add_rows: index out of range: [4, 3] by indices [2] (index 4 at position 1, 4 rows)", || {
            drop(zeros(&[2, 3]).scatter_add_rows(&ids(&[0, 4]), 4));
        }),
        ("scatter_add_rows: the host must know the indices [1]", || drop(zeros(&[1, 3]).scatter_add_rows(&unknown_ids(&[0]), 4))),
        ("concat: f32 [2, 3] on cpu and f32 [3, 3] on cpu along axis 1", || drop(Tensor::concat(&[&zeros(&[2, 3]), &zeros(&[3, 3])], -1))),
        ("pixel_shuffle: [1, 12, 5] is no 4 × 4 grid of squares of 2 (12 vectors)", || drop(zeros(&[1, 12, 5]).pixel_shuffle([4, 4], 2))),
        ("split_heads: needs a table [tokens, dim]: got [3, 4] for 2 tokens and heads of 4", || {
            drop(zeros(&[2, 12]).split_heads(HEADS, Some(&RopeTable::new(&Device::cpu(), &[0, 1, 2], 4, 1e4))));
        }),
        ("split_heads: [2, 8] is not [tokens, (queries + 2 kv) · dim] of 1 query heads and 1 key heads, 4 wide", || {
            drop(zeros(&[2, 8]).split_heads(HEADS, None));
        }),
        (
            "split_heads_into: needs a cache [rows, 1, 4] and a row for each of 2 tokens: got keys [5, 1, 4], values [4, 1, 4] and 2 rows",
            || {
                drop(zeros(&[2, 12]).split_heads_into(HEADS, &table(), &ids(&[0, 1]), [&zeros(&[5, 1, 4]), &zeros(&[4, 1, 4])]));
            },
        ),
        ("split_heads_into: row 1 stands twice in indices [2]", || {
            drop(zeros(&[2, 12]).split_heads_into(HEADS, &table(), &ids(&[1, 1]), [&zeros(&[5, 1, 4]), &zeros(&[5, 1, 4])]));
        }),
        ("adamw: two parameters are named a", || drop(adamw(&[("a", &zeros(&[1]).parameter()), ("a", &zeros(&[1]).parameter())]))),
        ("adamw: a and b are the same parameter", || {
            let parameter = zeros(&[1]).parameter();
            drop(adamw(&[("a", &parameter), ("b", &parameter)]));
        }),
        ("add_: has no gradient, but an input needs one", || zeros(&[1]).add_(&zeros(&[1]).parameter())),
        ("adamw: no gradient for any of the 1 parameters", || drop(adamw(&[("a", &zeros(&[1]).parameter())]).step(&Gradients::new()))),
    ];
    for (expected, misuse) in cases {
        let panic = catch_unwind(AssertUnwindSafe(misuse)).expect_err(expected);
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap();
        assert!(text.starts_with(expected), "expected `{expected}`, got `{text}`");
    }
}
