//! The kernel seam: a [`Kernel`] joins a WGSL entry point and a CPU function of the same signature.
//!
//! ```text
//! static FORWARD: Kernel = kernel!(SHADER, "forward", RowParams, forward);
//! ```
//!
//! Above the seam, op code calls kernels with tensors (`launch.rs`). Below it, a device receives a `Dispatch`, which knows buffers and no tensors.

use bytemuck::Pod;

use crate::cpu::CpuArgs;
use crate::dtype::DType;

/// WGSL source, embedded at compile time by [`wgsl!`](crate::wgsl).
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// File name under `shaders/`, for messages and caches.
    pub name: &'static str,
    /// All files that it is put together from, in their order.
    pub files: &'static [&'static str],
    /// The WGSL text, common pieces first.
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
            files: &[$($name),+],
            // the invocation stands last, since some files begin with `enable`, which must come first; declarations may come in any order
            text: concat!(
                $(include_str!(concat!(env!("SHADERS_FOLDER"), "/", $name)), "\n",)+
                include_str!(concat!(env!("SHADERS_FOLDER"), "/common/invocation.wgsl"))
            ),
        }
    };
}

/// What a shader needs beyond core WGSL. A device without it never runs the kernel: the op picks another variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Lanes of a subgroup exchange values (WGSL's subgroup built-ins).
    Subgroups,
    /// Arithmetic in `f16`.
    F16,
    /// Matrix units, through wgpu's experimental cooperative matrices.
    CooperativeMatrix,
}

/// Parameters of a kernel: scalars (u32, f32) and arrays of them, the same bytes in Rust and WGSL, at most [`MAX_PARAMS_BYTES`].
///
/// Made by [`kernel_params!`](crate::kernel_params). A test compares [`FIELDS`](Self::FIELDS) with the offsets that naga reports for the shader's
/// `struct Params`.
pub trait KernelParams: Pod {
    /// The names of the fields with their offsets in bytes, in order.
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
    /// Its name in traces and errors: `file.entry`.
    pub name: &'static str,
    /// The WGSL file that holds it.
    pub shader: Shader,
    /// The name of its entry point in the WGSL.
    pub entry: &'static str,
    /// The size of the parameter struct in bytes.
    pub params_bytes: usize,
    /// The fields of the parameter struct with their offsets in bytes.
    pub params_fields: &'static [(&'static str, usize)],
    /// What the shader needs of the adapter.
    pub features: &'static [Feature],
    /// The shader's `override` constants, in the order in which launches set them, each with the values that it is known to take.
    pub overrides: &'static [(&'static str, &'static [u32])],
    /// The function that runs it on the CPU, in f32.
    pub cpu_f32: fn(CpuArgs<'_>),
    /// The same function in f64: the oracle that tests compare with.
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
            overrides: &[],
            cpu_f32: |args| $cpu::<f32>(&args.params::<$params>(), args),
            cpu_f64: |args| $cpu::<f64>(&args.params::<$params>(), args),
        }
    };
}

impl Kernel {
    /// The same kernel with `override` constants, which its launches set: `kernel!(..).overriding(&[("OP", &[0, 1])])`. Launches may set other values (a size
    /// that no model had before); the listed ones are those that [`variants`](Kernel::variants) compiles.
    pub const fn overriding(mut self, overrides: &'static [(&'static str, &'static [u32])]) -> Kernel {
        self.overrides = overrides;
        self
    }

    /// Whether all parameters are scalars. In a uniform buffer of WGSL these lie as in Rust; arrays do not.
    pub fn has_scalar_params(&self) -> bool {
        self.params_fields.iter().enumerate().all(|(i, (_, offset))| *offset == 4 * i) && self.params_bytes == 4 * self.params_fields.len()
    }

    /// Every combination of the listed values: the pipelines that a driver may be asked to compile. One without constants if there are none.
    pub fn variants(&self) -> Vec<Vec<(&'static str, f64)>> {
        self.overrides.iter().fold(vec![Vec::new()], |variants, &(name, values)| {
            let with = |variant: &Vec<_>, &value: &u32| [variant.as_slice(), &[(name, f64::from(value))]].concat();
            variants.iter().flat_map(|variant| values.iter().map(move |value| with(variant, value))).collect()
        })
    }
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

/// The most bytes of a kernel's parameters: what every adapter with immediates can carry.
pub const MAX_PARAMS_BYTES: usize = 128;

/// One call of a kernel, as a device runs it. `B` is the device's kind of buffer.
pub(crate) struct Dispatch<'a, B> {
    pub(crate) kernel: &'static Kernel,
    /// The bytes of the parameter struct.
    pub(crate) params: &'a [u8],
    /// Values of the shader's `override` constants.
    pub(crate) constants: &'a [(&'static str, f64)],
    /// The buffers in the order of the shader's bindings: first the inputs, then the outputs, then nothing.
    pub(crate) storages: [Option<Bound<'a, B>>; MAX_BINDINGS],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Number of workgroups.
    pub(crate) groups: usize,
    /// Multiplications with additions, as far as the op says.
    pub(crate) cost: u64,
}

/// A part of a buffer that a kernel reads or writes.
pub(crate) struct Bound<'a, B> {
    pub(crate) storage: &'a B,
    pub(crate) dtype: DType,
    pub(crate) offset_bytes: usize,
    pub(crate) size_bytes: usize,
}

impl<'a, B> Dispatch<'a, B> {
    /// The buffers that are bound.
    pub(crate) fn bound(&self) -> impl Iterator<Item = &Bound<'a, B>> {
        self.storages.iter().flatten()
    }
}
