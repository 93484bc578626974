//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), rotate-half form.

use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float};
use crate::device::Device;
use crate::indices::Indices;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;

kernel_params! {
    /// `sign` 1 rotates, -1 rotates back.
    struct Params { pairs: u32, heads: u32, half: u32, sign: f32 }
}

const SHADER: Shader = wgsl!("rope.wgsl");
static ROTATE: Kernel = kernel!(SHADER, "rotate", Params, rotate);
pub(crate) const KERNELS: &[&Kernel] = &[&ROTATE];

/// Cosines and sines of the rotation of each token, f32 `[tokens, head_dim]`: cosines of the `head_dim / 2` angles, then their sines.
///
/// Angles are computed in f64 on the host and rounded once, so position 100,000 is as exact as position 1, and devices agree. Other position
/// schemes (several axes, several sections) are other angles.
#[derive(Clone, Debug)]
pub struct RopeTable(Tensor);

impl RopeTable {
    /// Angle j of a token is `position · theta^(-2j / head_dim)`.
    ///
    /// # Panics
    /// If `head_dim` is odd.
    #[track_caller]
    pub fn new(device: &Device, positions: &[u32], head_dim: usize, theta: f64) -> RopeTable {
        assert!(head_dim.is_multiple_of(2), "rope: head_dim is even, got {head_dim}");
        let half = head_dim / 2;
        let frequencies: Vec<f64> = (0..half).map(|j| theta.powf(-2.0 * j as f64 / head_dim as f64)).collect();
        let angles: Vec<f64> = positions.iter().flat_map(|&p| frequencies.iter().map(move |f| f64::from(p) * f)).collect();
        RopeTable::from_angles(device, &angles, [positions.len(), half])
    }

    /// From the angles `[tokens, head_dim / 2]` in radians, row-major.
    ///
    /// # Panics
    /// If the angles do not fill the shape.
    #[track_caller]
    pub fn from_angles(device: &Device, angles: &[f64], [tokens, half]: [usize; 2]) -> RopeTable {
        assert!(angles.len() == tokens * half, "rope: {} angles for [{tokens}, {half}] ({})", angles.len(), tokens * half);
        let row = |angles: &[f64]| {
            let (cosines, sines) = (angles.iter().map(|a| a.cos() as f32), angles.iter().map(|a| a.sin() as f32));
            cosines.chain(sines).collect::<Vec<f32>>()
        };
        let values: Vec<f32> = angles.chunks(half.max(1)).flat_map(row).collect();
        RopeTable(Tensor::from_slice(device, &values, &[tokens, 2 * half]))
    }

    /// The rows of some tokens: with a table of positions 0.., the table of any positions, also of such that only the device knows.
    ///
    /// # Panics
    /// As [`Tensor::index_select`].
    #[track_caller]
    pub fn select(&self, tokens: &Indices) -> RopeTable {
        RopeTable(self.0.index_select(tokens))
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.0.dim(0)
    }
}

impl Tensor {
    /// Rotates each head's vector by its token's angles: element j pairs with element `j + head_dim/2`.
    /// `[tokens, heads, head_dim] -> [tokens, heads, head_dim]`
    ///
    /// # Panics
    /// If the tensor or the table has another shape.
    #[track_caller]
    pub fn rope(&self, table: &RopeTable) -> Tensor {
        super::assert_arithmetic("rope", &[self]);
        assert!(
            self.rank() == 3 && [self.dim(0), self.dim(2)] == *table.0.shape(),
            "rope: needs [tokens, heads, head_dim] and a table [tokens, head_dim]: got {:?} and {:?}",
            self.shape(),
            table.0.shape()
        );
        let saved = table.clone();
        // y = R(angle)·x, so dx = R(angle)ᵀ·dy = R(-angle)·dy
        rotated(self, table, 1.0).with_grad("rope", [self], move |dy| [Some(rotated(dy, &saved, -1.0))])
    }
}

fn rotated(x: &Tensor, table: &RopeTable, sign: f32) -> Tensor {
    let x = x.contiguous();
    let y = Tensor::uninit(x.device(), x.shape(), x.dtype(), "rope");
    let pairs = x.len() / 2;
    let params = Params { pairs: pairs as u32, heads: x.dim(1) as u32, half: (x.dim(2) / 2) as u32, sign };
    ROTATE.launch(&params).input(&x).input(&table.0).output(&y).groups(pairs.div_ceil(ELEMENTS_PER_GROUP)).run();
    y
}

fn rotate<F: Float>(params: &Params, mut args: CpuArgs) {
    let (x, table, y) = (args.input::<F>(0), args.input::<f32>(1), args.output::<F>(0));
    let (half, sign) = (params.half as usize, F::of(f64::from(params.sign)));
    let token_len = params.heads as usize * 2 * half;
    parallel!(for_row_blocks(y, token_len), |first, tokens| {
        for (token, y) in (first..).zip(tokens.chunks_mut(token_len)) {
            let (cosines, sines) = table[token * 2 * half..][..2 * half].split_at(half);
            for (x, y) in x[token * token_len..].chunks(2 * half).zip(y.chunks_mut(2 * half)) {
                let ((x_low, x_high), (y_low, y_high)) = (x.split_at(half), y.split_at_mut(half));
                for j in 0..half {
                    let (cosine, sine) = (F::of(f64::from(cosines[j])), sign * F::of(f64::from(sines[j])));
                    y_low[j] = x_low[j] * cosine - x_high[j] * sine;
                    y_high[j] = x_high[j] * cosine + x_low[j] * sine;
                }
            }
        }
    });
}
