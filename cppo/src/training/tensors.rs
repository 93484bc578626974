//! Tensors as bytes, for other ranks and for files.

use half::{bf16, f16};
use percept_engine::{DType, Result, Tensor};

/// The elements in row-major order. Waits for the device.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// For integers, which are not trained.
pub(super) fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(match tensor.dtype() {
        DType::F32 => bytemuck::cast_slice(&tensor.to_vec::<f32>()?).to_vec(),
        DType::F64 => bytemuck::cast_slice(&tensor.to_vec::<f64>()?).to_vec(),
        DType::F16 => bytemuck::cast_slice(&tensor.to_vec::<f16>()?).to_vec(),
        DType::BF16 => bytemuck::cast_slice(&tensor.to_vec::<bf16>()?).to_vec(),
        DType::U32 => unreachable!("integers are not trained"),
    })
}

/// Overwrites a tensor with the bytes of one of the same type and length.
pub(super) fn write_bytes(own: &Tensor, bytes: &[u8]) {
    match own.dtype() {
        DType::F32 => own.write_slice(&bytemuck::pod_collect_to_vec::<u8, f32>(bytes)),
        DType::F64 => own.write_slice(&bytemuck::pod_collect_to_vec::<u8, f64>(bytes)),
        DType::F16 => own.write_slice(&bytemuck::pod_collect_to_vec::<u8, f16>(bytes)),
        DType::BF16 => own.write_slice(&bytemuck::pod_collect_to_vec::<u8, bf16>(bytes)),
        DType::U32 => unreachable!("integers are not trained"),
    }
}

/// A tensor of the type and device of a gradient, f32 or f64. `-> [elements]`
pub(super) fn tensor_of(like: &Tensor, bytes: &[u8]) -> Tensor {
    let shape = [bytes.len() / like.dtype().size_bytes()];
    match like.dtype() {
        DType::F64 => Tensor::from_slice(like.device(), &bytemuck::pod_collect_to_vec::<u8, f64>(bytes), &shape),
        _ => Tensor::from_slice(like.device(), &bytemuck::pod_collect_to_vec::<u8, f32>(bytes), &shape),
    }
}
