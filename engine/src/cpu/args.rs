//! What a CPU kernel receives.

use bytemuck::Pod;

use crate::dtype::{DType, Element};

/// The arguments of one CPU kernel call: inputs are slices to read, outputs slices to write, in the order of the shader's bindings.
pub struct CpuArgs<'a> {
    name: &'static str,
    params: &'a [u8],
    constants: &'a [(&'static str, f64)],
    inputs: Vec<(DType, &'a [u8])>,
    outputs: Vec<(DType, Option<&'a mut [u8]>)>,
}

impl<'a> CpuArgs<'a> {
    /// The arguments of the kernel `name`: each buffer with its storage type.
    pub(super) fn new(
        name: &'static str,
        params: &'a [u8],
        constants: &'a [(&'static str, f64)],
        inputs: Vec<(DType, &'a [u8])>,
        outputs: Vec<(DType, &'a mut [u8])>,
    ) -> CpuArgs<'a> {
        let outputs = outputs.into_iter().map(|(dtype, bytes)| (dtype, Some(bytes))).collect();
        CpuArgs { name, params, constants, inputs, outputs }
    }

    /// The kernel's parameters.
    pub fn params<P: Pod>(&self) -> P {
        bytemuck::pod_read_unaligned(self.params)
    }

    /// The value of an `override` constant.
    ///
    /// # Panics
    /// If the launch did not set it.
    pub fn constant(&self, name: &str) -> f64 {
        let found = self.constants.iter().find(|(key, _)| *key == name);
        found.unwrap_or_else(|| panic!("{}: constant {name} is not set", self.name)).1
    }

    /// How the elements of an input are stored.
    pub fn input_dtype(&self, index: usize) -> DType {
        self.inputs[index].0
    }

    /// How the elements of an output are stored.
    pub fn output_dtype(&self, index: usize) -> DType {
        self.outputs[index].0
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// An input as a slice.
    ///
    /// # Panics
    /// If it is stored as another type.
    pub fn input<T: Element>(&self, index: usize) -> &'a [T] {
        let (dtype, bytes) = self.inputs[index];
        assert_eq!(dtype, T::DTYPE, "{}: type of input {index}", self.name);
        bytemuck::cast_slice(bytes)
    }

    /// An output as a slice. Each can be taken once.
    ///
    /// # Panics
    /// If it is stored as another type or was taken before.
    pub fn output<T: Element>(&mut self, index: usize) -> &'a mut [T] {
        let (dtype, bytes) = &mut self.outputs[index];
        assert_eq!(*dtype, T::DTYPE, "{}: type of output {index}", self.name);
        bytemuck::cast_slice_mut(bytes.take().expect("each output is taken once"))
    }

    /// An input as raw bytes, whatever its type.
    pub fn input_bytes(&self, index: usize) -> &'a [u8] {
        self.inputs[index].1
    }

    /// An output as raw bytes, whatever its type. Each can be taken once.
    pub fn output_bytes(&mut self, index: usize) -> &'a mut [u8] {
        self.outputs[index].1.take().expect("each output is taken once")
    }
}
