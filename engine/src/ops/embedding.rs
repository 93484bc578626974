//! The embedding table: rows of a weight by token id.

use crate::indices::Indices;
use crate::tensor::Tensor;

impl Tensor {
    /// The rows of an embedding table (f32, f16 or bf16) that token ids name, in f32. The gradient is a deterministic scatter-add, f32.
    /// `[vocab, hidden]` by ids `[..] -> [.., hidden]`
    ///
    /// # Panics
    /// If the table does not have two axes, an id is not below vocab, or a gradient is needed and the host does not know the ids.
    #[track_caller]
    pub fn embedding(&self, ids: &Indices) -> Tensor {
        assert!(
            self.rank() == 2 && self.dtype().is_float(),
            "embedding: the table is [vocab, hidden], of floats: got {} {:?} for ids {:?}",
            self.dtype(),
            self.shape(),
            ids.shape()
        );
        let mut shape = ids.shape().to_vec();
        shape.push(self.dim(1));
        super::rows::gather_rows("embedding", self, ids).reshape(&shape)
    }
}
