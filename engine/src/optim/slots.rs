//! What every optimiser keeps: parameters in groups, their state, the control values on the device.

use std::collections::BTreeMap;
use std::path::Path;

use crate::autograd::{Gradients, no_grad};
use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::indices::Indices;
use crate::tensor::Tensor;

use super::norm::{self, control};

/// Parameters that share settings.
pub struct ParamGroup {
    /// Names (unique; keys of the saved state) and parameters.
    pub parameters: Vec<(String, Tensor)>,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Decoupled weight decay: each step takes `lr · lr_scale · weight_decay · w` off.
    pub weight_decay: f64,
}

/// What the last step did, read back from the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps taken so far.
    pub steps: u64,
    /// Steps skipped so far because a gradient was not finite.
    pub skipped: u64,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// The factor that clipping put on the gradients.
    pub clip_scale: f64,
    /// Whether the last step was taken.
    pub taken: bool,
}

/// One parameter with its state.
pub(super) struct Slot {
    pub name: String,
    pub parameter: Tensor,
    /// f32 copy of a parameter stored as halves.
    pub master: Option<Tensor>,
    /// The optimiser's moments, f32 (f64 for the oracle).
    pub moments: Vec<Tensor>,
    pub lr_scale: f64,
    pub weight_decay: f64,
}

/// All parameters of an optimiser.
pub(super) struct Slots {
    pub slots: Vec<Slot>,
    /// [steps, skipped, corrections, norm, scale, taken]; see optim.wgsl.
    pub control: Tensor,
    op: &'static str,
    moment_names: &'static [&'static str],
}

impl Slots {
    #[track_caller]
    pub(super) fn new(op: &'static str, moment_names: &'static [&'static str], groups: Vec<ParamGroup>) -> Slots {
        let mut slots: Vec<Slot> = Vec::new();
        for ParamGroup { parameters, lr_scale, weight_decay } in groups {
            for (name, parameter) in parameters {
                assert!(parameter.is_packed(), "{op}: parameter {name} is a strided view: {:?}", parameter.layout());
                assert!(slots.iter().all(|s| s.name != name), "{op}: two parameters are named {name}");
                let twice = slots.iter().find(|s| Gradients::is_same_parameter(&s.parameter, &parameter));
                assert!(twice.is_none(), "{op}: {} and {name} are the same parameter", twice.map_or("", |s| &s.name));
                let moments = moment_names
                    .iter()
                    .map(|_| Tensor::zeros(parameter.device(), parameter.shape(), arithmetic_type(&parameter)))
                    .collect();
                let master = parameter.dtype().is_half().then(|| in_f32(&parameter));
                slots.push(Slot { name, parameter, master, moments, lr_scale, weight_decay });
            }
        }
        let Some(first) = slots.first() else { panic!("{op}: no parameters") };
        let control = Tensor::zeros(first.parameter.device(), &[control::LEN], arithmetic_type(&first.parameter));
        Slots { slots, control, op, moment_names }
    }

    /// Norm and decision on the device; then the slots that have a gradient, with it. Returns the norm.
    #[track_caller]
    pub(super) fn prepare<'a>(&'a self, gradients: &Gradients, clip_norm: f64, betas: [f64; 2]) -> (Tensor, Vec<(&'a Slot, Tensor)>) {
        let pairs: Vec<(&Slot, Tensor)> =
            self.slots.iter().filter_map(|slot| Some((slot, gradients.get(&slot.parameter)?.detach().contiguous()))).collect();
        assert!(!pairs.is_empty(), "{}: no gradient for any of the {} parameters", self.op, self.slots.len());
        for (slot, gradient) in &pairs {
            assert!(
                gradient.shape() == slot.parameter.shape() && gradient.dtype() == self.control.dtype(),
                "{}: {}: parameter {:?}, gradient {} {:?}",
                self.op,
                slot.name,
                slot.parameter.shape(),
                gradient.dtype(),
                gradient.shape()
            );
        }
        let norm = norm::global_norm(&pairs.iter().map(|(_, gradient)| gradient).collect::<Vec<_>>());
        norm::prepare_step(&norm, clip_norm, betas, &self.control);
        (norm, pairs)
    }

    /// Waits for the device.
    pub(super) fn report(&self) -> Result<StepReport> {
        let values = self.control.to_f64_vec()?;
        Ok(StepReport {
            steps: values[control::STEP] as u64,
            skipped: values[control::SKIPPED] as u64,
            gradient_norm: values[control::NORM],
            clip_scale: values[control::SCALE],
            taken: values[control::TAKEN] != 0.0,
        })
    }

    /// What is updated, by name.
    pub(super) fn parameters(&self) -> Vec<(String, Tensor)> {
        self.slots.iter().map(|slot| (slot.name.clone(), slot.parameter.clone())).collect()
    }

    /// Everything that must be saved, by name; the tensors are the state itself, not copies.
    pub(super) fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::from([("control".to_string(), self.control.clone())]);
        for slot in &self.slots {
            let moments =
                self.moment_names.iter().zip(&slot.moments).map(|(kind, moment)| (format!("{}.{kind}", slot.name), moment.clone()));
            state.extend(moments);
            state.extend(slot.master.iter().map(|master| (format!("{}.master", slot.name), master.clone())));
        }
        state
    }

    /// Overwrites the state. `path` is named in errors.
    pub(super) fn load_state(&self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let content = |field: &str, expected: String, got: String| Error::Content { path: path.into(), field: field.into(), expected, got };
        let state = self.state();
        if let Some(surplus) = tensors.keys().find(|name| !state.contains_key(*name)) {
            return Err(content(surplus, "no such tensor in the optimiser's state".into(), "one".into()));
        }
        let describe = |x: &Tensor| format!("{} {:?}", x.dtype(), x.shape());
        for (name, own) in &state {
            match tensors.get(name) {
                None => return Err(content(name, describe(own), "no such tensor".into())),
                Some(saved) if saved.shape() != own.shape() || saved.dtype() != own.dtype() => {
                    return Err(content(name, describe(own), describe(saved)));
                }
                Some(_) => {}
            }
        }
        for (name, own) in &state {
            own.copy_from_(&tensors[name].to_device(own.device())?);
        }
        Ok(())
    }
}

impl Slot {
    /// What the update kernel changes: the master copy, or the parameter itself.
    pub(super) fn weights(&self) -> &Tensor {
        self.master.as_ref().unwrap_or(&self.parameter)
    }
}

fn arithmetic_type(parameter: &Tensor) -> DType {
    if parameter.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// An exact copy of halves in f32: the gather of row 0 of one.
fn in_f32(halves: &Tensor) -> Tensor {
    let row = Indices::new(halves.device(), &[0], &[1]);
    no_grad(|| halves.detach().reshape(&[1, halves.len()]).index_select(&row).reshape(halves.shape()))
}

/// The end of an update of a parameter stored as halves: the CPU kernels' output `index` is the master copy rounded to nearest-even. Of other
/// parameters there is no such output.
pub(super) fn round_into_halves<F: Float>(master: &[F], index: usize, mut args: CpuArgs) {
    if index == args.outputs() {
        return;
    }
    match args.output_dtype(index) {
        DType::F16 => for_row_blocks(args.output::<half::f16>(index), 1, |first, halves| {
            halves.iter_mut().zip(&master[first..]).for_each(|(y, x)| *y = half::f16::from_f64(x.to_f64()));
        }),
        DType::BF16 => for_row_blocks(args.output::<half::bf16>(index), 1, |first, halves| {
            halves.iter_mut().zip(&master[first..]).for_each(|(y, x)| *y = half::bf16::from_f64(x.to_f64()));
        }),
        other => unreachable!("{other} parameters have no master copy"),
    }
}
