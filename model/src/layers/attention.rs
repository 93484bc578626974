//! Attention of several heads (Vaswani et al. 2017, arXiv 1706.03762), of which groups may share keys and values (Ainslie et al. 2023, arXiv 2305.13245).

use crate::config::Bias;
use crate::layers::cache::LayerCache;
use crate::layers::few_tokens::FewTokensLinear;
use crate::layers::joint::JointLinear;
use crate::layers::linear::Linear;
use crate::layers::scope::Scope;
use percept_engine::ops::{Heads, RopeTable, Segments};
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
    /// The projections to queries, keys and values.
    pub(crate) projections: Projections,
    /// Whether they have biases.
    pub(crate) bias: Bias,
    /// Name of the projection back to the residual stream, and whether it has a bias.
    pub(crate) out: (&'static str, Bias),
}

/// How the projections to queries, keys and values are stored.
pub(crate) enum Projections {
    /// As three layers: `q_proj`, `k_proj`, `v_proj`.
    Apart,
    /// As one layer of this name, whose output has queries, keys and values side by side.
    Joint(&'static str),
}

/// Projections to queries, keys and values, and back from the mixed values. Which tokens see which, and whether positions turn queries and keys, comes
/// in from outside.
#[derive(Clone)]
pub(crate) struct Attention {
    heads: Heads,
    qkv: JointLinear,
    out_proj: Linear,
}

impl Attention {
    pub(crate) fn new(shape: &AttentionShape, scope: &Scope) -> Self {
        let &AttentionShape { hidden, heads, kv_heads, head_dim, bias, out: (out, out_bias), .. } = shape;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let qkv = match shape.projections {
            Projections::Apart => JointLinear::new(scope, &[("q_proj", q), ("k_proj", kv), ("v_proj", kv)], hidden, bias),
            Projections::Joint(name) => JointLinear::new(scope, &[(name, q + 2 * kv)], hidden, bias),
        };
        Self { heads: Heads { queries: heads, kv: kv_heads, dim: head_dim }, qkv, out_proj: scope.linear(out, &[hidden, q], out_bias) }
    }

    /// `rope` turns queries and keys. `[tokens, hidden] -> [tokens, hidden]`
    pub(crate) fn forward(&self, x: &Tensor, rope: Option<&RopeTable>, segments: &Segments) -> Tensor {
        let [q, k, v] = self.qkv.forward(x).split_heads(self.heads, rope);
        self.out_proj.forward(&self.mix(&q, &k, &v, segments))
    }

    /// The same for new tokens: keys and values of earlier tokens are read from a cache, and the new ones written into its rows. `[tokens, hidden] -> [tokens, hidden]`
    pub(crate) fn forward_cached(&self, x: &Tensor, rope: &RopeTable, segments: &Segments, cache: &LayerCache, rows: &Indices) -> Tensor {
        self.out_proj.forward(&self.mix_cached(&self.qkv.forward(x), rope, segments, cache, rows))
    }

    /// What stands between the two projections while tokens are cached. `[tokens, queries, keys and values side by side] -> [tokens, heads · head_dim]`
    pub(crate) fn mix_cached(&self, qkv: &Tensor, rope: &RopeTable, segments: &Segments, cache: &LayerCache, rows: &Indices) -> Tensor {
        let q = qkv.split_heads_into(self.heads, rope, rows, [&cache.keys, &cache.values]);
        self.mix(&q, &cache.keys, &cache.values, segments)
    }

    /// The projections to queries, keys and values, and back, for few tokens. None if the weights of the former do not lie in order.
    pub(crate) fn few(&self) -> Option<[FewTokensLinear; 2]> {
        Some([self.qkv.few()?, FewTokensLinear::new(&[&self.out_proj])?])
    }

    fn mix(&self, q: &Tensor, k: &Tensor, v: &Tensor, segments: &Segments) -> Tensor {
        let Heads { queries, dim, .. } = self.heads;
        q.attention(k, v, segments, (dim as f32).powf(-0.5)).reshape(&[q.dim(0), queries * dim])
    }
}
