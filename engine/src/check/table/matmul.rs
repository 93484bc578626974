//! Rows of the matrix product, as chosen and variant by variant.

use crate::dtype::DType;
use crate::ops::{self, Adapters, Epilogue, FusedLinear};
use crate::tensor::Tensor;
use crate::tune::{CooperativeSize, MatmulVariant};

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    use CooperativeSize::{Eight, Sixteen};
    use MatmulVariant::{Cooperative, CooperativeScalar, Plain, Skinny, Subgroup, Tile};
    let row = |name, samples, random| OpRow { name, kernels: ops::matmul::KERNELS, samples, random };
    let cooperative = |name, samples, random| OpRow { name, kernels: ops::matmul::COOPERATIVE_KERNELS, samples, random };
    vec![
        row("matmul", samples, random),
        OpRow { name: "fused_linear", kernels: ops::fused_linear::KERNELS, samples: fused_samples, random: random_fused },
        row("add_matmul_", accumulate_samples, random_accumulate),
        row("matmul_tile", || variant_samples(Tile), |rng| random_variant(rng, Tile)),
        row("matmul_subgroup", || variant_samples(Subgroup), |rng| random_variant(rng, Subgroup)),
        row("matmul_skinny", || variant_samples(Skinny), |rng| random_variant(rng, Skinny)),
        row("matmul_plain", || variant_samples(Plain), |rng| random_variant(rng, Plain)),
        cooperative("matmul_cooperative_8", || variant_samples(Cooperative(Eight)), |rng| random_variant(rng, Cooperative(Eight))),
        cooperative("matmul_cooperative_16", || variant_samples(Cooperative(Sixteen)), |rng| random_variant(rng, Cooperative(Sixteen))),
        cooperative(
            "matmul_cooperative_scalar_8",
            || variant_samples(CooperativeScalar(Eight)),
            |rng| random_variant(rng, CooperativeScalar(Eight)),
        ),
        cooperative(
            "matmul_cooperative_scalar_16",
            || variant_samples(CooperativeScalar(Sixteen)),
            |rng| random_variant(rng, CooperativeScalar(Sixteen)),
        ),
    ]
}

fn samples() -> Vec<Sample> {
    let mut rng = Rng::new(31);
    let shapes: [(&[usize], &[usize]); 16] = [
        (&[1, 1], &[1, 1]),
        (&[3, 7], &[7, 5]),
        (&[16, 32], &[32, 64]),
        (&[17, 31], &[31, 37]),
        (&[70, 20], &[20, 68]),
        (&[2, 300], &[300, 9]),
        (&[4, 0], &[0, 3]),
        (&[0, 4], &[4, 3]),
        (&[4, 3], &[3, 0]),
        (&[2, 3, 4, 5], &[2, 3, 5, 6]),
        (&[2, 3, 4, 5], &[5, 6]),
        (&[1, 3, 4, 5], &[2, 1, 5, 6]),
        (&[4, 5], &[3, 5, 6]),
        (&[3, 4, 0], &[0, 6]),
        (&[2, 1, 3, 4, 5], &[1, 5, 1, 5, 6]),
        (&[2, 0, 4, 5], &[5, 6]),
    ];
    let mut samples: Vec<Sample> = shapes
        .iter()
        .map(|(a, b)| {
            let inputs = vec![rng.input(a, -1.0, 1.0), rng.input(b, -1.0, 1.0)];
            Sample::new(format!("{a:?} {b:?}"), inputs, |x| vec![x[0].matmul(&x[1])])
        })
        .collect();
    let mut view = |label: &str, a: &[usize], b: &[usize], f: fn(&Tensor, &Tensor) -> Tensor| {
        let inputs = vec![rng.input(a, -1.0, 1.0), rng.input(b, -1.0, 1.0)];
        samples.push(Sample::new(label, inputs, move |x| vec![f(&x[0], &x[1])]));
    };
    view("[8, 12]ᵀ [8, 20]", &[8, 12], &[8, 20], |a, b| a.t().matmul(b));
    view("[12, 8] [20, 8]ᵀ", &[12, 8], &[20, 8], |a, b| a.matmul(&b.t()));
    view("[7, 5]ᵀ [3, 7]ᵀ", &[7, 5], &[3, 7], |a, b| a.t().matmul(&b.t()));
    view("[2, 3, 4, 8] [2, 3, 6, 8]ᵀ", &[2, 3, 4, 8], &[2, 3, 6, 8], |a, b| a.matmul(&b.t()));
    view("heads before positions", &[2, 5, 3, 4], &[2, 7, 3, 4], |a, b| a.permute(&[0, 2, 1, 3]).matmul(&b.permute(&[0, 2, 3, 1])));
    view("columns 4..12 of both", &[9, 16], &[8, 16], |a, b| a.slice(1, 4, 8).matmul(&b.slice(1, 4, 8)));
    view("columns 3..11 of both", &[9, 16], &[8, 16], |a, b| a.slice(1, 3, 8).matmul(&b.slice(1, 3, 8)));
    view("rows that do not fold", &[2, 9, 8], &[8, 5], |a, b| a.slice(1, 2, 5).matmul(b));
    view("a repeated row", &[1, 8], &[8, 5], |a, b| a.broadcast_to(&[6, 8]).matmul(b));
    for dtype in [DType::F16, DType::BF16] {
        for (b, label) in [([36, 20], "packed"), ([33, 19], "packed, odd")] {
            let inputs = vec![rng.input(&[5, b[0]], -1.0, 1.0), rng.input(&b, -1.0, 1.0).stored_as(dtype)];
            samples.push(Sample::new(format!("[5, {}] {b:?} {dtype} {label}", b[0]), inputs, |x| vec![x[0].matmul(&x[1])]));
        }
        for (b, label) in [([20, 36], "transposed"), ([19, 33], "transposed, odd")] {
            let inputs = vec![rng.input(&[2, 5, b[1]], -1.0, 1.0), rng.input(&b, -1.0, 1.0).stored_as(dtype)];
            samples.push(Sample::new(format!("[2, 5, {}] {b:?} {dtype} {label}", b[1]), inputs, |x| vec![x[0].matmul(&x[1].t())]));
        }
    }
    // decoding: few rows, weights [out, in], longer than the pieces that the CPU widens
    for (m, dtype) in [(1, DType::BF16), (3, DType::F16)] {
        let inputs = vec![rng.input(&[m, 300], -1.0, 1.0), rng.input(&[41, 300], -1.0, 1.0).stored_as(dtype)];
        samples.push(Sample::new(format!("[{m}, 300] [41, 300]ᵀ {dtype}"), inputs, |x| vec![x[0].matmul(&x[1].t())]));
    }
    // more columns than a converted panel of the CPU holds
    let inputs = vec![rng.input(&[2, 1100], -0.1, 0.1), rng.input(&[1100, 300], -1.0, 1.0).stored_as(DType::BF16)];
    samples.push(Sample::new("[2, 1100] [1100, 300] bf16", inputs, |x| vec![x[0].matmul(&x[1])]).forward_only());
    samples
}

fn random(rng: &mut Rng) -> Sample {
    let (batch, m, k, n) = (rng.length(5), rng.length(40), rng.length(80), rng.length(90));
    let transposed = rng.below(2) == 1;
    let b = if transposed { [n, k] } else { [k, n] };
    let inputs = vec![rng.input(&[batch, m, k], -1.0, 1.0), rng.input(&b, -1.0, 1.0)];
    Sample::new(format!("[{batch}, {m}, {k}] {b:?}"), inputs, move |x| {
        vec![if transposed { x[0].matmul(&x[1].t()) } else { x[0].matmul(&x[1]) }]
    })
}

fn fused_samples() -> Vec<Sample> {
    let mut rng = Rng::new(34);
    let mut samples = Vec::new();
    // rows, in, out: within a tile, beyond it, more quads than threads, no multiple of four, tiles of 16 columns
    for (sizes, dtype) in [
        ([1, 4, 2], DType::F32),
        ([3, 20, 10], DType::F16),
        ([5, 264, 38], DType::F32),
        ([9, 36, 68], DType::BF16),
        ([2, 10, 6], DType::F32),
        ([0, 8, 4], DType::F32),
        ([33, 12, 3404], DType::F32),
    ] {
        for (has_norm, has_bias) in [(true, true), (false, false)] {
            for epilogue in 0..3 {
                samples.push(fused(&mut rng, sizes, dtype, [has_norm, has_bias], None, epilogue));
            }
        }
    }
    // adapters: of one layer, of two with a gate, of three; a rank and a start that are no multiples of four; more quads of the rank than threads
    for (sizes, dtype, rank, starts, epilogue) in [
        ([3, 20, 10], DType::BF16, 4, vec![0], 1),
        ([9, 36, 72], DType::F32, 8, vec![0, 36], 2),
        ([33, 12, 3408], DType::BF16, 16, vec![0, 1704], 2),
        ([5, 40, 64], DType::F16, 16, vec![0, 32, 48], 0),
        ([33, 12, 3404], DType::F32, 4, vec![0, 2000, 2400], 0),
        ([2, 12, 10], DType::F32, 3, vec![0, 5], 0),
        ([2, 12, 12], DType::F32, 260, vec![0], 1),
    ] {
        for has_norm in [true, false] {
            samples.push(fused(&mut rng, sizes, dtype, [has_norm, has_norm], Some((rank, starts.clone())), epilogue));
        }
    }
    samples
}

fn random_fused(rng: &mut Rng) -> Sample {
    let sizes = [rng.length(20), rng.length(90), 2 * rng.length(40)];
    let [norm, bias, adapter] = std::array::from_fn(|_| rng.below(2) == 1);
    let adapters = adapter.then(|| (rng.length(20), [vec![0], vec![0, sizes[2] / 2]][rng.below(2)].clone()));
    let epilogue = rng.below(3);
    fused(rng, sizes, DType::F32, [norm, bias], adapters, epilogue)
}

fn fused(
    rng: &mut Rng,
    [rows, cols, out]: [usize; 3],
    dtype: DType,
    [has_norm, has_bias]: [bool; 2],
    adapters: Option<(usize, Vec<usize>)>,
    epilogue: usize,
) -> Sample {
    let (rank, starts) = adapters.clone().unwrap_or_default();
    let inputs = vec![
        rng.input(&[rows, cols], -1.0, 1.0),
        rng.input(&[out, cols], -1.0, 1.0).stored_as(dtype),
        rng.input(&[cols], 0.5, 1.5),
        rng.input(&[out], -1.0, 1.0),
        rng.input(&[rows, out], -1.0, 1.0),
        rng.input(&[starts.len() * rank, cols], -1.0, 1.0),
        rng.input(&[out, rank], -1.0, 1.0),
    ];
    let label = format!(
        "[{rows}, {cols}] [{out}, {cols}]ᵀ {dtype}, norm {has_norm}, bias {has_bias}, rank {rank} at {starts:?}, epilogue {epilogue}"
    );
    Sample::new(label, inputs, move |x| {
        let layer = FusedLinear {
            norm: has_norm.then_some((&x[2], 1e-6)),
            weight: &x[1],
            bias: has_bias.then_some(&x[3]),
            adapters: adapters.as_ref().map(|(_, starts)| Adapters { down: &x[5], up: &x[6], starts }),
            epilogue: [Epilogue::None, Epilogue::Add(&x[4]), Epilogue::Swiglu][epilogue],
        };
        vec![x[0].fused_linear(layer)]
    })
    .forward_only()
}

fn accumulate_samples() -> Vec<Sample> {
    let mut rng = Rng::new(32);
    [([5, 7, 3], DType::F32), ([20, 36, 68], DType::F32), ([4, 0, 3], DType::F32), ([9, 20, 12], DType::F16)]
        .into_iter()
        .map(|(size, dtype)| accumulate(&mut rng, size, dtype))
        .collect()
}

fn random_accumulate(rng: &mut Rng) -> Sample {
    let size = [rng.length(40), rng.length(60), rng.length(90)];
    accumulate(rng, size, DType::F32)
}

fn accumulate(rng: &mut Rng, [m, k, n]: [usize; 3], dtype: DType) -> Sample {
    let inputs = vec![rng.input(&[m, k], -1.0, 1.0), rng.input(&[k, n], -1.0, 1.0).stored_as(dtype)];
    Sample::new(format!("[{m}, {k}] [{k}, {n}] {dtype}"), inputs, move |x| {
        let y = Tensor::full(x[0].device(), &[m, n], 0.5, x[0].dtype());
        y.add_matmul_(&x[0], &x[1]);
        vec![y]
    })
    .forward_only()
}

fn variant_samples(variant: MatmulVariant) -> Vec<Sample> {
    let mut rng = Rng::new(33);
    let mut samples = Vec::new();
    if matches!(variant, MatmulVariant::Cooperative(_) | MatmulVariant::CooperativeScalar(_)) {
        // each takes seconds to compile on software Vulkan: an edge of every kind, whole tiles, no more
        samples.push(by_variant(&mut rng, variant, [65, 20, 132], [false, false], DType::F32));
        samples.push(by_variant(&mut rng, variant, [64, 64, 128], [true, true], DType::F32));
        samples.push(by_variant(&mut rng, variant, [17, 31, 37], [false, true], DType::BF16));
        return samples;
    }
    for size in [[1, 1, 1], [3, 7, 5], [64, 32, 64], [65, 20, 132], [17, 31, 37], [8, 0, 4], [4, 72, 8]] {
        for views in [[false, false], [true, true]] {
            samples.push(by_variant(&mut rng, variant, size, views, DType::F32));
        }
    }
    if variant == MatmulVariant::Tile {
        // so many tiles that they are of 64 rows and columns; of 64 columns alone; both with several bands of tiles
        samples.push(by_variant(&mut rng, variant, [1090, 21, 1030], [false, true], DType::F32));
        samples.push(by_variant(&mut rng, variant, [560, 21, 1000], [true, false], DType::F32));
    }
    if variant == MatmulVariant::Skinny {
        // a band and a half
        samples.push(by_variant(&mut rng, variant, [770, 20, 40], [false, true], DType::F32));
    }
    for dtype in [DType::F16, DType::BF16] {
        for views in [[false, false], [false, true]] {
            samples.push(by_variant(&mut rng, variant, [5, 40, 72], views, dtype));
            samples.push(by_variant(&mut rng, variant, [5, 33, 7], views, dtype));
        }
    }
    samples
}

fn random_variant(rng: &mut Rng, variant: MatmulVariant) -> Sample {
    let size = [rng.length(80), rng.length(80), rng.length(150)];
    let transposed = [rng.below(2) == 1, rng.below(2) == 1];
    by_variant(rng, variant, size, transposed, DType::F32)
}

/// Two batches, either side perhaps a transposed view.
fn by_variant(rng: &mut Rng, variant: MatmulVariant, [m, k, n]: [usize; 3], transposed: [bool; 2], dtype: DType) -> Sample {
    let shape = |rows, columns, transposed| if transposed { [2, columns, rows] } else { [2, rows, columns] };
    let mut inputs =
        vec![rng.input(&shape(m, k, transposed[0]), -1.0, 1.0), rng.input(&shape(k, n, transposed[1]), -1.0, 1.0).stored_as(dtype)];
    // multiples of 1/128 are exact in f16 and bf16, which the cooperative variants round to
    inputs.iter_mut().flat_map(|input| &mut input.values).for_each(|value| *value = (*value * 128.0).round() / 128.0);
    let label = format!("[2, {m}, {k}] [2, {k}, {n}] {dtype} transposed {transposed:?}");
    Sample::new(label, inputs, move |x| {
        let a = if transposed[0] { x[0].t() } else { x[0].clone() };
        let b = if transposed[1] { x[1].t() } else { x[1].clone() };
        vec![a.matmul_by(&b, variant)]
    })
    .forward_only()
    .only_on(move |device| variant.runs_on(device))
}
