//! The kernel seam: a [`Kernel`] joins a WGSL entry point and a CPU function of the same signature.
//!
//! Op code names the kernel, its parameters, inputs and outputs; the device of the inputs picks the implementation.
//!
//! ```text
//! static FORWARD: Kernel = kernel!(SHADER, "forward", RowParams, forward);
//! FORWARD.launch(&RowParams { rows, cols }).input(&x).output(&y).groups(rows).run();
//! ```

use std::panic::Location;

use bytemuck::Pod;

use crate::cpu::CpuArgs;
use crate::device::{Backend, Device};
use crate::dtype::DType;
use crate::error::Error;
use crate::tensor::Tensor;

/// WGSL source, embedded at compile time by [`wgsl!`](crate::wgsl).
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// File name under `shaders/`, for messages and caches.
    pub name: &'static str,
    /// The text, common pieces first.
    pub text: &'static str,
}

/// Embeds shader files: `wgsl!("softmax.wgsl")`, or after the common pieces it needs `wgsl!("common/philox.wgsl", "sample.wgsl")`.
/// `common/invocation.wgsl` goes along with every file.
#[macro_export]
macro_rules! wgsl {
    ($($name:literal),+) => {
        $crate::kernel::Shader {
            name: {
                const NAMES: &[&str] = &[$($name),+];
                NAMES[NAMES.len() - 1]
            },
            // the invocation stands last, since some files begin with `enable`, which must come first; declarations may come in any order
            text: concat!(
                $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../shaders/", $name)), "\n",)+
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../shaders/common/invocation.wgsl"))
            ),
        }
    };
}

/// What a shader needs beyond core WGSL. A device without it never runs the kernel: the op picks another variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Subgroup built-ins.
    Subgroups,
    /// `f16` arithmetic.
    F16,
    /// wgpu's experimental cooperative matrices.
    CooperativeMatrix,
}

/// Parameters of a kernel: scalars (u32, f32) and arrays of them, the same bytes in Rust and WGSL, at most 128.
///
/// Made by [`kernel_params!`](crate::kernel_params). A test compares [`FIELDS`](Self::FIELDS) with the offsets that naga reports for the shader's
/// `struct Params`.
pub trait KernelParams: Pod {
    /// Field names with their byte offsets, in order.
    const FIELDS: &'static [(&'static str, usize)];
}

/// Defines a parameter struct: `kernel_params! { struct RowParams { rows: u32, cols: u32 } }`.
#[macro_export]
macro_rules! kernel_params {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        $vis struct $name { $($(#[$fmeta])* $vis $field: $ty),* }

        impl $crate::kernel::KernelParams for $name {
            const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];
        }
    };
}

/// One operation on buffers, on both devices.
#[derive(Debug)]
pub struct Kernel {
    /// `file.entry`, for traces and errors.
    pub name: &'static str,
    /// Its WGSL.
    pub shader: Shader,
    /// Entry point in the WGSL.
    pub entry: &'static str,
    /// Size of the parameter struct.
    pub params_bytes: usize,
    /// Fields of the parameter struct with their offsets.
    pub params_fields: &'static [(&'static str, usize)],
    /// What the shader needs of the adapter.
    pub features: &'static [Feature],
    /// The CPU function at f32.
    pub cpu_f32: fn(CpuArgs<'_>),
    /// The CPU function at f64, the oracle.
    pub cpu_f64: fn(CpuArgs<'_>),
}

/// Makes a [`Kernel`]: `kernel!(SHADER, "entry", Params, cpu_function)` where `fn cpu_function<F: Float>(params: &Params, args: CpuArgs)`.
/// A fifth argument lists needed features: `[Feature::Subgroups]`.
#[macro_export]
macro_rules! kernel {
    ($shader:expr, $entry:literal, $params:ty, $cpu:ident) => {
        $crate::kernel!($shader, $entry, $params, $cpu, [])
    };
    ($shader:expr, $entry:literal, $params:ty, $cpu:ident, [$($feature:expr),*]) => {
        $crate::kernel::Kernel {
            name: $crate::kernel::kernel_name(concat!(module_path!(), ".", $entry)),
            shader: $shader,
            entry: $entry,
            params_bytes: std::mem::size_of::<$params>(),
            params_fields: <$params as $crate::kernel::KernelParams>::FIELDS,
            features: &[$($feature),*],
            cpu_f32: |args| $cpu::<f32>(&args.params::<$params>(), args),
            cpu_f64: |args| $cpu::<f64>(&args.params::<$params>(), args),
        }
    };
}

/// `crate::ops::softmax.forward` without the path: `softmax.forward`.
pub const fn kernel_name(path: &'static str) -> &'static str {
    let mut start = path.len();
    while start > 0 && path.as_bytes()[start - 1] != b':' {
        start -= 1;
    }
    path.split_at(start).1
}

/// The most buffers one kernel may bind.
pub const MAX_BINDINGS: usize = 8;

/// How a kernel sees a tensor.
#[derive(Clone, Copy)]
pub(crate) struct Binding<'a> {
    pub tensor: &'a Tensor,
    /// Byte range of the storage.
    pub offset_bytes: usize,
    pub size_bytes: usize,
}

/// A kernel call under construction; see [`Kernel::launch`].
pub struct Launch<'a> {
    pub(crate) kernel: &'static Kernel,
    pub(crate) params: &'a [u8],
    pub(crate) constants: &'a [(&'static str, f64)],
    pub(crate) bindings: [Option<Binding<'a>>; MAX_BINDINGS],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
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
        }
    }
}

impl<'a> Launch<'a> {
    /// Values of the shader's `override` constants; the CPU function reads them with [`CpuArgs::constant`]. A new set of values is a new pipeline:
    /// only for variants, never for sizes that change often.
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
        self.bind(Binding { tensor, offset_bytes, size_bytes }, true)
    }

    /// Binds the whole storage of a strided tensor for reading; offset and strides travel in the parameters.
    #[track_caller]
    pub fn strided(self, tensor: &'a Tensor) -> Self {
        assert!(self.outputs == 0, "{}: inputs come before outputs", self.kernel.name);
        let size_bytes = tensor.storage().size_bytes();
        self.bind(Binding { tensor, offset_bytes: 0, size_bytes }, true)
    }

    /// Binds a packed tensor for writing (and reading: in-place kernels name the tensor as an output only).
    #[track_caller]
    pub fn output(self, tensor: &'a Tensor) -> Self {
        assert!(tensor.is_packed(), "{}: output {} is not packed: {:?}", self.kernel.name, self.outputs, tensor.layout());
        let (offset_bytes, size_bytes) = tensor.byte_range();
        self.bind(Binding { tensor, offset_bytes, size_bytes }, false)
    }

    /// Binds the whole storage of a strided tensor for writing; offset and strides travel in the parameters.
    pub fn strided_output(self, tensor: &'a Tensor) -> Self {
        let size_bytes = tensor.storage().size_bytes();
        self.bind(Binding { tensor, offset_bytes: 0, size_bytes }, false)
    }

    fn bind(mut self, binding: Binding<'a>, is_input: bool) -> Self {
        self.bindings[self.inputs + self.outputs] = Some(binding);
        if is_input {
            self.inputs += 1;
        } else {
            self.outputs += 1;
        }
        self
    }

    /// Number of workgroups, linear; the GPU folds more than 65,535 into two dimensions.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Runs on the CPU, or records for the GPU. Nothing happens when `groups` is 0 or an earlier error waits to be read (see [`Device::check`]).
    ///
    /// # Panics
    /// If the tensors live on different devices.
    #[track_caller]
    pub fn run(self) {
        let caller = Location::caller();
        let first = self.bindings[0].expect("a kernel binds at least one tensor").tensor;
        let device: &Device = first.device();
        for binding in self.bindings().skip(1) {
            assert!(
                binding.tensor.device() == device,
                "{}: tensors on different devices: {} and {}",
                self.kernel.name,
                device,
                binding.tensor.device()
            );
        }
        if self.groups == 0 || device.failed() {
            return;
        }
        if let Some(poisoned) = self.bindings().find(|b| b.tensor.storage().is_poisoned()) {
            device.poisoned(self.kernel.name, poisoned.tensor.shape(), caller);
            return;
        }
        match device.backend() {
            Backend::Cpu(cpu) => device.trace().time(self.kernel.name, || cpu.launch(&self)),
            Backend::Gpu(gpu) => gpu.launch(&self),
        }
        if device.checks_finite() {
            self.check_outputs(device, caller);
        }
    }

    /// Reports the first output with a value that is not finite.
    fn check_outputs(&self, device: &Device, caller: &Location<'_>) {
        for binding in self.bindings().skip(self.inputs).filter(|b| b.tensor.dtype() == DType::F32) {
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

    pub(crate) fn bindings(&self) -> impl Iterator<Item = &Binding<'a>> {
        self.bindings.iter().flatten()
    }
}
