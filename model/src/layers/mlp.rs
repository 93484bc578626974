//! The two layers after attention: wider, then back.

use crate::config::Bias;
use crate::layers::few_tokens::FewTokensLinear;
use crate::layers::joint::JointLinear;
use crate::layers::linear::Linear;
use crate::layers::scope::Scope;
use percept_engine::Tensor;

/// SwiGLU (Shazeer 2020, arXiv 2002.05202): `down(silu(gate x) · up x)`. `[tokens, hidden] -> [tokens, hidden]`
#[derive(Clone)]
pub(crate) struct SwigluMlp {
    gate_and_up: JointLinear,
    down_proj: Linear,
}

impl SwigluMlp {
    pub(crate) fn new(hidden: usize, inner: usize, bias: Bias, scope: &Scope) -> Self {
        Self {
            gate_and_up: JointLinear::new(scope, &[("gate_proj", inner), ("up_proj", inner)], hidden, bias),
            down_proj: scope.linear("down_proj", &[hidden, inner], bias),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.down_proj.forward(&self.gate_and_up.forward(x).swiglu())
    }

    /// Gate and up, and down, for few tokens. None if the weights of gate and up do not lie in order.
    pub(crate) fn few(&self) -> Option<[FewTokensLinear; 2]> {
        Some([self.gate_and_up.few()?, FewTokensLinear::new(&[&self.down_proj])?])
    }
}

/// `fc2(gelu(fc1 x))` with biases and the tanh form of GELU. `[tokens, hidden] -> [tokens, hidden]`
#[derive(Clone)]
pub(crate) struct GeluMlp {
    fc1: Linear,
    fc2: Linear,
}

impl GeluMlp {
    pub(crate) fn new(hidden: usize, inner: usize, scope: &Scope) -> Self {
        Self { fc1: scope.linear("fc1", &[inner, hidden], Bias::Yes), fc2: scope.linear("fc2", &[hidden, inner], Bias::Yes) }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.fc2.forward(&self.fc1.forward(x).gelu_tanh())
    }
}
