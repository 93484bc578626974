//! Tensors with reverse-mode autograd whose every op runs as a hand-written WGSL kernel on the GPU (wgpu) and as a Rust kernel on the CPU.
//!
//! ```
//! use percept_engine::{Device, DType, Tensor};
//!
//! let device = Device::cpu();
//! let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], &[3]).parameter();
//! let loss = x.mul(&x).sum(&[0]);
//! let gradients = loss.backward();
//! assert_eq!(gradients.get(&x).unwrap().to_vec::<f32>().unwrap(), [2.0, 4.0, 6.0]);
//! ```

pub mod autograd;
pub mod cgroup;
pub mod check;
pub mod counters;
pub mod cpu;
pub mod device;
pub mod dtype;
pub mod error;
pub mod gpu;
pub mod indices;
pub mod kernel;
pub mod launch;
pub mod layout;
pub mod meta;
pub mod ops;
pub mod optim;
mod pool;
pub mod probe;
pub mod random;
pub mod safetensors;
mod storage;
pub mod tensor;
pub mod trace;
pub mod tune;

pub use autograd::{FlatRow, Gradients, checkpoint, is_grad_enabled, no_grad};
pub use counters::Counters;
pub use device::Device;
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use gpu::{AdapterReport, GpuSelector};
pub use indices::Indices;
pub use meta::Rates;
pub use ops::{Head, RopeTable, Sampling, linear_kl};
pub use optim::{AdamW, AdamWConfig, ParamGroup, Sgd, SgdConfig, StepReport};
pub use tensor::Tensor;
