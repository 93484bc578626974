//! A convolution over patches of several frames, applied to pictures, whose frames are all the same.

use crate::config::Bias;
use crate::layers::linear::Linear;
use crate::layers::scope::Scope;
use percept_engine::Tensor;

/// A convolution without bias over patches of `frames` frames, for patches that are the same in every frame: the weights of the frames are added, and each
/// patch is read once. The gradient of every frame is that of their sum.
pub(crate) struct StillFrames {
    /// Its weight is `[out, channels, frames, height, width]`.
    proj: Linear,
    shape: [usize; 5],
}

impl StillFrames {
    pub(crate) fn new(name: &str, shape: [usize; 5], scope: &Scope) -> Self {
        Self { proj: scope.linear(name, &shape, Bias::No), shape }
    }

    /// `[patches, channels·height·width] -> [patches, out]`
    pub(crate) fn forward(&self, patches: &Tensor) -> Tensor {
        let [out, channels, frames, height, width] = self.shape;
        let weight =
            if self.proj.weight.dtype().is_half() { self.proj.weight.cast(patches.dtype()) } else { self.proj.weight.reshape(&self.shape) };
        let of_one = weight.reshape(&[out * channels, frames, height * width]).sum(&[1]);
        patches.matmul(&of_one.reshape(&[out, channels * height * width]).t())
    }
}
