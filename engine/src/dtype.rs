//! Storage types. Arithmetic is in f32; f64 exists on the CPU only, as the oracle of the tests.

use bytemuck::Pod;
use half::{bf16, f16};

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float, the type of all arithmetic.
    F32,
    /// IEEE half precision, 16 bits; two in each 32-bit word on the GPU.
    F16,
    /// bfloat16, the upper half of an f32; two in each 32-bit word on the GPU.
    BF16,
    /// Unsigned 32-bit integers: indices, token ids, random bits.
    U32,
    /// 64-bit float, the type of the oracle that tests compare with. On the CPU only.
    F64,
}

impl DType {
    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            DType::F16 | DType::BF16 => 2,
            DType::F32 | DType::U32 => 4,
            DType::F64 => 8,
        }
    }

    /// The [`code`](DType::code)s of all types that shaders know.
    pub(crate) const CODES: &'static [u32] = &[0, 1, 2, 3];

    /// Those of f16 and bf16.
    pub(crate) const HALF_CODES: &'static [u32] = &[1, 2];

    /// Those of the floating types.
    pub(crate) const FLOAT_CODES: &'static [u32] = &[0, 1, 2];

    /// The type of gradients of tensors of this type, and of what optimisers keep of them: f32 for halves.
    pub const fn of_gradients(self) -> DType {
        if self.is_half() { DType::F32 } else { self }
    }

    /// True for f16 and bf16.
    pub const fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// True for every type but u32.
    pub const fn is_float(self) -> bool {
        !matches!(self, DType::U32)
    }

    /// The code by which shaders know a storage type (`override` constants): 0 for f32, 1 for f16, 2 for bf16, 3 for u32.
    pub const fn code(self) -> u32 {
        match self {
            DType::F32 => 0,
            DType::F16 => 1,
            DType::BF16 => 2,
            DType::U32 => 3,
            DType::F64 => 4,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::U32 => "u32",
            DType::F64 => "f64",
        })
    }
}

/// A Rust type that is the element of some [`DType`].
pub trait Element: Pod + Send + Sync + std::fmt::Debug {
    /// Its storage type.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f64 {
    const DTYPE: DType = DType::F64;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
impl Element for f16 {
    const DTYPE: DType = DType::F16;
}
impl Element for bf16 {
    const DTYPE: DType = DType::BF16;
}
