//! Attention of several heads (Vaswani et al. 2017, arXiv 1706.03762), of which groups may share keys and values (Ainslie et al. 2023, arXiv 2305.13245).

use crate::config::Bias;
use crate::layers::cache::LayerCache;
use crate::layers::linear::Linear;
use crate::layers::scope::Scope;
use percept_engine::ops::{RopeTable, Segments};
use percept_engine::{Indices, Tensor};

/// The sizes of an attention layer, and what differs between families.
pub(crate) struct AttentionShape {
    /// Width of the residual stream.
    pub(crate) hidden: usize,
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads; divides `heads`.
    pub(crate) kv_heads: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Whether the projections to queries, keys and values have biases.
    pub(crate) bias: Bias,
    /// Name of the projection back to the residual stream, and whether it has a bias.
    pub(crate) out: (&'static str, Bias),
}

/// Projections to queries, keys and values, and back from the mixed values. Which tokens see which, and whether positions turn queries and keys, comes
/// in from outside.
#[derive(Clone)]
pub(crate) struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
}

impl Attention {
    pub(crate) fn new(shape: &AttentionShape, scope: &Scope) -> Self {
        let &AttentionShape { hidden, heads, kv_heads, head_dim, bias, out: (out, out_bias) } = shape;
        Self {
            heads,
            kv_heads,
            head_dim,
            q_proj: scope.linear("q_proj", &[heads * head_dim, hidden], bias),
            k_proj: scope.linear("k_proj", &[kv_heads * head_dim, hidden], bias),
            v_proj: scope.linear("v_proj", &[kv_heads * head_dim, hidden], bias),
            out_proj: scope.linear(out, &[hidden, heads * head_dim], out_bias),
        }
    }

    /// `rope` turns queries and keys; with a cache, the keys and values of earlier tokens are read from it and the new ones written into the rows.
    /// `[tokens, hidden] -> [tokens, hidden]`
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        rope: Option<&RopeTable>,
        segments: &Segments,
        cache: Option<(&LayerCache, &Indices)>,
    ) -> Tensor {
        let split = |y: Tensor, heads: usize| y.reshape(&[x.dim(0), heads, self.head_dim]); // [tokens, heads, head_dim]
        let turned = |y: Tensor| match rope {
            Some(rope) => y.rope(rope),
            None => y,
        };
        let q = turned(split(self.q_proj.forward(x), self.heads));
        let k = turned(split(self.k_proj.forward(x), self.kv_heads));
        let v = split(self.v_proj.forward(x), self.kv_heads);
        let scale = (self.head_dim as f32).powf(-0.5);
        let mixed = match cache {
            None => q.attention(&k, &v, segments, scale),
            Some((cache, rows)) => {
                cache.keys.write_rows_(rows, &k);
                cache.values.write_rows_(rows, &v);
                q.attention(&cache.keys, &cache.values, segments, scale)
            }
        };
        self.out_proj.forward(&mixed.reshape(&[x.dim(0), self.heads * self.head_dim]))
    }
}
