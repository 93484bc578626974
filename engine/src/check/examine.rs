//! The whole op table on one device.

use serde::Serialize;

use crate::device::Device;

use super::compare::device_error;
use super::table::{OpRow, ops};

/// How an op did on a device, over all its samples.
#[derive(Clone, Debug, Serialize)]
pub struct OpVerdict {
    /// Name of the op.
    pub op: &'static str,
    /// Number of samples that ran, forward and backward each; 0 if the device lacks what the op needs.
    pub samples: usize,
    /// The largest error of an output or gradient, relative to its largest magnitude, of the sample that came closest to its tolerance or went
    /// beyond.
    pub max_error: f64,
    /// The tolerance of that sample.
    pub tolerance: f64,
    /// Whether every sample is within its tolerance.
    pub ok: bool,
    /// What went wrong, in words; empty if nothing.
    pub problem: String,
}

/// Runs every row of the op table on a device against the f64 oracle; `done` is called after each.
pub fn examine(device: &Device, mut done: impl FnMut(&OpVerdict)) -> Vec<OpVerdict> {
    let mut verdicts = Vec::new();
    for row in ops() {
        let verdict = examine_op(&row, device);
        done(&verdict);
        verdicts.push(verdict);
    }
    verdicts
}

fn examine_op(row: &OpRow, device: &Device) -> OpVerdict {
    let mut verdict = OpVerdict { op: row.name, samples: 0, max_error: 0.0, tolerance: 1.0, ok: true, problem: String::new() };
    for sample in (row.samples)().into_iter().filter(|sample| sample.runs_on(device)) {
        verdict.samples += 1;
        let error = match device_error(&sample, device) {
            Ok(error) => error,
            Err(reason) => {
                (verdict.ok, verdict.max_error, verdict.tolerance) = (false, f64::NAN, sample.tolerance);
                verdict.problem = format!("{}: {reason}", sample.label);
                break;
            }
        };
        // the sample nearest to its limit speaks for the op
        if error.relative.is_nan() || error.relative / sample.tolerance >= verdict.max_error / verdict.tolerance {
            (verdict.max_error, verdict.tolerance) = (error.relative, sample.tolerance);
        }
        // not `>`: an error that is not a number is wrong, too
        let within = error.relative <= sample.tolerance;
        if !within {
            let (what, element, got, expected) = error.at;
            verdict.ok = false;
            verdict.problem = format!("{}: {what} at {element}: got {got}, expected {expected}", sample.label);
            break;
        }
    }
    verdict
}
