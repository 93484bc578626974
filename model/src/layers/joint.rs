//! Linear layers that read the same input, as one product.

use crate::config::Bias;
use crate::layers::few_tokens::FewTokensLinear;
use crate::layers::linear::Linear;
use crate::layers::scope::Scope;
use percept_engine::Tensor;

/// Linear layers that read the same input, such as the projections to queries, keys and values. Their outputs stand side by side in each row. Each keeps its own weight, by its
/// own name; where these lie one behind the other in memory, as [`Model`](crate::Model) lays them, one product computes all.
#[derive(Clone)]
pub(crate) struct JointLinear {
    parts: Vec<Linear>,
}

impl JointLinear {
    /// `outputs` are the names of the layers and the width of what comes out of each.
    pub(crate) fn new(scope: &Scope, outputs: &[(&str, usize)], inputs: usize, bias: Bias) -> Self {
        let parts = outputs.iter().map(|&(name, out)| scope.linear(name, &[out, inputs], bias)).collect();
        let names = |kind| outputs.iter().map(move |(name, _)| format!("{name}.{kind}"));
        scope.lay_in_order(names("weight"));
        if bias == Bias::Yes {
            scope.lay_in_order(names("bias"));
        }
        Self { parts }
    }

    /// `[tokens, in] -> [tokens, sum of out]`
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let weights: Vec<&Tensor> = self.parts.iter().map(|part| &*part.weight).collect();
        let biases: Option<Vec<&Tensor>> = self.parts.iter().map(|part| part.bias.as_deref()).collect();
        let mut y = if Tensor::lie_in_order(&weights) {
            x.matmul(&Tensor::concat(&weights, 0).t())
        } else {
            side_by_side(weights.iter().map(|weight| x.matmul(&weight.t())))
        };
        if let Some(biases) = biases {
            y = y.add(&Tensor::concat(&biases, 0));
        }
        if self.parts.iter().any(|part| part.adapter.is_some()) {
            y = y.add(&side_by_side(self.parts.iter().map(|part| match &part.adapter {
                Some(adapter) => adapter.forward(x),
                None => Tensor::zeros(x.device(), &[x.dim(0), part.weight.dim(0)], x.dtype()),
            })));
        }
        y
    }

    /// The same for few tokens. None if the layers' weights do not lie in order.
    pub(crate) fn few(&self) -> Option<FewTokensLinear> {
        FewTokensLinear::new(&self.parts.iter().collect::<Vec<_>>())
    }
}

fn side_by_side(parts: impl Iterator<Item = Tensor>) -> Tensor {
    let parts: Vec<Tensor> = parts.collect();
    Tensor::concat(&parts.iter().collect::<Vec<_>>(), 1)
}
