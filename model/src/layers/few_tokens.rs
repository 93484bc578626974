//! Linear layers while tokens are written: a few at a time, each after the one before, so that what a layer waits for are launches.

use crate::layers::linear::Linear;
use crate::layers::norms::RmsNorm;
use percept_engine::ops::{Adapters, Epilogue, FusedLinear};
use percept_engine::{DType, Tensor, no_grad};

/// Linear layers that read the same input, their weights as one matrix, their adapters joined.
pub(crate) struct FewTokensLinear {
    /// `[out, in]`
    weight: Tensor,
    /// `[out]`
    bias: Option<Tensor>,
    adapters: Option<Joined>,
}

/// The adapters of layers whose outputs stand side by side. One that has none gets zeros.
struct Joined {
    /// With its factor, `[layers · rank, in]`.
    down: Tensor,
    /// `[out, rank]`
    up: Tensor,
    /// The first output of each layer.
    starts: Vec<usize>,
}

impl FewTokensLinear {
    /// None if the weights do not lie in order: they would have to be copied.
    pub(crate) fn new(parts: &[&Linear]) -> Option<Self> {
        let weights: Vec<Tensor> = parts.iter().map(|part| part.matrix().detach()).collect();
        let weights: Vec<&Tensor> = weights.iter().collect();
        let biases: Option<Vec<&Tensor>> = parts.iter().map(|part| part.bias.as_deref()).collect();
        let join = |parts: &[&Tensor]| Tensor::concat(parts, 0).detach();
        Tensor::lie_in_order(&weights).then(|| Self {
            weight: join(&weights),
            bias: biases.map(|biases| join(&biases)),
            adapters: no_grad(|| Joined::new(parts)),
        })
    }

    /// The layers behind `norm` if there is one, and what follows them. No gradient. `[tokens, in] -> [tokens, out]`, with SwiGLU half as many
    pub(crate) fn forward(&self, x: &Tensor, norm: Option<&RmsNorm>, epilogue: Epilogue<'_>) -> Tensor {
        let norm = norm.map(|norm| (&*norm.weight, norm.eps));
        let adapters = self.adapters.as_ref().map(|Joined { down, up, starts }| Adapters { down, up, starts });
        x.fused_linear(FusedLinear { norm, weight: &self.weight, bias: self.bias.as_ref(), adapters, epilogue })
    }
}

impl Joined {
    /// None if no layer has an adapter.
    fn new(parts: &[&Linear]) -> Option<Self> {
        let adapters = || parts.iter().filter_map(|part| part.adapter.as_ref());
        // kernels read four at a time
        let rank = adapters().map(|adapter| adapter.down.dim(0)).max()?.next_multiple_of(4);
        let widened = |tensor: &Tensor| if tensor.dtype().is_half() { tensor.cast(DType::F32) } else { tensor.clone() };
        let like = widened(&adapters().next()?.down);
        let zeros = |rows, columns| Tensor::zeros(like.device(), &[rows, columns], like.dtype());
        let (mut down, mut up, mut starts, mut outputs) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for part in parts {
            let [out, inputs] = [part.weight.dim(0), like.dim(1)];
            let own = part.adapter.as_ref().map_or(0, |adapter| adapter.down.dim(0));
            let mut up_of_part = Vec::new();
            if let Some(adapter) = &part.adapter {
                down.push(widened(&adapter.down).mul_scalar(adapter.scale as f32));
                up_of_part.push(widened(&adapter.up));
            }
            if own < rank {
                down.push(zeros(rank - own, inputs));
                up_of_part.push(zeros(out, rank - own));
            }
            up.push(Tensor::concat(&up_of_part.iter().collect::<Vec<_>>(), 1));
            starts.push(outputs);
            outputs += out;
        }
        let join = |parts: &[Tensor]| Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0).detach();
        Some(Self { down: join(&down), up: join(&up), starts })
    }
}
