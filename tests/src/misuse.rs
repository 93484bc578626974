//! Misuse panics with the op, the shapes and the numbers, at the caller's line.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use percept_engine::ops::{Adapters, Epilogue, FusedLinear};
use percept_engine::{DType, Device, Head, Sampling, Tensor, linear_kl};

/// What is done wrongly, and what the panic says.
type Case = (fn(&Device), &'static str);

const CASES: &[Case] = &[
    // creation
    (|d| drop(Tensor::from_slice(d, &[1.0f32, 2.0], &[3])), "from_slice: 2 values do not fill shape [3] (3 elements)"),
    (|d| drop(zeros(d, &[1, 1, 1, 1, 1, 1, 1])), "from_slice: shape [1, 1, 1, 1, 1, 1, 1] has more than 6 axes"),
    (|d| drop(Tensor::zeros(d, &[1 << 33, 1 << 31], DType::F32)), "full: shape [8589934592, 2147483648] has 2^32 or more elements"),
    (|d| drop(zeros(d, &[2]).to_vec::<u32>()), "to_vec: the tensor holds f32, asked for u32"),
    (|d| drop(zeros(d, &[2, 3]).item()), "item: shape [2, 3] has 6 elements, not one"),
    (|d| drop(indices(d, &[2]).parameter()), "parameter: u32 [2] cannot have a gradient"),
    (|d| zeros(d, &[2]).write_slice(&[1.0f32]), "write_slice: 1 values for shape [2] (2)"),
    (|d| zeros(d, &[2]).write_slice(&[1u32, 2]), "write_slice: the tensor holds f32, got u32"),
    (|d| zeros(d, &[2, 3]).t().write_slice(&[0.0f32; 6]), "write_slice: a strided view cannot be overwritten"),
    (|d| assert_eq!(zeros(d, &[2, 3]).dim(2), 0), "dim: axis 2 of shape [2, 3] (2 axes)"),
    // views and copies
    (|d| drop(zeros(d, &[2, 3]).reshape(&[7])), "reshape: [2, 3] (6 elements) to [7] (7 elements)"),
    (|d| drop(zeros(d, &[2, 3]).reshape(&[1 << 33, 1 << 31, 6])), "reshape: shape [8589934592, 2147483648, 6] has 2^32 or more elements"),
    (|d| drop(zeros(d, &[2, 3]).permute(&[0, 0])), "permute: [0, 0] is not a permutation of the axes of [2, 3]"),
    (|d| drop(zeros(d, &[2]).t()), "t: shape [2] has fewer than two axes"),
    (|d| drop(zeros(d, &[2, 3]).slice(-1, 2, 2)), "slice: 2..4 of axis 1 of [2, 3] (3 long)"),
    (|d| drop(zeros(d, &[2, 3]).slice(2, 0, 1)), "slice: axis 2 of shape [2, 3] (2 axes)"),
    (|d| drop(zeros(d, &[2, 3]).broadcast_to(&[2, 4])), "broadcast_to: [2, 3] does not broadcast to [2, 4]"),
    (|d| drop(zeros(d, &[1]).broadcast_to(&[1 << 32])), "broadcast_to: shape [4294967296] has 2^32 or more elements"),
    (|d| drop(zeros(d, &[2, 3]).unsqueeze(4)), "unsqueeze: no axis 4 beside [2, 3]"),
    (|d| zeros(d, &[2, 3]).copy_from_(&zeros(d, &[3])), "copy_from_: [3] f32 into [2, 3] f32"),
    (
        |d| {
            let x = zeros(d, &[4, 3]);
            x.slice(0, 0, 2).copy_from_(&x.slice(0, 2, 2));
        },
        "copy.scatter: writes to memory that it also uses otherwise: [2, 3] and [2, 3] are views of one tensor",
    ),
    (|d| zeros(d, &[2]).copy_from_(&indices(d, &[2])), "copy_from_: [2] u32 into [2] f32"),
    // element by element
    (|d| drop(indices(d, &[2]).exp()), "exp: arithmetic needs f32 (cast first): got u32 [2]"),
    (|d| drop(zeros(d, &[2]).clamp(1.0, 0.5)), "clamp: low 1 > high 0.5"),
    (|d| drop(zeros(d, &[2, 3]).add(&zeros(d, &[2]))), "add: shapes do not broadcast: [2, 3] and [2]"),
    (|d| drop(zeros(d, &[2]).mul(&indices(d, &[3]))), "mul: arithmetic needs f32 (cast first): got f32 [2] and u32 [3]"),
    (|d| drop(zeros(d, &[2]).maximum(&zeros(d, &[3]))), "maximum: shapes do not broadcast: [2] and [3]"),
    (|d| drop(zeros(d, &[2]).eq(&zeros(d, &[3]))), "eq: shapes do not broadcast: [2] and [3]"),
    (|d| drop(zeros(d, &[2, 3]).swiglu()), "swiglu: rows are a gate and as many values: [2, 3] has rows of 3"),
    (|d| drop(zeros(d, &[2, 3]).add_rms_norm(&zeros(d, &[3, 3]), &zeros(d, &[3]), 1e-5)), "add_rms_norm: shapes differ: [2, 3] and [3, 3]"),
    (|d| drop(indices(d, &[4]).where_(&zeros(d, &[2]), &zeros(d, &[1]))), "where: shapes do not broadcast: [4], [2] and [1]"),
    (
        |d| drop(zeros(d, &[2]).cast(DType::F16).where_(&zeros(d, &[2]), &zeros(d, &[2]))),
        "where: the condition must be u32 or f32: f16 [2]",
    ),
    (|d| drop(zeros(d, &[2, 3]).cast(DType::U32)), "cast: f32 [2, 3] to u32: only f32, f16 and bf16 can be cast to"),
    // over axes and rows
    (|d| drop(zeros(d, &[2, 3]).sum(&[2])), "sum: axis 2 of shape [2, 3] (2 axes)"),
    (|d| drop(zeros(d, &[2, 3]).sum(&[1, -1])), "sum: an axis stands twice in [1, -1]"),
    (|d| drop(zeros(d, &[2, 0]).mean(&[1])), "mean: over no elements: axes [1] of [2, 0]"),
    (|d| drop(zeros(d, &[2, 0]).max(&[-1])), "max: over no elements: axes [-1] of [2, 0]"),
    (|d| drop(zeros(d, &[2, 0]).argmax()), "argmax: over no elements: [2, 0]"),
    (|d| drop(zeros(d, &[2]).parameter().argmax()), "argmax: has no gradient, but an input needs one"),
    (|d| drop(zeros(d, &[]).softmax()), "softmax: works on the last axis, shape [] has none"),
    (|d| drop(indices(d, &[3]).log_softmax()), "log_softmax: arithmetic needs f32 (cast first): got u32 [3]"),
    (|d| drop(zeros(d, &[2, 3]).rms_norm(&zeros(d, &[2]), 1e-5)), "rms_norm: weight [2] for rows of [2, 3] (3 columns)"),
    (
        |d| drop(zeros(d, &[2, 3]).layer_norm(&zeros(d, &[3]), &zeros(d, &[1, 3]), 1e-5)),
        "layer_norm: bias [1, 3] for rows of [2, 3] (3 columns)",
    ),
    // products and heads
    (|d| drop(zeros(d, &[2, 3]).matmul(&zeros(d, &[4, 5]))), "matmul: inner sizes differ: [2, 3] and [4, 5] (3 and 4)"),
    (|d| drop(zeros(d, &[3]).matmul(&zeros(d, &[3, 2]))), "matmul: both sides need two axes or more: [3] and [3, 2]"),
    (|d| drop(zeros(d, &[2, 2, 3]).matmul(&zeros(d, &[3, 3, 2]))), "matmul: leading axes do not broadcast: [2, 2, 3] and [3, 3, 2]"),
    (|d| drop(indices(d, &[2, 3]).matmul(&zeros(d, &[3, 2]))), "matmul: the left side is f32, the right f32, f16 or bf16: got u32 [2, 3]"),
    (
        |d| drop(zeros(d, &[2, 8]).fused_linear(linear(&zeros(d, &[4, 7])))),
        "fused_linear: [2, 8] f32 and a weight [4, 7] f32 are not [rows, in] and [out, in], f32 and f32, f16 or bf16",
    ),
    (
        |d| drop(zeros(d, &[2, 8]).fused_linear(FusedLinear { bias: Some(&zeros(d, &[3])), ..linear(&zeros(d, &[4, 8])) })),
        "fused_linear: for [2, 8] by [4, 8] the norm is [8], the bias [4], the residual [2, 4]: got [[3]]",
    ),
    (
        |d| drop(zeros(d, &[2, 8]).fused_linear(FusedLinear { epilogue: Epilogue::Swiglu, ..linear(&zeros(d, &[3, 8])) })),
        "fused_linear: 3 outputs are not a gate and as many values",
    ),
    (
        |d| {
            let (down, up) = (zeros(d, &[4, 8]), zeros(d, &[6, 4]));
            let adapters = Some(Adapters { down: &down, up: &up, starts: &[0, 3] });
            zeros(d, &[2, 8]).fused_linear(FusedLinear { adapters, ..linear(&zeros(d, &[6, 8])) });
        },
        "are [layers · rank, 8] and [6, rank]: got [4, 8], [6, 4] and outputs from [0, 3]",
    ),
    (|d| zeros(d, &[2, 2]).add_matmul_(&zeros(d, &[2, 3]), &zeros(d, &[3, 4])), "add_matmul_: a product [2, 4] f32 into [2, 2] f32"),
    (
        |d| drop(zeros(d, &[2, 3]).linear_log_probs(&Head::new(&zeros(d, &[5, 4])), &indices(d, &[2]), 1.0)),
        "linear_log_probs: hidden [2, 3] and weight [5, 4] are not [tokens, hidden] and [vocab, hidden]",
    ),
    (
        |d| drop(zeros(d, &[2, 3]).linear_log_probs(&Head::new(&zeros(d, &[5, 3])), &indices(d, &[4]), 1.0)),
        "linear_log_probs: hidden [2, 3] needs targets u32 [tokens], got u32 [4]",
    ),
    (
        |d| drop(zeros(d, &[2, 3]).linear_log_probs(&Head::new(&zeros(d, &[5, 3])), &indices(d, &[2]), 0.0)),
        "linear_log_probs: temperature 0 is not positive",
    ),
    (
        |d| {
            let (hidden, other, weight) = (zeros(d, &[2, 3]), zeros(d, &[4, 3]), zeros(d, &[5, 3]));
            drop(linear_kl((&hidden, &Head::new(&weight)), (&other, &Head::new(&weight)), 1.0));
        },
        "linear_kl: hidden [2, 3] with weight [5, 3] beside hidden [4, 3] with weight [5, 3]",
    ),
    // drawing and choosing
    (
        |d| drop(zeros(d, &[2, 3]).sample(&indices(d, &[3]), 0, &Sampling::GREEDY)),
        "sample: logits [2, 3] need streams u32 [rows], got u32 [3]",
    ),
    (
        |d| drop(zeros(d, &[2, 3]).sample(&indices(d, &[2]), 0, &Sampling { temperature: -1.0, ..Sampling::GREEDY })),
        "sample: temperature -1 is not a number from 0 up",
    ),
    (|d| drop(zeros(d, &[2, 3]).top_k_mask(&indices(d, &[3]))), "top_k_mask: x [2, 3] needs k u32 [rows], got u32 [3]"),
    // gradients
    (|d| drop(zeros(d, &[2]).parameter().backward()), "backward: the loss must be one number, its shape is [2]"),
    (|d| drop(zeros(d, &[]).backward()), "backward: the loss does not depend on any parameter"),
];

/// A linear layer and nothing beside it.
fn linear(weight: &Tensor) -> FusedLinear<'_> {
    FusedLinear { norm: None, weight, bias: None, adapters: None, epilogue: Epilogue::None }
}

fn zeros(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::from_slice(device, &vec![0.0f32; shape.iter().product()], shape)
}

fn indices(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::from_slice(device, &vec![0u32; shape.iter().product()], shape)
}

#[test]
fn misuse_panics_with_op_shapes_and_numbers_at_the_callers_line() {
    let device = Device::cpu();
    let mut failures = Vec::new();
    for (misuse, expected) in CASES {
        match panic_of(|| misuse(&device)) {
            None => failures.push(format!("no panic; expected: {expected}")),
            Some((text, _)) if !text.contains(expected) => failures.push(format!("expected: {expected}\n     got: {text}")),
            Some((_, file)) if !file.ends_with("misuse.rs") => failures.push(format!("reported in {file}, not here: {expected}")),
            Some(_) => {}
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

thread_local! {
    static CAUGHT: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    static CATCHING: RefCell<bool> = const { RefCell::new(false) };
}

/// Text and source file of the panic of `f`. The hook is one for all threads, so it keeps quiet on this thread only.
fn panic_of(f: impl FnOnce()) -> Option<(String, String)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CATCHING.with_borrow(|catching| *catching) {
                return default(info);
            }
            let text = info.payload_as_str().unwrap_or("no text").to_owned();
            let file = info.location().map_or(String::new(), |location| location.file().to_owned());
            CAUGHT.set(Some((text, file)));
        }));
    });
    CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(false);
    result.err().and_then(|_| CAUGHT.take())
}
