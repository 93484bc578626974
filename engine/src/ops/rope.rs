//! Angles of the rotary position embedding (Su et al. 2021, arXiv 2104.09864): [`RopeTable`]. Where queries and keys are turned by them: split_heads.rs.

use crate::device::Device;
use crate::indices::Indices;
use crate::tensor::Tensor;

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

    /// f32 `[tokens, head_dim]`
    pub(super) fn tensor(&self) -> &Tensor {
        &self.0
    }
}
