//! Samples: the inputs of one check of one op.

use crate::device::Device;
use crate::dtype::DType;
use crate::tensor::Tensor;

/// One input of a sample, as f64 values.
#[derive(Clone, Debug)]
pub struct Input {
    /// The values, in row-major order.
    pub values: Vec<f64>,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// How the device under test stores them. The oracle holds floats (rounded to this type) as f64, and u32 as u32.
    pub dtype: DType,
    /// Whether its gradient is checked.
    pub grad: bool,
}

impl Input {
    /// An f32 input whose gradient is checked.
    pub fn new(values: Vec<f64>, shape: &[usize]) -> Input {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "values of a sample");
        Input { values, shape: shape.to_vec(), dtype: DType::F32, grad: true }
    }

    /// An input of indices.
    pub fn indices(values: Vec<u32>, shape: &[usize]) -> Input {
        let values = values.into_iter().map(f64::from).collect();
        Input { dtype: DType::U32, grad: false, ..Input::new(values, shape) }
    }

    /// The same input without a gradient check.
    pub fn fixed(self) -> Input {
        Input { grad: false, ..self }
    }

    /// The same input, stored as another float type on the device under test.
    pub fn stored_as(self, dtype: DType) -> Input {
        Input { dtype, ..self }
    }

    /// The tensor on a device under test.
    pub fn tensor(&self, device: &Device) -> Tensor {
        let tensor = Tensor::from_f64(device, &self.values, &self.shape, self.dtype);
        if self.grad { tensor.parameter() } else { tensor }
    }

    /// The tensor of the oracle, holding exactly the values that the device under test holds.
    pub fn oracle(&self, values: &[f64]) -> Tensor {
        let cpu = Device::cpu();
        let dtype = if self.dtype == DType::U32 { DType::U32 } else { DType::F64 };
        let tensor = Tensor::from_f64(&cpu, values, &self.shape, dtype);
        if self.grad { tensor.parameter() } else { tensor }
    }

    /// The values after rounding to the storage type.
    pub fn rounded(&self) -> Vec<f64> {
        let round = |v: &f64| match self.dtype {
            DType::F32 => f64::from(*v as f32),
            DType::F16 => half::f16::from_f32(*v as f32).to_f64(),
            DType::BF16 => half::bf16::from_f32(*v as f32).to_f64(),
            DType::U32 | DType::F64 => *v,
        };
        self.values.iter().map(round).collect()
    }
}

type Apply = Box<dyn Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync>;

type RunsOn = Box<dyn Fn(&Device) -> bool + Send + Sync>;

/// Inputs and the op applied to them.
pub struct Sample {
    /// What is special about it, e.g. `[3, 257] causal`.
    pub label: String,
    /// The inputs, in the order the closure takes them.
    pub inputs: Vec<Input>,
    /// Applies the op; it must work on any device and at f64, and depend on nothing but its arguments.
    pub apply: Apply,
    /// Tolerance of a device against f64, relative to the largest magnitude of each output or gradient.
    pub tolerance: f64,
    /// False for what is not differentiable at these values (rounding, sampling): only the forward is compared.
    pub differentiable: bool,
    runs_on: RunsOn,
}

impl Sample {
    /// A sample with the default tolerance, 1e-5 of the largest magnitude.
    pub fn new(label: impl Into<String>, inputs: Vec<Input>, apply: impl Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync + 'static) -> Sample {
        Sample { label: label.into(), inputs, apply: Box::new(apply), tolerance: 1e-5, differentiable: true, runs_on: Box::new(|_| true) }
    }

    /// A looser tolerance. Say in a comment what was measured and why.
    pub fn tolerance(self, tolerance: f64) -> Sample {
        Sample { tolerance, ..self }
    }

    /// Only for devices that have what it needs.
    pub fn only_on(self, runs_on: impl Fn(&Device) -> bool + Send + Sync + 'static) -> Sample {
        Sample { runs_on: Box::new(runs_on), ..self }
    }

    /// Whether the device has what this sample needs.
    pub fn runs_on(&self, device: &Device) -> bool {
        (self.runs_on)(device)
    }

    /// Compare the forward pass only.
    pub fn forward_only(mut self) -> Sample {
        self.differentiable = false;
        for input in &mut self.inputs {
            input.grad = false;
        }
        self
    }
}

/// Random numbers for samples: SplitMix64 (Steele et al. 2014), enough for test data.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform integer below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n as u64) as usize
    }

    /// A length from 1 to `max`, with odd and small ones as likely as large ones.
    pub fn length(&mut self, max: usize) -> usize {
        let bits = self.uniform(0.0, (max as f64).log2() + 1.0);
        (bits.exp2() as usize).clamp(1, max)
    }

    /// Values uniform in [low, high) in a shape.
    pub fn input(&mut self, shape: &[usize], low: f64, high: f64) -> Input {
        let values = (0..shape.iter().product()).map(|_| self.uniform(low, high)).collect();
        Input::new(values, shape)
    }

    /// Roughly normal values (sum of 12 uniforms), standard deviation 1.
    pub fn normal(&mut self, shape: &[usize]) -> Input {
        let len: usize = shape.iter().product();
        let values = (0..len).map(|_| (0..12).map(|_| self.uniform(-0.5, 0.5)).sum()).collect();
        Input::new(values, shape)
    }

    /// Indices below `n`.
    pub fn indices(&mut self, shape: &[usize], n: usize) -> Input {
        let values = (0..shape.iter().product()).map(|_| self.below(n) as u32).collect();
        Input::indices(values, shape)
    }
}
