//! [`Tensor`]: a strided view of device memory, and its place in the gradient graph.

use std::sync::Arc;

use half::{bf16, f16};

use crate::autograd::Edge;
use crate::device::Device;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::layout::{Layout, MAX_AXES, elements};
use crate::storage::Storage;

/// An n-dimensional array on a device. Cheap to clone: clones share the memory. Values change only through the documented in-place operations
/// (optimiser steps, cache writes).
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

struct Inner {
    storage: Arc<Storage>,
    layout: Layout,
    dtype: DType,
    edge: Option<Edge>,
}

impl Tensor {
    /// A tensor from row-major values: `from_slice(&device, &[1.0, 2.0], &[2])`.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`, or for f64 on a GPU.
    #[track_caller]
    pub fn from_slice<T: Element>(device: &Device, values: &[T], shape: &[usize]) -> Tensor {
        let elements = elements("from_slice", shape);
        assert!(values.len() == elements, "from_slice: {} values do not fill shape {shape:?} ({elements} elements)", values.len());
        let tensor = Tensor::uninit(device, shape, T::DTYPE, "from_slice");
        tensor.0.storage.write(0, bytemuck::cast_slice(values));
        tensor
    }

    /// From the row-major bytes of a file.
    pub(crate) fn from_bytes(device: &Device, bytes: &[u8], shape: &[usize], dtype: DType) -> Tensor {
        let tensor = Tensor::uninit(device, shape, dtype, "from_bytes");
        assert_eq!(bytes.len(), tensor.len() * dtype.size_bytes(), "from_bytes: bytes of {shape:?} {dtype}");
        tensor.0.storage.write(0, bytes);
        tensor
    }

    /// The row-major bytes, for a file. Waits for the device.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let packed = self.detach().contiguous();
        let (offset, size) = packed.byte_range();
        packed.0.storage.read(offset, size)
    }

    /// A tensor from f64 values, rounded to the nearest value of any float type (or u32, exactly).
    ///
    /// # Panics
    /// As [`from_slice`](Tensor::from_slice).
    #[track_caller]
    pub fn from_f64(device: &Device, values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
        Tensor::rounded(device, values, shape, dtype)
    }

    /// A tensor from f32 values, rounded to the nearest value of any float type (or u32, exactly).
    ///
    /// # Panics
    /// As [`from_slice`](Tensor::from_slice).
    #[track_caller]
    pub fn from_f32(device: &Device, values: &[f32], shape: &[usize], dtype: DType) -> Tensor {
        Tensor::rounded(device, values, shape, dtype)
    }

    #[track_caller]
    fn rounded<T: Copy + Into<f64>>(device: &Device, values: &[T], shape: &[usize], dtype: DType) -> Tensor {
        let values = values.iter().map(|&value| value.into());
        match dtype {
            DType::F32 => Tensor::from_slice(device, &values.map(|v| v as f32).collect::<Vec<_>>(), shape),
            DType::F16 => Tensor::from_slice(device, &values.map(|v| f16::from_f32(v as f32)).collect::<Vec<_>>(), shape),
            DType::BF16 => Tensor::from_slice(device, &values.map(|v| bf16::from_f32(v as f32)).collect::<Vec<_>>(), shape),
            DType::U32 => Tensor::from_slice(device, &values.map(|v| v as u32).collect::<Vec<_>>(), shape),
            DType::F64 => Tensor::from_slice(device, &values.collect::<Vec<f64>>(), shape),
        }
    }

    /// A tensor of one number. `-> []`
    pub fn scalar(device: &Device, value: f32) -> Tensor {
        Tensor::from_slice(device, &[value], &[])
    }

    /// A tensor of zeros. `-> shape`
    #[track_caller]
    pub fn zeros(device: &Device, shape: &[usize], dtype: DType) -> Tensor {
        Tensor::full(device, shape, 0.0, dtype)
    }

    /// Unwritten memory for an op's output: the op writes every element. `op` names it in out-of-memory errors.
    ///
    /// # Panics
    /// If there are more than [`MAX_AXES`] axes, or for f64 on a GPU.
    #[track_caller]
    pub(crate) fn uninit(device: &Device, shape: &[usize], dtype: DType, op: &'static str) -> Tensor {
        assert!(shape.len() <= MAX_AXES, "{op}: shape {shape:?} has more than {MAX_AXES} axes");
        assert!(dtype != DType::F64 || device.is_cpu(), "{op}: f64 is the oracle's type and lives on the CPU only, not on {device}");
        elements(op, shape);
        let layout = Layout::contiguous(shape);
        let storage = Storage::new(device, layout.len() * dtype.size_bytes(), &|| format!("{op} {shape:?} {dtype}"));
        Tensor(Arc::new(Inner { storage: Arc::new(storage), layout, dtype, edge: None }))
    }

    /// The elements in row-major order. Waits for the device.
    ///
    /// # Errors
    /// Whatever went wrong on the device since the last check.
    ///
    /// # Panics
    /// If `T` is not the storage type.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        assert!(T::DTYPE == self.dtype(), "to_vec: the tensor holds {}, asked for {}", self.dtype(), T::DTYPE);
        Ok(bytemuck::pod_collect_to_vec(&self.to_bytes()?))
    }

    /// The elements as f64, whatever the storage type, without any rounding. Waits for the device.
    ///
    /// # Errors
    /// As [`to_vec`](Tensor::to_vec).
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        self.widened(|value| value)
    }

    /// The elements as f32, whatever the storage type; only f64 and large u32 are rounded. Waits for the device.
    ///
    /// # Errors
    /// As [`to_vec`](Tensor::to_vec).
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        self.widened(|value| value as f32)
    }

    fn widened<T>(&self, f: impl Fn(f64) -> T) -> Result<Vec<T>> {
        Ok(widened(&self.to_bytes()?, self.dtype(), f))
    }

    /// [`to_f64_vec`](Tensor::to_f64_vec) of several tensors of one device, which waits for the device once. A GPU that is read twice stands still in between.
    ///
    /// # Errors
    /// As [`to_vec`](Tensor::to_vec).
    ///
    /// # Panics
    /// If the tensors are on different devices.
    #[track_caller]
    pub fn to_f64_vecs(tensors: &[&Tensor]) -> Result<Vec<Vec<f64>>> {
        let packed: Vec<Tensor> = tensors.iter().map(|x| x.detach().contiguous()).collect();
        if let Some(other) = packed.iter().find(|x| x.device() != packed[0].device()) {
            panic!("to_f64_vecs: tensors on different devices: {} and {}", packed[0].device(), other.device());
        }
        let ranges: Vec<_> = packed.iter().map(|x| (x.storage(), x.byte_range())).map(|(x, (offset, size))| (x, offset, size)).collect();
        let bytes = Storage::read_all(&ranges)?;
        Ok(packed.iter().zip(bytes).map(|(x, bytes)| widened(&bytes, x.dtype(), |value| value)).collect())
    }

    /// The value of a one-element tensor.
    ///
    /// # Errors
    /// As [`to_vec`](Tensor::to_vec).
    ///
    /// # Panics
    /// If there is not exactly one element.
    #[track_caller]
    pub fn item(&self) -> Result<f64> {
        assert!(self.len() == 1, "item: shape {:?} has {} elements, not one", self.shape(), self.len());
        Ok(self.to_f64_vec()?[0])
    }

    /// The same values on another device; itself if it is there already. No gradient flows through.
    ///
    /// # Errors
    /// As [`to_vec`](Tensor::to_vec).
    pub fn to_device(&self, device: &Device) -> Result<Tensor> {
        if self.device() == device {
            return Ok(self.detach());
        }
        Ok(Tensor::from_bytes(device, &self.to_bytes()?, self.shape(), self.dtype()))
    }

    /// Overwrites the values in place, for parameters that are loaded or restored. Every clone and view sees the change.
    ///
    /// # Panics
    /// If shape or storage type differ from the values', or the tensor is a strided view.
    #[track_caller]
    pub fn write_slice<T: Element>(&self, values: &[T]) {
        assert!(T::DTYPE == self.dtype(), "write_slice: the tensor holds {}, got {}", self.dtype(), T::DTYPE);
        assert!(values.len() == self.len(), "write_slice: {} values for shape {:?} ({})", values.len(), self.shape(), self.len());
        assert!(self.layout().is_contiguous(), "write_slice: a strided view cannot be overwritten: {:?}", self.layout());
        self.0.storage.write(self.byte_range().0, bytemuck::cast_slice(values));
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.0.layout.shape
    }

    /// The length of one axis; a negative axis counts from the end.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn dim(&self, axis: isize) -> usize {
        self.shape()[self.axis("dim", axis)]
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.0.layout.len()
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the elements are stored.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The device on which the tensor lives.
    pub fn device(&self) -> &Device {
        self.0.storage.device()
    }

    /// Shape, strides and offset.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Another view of the same memory, with the same place in the graph only if the caller attaches one.
    pub(crate) fn view(&self, layout: Layout) -> Tensor {
        Tensor(Arc::new(Inner { storage: self.0.storage.clone(), layout, dtype: self.0.dtype, edge: None }))
    }

    pub(crate) fn with_edge(&self, edge: Option<Edge>) -> Tensor {
        let Inner { storage, layout, dtype, .. } = &*self.0;
        Tensor(Arc::new(Inner { storage: storage.clone(), layout: layout.clone(), dtype: *dtype, edge }))
    }

    pub(crate) fn edge(&self) -> Option<&Edge> {
        self.0.edge.as_ref()
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// Where the elements of a contiguous tensor lie in the storage: offset and size in bytes.
    pub(crate) fn byte_range(&self) -> (usize, usize) {
        let size = self.dtype().size_bytes();
        (self.0.layout.offset * size, self.len() * size)
    }

    /// A number that grows whenever something is written to the memory that this tensor shares with its views: as long as it is the same, so are the values. What PyTorch calls
    /// `_version`.
    pub fn version(&self) -> u64 {
        self.storage().writes()
    }

    /// True if kernels can bind the elements as one row-major run: contiguous, and at an offset that the device can bind.
    pub(crate) fn is_packed(&self) -> bool {
        self.layout().is_contiguous() && self.byte_range().0.is_multiple_of(self.device().offset_alignment_bytes())
    }

    /// Resolves an axis that may count from the end.
    #[track_caller]
    pub(crate) fn axis(&self, op: &str, axis: isize) -> usize {
        let rank = self.rank() as isize;
        assert!((-rank..rank).contains(&axis), "{op}: axis {axis} of shape {:?} ({rank} axes)", self.shape());
        (if axis < 0 { axis + rank } else { axis }) as usize
    }
}

/// Elements of a file or of memory as f64, without any rounding, and what `f` makes of them.
fn widened<T>(bytes: &[u8], dtype: DType, f: impl Fn(f64) -> T) -> Vec<T> {
    fn each<E: Element, T>(bytes: &[u8], f: impl Fn(E) -> T) -> Vec<T> {
        bytes.chunks_exact(size_of::<E>()).map(|element| f(bytemuck::pod_read_unaligned(element))).collect()
    }
    match dtype {
        DType::F32 => each(bytes, |v: f32| f(v.into())),
        DType::F16 => each(bytes, |v: f16| f(v.into())),
        DType::BF16 => each(bytes, |v: bf16| f(v.into())),
        DType::U32 => each(bytes, |v: u32| f(v.into())),
        DType::F64 => each(bytes, f),
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?} {} on {})", self.shape(), self.dtype(), self.device())
    }
}
