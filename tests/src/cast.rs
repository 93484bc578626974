//! Conversions between f32 and the halves, to the last bit, on both devices.

use half::{bf16, f16};
use percept_engine::{DType, Device, Tensor};

#[test]
fn casts_on_the_cpu_are_exact() {
    all_casts_are_exact(&Device::cpu());
}

#[test]
fn casts_on_the_gpu_are_exact() {
    all_casts_are_exact(&crate::common::gpu());
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
    let got = to_bits(&Tensor::from_slice(device, &floats, &[floats.len()]).cast(dtype));
    for ((float, got), expected) in floats.iter().zip(got).zip(expected) {
        assert_eq!(got, expected, "{float:e} ({:#010x}) to {dtype}: {got:#06x}, expected {expected:#06x}", float.to_bits());
    }
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
