//! Where a layer says which weights it has: [`Scope`], by which it is built.

use crate::config::Bias;
use crate::layers::linear::Linear;
use crate::layers::norms::{LayerNorm, RmsNorm};
use crate::layers::weights::{Weight, Weights};
use std::cell::RefCell;
use std::fmt::Display;

/// A weight as its layer declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// The Hugging Face name.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) initial: Initial,
}

/// What a weight is before any training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Initial {
    /// Drawn from a normal distribution of this standard deviation.
    Normal(f64),
    /// Ones: the scale of a norm.
    Ones,
    /// Zeros: a bias.
    Zeros,
}

/// What layers declare of their weights.
#[derive(Default)]
pub(crate) struct Declared {
    /// The weights, in the order of the declarations.
    pub(crate) parameters: Vec<Parameter>,
    /// Names of weights that should lie one behind the other in memory, group by group.
    pub(crate) groups: Vec<Vec<String>>,
    /// Names of weights that are others under a second name, and the names of those others.
    pub(crate) tied: Vec<[String; 2]>,
    /// The linear layers that can have an adapter: name without `.weight`, and the shape `[out, in]` of the weight.
    pub(crate) linears: Vec<(String, [usize; 2])>,
}

/// The declarations `build` makes, in its order.
pub(crate) fn record(build: impl FnOnce(&Scope)) -> Declared {
    let declared = RefCell::default();
    build(&Scope { source: Source::Record(&declared), prefix: String::new(), deviation: 0.0 });
    declared.into_inner()
}

/// The weights of one module: a prefix of names, and where tensors come from.
pub(crate) struct Scope<'a> {
    source: Source<'a>,
    prefix: String,
    /// Standard deviation of freshly drawn matrices.
    deviation: f64,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Record(&'a RefCell<Declared>),
    Load(&'a Weights),
}

impl<'a> Scope<'a> {
    /// A scope that loads: the whole model's.
    pub(crate) fn load(weights: &'a Weights) -> Self {
        Self { source: Source::Load(weights), prefix: String::new(), deviation: 0.0 }
    }

    /// A module within this one.
    pub(crate) fn at(&self, name: impl Display) -> Self {
        Self { source: self.source, prefix: self.full_name(&name.to_string()), deviation: self.deviation }
    }

    /// The same module with matrices that are freshly drawn with this standard deviation.
    pub(crate) fn drawn_with(&self, deviation: f64) -> Self {
        Self { source: self.source, prefix: self.prefix.clone(), deviation }
    }

    /// A linear layer. Its weight is `[out, ..]`; what follows the first axis is the input, row by row (a convolution over patches is stored so).
    pub(crate) fn linear(&self, name: &str, shape: &[usize], bias: Bias) -> Linear {
        let module = self.at(name);
        let weight = module.matrix("weight", shape);
        let bias = (bias == Bias::Yes).then(|| module.declare("bias", &shape[..1], Initial::Zeros));
        let adapter = match module.source {
            Source::Record(declared) => {
                // a convolution's weight has more axes
                if let &[out, inputs] = shape {
                    declared.borrow_mut().linears.push((module.prefix.clone(), [out, inputs]));
                }
                None
            }
            Source::Load(weights) => weights.adapters.get(&module.prefix).cloned(),
        };
        Linear { weight, bias, adapter }
    }

    /// A norm with a scale and a bias, each `[hidden]`.
    pub(crate) fn layer_norm(&self, name: &str, hidden: usize, eps: f64) -> LayerNorm {
        let module = self.at(name);
        let weight = module.declare("weight", &[hidden], Initial::Ones);
        LayerNorm { weight, bias: module.declare("bias", &[hidden], Initial::Zeros), eps: eps as f32 }
    }

    /// A norm with a scale `[hidden]`.
    pub(crate) fn rms_norm(&self, name: &str, hidden: usize, eps: f64) -> RmsNorm {
        RmsNorm { weight: self.at(name).declare("weight", &[hidden], Initial::Ones), eps: eps as f32 }
    }

    /// A table of vectors, `[rows, hidden]`.
    pub(crate) fn embedding(&self, name: &str, shape: [usize; 2]) -> Weight {
        self.at(name).matrix("weight", &shape)
    }

    /// A table of vectors that is the table `other` under a second name. A checkpoint need not have it.
    pub(crate) fn tied_embedding(&self, name: &str, (scope, other): (&Scope, &str)) {
        if let Source::Record(declared) = self.source {
            let names = [self.at(name), scope.at(other)].map(|module| module.full_name("weight"));
            declared.borrow_mut().tied.push(names);
        }
    }

    /// Asks that these weights of the module lie one behind the other in memory.
    pub(crate) fn lay_in_order(&self, names: impl Iterator<Item = String>) {
        if let Source::Record(declared) = self.source {
            declared.borrow_mut().groups.push(names.map(|name| self.full_name(&name)).collect());
        }
    }

    fn matrix(&self, name: &str, shape: &[usize]) -> Weight {
        self.declare(name, shape, Initial::Normal(self.deviation))
    }

    /// One weight. Names and shapes were checked when the model was read: one that does not fit is a mistake in the model's code.
    fn declare(&self, name: &str, shape: &[usize], initial: Initial) -> Weight {
        let name = self.full_name(name);
        match self.source {
            Source::Record(declared) => {
                declared.borrow_mut().parameters.push(Parameter { name, shape: shape.to_vec(), initial });
                Weight::default()
            }
            Source::Load(weights) => {
                let tensor = weights.tensors.get(&name).unwrap_or_else(|| panic!("model: no weight {name}"));
                assert!(tensor.shape() == shape, "model: {name}: expected {shape:?}, got {:?}", tensor.shape());
                Weight::from(tensor)
            }
        }
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}
