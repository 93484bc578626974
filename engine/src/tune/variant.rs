//! The variants of the matrix product, and the choice among them that a device carries. Only names: what runs is in `ops/matmul/variants.rs`.

use serde::{Deserialize, Serialize};

/// A kernel of the matrix product. All give the same result up to rounding; the cooperative ones round their inputs to f16 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatmulVariant {
    /// Each workgroup computes a tile of 64 x 64 elements, with its inputs in workgroup memory. Right for any hardware GPU.
    Tile,
    /// Each lane of a subgroup computes 16 rows x 4 columns; the left side is handed around by subgroup shuffles. The fastest on software Vulkan.
    Subgroup,
    /// For a few rows against a large right side, as in decoding.
    Skinny,
    /// The textbook kernel: tiles of 16 x 16 elements, each element computed by one thread. The baseline of the benches.
    Plain,
    /// Matrix units, through wgpu's experimental cooperative matrices of 8 x 8 (Apple) or 16 x 16 elements.
    Cooperative(CooperativeSize),
    /// The twin of [`Cooperative`](MatmulVariant::Cooperative) in plain arithmetic: what surrounds the matrix units, tested on any GPU with f16.
    CooperativeScalar(CooperativeSize),
}

/// Rows and columns of a cooperative matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CooperativeSize {
    /// 8 x 8.
    Eight = 8,
    /// 16 x 16.
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
    /// What runs with at most [`THIN_ROWS`] rows on the left.
    pub thin: Option<MatmulVariant>,
    /// What runs with more rows.
    pub wide: Option<MatmulVariant>,
}
