//! The output head of a language model, [`Head`]: a linear layer from hidden states to the logits of a vocabulary, some tokens of which may be suppressed.
//!
//! A suppressed token has probability 0, for the sampler and for every loss alike; so the ratio of a fresh sample's probabilities is 1. Its logit is replaced by a
//! finite number, since a driver may take infinities to be impossible, and so it has no gradient: that of a softmax is 0 where the probability is.

use crate::autograd::assert_no_grad;
use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;
use super::fused_linear::{Epilogue, FusedLinear};

kernel_params! {
    struct Params { rows: u32, vocab: u32, count: u32, suppressed: f32 }
}

const SHADER: Shader = wgsl!("head.wgsl");
static SUPPRESS: Kernel = kernel!(SHADER, "suppress", Params, suppress);
pub(crate) const KERNELS: &[&Kernel] = &[&SUPPRESS];

/// The logit of a suppressed token.
const SUPPRESSED: f32 = -1e30;

/// A linear head: its weight, and the tokens that it never gives. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Head {
    weight: Tensor,
    suppressed: Option<Suppressed>,
}

/// At least one token.
#[derive(Clone, Debug)]
struct Suppressed {
    /// `[suppressed]` u32
    tokens: Tensor,
    /// What is added to each logit: 0, and beside [`SUPPRESSED`] a logit is nothing. `[vocab]`
    bias: Tensor,
}

impl Head {
    /// A head that may give every token. `weight [vocab, hidden]`, f32 or a half
    ///
    /// # Panics
    /// If the weight has not two axes, or an empty vocabulary.
    #[track_caller]
    pub fn new(weight: &Tensor) -> Head {
        assert!(weight.rank() == 2 && weight.dim(0) > 0, "head: weight {:?} is not [vocab, hidden]", weight.shape());
        Head { weight: weight.clone(), suppressed: None }
    }

    /// The head that gives none of these tokens: what transformers calls `suppress_tokens`.
    ///
    /// # Panics
    /// If one is not in the vocabulary, or none would be left.
    #[track_caller]
    pub fn suppressing(self, tokens: &[u32]) -> Head {
        let vocab = self.weight.dim(0);
        let mut tokens = tokens.to_vec();
        tokens.sort_unstable();
        tokens.dedup();
        if let Some(last) = tokens.last() {
            assert!((*last as usize) < vocab, "suppressing: token {last} of a vocabulary of {vocab}");
        }
        assert!(tokens.len() < vocab, "suppressing: all {vocab} tokens of the vocabulary");
        let suppressed = (!tokens.is_empty()).then(|| {
            let (device, dtype) = (self.weight.device(), if self.weight.dtype() == DType::F64 { DType::F64 } else { DType::F32 });
            let mut bias = vec![0.0; vocab];
            tokens.iter().for_each(|&token| bias[token as usize] = SUPPRESSED);
            Suppressed {
                tokens: Tensor::from_slice(device, &tokens, &[tokens.len()]),
                bias: Tensor::from_f32(device, &bias, &[vocab], dtype),
            }
        });
        Head { suppressed, ..self }
    }

    /// Its weight, `[vocab, hidden]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The same head as a constant.
    pub fn detach(&self) -> Head {
        Head { weight: self.weight.detach(), suppressed: self.suppressed.clone() }
    }

    /// The logits of constant hidden states, for sampling. Those of suppressed tokens are below all others. `[n, hidden] -> [n, vocab]`
    ///
    /// # Panics
    /// If shapes or types do not fit, or an input needs a gradient.
    #[track_caller]
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        assert_no_grad("Head::logits", &[hidden, &self.weight]);
        self.logits_of(hidden)
    }

    /// The logits of few rows behind an RMSNorm of this weight `[hidden]` and epsilon, for sampling, as one kernel ([`Tensor::fused_linear`]). `[n, hidden] -> [n, vocab]`
    ///
    /// # Panics
    /// As [`logits`](Head::logits).
    #[track_caller]
    pub fn fused_logits(&self, x: &Tensor, norm: (&Tensor, f32)) -> Tensor {
        let bias = self.suppressed.as_ref().map(|suppressed| &suppressed.bias);
        x.fused_linear(FusedLinear { norm: Some(norm), weight: &self.weight, bias, adapters: None, epilogue: Epilogue::None })
    }

    /// The probability of every token, with logits divided by `temperature`. `[n, hidden] -> [n, vocab]`
    ///
    /// # Panics
    /// If shapes or types do not fit.
    #[track_caller]
    pub fn distribution(&self, hidden: &Tensor, temperature: f32) -> Tensor {
        self.logits_of(hidden).mul_scalar(1.0 / temperature).softmax()
    }

    /// Logits that only a softmax may read: the gradient of suppressed tokens, 0, is left to it.
    #[track_caller]
    pub(super) fn logits_of(&self, hidden: &Tensor) -> Tensor {
        let logits = hidden.matmul(&self.weight.t());
        self.suppress(&logits);
        logits
    }

    /// Replaces the logits of suppressed tokens, in place. `[n, vocab]`
    pub(super) fn suppress(&self, logits: &Tensor) {
        if let Some(suppressed) = &self.suppressed {
            suppress_(logits, &suppressed.tokens);
        }
    }
}

/// Gives tokens a logit with which their probability is exactly 0, in place. No gradient is recorded. `logits [rows, vocab], tokens [count] u32`
#[track_caller]
pub(crate) fn suppress_(logits: &Tensor, tokens: &Tensor) {
    debug_assert!(logits.rank() == 2 && tokens.rank() == 1 && tokens.dtype() == DType::U32);
    let ([rows, vocab], count) = ([logits.dim(0), logits.dim(1)], tokens.len());
    let params = Params { rows: rows as u32, vocab: vocab as u32, count: count as u32, suppressed: SUPPRESSED };
    SUPPRESS.launch(&params).input(tokens).output(logits).groups((rows * count).div_ceil(ELEMENTS_PER_GROUP)).run();
}

fn suppress<F: Float>(params: &Params, mut args: CpuArgs) {
    let (tokens, vocab) = (args.input::<u32>(0), params.vocab as usize);
    parallel!(for_row_blocks(args.output::<F>(0), vocab), |_, logits| {
        for logits in logits.chunks_mut(vocab) {
            for &token in tokens {
                logits[token as usize] = F::of(params.suppressed.into());
            }
        }
    });
}
