//! What optimisers share: parameters in groups, their state, the norm of their gradients, and the control values on the device.

use std::collections::BTreeMap;
use std::path::Path;

use crate::autograd::{Gradients, no_grad};
use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::indices::Indices;
use crate::kernel::{Kernel, KernelParams};
use crate::ops::ELEMENTS_PER_GROUP;
use crate::tensor::Tensor;

use super::norm::{self, control};
use crate::parallel;

/// Parameters that share settings.
pub struct ParamGroup {
    /// The parameters with their names, which are unique: the saved state goes by them.
    pub parameters: Vec<(String, Tensor)>,
    /// The learning rate of these parameters is that of the optimiser times this.
    pub lr_scale: f64,
    /// Decoupled weight decay: each step shrinks every value by this share, times the learning rate.
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
    /// The factor by which clipping scaled the gradients; 1 if they were short enough.
    pub clip_scale: f64,
    /// Whether the last step was taken.
    pub taken: bool,
}

/// A rule that updates one parameter by its gradient: [`AdamWConfig`](super::AdamWConfig) and [`SgdConfig`](super::SgdConfig).
pub trait UpdateRule: Copy {
    /// Name of the optimiser, for messages.
    const NAME: &'static str;
    /// Names of the tensors that the rule keeps for each parameter, in its shape; they start at zero.
    const MOMENTS: &'static [&'static str];

    /// The learning rate.
    fn lr(&mut self) -> &mut f64;

    /// Gradients whose common norm is larger are scaled down to it.
    fn clip_norm(&self) -> f64;

    /// Decay of the means whose start at zero the step corrects; 0 where there are none.
    fn betas(&self) -> [f64; 2];

    /// Launches the update of one parameter.
    fn update(&self, update: Update<'_>);
}

/// An optimiser over all its parameters; `R` is the rule by which it updates each, with its settings.
pub struct Optimiser<R> {
    rule: R,
    slots: Vec<Slot>,
    /// Eight numbers on the device, at the places that [`control`] names; see optim.wgsl.
    control: Tensor,
}

/// One parameter with its state.
struct Slot {
    name: String,
    parameter: Tensor,
    /// f32 copy of a parameter stored as halves.
    master: Option<Tensor>,
    /// What the rule keeps, in f32 (f64 for the oracle).
    moments: Vec<Tensor>,
    lr_scale: f64,
    weight_decay: f64,
}

impl<R: UpdateRule> Optimiser<R> {
    /// An optimiser whose state starts at zero.
    ///
    /// # Panics
    /// If there are no parameters, a name or a parameter stands twice, or one is a strided view.
    #[track_caller]
    pub fn new(groups: Vec<ParamGroup>, config: R) -> Optimiser<R> {
        let op = R::NAME;
        let mut slots: Vec<Slot> = Vec::new();
        for ParamGroup { parameters, lr_scale, weight_decay } in groups {
            for (name, parameter) in parameters {
                assert!(parameter.is_packed(), "{op}: parameter {name} is a strided view: {:?}", parameter.layout());
                assert!(slots.iter().all(|s| s.name != name), "{op}: two parameters are named {name}");
                let twice = slots.iter().find(|s| Gradients::is_same_parameter(&s.parameter, &parameter));
                assert!(twice.is_none(), "{op}: {} and {name} are the same parameter", twice.map_or("", |s| &s.name));
                let zeros = || Tensor::zeros(parameter.device(), parameter.shape(), arithmetic_type(&parameter));
                let moments = R::MOMENTS.iter().map(|_| zeros()).collect();
                let master = parameter.dtype().is_half().then(|| in_f32(&parameter));
                slots.push(Slot { name, parameter, master, moments, lr_scale, weight_decay });
            }
        }
        let Some(first) = slots.first() else { panic!("{op}: no parameters") };
        let control = Tensor::zeros(first.parameter.device(), &[control::LEN], arithmetic_type(&first.parameter));
        Optimiser { rule: config, slots, control }
    }

    /// Updates every parameter that has a gradient, in place, and returns the norm of their gradients before clipping: a number on the device, `[]`.
    /// If the norm is not finite nothing changes but the count of skipped steps ([`report`](Optimiser::report)).
    ///
    /// # Panics
    /// If no parameter has a gradient.
    #[track_caller]
    pub fn step(&mut self, gradients: &Gradients) -> Tensor {
        let pairs: Vec<(&Slot, Tensor)> =
            self.slots.iter().filter_map(|slot| Some((slot, gradients.get(&slot.parameter)?.detach().contiguous()))).collect();
        assert!(!pairs.is_empty(), "{}: no gradient for any of the {} parameters", R::NAME, self.slots.len());
        for (slot, gradient) in &pairs {
            assert!(
                gradient.shape() == slot.parameter.shape() && gradient.dtype() == self.control.dtype(),
                "{}: {}: parameter {:?}, gradient {} {:?}",
                R::NAME,
                slot.name,
                slot.parameter.shape(),
                gradient.dtype(),
                gradient.shape()
            );
        }
        let norm = norm::global_norm(&pairs.iter().map(|(_, gradient)| gradient).collect::<Vec<_>>());
        norm::prepare_step(&norm, self.rule.clip_norm(), self.rule.betas(), &self.control);
        for (slot, gradient) in &pairs {
            self.rule.update(Update { slot, gradient, control: &self.control });
        }
        norm
    }

    /// Sets the learning rate of the next steps.
    pub fn set_lr(&mut self, lr: f64) {
        *self.rule.lr() = lr;
    }

    /// The settings in force.
    pub fn config(&self) -> &R {
        &self.rule
    }

    /// What the last step did. Waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn report(&self) -> Result<StepReport> {
        let values = self.control.to_f64_vec()?;
        Ok(StepReport {
            steps: values[control::STEP] as u64,
            skipped: values[control::SKIPPED] as u64,
            gradient_norm: values[control::NORM],
            clip_scale: values[control::SCALE],
            taken: values[control::TAKEN] != 0.0,
        })
    }

    /// What is updated, by the names of the groups.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.slots.iter().map(|slot| (slot.name.clone(), slot.parameter.clone())).collect()
    }

    /// The state to save: `{name}.m` (and for AdamW `{name}.v`) of each parameter, `{name}.master` of those stored as halves, and `control` (step
    /// count, bias corrections). The tensors are the state itself, not copies, and change with the next step.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::from([("control".to_string(), self.control.clone())]);
        for slot in &self.slots {
            state.extend(R::MOMENTS.iter().zip(&slot.moments).map(|(kind, moment)| (format!("{}.{kind}", slot.name), moment.clone())));
            state.extend(slot.master.iter().map(|master| (format!("{}.master", slot.name), master.clone())));
        }
        state
    }

    /// Restores a saved state, to the same bits. `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Content`] if a tensor is missing, left over or of another shape; then nothing has changed.
    pub fn load_state(&mut self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
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

/// The update of one parameter, for its rule to launch.
pub struct Update<'a> {
    slot: &'a Slot,
    gradient: &'a Tensor,
    control: &'a Tensor,
}

impl Update<'_> {
    /// Number of elements.
    pub(super) fn len(&self) -> u32 {
        self.gradient.len() as u32
    }

    /// The learning rate of this parameter's group, and by how much a step shrinks its values.
    pub(super) fn lr_and_decay(&self, lr: f64) -> [f32; 2] {
        let lr = lr * self.slot.lr_scale;
        [lr as f32, (lr * self.slot.weight_decay) as f32]
    }

    /// Launches the first kernel, or the second for a parameter stored as halves. Inputs: gradient, control. Outputs: the values (or their f32
    /// copy), the moments, and the halves if there are any.
    pub(super) fn launch<P: KernelParams>(&self, [plain, half]: [&'static Kernel; 2], params: &P) {
        let Slot { parameter, master, moments, .. } = self.slot;
        let dtype = [("DTYPE", f64::from(parameter.dtype().code()))];
        let (kernel, values) = match master {
            Some(master) => (half, master),
            None => (plain, parameter),
        };
        let mut launch = kernel.launch(params).constants(&dtype).input(self.gradient).input(self.control).output(values);
        for moment in moments {
            launch = launch.output(moment);
        }
        let mut threads = self.gradient.len();
        if master.is_some() {
            launch = launch.output(parameter);
            threads = threads.div_ceil(2);
        }
        launch.groups(threads.div_ceil(ELEMENTS_PER_GROUP)).run();
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
        DType::F16 => parallel!(for_row_blocks(args.output::<half::f16>(index), 1), |first, halves| {
            halves.iter_mut().zip(&master[first..]).for_each(|(y, x)| *y = half::f16::from_f32(x.to_f64() as f32));
        }),
        DType::BF16 => parallel!(for_row_blocks(args.output::<half::bf16>(index), 1), |first, halves| {
            halves.iter_mut().zip(&master[first..]).for_each(|(y, x)| *y = half::bf16::from_f32(x.to_f64() as f32));
        }),
        other => unreachable!("{other} parameters have no master copy"),
    }
}
