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
use crate::layout::Layout;
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

impl StepReport {
    /// From the elements of [`Optimiser::unread_report`].
    ///
    /// # Panics
    /// If they are not eight numbers.
    #[track_caller]
    pub fn of(values: &[f64]) -> StepReport {
        assert!(values.len() == control::LEN, "StepReport::of: expected {} numbers, got {}", control::LEN, values.len());
        StepReport {
            steps: values[control::STEP] as u64,
            skipped: values[control::SKIPPED] as u64,
            gradient_norm: values[control::NORM],
            clip_scale: values[control::SCALE],
            taken: values[control::TAKEN] != 0.0,
        }
    }
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

/// One parameter with its state. Where parameters with the same settings lie one behind the other in memory, so does their state.
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
            for (i, (name, parameter)) in parameters.iter().enumerate() {
                assert!(parameter.is_packed(), "{op}: parameter {name} is a strided view: {:?}", parameter.layout());
                let before = slots.iter().map(|slot| (&slot.name, &slot.parameter));
                for (other, twin) in before.chain(parameters[..i].iter().map(|(name, parameter)| (name, parameter))) {
                    assert!(other != name, "{op}: two parameters are named {name}");
                    assert!(!Gradients::is_same_parameter(twin, parameter), "{op}: {other} and {name} are the same parameter");
                }
            }
            for run in as_they_lie(parameters).chunk_by(|a, b| distance(&a.1, &b.1) == Some(room(&a.1))) {
                let parts: Vec<&Tensor> = run.iter().map(|(_, parameter)| parameter).collect();
                let zeros = || laid_out(&parts, |all| Tensor::zeros(all.device(), all.shape(), all.dtype().of_gradients()));
                let mut moments: Vec<_> = R::MOMENTS.iter().map(|_| zeros().into_iter()).collect();
                let mut masters = parts[0].dtype().is_half().then(|| laid_out(&parts, in_f32).into_iter());
                for (name, parameter) in run {
                    let moments = moments.iter_mut().map(|moments| moments.next().expect("one for each")).collect();
                    let master = masters.as_mut().and_then(Iterator::next);
                    slots.push(Slot { name: name.clone(), parameter: parameter.clone(), master, moments, lr_scale, weight_decay });
                }
            }
        }
        let Some(first) = slots.first() else { panic!("{op}: no parameters") };
        let control = Tensor::zeros(first.parameter.device(), &[control::LEN], first.parameter.dtype().of_gradients());
        Optimiser { rule: config, slots, control }
    }

    /// Updates every parameter that has a gradient, in place, and returns the norm of their gradients before clipping: a number on the device, `[]`.
    /// If the norm is not finite nothing changes but the count of skipped steps ([`report`](Optimiser::report)).
    ///
    /// # Panics
    /// If no parameter has a gradient.
    #[track_caller]
    pub fn step(&mut self, gradients: &Gradients) -> Tensor {
        let pairs = self.pairs(gradients);
        assert!(!pairs.is_empty(), "{}: no gradient for any of the {} parameters", R::NAME, self.slots.len());
        let together = pairs.chunk_by(lie_alike).map(|run| as_one(run.iter().map(|(_, gradient)| gradient)));
        let norm = norm::global_norm(&together.collect::<Vec<_>>());
        self.step_along(&pairs, &norm);
        norm
    }

    /// [`step`](Optimiser::step) where these gradients are some of many, and `norm` is that of all: a number on the device, `[]`.
    #[track_caller]
    pub fn step_by(&mut self, gradients: &Gradients, norm: &Tensor) {
        self.step_along(&self.pairs(gradients), norm);
    }

    fn step_along(&self, pairs: &[(&Slot, Tensor)], norm: &Tensor) {
        norm::prepare_step(norm, self.rule.clip_norm(), self.rule.betas(), &self.control);
        for run in pairs.chunk_by(|a, b| a.0.has_settings_of(b.0) && lie_alike(a, b)) {
            self.rule.update(Update::of(run, &self.control));
        }
    }

    /// The parameters that have a gradient, with it.
    #[track_caller]
    fn pairs(&self, gradients: &Gradients) -> Vec<(&Slot, Tensor)> {
        let pairs: Vec<(&Slot, Tensor)> =
            self.slots.iter().filter_map(|slot| Some((slot, gradients.get(&slot.parameter)?.detach().contiguous()))).collect();
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
        pairs
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
        Ok(StepReport::of(&self.control.to_f64_vec()?))
    }

    /// The numbers of [`report`](Optimiser::report), to be read with others ([`Tensor::to_f64_vecs`]) before the next step: [`StepReport::of`] knows them. `[8]`
    pub fn unread_report(&self) -> &Tensor {
        &self.control
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

impl Slot {
    /// Whether another parameter and all its state begin where those of this one end.
    fn goes_on_in(&self, next: &Slot) -> bool {
        let state = |slot: &Slot| [&slot.parameter].into_iter().chain(&slot.master).chain(&slot.moments).cloned().collect::<Vec<_>>();
        state(self).iter().zip(&state(next)).all(|(a, b)| distance(a, b) == Some(room(&self.parameter)))
    }

    fn has_settings_of(&self, other: &Slot) -> bool {
        (self.lr_scale, self.weight_decay) == (other.lr_scale, other.weight_decay)
    }
}

/// The update of one parameter, or of several that lie one behind the other with all their state, for its rule to launch.
pub struct Update<'a> {
    lr_scale: f64,
    weight_decay: f64,
    parameter: Tensor,
    master: Option<Tensor>,
    moments: Vec<Tensor>,
    gradient: Tensor,
    control: &'a Tensor,
}

impl<'a> Update<'a> {
    fn of(run: &[(&Slot, Tensor)], control: &'a Tensor) -> Update<'a> {
        let slots = || run.iter().map(|(slot, _)| slot);
        let first = run[0].0;
        Update {
            lr_scale: first.lr_scale,
            weight_decay: first.weight_decay,
            parameter: as_one(slots().map(|slot| &slot.parameter)),
            master: first.master.as_ref().map(|_| as_one(slots().flat_map(|slot| &slot.master))),
            moments: (0..first.moments.len()).map(|i| as_one(slots().map(|slot| &slot.moments[i]))).collect(),
            gradient: as_one(run.iter().map(|(_, gradient)| gradient)),
            control,
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> u32 {
        self.gradient.len() as u32
    }

    /// The learning rate of this parameter's group, and by how much a step shrinks its values.
    pub(super) fn lr_and_decay(&self, lr: f64) -> [f32; 2] {
        let lr = lr * self.lr_scale;
        [lr as f32, (lr * self.weight_decay) as f32]
    }

    /// Launches the first kernel, or the second for a parameter stored as halves. Inputs: gradient, control. Outputs: the values (or their f32
    /// copy), the moments, and the halves if there are any.
    pub(super) fn launch<P: KernelParams>(&self, [plain, half]: [&'static Kernel; 2], params: &P) {
        let Update { parameter, master, moments, .. } = self;
        let dtype = [("DTYPE", f64::from(parameter.dtype().code()))];
        let (kernel, values) = match master {
            Some(master) => (half, master),
            None => (plain, parameter),
        };
        let mut launch = kernel.launch(params).constants(&dtype).input(&self.gradient).input(self.control).output(values);
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

/// Parameters of one piece of memory beside each other, in the order in which they lie there; otherwise in the order given.
fn as_they_lie(parameters: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    let first_of_storage = |of: &Tensor| parameters.iter().position(|(_, other)| std::ptr::eq(of.storage(), other.storage()));
    let keys: Vec<_> = parameters.iter().map(|(_, parameter)| (first_of_storage(parameter), parameter.layout().offset)).collect();
    let mut all: Vec<_> = keys.into_iter().zip(parameters).collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, named)| named).collect()
}

/// Whether a parameter, all its state and its gradient end where those of the other begin.
fn lie_alike((a, first): &(&Slot, Tensor), (b, second): &(&Slot, Tensor)) -> bool {
    a.goes_on_in(b) && distance(first, second) == Some(room(&a.parameter))
}

/// Elements from where one tensor begins to where another does behind it in the same memory.
fn distance(x: &Tensor, next: &Tensor) -> Option<usize> {
    let are_of_one_kind = std::ptr::eq(x.storage(), next.storage()) && x.dtype() == next.dtype();
    next.layout().offset.checked_sub(x.layout().offset).filter(|_| are_of_one_kind)
}

/// Elements from where a parameter begins to where the next one in its block can: as many as it has, and a gap of zeros up to where kernels can bind.
fn room(parameter: &Tensor) -> usize {
    parameter.len().next_multiple_of(parameter.device().offset_alignment_bytes().div_ceil(parameter.dtype().size_bytes()))
}

/// Tensors that lie one behind the other, as one; gaps between them included. `[..], [..], .. -> [elements]`
fn as_one<'a>(mut parts: impl Iterator<Item = &'a Tensor>) -> Tensor {
    let first = parts.next().expect("a run is not empty");
    let last = parts.last().unwrap_or(first);
    let offset = first.layout().offset;
    first.view(Layout { offset, ..Layout::contiguous(&[last.layout().offset + last.len() - offset]) })
}

/// What `make` makes of tensors that lie one behind the other, all together, cut as they are; of each by itself where it would be more than a kernel can bind.
fn laid_out(parts: &[&Tensor], make: impl Fn(&Tensor) -> Tensor) -> Vec<Tensor> {
    let all = as_one(parts.iter().copied());
    let limit = all.device().adapter().map_or(u64::MAX, |adapter| adapter.max_binding_bytes);
    if parts.len() == 1 || (all.len() * all.dtype().of_gradients().size_bytes()) as u64 > limit {
        return parts.iter().map(|part| make(part)).collect();
    }
    let (made, start) = (make(&all), all.layout().offset);
    let cut = |part: &&Tensor| made.view(Layout { offset: part.layout().offset - start, ..Layout::contiguous(part.shape()) });
    parts.iter().map(cut).collect()
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
