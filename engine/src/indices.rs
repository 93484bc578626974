//! [`Indices`]: row numbers on the device, with the host's copy beside them.

use std::sync::{Arc, Mutex};

use crate::device::Device;
use crate::dtype::DType;
use crate::tensor::Tensor;

/// Numbers of rows (token ids, positions in a cache). Cheap to clone.
///
/// The gradient of a gather is a scatter-add. To run it without atomics, in a fixed order, the engine sorts the numbers by row once per `Indices`;
/// for that it keeps the host's copy. Numbers that exist on the device only (sampled tokens) can gather, but take no gradient.
#[derive(Clone)]
pub struct Indices(Arc<Inner>);

struct Inner {
    tensor: Tensor,
    host: Option<Vec<u32>>,
    inverses: Mutex<Vec<(usize, Inverse)>>,
}

/// Positions in the indices, sorted by row: those of row `r` are `order[starts[r]..starts[r + 1]]`, ascending.
#[derive(Clone)]
pub(crate) struct Inverse {
    /// Where the positions of each row begin, u32 `[rows + 1]`.
    pub starts: Tensor,
    /// The positions, sorted by row, u32 `[count]`.
    pub order: Tensor,
}

impl Indices {
    /// Indices whose numbers come from the host. `-> shape`
    ///
    /// # Panics
    /// If the values do not fill the shape.
    #[track_caller]
    pub fn new(device: &Device, values: &[u32], shape: &[usize]) -> Indices {
        Indices::of(Tensor::from_slice(device, values, shape), Some(values.to_vec()))
    }

    /// Indices from a u32 tensor on the device, whose values the host does not know. A number that is no row panics on the CPU; on a GPU it gathers NaN and
    /// writes nothing.
    ///
    /// # Panics
    /// If the tensor does not hold u32.
    #[track_caller]
    pub fn on_device(tensor: &Tensor) -> Indices {
        assert!(tensor.dtype() == DType::U32, "indices: need u32, got {} {:?}", tensor.dtype(), tensor.shape());
        Indices::of(tensor.contiguous(), None)
    }

    fn of(tensor: Tensor, host: Option<Vec<u32>>) -> Indices {
        Indices(Arc::new(Inner { tensor, host, inverses: Mutex::default() }))
    }

    /// The numbers on the device, u32.
    pub fn tensor(&self) -> &Tensor {
        &self.0.tensor
    }

    /// The host's copy, if there is one.
    pub fn host(&self) -> Option<&[u32]> {
        self.0.host.as_deref()
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        self.0.tensor.shape()
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.0.tensor.len()
    }

    /// True if there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics if the host knows of a number that is no row of a tensor of this shape.
    #[track_caller]
    pub(crate) fn assert_rows_of(&self, op: &str, shape: &[usize]) {
        let rows = shape[0];
        if let Some(at) = self.host().and_then(|ids| ids.iter().position(|&id| id as usize >= rows)) {
            let id = self.host().expect("found above")[at];
            panic!("{op}: index out of range: {shape:?} by indices {:?} (index {id} at position {at}, {rows} rows)", self.shape());
        }
    }

    /// The positions sorted by row, for `rows` rows; made once. Needs the host's copy, whose numbers are below `rows`.
    pub(crate) fn inverse(&self, rows: usize) -> Inverse {
        let ids = self.host().expect("checked when the gradient was recorded");
        let mut inverses = self.0.inverses.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some((_, inverse)) = inverses.iter().find(|(n, _)| *n == rows) {
            return inverse.clone();
        }
        let (starts, order) = sort_by_row(ids, rows);
        let device = self.0.tensor.device();
        let inverse = Inverse {
            starts: Tensor::from_slice(device, &starts, &[starts.len()]),
            order: Tensor::from_slice(device, &order, &[order.len()]),
        };
        inverses.push((rows, inverse.clone()));
        inverse
    }
}

/// Counting sort, stable.
fn sort_by_row(ids: &[u32], rows: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; rows + 1];
    for &id in ids {
        starts[id as usize + 1] += 1;
    }
    for row in 0..rows {
        starts[row + 1] += starts[row];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; ids.len()];
    for (position, &id) in ids.iter().enumerate() {
        order[next[id as usize] as usize] = position as u32;
        next[id as usize] += 1;
    }
    (starts, order)
}

#[cfg(test)]
mod tests {
    use super::sort_by_row;

    #[test]
    fn the_sort_is_stable_and_leaves_gaps() {
        assert_eq!(sort_by_row(&[3, 0, 3, 1, 0], 5), (vec![0, 2, 3, 3, 5, 5], vec![1, 4, 3, 0, 2]));
        assert_eq!(sort_by_row(&[], 2), (vec![0, 0, 0], vec![]));
    }
}
