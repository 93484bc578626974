//! The three numbers by which a plan gives times.

use percept_engine::{DType, Device, Rates, Tensor};

use super::products::speed;
use super::{Effort, Limits};

/// Measures a device in a second or two: a matrix product of usual sizes, a copy, and a kernel that does nothing to speak of.
///
/// # Errors
/// Those of the device.
pub fn rates(device: &Device) -> anyhow::Result<Rates> {
    const SIZES: [usize; 3] = [512, 768, 512];
    let [m, n, k] = SIZES;
    let zeros = |shape: &[usize]| Tensor::zeros(device, shape, DType::F32);
    let (x, w, few) = (zeros(&[m, k]), zeros(&[n, k]), zeros(&[16]));
    let product = speed(device, Effort::Full, 2 * m * n * k, || drop(x.matmul(&w.t())))?;
    let launches = speed(device, Effort::Full, 1, || drop(few.mul_scalar(2.0)))?;
    let copy = Limits::of(device)?.gigabytes_per_second.expect("every device copies");
    Ok(Rates { multiply_adds_per_second: 0.5e9 * product, bytes_per_second: 1e9 * copy, seconds_per_launch: 1e-9 / launches })
}
