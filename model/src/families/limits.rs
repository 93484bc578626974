//! Sizes beyond all models: a file that asks for more is refused before anything of that size is listed, multiplied or made. No product of two of them
//! leaves 64 bits.

pub(super) const MAX_LAYERS: usize = 4096;
pub(super) const MAX_WIDTH: usize = 1 << 20;
pub(super) const MAX_VOCAB: usize = 1 << 24;
/// Tokens of a sequence; positions have 32 bits.
pub(super) const MAX_POSITIONS: usize = u32::MAX as usize;
/// Pixels.
pub(super) const MAX_EDGE: usize = 4096;
