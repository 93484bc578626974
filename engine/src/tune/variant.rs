//! The variants of the matrix product, and the choice among them that a device carries. Only names: what runs is in `ops/matmul/variants.rs`.

use serde::{Deserialize, Serialize};

/// A kernel of the matrix product. All give the same result up to rounding; the cooperative ones round their inputs to f16 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatmulVariant {
    /// 64x64 tiles through workgroup memory: any hardware GPU.
    Tile,
    /// 16 rows x 4 columns a lane, A handed around by subgroup shuffles: the fastest on software Vulkan.
    Subgroup,
    /// A few rows against a large right side, as in decoding.
    Skinny,
    /// The textbook kernel: 16x16 tiles, an element a thread. The baseline of the benches.
    Plain,
    /// Matrix units through wgpu's experimental cooperative matrices, tiles of 8x8 (Apple) or 16x16.
    Cooperative(CooperativeSize),
    /// The twin of [`Cooperative`](MatmulVariant::Cooperative) in plain arithmetic: what surrounds the matrix units, tested on any GPU with f16.
    CooperativeScalar(CooperativeSize),
}

/// Rows and columns of a cooperative matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CooperativeSize {
    /// 8x8.
    Eight = 8,
    /// 16x16.
    Sixteen = 16,
}

impl MatmulVariant {
    /// Every variant.
    pub const ALL: [MatmulVariant; 8] = [
        MatmulVariant::Tile,
        MatmulVariant::Subgroup,
        MatmulVariant::Skinny,
        MatmulVariant::Plain,
        MatmulVariant::Cooperative(CooperativeSize::Eight),
        MatmulVariant::Cooperative(CooperativeSize::Sixteen),
        MatmulVariant::CooperativeScalar(CooperativeSize::Eight),
        MatmulVariant::CooperativeScalar(CooperativeSize::Sixteen),
    ];
}

/// Products with at most this many rows on the left are thin: decoding.
pub const THIN_ROWS: usize = 8;

/// The chosen variants; `None` leaves the choice to the built-in rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// For at most [`THIN_ROWS`] rows.
    pub thin: Option<MatmulVariant>,
    /// For more.
    pub wide: Option<MatmulVariant>,
}
