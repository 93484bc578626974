//! From tensors to a `Dispatch`: how op code calls a kernel.
//!
//! ```text
//! FORWARD.launch(&RowParams { rows, cols }).input(&x).output(&y).groups(rows).run();
//! ```
//!
//! The device of the tensors picks the implementation; op code never asks.

use std::panic::Location;

use crate::device::{Backend, Device};
use crate::dtype::DType;
use crate::error::Error;
use crate::kernel::{Bound, Dispatch, Kernel, KernelParams, MAX_BINDINGS};
use crate::storage::Storage;
use crate::tensor::Tensor;

/// A kernel call under construction; see [`Kernel::launch`].
pub struct Launch<'a> {
    kernel: &'static Kernel,
    params: &'a [u8],
    constants: &'a [(&'static str, f64)],
    bindings: [Option<Binding<'a>>; MAX_BINDINGS],
    inputs: usize,
    outputs: usize,
    groups: usize,
    multiply_adds: u64,
    cost: u64,
}

/// A tensor, and the bytes of its storage that the kernel sees.
#[derive(Clone, Copy)]
struct Binding<'a> {
    tensor: &'a Tensor,
    offset_bytes: usize,
    size_bytes: usize,
}

impl Kernel {
    /// Starts a call. Inputs come first, then outputs, in the order of the shader's bindings.
    pub fn launch<'a, P: KernelParams>(&'static self, params: &'a P) -> Launch<'a> {
        debug_assert_eq!(std::mem::size_of::<P>(), self.params_bytes, "{}: parameters of another kernel", self.name);
        Launch {
            kernel: self,
            params: bytemuck::bytes_of(params),
            constants: &[],
            bindings: [None; MAX_BINDINGS],
            inputs: 0,
            outputs: 0,
            groups: 0,
            multiply_adds: 0,
            cost: 0,
        }
    }
}

impl<'a> Launch<'a> {
    /// Values of the shader's `override` constants; the CPU function reads them with [`CpuArgs::constant`](crate::cpu::CpuArgs::constant). A new
    /// set of values is a new pipeline: only for variants, never for sizes that change often.
    pub fn constants(mut self, constants: &'a [(&'static str, f64)]) -> Self {
        self.constants = constants;
        self
    }

    /// Binds a packed tensor (contiguous elements) for reading. Call [`Tensor::contiguous`] first.
    #[track_caller]
    pub fn input(self, tensor: &'a Tensor) -> Self {
        assert!(tensor.is_packed(), "{}: input {} is not packed: {:?}", self.kernel.name, self.inputs, tensor.layout());
        assert!(self.outputs == 0, "{}: inputs come before outputs", self.kernel.name);
        let (offset_bytes, size_bytes) = tensor.byte_range();
        self.bind(Binding { tensor, offset_bytes, size_bytes }, Access::Read)
    }

    /// Binds the whole storage of a strided tensor for reading; offset and strides travel in the parameters.
    #[track_caller]
    pub fn strided(self, tensor: &'a Tensor) -> Self {
        assert!(self.outputs == 0, "{}: inputs come before outputs", self.kernel.name);
        let size_bytes = tensor.storage().size_bytes();
        self.bind(Binding { tensor, offset_bytes: 0, size_bytes }, Access::Read)
    }

    /// Binds a packed tensor for writing (and reading: in-place kernels name the tensor as an output only).
    #[track_caller]
    pub fn output(self, tensor: &'a Tensor) -> Self {
        assert!(tensor.is_packed(), "{}: output {} is not packed: {:?}", self.kernel.name, self.outputs, tensor.layout());
        let (offset_bytes, size_bytes) = tensor.byte_range();
        self.bind(Binding { tensor, offset_bytes, size_bytes }, Access::Write)
    }

    /// Binds the whole storage of a strided tensor for writing; offset and strides travel in the parameters.
    pub fn strided_output(self, tensor: &'a Tensor) -> Self {
        let size_bytes = tensor.storage().size_bytes();
        self.bind(Binding { tensor, offset_bytes: 0, size_bytes }, Access::Write)
    }

    fn bind(mut self, binding: Binding<'a>, access: Access) -> Self {
        self.bindings[self.inputs + self.outputs] = Some(binding);
        match access {
            Access::Read => self.inputs += 1,
            Access::Write => self.outputs += 1,
        }
        self
    }

    /// Number of workgroups, as one number; the GPU folds more than 65,535 into two dimensions.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Says how many multiplications with additions this matrix product is, for the device's counters; and that they are its [`cost`](Self::cost).
    pub(crate) fn multiply_adds(mut self, count: u64) -> Self {
        self.multiply_adds = count;
        self.cost(count)
    }

    /// Says about how many multiplications with additions this is, so that no submission to a GPU becomes too long.
    pub(crate) fn cost(mut self, count: u64) -> Self {
        self.cost = count;
        self
    }

    /// Runs on the CPU, or records for the GPU. Nothing happens when `groups` is 0 or an earlier error waits to be read (see [`Device::check`]).
    ///
    /// # Panics
    /// If the tensors live on different devices, or something is written to memory that another binding of the call has, too: in-place kernels name a tensor once.
    #[track_caller]
    pub fn run(self) {
        let caller = Location::caller();
        let name = self.kernel.name;
        debug_assert!(
            self.constants.iter().map(|(name, _)| name).eq(self.kernel.overrides.iter().map(|(name, _)| name)),
            "{name}: launched with constants {:?}, declared with {:?}",
            self.constants,
            self.kernel.overrides
        );
        let device = self.bindings[0].expect("a kernel binds at least one tensor").tensor.device();
        for other in self.bindings().map(|binding| binding.tensor.device()) {
            assert!(other == device, "{name}: tensors on different devices: {device} and {other}");
        }
        for (number, output) in self.bindings().enumerate().skip(self.inputs) {
            let is_same = |other: &Binding<'_>| std::ptr::eq(other.tensor.storage(), output.tensor.storage());
            let other = self.bindings().enumerate().find(|(other, binding)| *other != number && is_same(binding));
            if let Some((_, other)) = other {
                panic!(
                    "{name}: writes to memory that it also uses otherwise: {:?} and {:?} are views of one tensor",
                    output.tensor.shape(),
                    other.tensor.shape()
                );
            }
        }
        if self.groups == 0 || device.failed() {
            return;
        }
        if let Some(poisoned) = self.bindings().find(|binding| binding.tensor.storage().is_poisoned()) {
            let shape = poisoned.tensor.shape().to_vec();
            return device.fail(Error::Poisoned { op: name.to_string(), shape, at: caller.to_string() });
        }
        self.bindings().skip(self.inputs).for_each(|binding| binding.tensor.storage().note_write());
        let bytes = |binding: &Binding<'_>| (binding.tensor.len() * binding.tensor.dtype().size_bytes()) as u64;
        let bytes = self.bindings().map(bytes).sum();
        device.work().add(bytes, self.multiply_adds);
        match device.backend() {
            Backend::Cpu(cpu) => device.trace().time(name, || cpu.run(&self.dispatch(Storage::cpu))),
            Backend::Gpu(gpu) => gpu.run(&self.dispatch(Storage::gpu)),
            Backend::Meta(meta) => meta.run(bytes, self.cost),
        }
        if device.checks_finite() {
            self.check_outputs(device, caller);
        }
    }

    /// The same call with the device's own buffers in the place of tensors.
    fn dispatch<B>(&self, buffer: impl Fn(&'a Storage) -> &'a B) -> Dispatch<'a, B> {
        let bound = |Binding { tensor, offset_bytes, size_bytes }: Binding<'a>| Bound {
            storage: buffer(tensor.storage()),
            dtype: tensor.dtype(),
            offset_bytes,
            size_bytes,
        };
        Dispatch {
            kernel: self.kernel,
            params: self.params,
            constants: self.constants,
            storages: self.bindings.map(|binding| binding.map(bound)),
            inputs: self.inputs,
            outputs: self.outputs,
            groups: self.groups,
            cost: self.cost,
        }
    }

    /// Reports the first output with a value that is not finite.
    fn check_outputs(&self, device: &Device, caller: &Location<'_>) {
        for binding in self.bindings().skip(self.inputs).filter(|binding| binding.tensor.dtype() == DType::F32) {
            let Ok(bytes) = binding.tensor.storage().read(binding.offset_bytes, binding.size_bytes) else { return };
            let bad = |chunk: &[u8]| !f32::from_ne_bytes(chunk.try_into().expect("4 bytes")).is_finite();
            let mut places = bytes.chunks_exact(4).enumerate().filter(|(_, chunk)| bad(chunk)).map(|(place, _)| place);
            if let Some(first) = places.next() {
                let (kernel, shape) = (self.kernel.name.to_string(), binding.tensor.shape().to_vec());
                device.fail(Error::NotFinite { kernel, at: caller.to_string(), shape, count: 1 + places.count(), first });
                return;
            }
        }
    }

    fn bindings(&self) -> impl Iterator<Item = &Binding<'a>> {
        self.bindings.iter().flatten()
    }
}

/// What a kernel does with a binding.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}
