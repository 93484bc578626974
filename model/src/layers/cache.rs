//! Keys and values of tokens that were read before.

use crate::config::TextConfig;
use percept_engine::{DType, Device, Tensor};

/// Room for the keys and values of some tokens in every layer. Who stands in which row is the caller's choice: rows are written by number and read
/// through the segments given to [`Model::hidden_cached`](crate::Model::hidden_cached).
///
/// In f16 or bf16 it takes half the memory, and keys and values are rounded when they are written: by 1 part in 2048 at most, or 1 in 256. What reads them computes in f32.
#[derive(Clone)]
pub struct KvCache(Vec<LayerCache>);

/// `[rows, kv_heads, head_dim]` each.
#[derive(Clone)]
pub(crate) struct LayerCache {
    pub(crate) keys: Tensor,
    pub(crate) values: Tensor,
}

impl KvCache {
    /// An empty cache of `rows` tokens.
    pub(crate) fn new(text: &TextConfig, rows: usize, device: &Device, dtype: DType) -> Self {
        let zeros = || Tensor::zeros(device, &[rows, text.num_key_value_heads, text.head_dim], dtype);
        Self((0..text.num_hidden_layers).map(|_| LayerCache { keys: zeros(), values: zeros() }).collect())
    }

    /// Number of tokens it holds.
    pub fn rows(&self) -> usize {
        self.0.first().map_or(0, |layer| layer.keys.dim(0))
    }

    /// How keys and values are stored.
    pub fn dtype(&self) -> DType {
        self.0.first().map_or(DType::F32, |layer| layer.keys.dtype())
    }

    pub(crate) fn layers(&self) -> &[LayerCache] {
        &self.0
    }
}
