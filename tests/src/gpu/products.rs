//! Matrix products as a GPU gets them: cut, in tiles of several sizes, and planned by their sizes.

use percept_engine::ops::{
    Adapters, Cut, Epilogue, FusedLinear, ProductPlan, ProductSizes, RightAxis, RowRule, product_plan, with_row_rule,
};
use percept_engine::tune::{CooperativeSize, MatmulVariant, Tuning};
use percept_engine::{DType, Device, Head, Tensor, random};

use crate::common::{gpu, open};

/// Many rows take larger tiles, so that a sequence read beside others would have other bits if the size of a tile mattered.
#[test]
fn a_row_has_the_same_bits_in_tiles_of_every_size() {
    let device = gpu();
    let input = |stream, shape: [usize; 2]| Tensor::from_slice(&device, &random::normal(5, stream, shape[0] * shape[1], 1.0), &shape);
    let (rows, weights) = (input(1, [1100, 52]), input(2, [2000, 52]).t());
    for (variant, counts) in [(MatmulVariant::Tile, [1100, 520, 100]), (MatmulVariant::Skinny, [64, 20, 3])] {
        let product = |count: usize| rows.slice(0, 0, count).matmul_by(&weights, variant);
        let (most, fewest) = (product(counts[0]), counts[2]);
        let sizes = counts.map(|m| ProductSizes { batches: 1, m, n: 2000, k: 52, right: RightAxis::Inner });
        let rule = if variant == MatmulVariant::Tile { RowRule::Many } else { RowRule::Few };
        let tiles = sizes.map(|sizes| product_plan(sizes, rule, Cut::Never).tile);
        assert!(tiles[0] != tiles[1] && tiles[1] != tiles[2], "{variant:?}: this tests nothing: {tiles:?}");
        let bits = |product: &Tensor| product.slice(0, 0, fewest).to_vec::<f32>().unwrap();
        for count in counts {
            assert_eq!(bits(&product(count)), bits(&most), "{variant:?}, {count} rows");
        }
    }
}

/// Software has few threads, so that only the smallest results are cut there.
#[test]
fn a_product_of_few_tokens_is_right_however_it_is_cut() {
    let device = open(|selector| selector);
    for (k, dtype, transposed) in [(2048, DType::F32, true), (2051, DType::F32, false), (4096, DType::BF16, true)] {
        let shape = if transposed { [28, k] } else { [k, 28] };
        let (a, b) = (random::normal(7, 1, 20 * k, 1.0), random::normal(7, 2, k * 28, 1.0));
        let sides = |device: &Device, wide: DType| {
            let halves = Tensor::from_f32(&Device::cpu(), &b, &shape, DType::F32).cast(dtype).to_f64_vec().unwrap();
            let b = Tensor::from_f64(device, &halves, &shape, if dtype == DType::F32 { wide } else { dtype });
            (Tensor::from_f32(device, &a, &[20, k], wide), if transposed { b.t() } else { b })
        };
        let (left, right) = sides(&device, DType::F32);
        let launches = |f: &dyn Fn() -> Tensor| {
            let before = device.counters().launches;
            (f(), device.counters().launches - before)
        };
        let (cut, in_training) = launches(&|| left.matmul(&right));
        let (whole, decoding) = launches(&|| with_row_rule(RowRule::Few, || left.matmul(&right)));
        assert_eq!((in_training > 1, decoding), (true, 1), "{k}: {in_training} launches");
        let (left, right) = sides(&Device::cpu(), DType::F64);
        let expected = left.matmul(&right).to_f64_vec().unwrap();
        for got in [cut, whole] {
            for (got, expected) in got.to_f64_vec().unwrap().iter().zip(&expected) {
                assert!((got - expected).abs() < 1e-5 * (k as f64).sqrt(), "{k} {dtype}: {got}, not {expected}");
            }
        }
    }
}

#[test]
fn products_are_planned_by_their_sizes() {
    let plan = |m, n, k, right, rule, cut| product_plan(ProductSizes { batches: 1, m, n, k, right }, rule, cut);
    let (inner, columns) = (RightAxis::Inner, RightAxis::Columns);
    let (thin, tile) = (MatmulVariant::Skinny, MatmulVariant::Tile);
    let found = |plan: ProductPlan| (plan.variant, plan.tile, plan.slices, plan.workgroups);
    // decoding: 8 rows and 16 columns where that is enough, else 4 columns, else 4 rows
    assert_eq!(found(plan(64, 2048, 2048, inner, RowRule::Few, Cut::Never)), (thin, [8, 16], 1, 1024));
    assert_eq!(found(plan(64, 576, 576, inner, RowRule::Few, Cut::Never)), (thin, [8, 4], 1, 1152));
    assert_eq!(found(plan(64, 128, 128, inner, RowRule::Few, Cut::Never)), (thin, [4, 4], 1, 512));
    // training over few tokens: few rows, unless there are tiles for most processors
    assert_eq!(found(plan(64, 576, 576, inner, RowRule::Count, Cut::Forward)), (thin, [8, 4], 1, 1152));
    assert_eq!(found(plan(64, 576, 576, inner, RowRule::Many, Cut::Never)), (tile, [32, 32], 1, 36));
    assert_eq!(found(plan(64, 2560, 2048, inner, RowRule::Count, Cut::Forward)), (tile, [32, 32], 4, 640));
    assert_eq!(found(plan(4096, 2048, 2048, inner, RowRule::Count, Cut::Forward)), (tile, [64, 64], 1, 2048));
    // gradients: of one length if that is near
    assert_eq!(found(plan(64, 576, 49_280, columns, RowRule::Count, Cut::Gradient)), (tile, [32, 64], 55, 990));
    assert_eq!(found(plan(576, 576, 64, columns, RowRule::Count, Cut::Gradient)), (tile, [32, 32], 1, 324));
}

#[test]
fn a_gradient_summed_over_many_rows_is_right_however_it_is_cut() {
    let device = open(|selector| selector);
    // one tile of the result, and so several slices; with and without a rest, as x wᵀ and as x w
    for (rows, transposed) in [(1024, true), (1031, true), (1031, false), (5000, true)] {
        let shapes: [&[usize]; 3] = [&[rows, 24], if transposed { &[40, 24] } else { &[24, 40] }, &[rows, 40]];
        let values: Vec<Vec<f32>> =
            shapes.iter().zip(1..).map(|(shape, stream)| random::normal(5, stream, shape.iter().product(), 1.0)).collect();
        let gradient = |device: &Device, dtype: DType| {
            let tensor = |i: usize| {
                let values: Vec<f64> = values[i].iter().map(|&value| f64::from(value)).collect();
                Tensor::from_f64(device, &values, shapes[i], dtype)
            };
            let w = tensor(1).parameter();
            let y = tensor(0).matmul(&if transposed { w.t() } else { w.clone() });
            y.backward_from(&tensor(2)).get(&w).unwrap().to_f64_vec().unwrap()
        };
        let launches = device.counters().launches;
        let (got, expected) = (gradient(&device, DType::F32), gradient(&Device::cpu(), DType::F64));
        assert!(device.counters().launches - launches > 2, "not cut: this tests nothing");
        let scale = (rows as f64).sqrt();
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5 * scale, "{rows} rows, transposed {transposed}: {got}, not {expected}");
        }
    }
}

/// A sequence that is read with an adapter has the same bits alone and among others: the tiles of [`Tensor::fused_linear`] are of 4 or 8 rows, and of 4 or 16 columns.
#[test]
fn a_row_has_the_same_bits_in_any_company_with_adapters() {
    let device = gpu();
    let input = |stream, shape: &[usize]| Tensor::from_slice(&device, &random::normal(6, stream, shape.iter().product(), 1.0), shape);
    let (rows, weight, gain, residual) =
        (input(1, &[300, 68]), input(2, &[480, 68]).cast(DType::BF16), input(3, &[68]), input(4, &[300, 480]));
    let (down, up) = (input(5, &[16, 68]), input(6, &[480, 8]));
    let adapters = Some(Adapters { down: &down, up: &up, starts: &[0, 240] });
    for is_gated in [true, false] {
        let read = |first: usize, count: usize| {
            let residual = residual.slice(0, first, count);
            let epilogue = if is_gated { Epilogue::Swiglu } else { Epilogue::Add(&residual) };
            let layer = FusedLinear { norm: Some((&gain, 1e-6)), weight: &weight, bias: None, adapters, epilogue };
            rows.slice(0, first, count).fused_linear(layer)
        };
        let all = read(0, 300);
        for count in [1, 3, 8, 70] {
            let first = 300 - count;
            let of_all = all.slice(0, first, count).contiguous().to_vec::<f32>().unwrap();
            assert_eq!(read(first, count).to_vec::<f32>().unwrap(), of_all, "{count} rows, gated {is_gated}");
        }
    }
}

/// Matrix units multiply f16, which has nothing between 0 and 6e-8: gradients of language models are smaller.
#[test]
fn gradients_are_not_rounded_to_halves_whatever_was_chosen_for_values() {
    let device = open(|selector| selector);
    let rounding = MatmulVariant::CooperativeScalar(CooperativeSize::Eight);
    if !rounding.runs_on(&device) {
        println!("skipped: {device} has no f16");
        return;
    }
    device.set_tuning(Tuning { thin: Some(rounding), wide: Some(rounding) });
    let values = |stream, len, deviation| -> Vec<f64> { random::normal(7, stream, len, deviation).iter().map(|&x| x.into()).collect() };
    // of a few rows and of enough for the inner axis to be cut
    for rows in [70, 1031] {
        let (x, w, dy) = (values(1, rows * 48, 1.0), values(2, 56 * 48, 1.0), values(3, rows * 56, 1e-9));
        let run = |device: &Device, dtype: DType| {
            let x = Tensor::from_f64(device, &x, &[rows, 48], dtype).parameter();
            let w = Tensor::from_f64(device, &w, &[56, 48], dtype).parameter();
            let y = x.matmul(&w.t());
            let gradients = y.backward_from(&Tensor::from_f64(device, &dy, &[rows, 56], dtype));
            [y.detach(), gradients.get(&x).unwrap(), gradients.get(&w).unwrap()].map(|x| x.to_f64_vec().unwrap())
        };
        let (got, expected) = (run(&device, DType::F32), run(&Device::cpu(), DType::F64));
        let errors = [0, 1, 2].map(|i| {
            let largest = expected[i].iter().fold(0f64, |most, x| most.max(x.abs()));
            got[i].iter().zip(&expected[i]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
        });
        assert!(errors[0] > 2e-5, "nothing was rounded: this tests nothing: {errors:?}");
        assert!(errors[1] < 2e-6 && errors[2] < 2e-6, "{rows} rows: {errors:?}");
    }
}

#[test]
fn a_gradient_summed_over_a_vocabulary_is_right_however_it_is_cut() {
    let device = gpu();
    let (tokens, hidden, vocab) = (70, 24, 3001);
    let values = |stream, len| -> Vec<f64> { random::normal(6, stream, len, 1.0).iter().map(|&value| value.into()).collect() };
    let (x, w) = (values(1, tokens * hidden), values(2, vocab * hidden));
    let gradients = |device: &Device, dtype: DType, fused: bool| {
        let x = Tensor::from_f64(device, &x, &[tokens, hidden], dtype).parameter();
        let w = Tensor::from_f64(device, &w, &[vocab, hidden], dtype);
        let targets = Tensor::from_slice(device, &(0..tokens as u32).map(|i| i * 41).collect::<Vec<_>>(), &[tokens]);
        let y = if fused { x.linear_log_probs(&Head::new(&w), &targets, 1.0).0 } else { x.matmul(&w.t()).mul(&x.matmul(&w.t())) };
        y.sum_all().backward().get(&x).unwrap().to_f64_vec().unwrap()
    };
    for fused in [true, false] {
        let (got, expected) = (gradients(&device, DType::F32, fused), gradients(&Device::cpu(), DType::F64, fused));
        let scale = expected.iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5 * scale, "{got}, not {expected}, of {scale}");
        }
    }
}
