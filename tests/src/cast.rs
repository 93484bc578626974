//! Conversions between f32 and the halves, to the last bit, on both devices: by a cast, and on the way into a cache of keys and values.

use half::{bf16, f16};
use percept_engine::ops::Heads;
use percept_engine::{DType, Device, Indices, RopeTable, Tensor};

#[test]
fn casts_on_the_cpu_are_exact() {
    all_casts_are_exact(&Device::cpu());
}

#[test]
fn casts_on_the_gpu_are_exact() {
    all_casts_are_exact(&crate::common::gpu());
}

#[test]
fn caches_of_halves_round_exactly() {
    for device in [Device::cpu(), crate::common::gpu()] {
        for dtype in [DType::F16, DType::BF16] {
            a_cache_rounds_to_nearest_even(&device, dtype);
        }
    }
}

fn all_casts_are_exact(device: &Device) {
    every_half_survives_the_way_through_f32(device, DType::F16);
    every_half_survives_the_way_through_f32(device, DType::BF16);
    f32_rounds_to_nearest_even(device, DType::F16);
    f32_rounds_to_nearest_even(device, DType::BF16);
    what_is_not_a_number_stays_so(device);
}

fn every_half_survives_the_way_through_f32(device: &Device, dtype: DType) {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let widened = from_bits(device, &all, dtype).cast(DType::F32);
    let back = to_bits(&widened.cast(dtype));
    for ((&bits, wide), back) in all.iter().zip(widened.to_vec::<f32>().unwrap()).zip(back) {
        let expected = value(bits, dtype);
        if expected.is_nan() {
            assert!(wide.is_nan() && value(back, dtype).is_nan(), "{dtype} {bits:#06x}: {wide}, back {back:#06x}");
        } else {
            assert_eq!(wide.to_bits(), (expected as f32).to_bits(), "{dtype} {bits:#06x}: {wide}");
            assert_eq!(back, bits, "{dtype} {bits:#06x} through {wide}");
        }
    }
}

/// Every point half-way between neighbours goes to the even one, the floats beside it to the nearer one; so too at zero and at infinity.
fn f32_rounds_to_nearest_even(device: &Device, dtype: DType) {
    let (floats, expected) = ties(dtype);
    let got = to_bits(&Tensor::from_slice(device, &floats, &[floats.len()]).cast(dtype));
    assert_rounded(&floats, &got, &expected, dtype);
}

/// Values go there as they are, and keys too at position 0, where they are turned by no angle. Heads of 6: their halves have 3 elements, so words lie across them.
fn a_cache_rounds_to_nearest_even(device: &Device, dtype: DType) {
    const HEADS: Heads = Heads { queries: 1, kv: 2, dim: 6 };
    let (floats, expected) = ties(dtype);
    // products with a sine of 0 are 0 only of finite numbers, and drivers may take subnormals for 0
    let is_kept = |x: f32| x.is_finite() && x.abs() > 1e-30;
    let keys: Vec<usize> = (0..floats.len()).filter(|&i| is_kept(floats[i])).collect();
    let width = HEADS.kv * HEADS.dim;
    let tokens = floats.len().div_ceil(width);
    let mut x = Vec::new();
    for token in 0..tokens {
        let of = |i: usize| token * width + i;
        x.extend((0..HEADS.queries * HEADS.dim).map(|i| i as f32 + 0.1));
        x.extend((0..width).map(|i| keys.get(of(i)).map_or(1.0, |&key| floats[key])));
        x.extend((0..width).map(|i| floats.get(of(i)).copied().unwrap_or(1.0)));
    }
    let x = Tensor::from_slice(device, &x, &[tokens, HEADS.width()]);
    let rope = RopeTable::new(device, &vec![0; tokens], HEADS.dim, 1e4);
    // in rows from the last to the second; the first stays as it is
    let rows: Vec<u32> = (1..=tokens as u32).rev().collect();
    let cache = [(); 2].map(|()| Tensor::full(device, &[tokens + 1, HEADS.kv, HEADS.dim], 7.0, dtype));
    let queries = x.split_heads_into(HEADS, &rope, &Indices::new(device, &rows, &[tokens]), [&cache[0], &cache[1]]);

    assert_eq!(queries.to_vec::<f32>().unwrap(), [0.1, 1.1, 2.1, 3.1, 4.1, 5.1].repeat(tokens));
    let [keys_got, values_got] = cache.map(|cache| {
        let bits = to_bits(&cache);
        let (untouched, rows) = bits.split_at(width);
        assert!(untouched.iter().all(|&bits| value(bits, dtype) == 7.0), "{dtype} on {device}: row 0 was written");
        rows.chunks(width).rev().flatten().copied().collect::<Vec<u16>>()
    });
    assert_rounded(&floats, &values_got[..floats.len()], &expected, dtype);
    let of_keys = |values: &[f32]| keys.iter().map(|&key| values[key]).collect::<Vec<f32>>();
    let expected: Vec<u16> = keys.iter().map(|&key| expected[key]).collect();
    assert_rounded(&of_keys(&floats), &keys_got[..keys.len()], &expected, dtype);
}

fn assert_rounded(floats: &[f32], got: &[u16], expected: &[u16], dtype: DType) {
    assert_eq!((got.len(), expected.len()), (floats.len(), floats.len()));
    for ((float, got), expected) in floats.iter().zip(got).zip(expected) {
        assert_eq!(got, expected, "{float:e} ({:#010x}) to {dtype}: {got:#06x}, expected {expected:#06x}", float.to_bits());
    }
}

/// Floats, and the bits of the halves that they round to.
fn ties(dtype: DType) -> (Vec<f32>, Vec<u16>) {
    let infinity: u16 = if dtype == DType::F16 { 0x7c00 } else { 0x7f80 };
    let (mut floats, mut expected) = (Vec::new(), Vec::new());
    for low in 0..infinity {
        let middle = match dtype {
            DType::F16 => ((finite_f16(low) + finite_f16(low + 1)) / 2.0) as f32,
            _ => f32::from_bits(u32::from(low) << 16 | 0x8000),
        };
        for sign in [0x0000, 0x8000] {
            for (step, rounded) in [(-1, low), (0, low + (low & 1)), (1, low + 1)] {
                let bits = middle.to_bits().wrapping_add_signed(step) | u32::from(sign) << 16;
                floats.push(f32::from_bits(bits));
                expected.push(rounded | sign);
            }
        }
    }
    let extremes = [(f32::MAX, infinity), (f32::INFINITY, infinity), (0.0, 0), (-0.0, 0x8000), (f32::from_bits(1), 0), (-1e-45, 0x8000)];
    for (float, bits) in extremes {
        floats.push(float);
        expected.push(bits);
    }
    (floats, expected)
}

fn what_is_not_a_number_stays_so(device: &Device) {
    // quiet, signalling, and with a payload only in the bits that a half loses
    let nans = [0x7fc0_0000, 0x7f80_0001, 0x7f80_1000, 0xff80_0001, 0x7fff_ffff, 0xffff_ffff].map(f32::from_bits);
    for dtype in [DType::F16, DType::BF16] {
        let halves = to_bits(&Tensor::from_slice(device, &nans, &[nans.len()]).cast(dtype));
        assert!(halves.iter().all(|&bits| value(bits, dtype).is_nan()), "{dtype}: {halves:x?}");
    }
}

/// By the definition of the formats, not by a library.
fn value(bits: u16, dtype: DType) -> f64 {
    if dtype == DType::BF16 {
        return f64::from(f32::from_bits(u32::from(bits) << 16));
    }
    let magnitude = match bits & 0x7fff {
        0x7c00 => f64::INFINITY,
        0x7c01.. => f64::NAN,
        finite => finite_f16(finite),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// Exponent and mantissa as if there were no infinity: 0x7c00 is the 65,536 that would follow.
fn finite_f16(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10), f64::from(bits & 0x3ff));
    if exponent == 0 { mantissa * 2f64.powi(-24) } else { (1024.0 + mantissa) * 2f64.powi(exponent - 25) }
}

fn from_bits(device: &Device, bits: &[u16], dtype: DType) -> Tensor {
    match dtype {
        DType::F16 => Tensor::from_slice(device, bytemuck::cast_slice::<u16, f16>(bits), &[bits.len()]),
        _ => Tensor::from_slice(device, bytemuck::cast_slice::<u16, bf16>(bits), &[bits.len()]),
    }
}

fn to_bits(halves: &Tensor) -> Vec<u16> {
    match halves.dtype() {
        DType::F16 => halves.to_vec::<f16>().unwrap().into_iter().map(f16::to_bits).collect(),
        _ => halves.to_vec::<bf16>().unwrap().into_iter().map(bf16::to_bits).collect(),
    }
}
