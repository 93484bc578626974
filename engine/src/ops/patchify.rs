//! Pictures to patches: the unfold of a convolution whose stride is its kernel size.

use crate::tensor::Tensor;

impl Tensor {
    /// Cuts pictures into square patches, row by row, each flattened as (channel, y, x): the order of a convolution weight
    /// `[out, channels, patch, patch]`, so that `patchify(patch).matmul(weight.reshape([out, channels·patch²]).t())` is the convolution.
    /// `[pictures, channels, height, width] -> [pictures, height/patch · width/patch, channels·patch²]`
    ///
    /// # Panics
    /// If there are not four axes, or height or width is no multiple of `patch`.
    #[track_caller]
    pub fn patchify(&self, patch: usize) -> Tensor {
        let &[pictures, channels, height, width] = self.shape() else {
            panic!("patchify: needs [pictures, channels, height, width], got {:?}", self.shape());
        };
        assert!(
            patch > 0 && height.is_multiple_of(patch) && width.is_multiple_of(patch),
            "patchify: patches of {patch} do not tile {:?} ({height} × {width})",
            self.shape()
        );
        let (rows, cols) = (height / patch, width / patch);
        self.reshape(&[pictures, channels, rows, patch, cols, patch])
            .permute(&[0, 2, 4, 1, 3, 5]) // [pictures, rows, cols, channels, patch, patch]
            .reshape(&[pictures, rows * cols, channels * patch * patch])
    }
}
