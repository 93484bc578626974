//! The op table, row by row: gradients against central differences in f64, devices against the f64 oracle.

use percept_engine::check::{self, DeviceError, OpRow, Rng, Sample};
use percept_engine::{Device, GpuSelector};
use proptest::prelude::*;

/// Relative tolerance of the gradient check; every op passes at this value.
const GRADIENT_TOLERANCE: f64 = 1e-6;

#[test]
fn gradients_match_central_differences() {
    for_every_sample(|row, sample| {
        let error = check::gradient_error(sample).map_err(|e| e.to_string())?;
        if error.relative <= GRADIENT_TOLERANCE {
            return Ok(());
        }
        let (input, element, analytic, numeric) = error.at;
        Err(format!(
            "{} {}: gradient of input {input} at {element}: backward {analytic}, central difference {numeric} (relative {:.1e})",
            row.name, sample.label, error.relative
        ))
    });
}

#[test]
fn cpu_matches_the_oracle() {
    for_every_sample(|row, sample| matches_oracle(row, sample, &Device::cpu()));
}

#[test]
fn the_gpu_matches_the_oracle() {
    for_every_sample(|row, sample| matches_oracle(row, sample, &crate::common::gpu()));
}

/// No subgroups, f16 or immediates, 16 KiB of workgroup memory, 8 storage buffers, offsets in steps of 256 bytes.
#[test]
fn the_gpu_matches_the_oracle_with_no_more_than_webgpu_promises() {
    let device = crate::common::open(GpuSelector::within_webgpu);
    let report = device.adapter().unwrap();
    assert!(!report.subgroups && !report.f16 && !report.immediates && report.max_workgroup_memory_bytes == 16 << 10);
    assert!(report.max_storage_buffers == 8 && report.storage_offset_alignment == 256, "{report:?}");
    for_every_sample(|row, sample| matches_oracle(row, sample, &device));
}

/// A policy's gradients are that small: nothing may be lost to a half's range, to eps, or to a subnormal.
#[test]
fn tiny_gradients_match_the_oracle() {
    for_every_sample(|row, sample| {
        [Device::cpu(), crate::common::gpu()]
            .iter()
            .try_for_each(|device| judged(check::gradient_error_at(sample, device, 1e-9), row, sample, device))
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn random_shapes_match_on_the_cpu(seed: u64) {
        for row in check::ops() {
            let sample = (row.random)(&mut Rng::new(seed));
            prop_assert_eq!(matches_oracle(&row, &sample, &Device::cpu()), Ok(()));
            let error = check::gradient_error(&sample).unwrap();
            prop_assert!(error.relative <= GRADIENT_TOLERANCE, "{} {}: {error:?}", row.name, sample.label);
        }
    }
}

fn matches_oracle(row: &OpRow, sample: &Sample, device: &Device) -> Result<(), String> {
    judged(check::device_error(sample, device), row, sample, device)
}

fn judged(error: percept_engine::Result<DeviceError>, row: &OpRow, sample: &Sample, device: &Device) -> Result<(), String> {
    let error = error.map_err(|e| format!("{} {}: {e}", row.name, sample.label))?;
    if error.relative <= sample.tolerance {
        return Ok(());
    }
    let (what, element, got, expected) = error.at;
    Err(format!(
        "{} {} on {device}: {what} at {element}: got {got}, expected {expected} (relative {:.1e}, tolerance {:.1e})",
        row.name, sample.label, error.relative, sample.tolerance
    ))
}

/// Runs a check on all samples and reports every failure, not only the first.
fn for_every_sample(check: impl Fn(&OpRow, &Sample) -> Result<(), String>) {
    let mut failures = Vec::new();
    for row in check::ops() {
        for sample in (row.samples)() {
            failures.extend(check(&row, &sample).err());
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
