//! From space to depth: fewer, longer vectors for the same grid.

use crate::tensor::Tensor;

impl Tensor {
    /// Joins each `scale × scale` square of a `height × width` grid of vectors into one: vector (r, c) of the result is the concatenation of the
    /// vectors (scale·r + i, scale·c + j), i outer, j inner. `[n, height·width, d] -> [n, height/scale · width/scale, scale²·d]`
    ///
    /// The inverse of what Shi et al. 2016 (arXiv 1609.05158, section 3.2) call the periodic shuffling, with the positions of a square outside its
    /// channels.
    ///
    /// # Panics
    /// If there are not three axes, the second is not `height · width`, or the squares do not tile the grid.
    #[track_caller]
    pub fn pixel_shuffle(&self, [height, width]: [usize; 2], scale: usize) -> Tensor {
        let &[n, vectors, d] = self.shape() else {
            panic!("pixel_shuffle: needs [n, height · width, d], got {:?}", self.shape());
        };
        assert!(
            vectors == height * width && scale > 0 && height.is_multiple_of(scale) && width.is_multiple_of(scale),
            "pixel_shuffle: {:?} is no {height} × {width} grid of squares of {scale} ({vectors} vectors)",
            self.shape()
        );
        let (rows, cols) = (height / scale, width / scale);
        self.reshape(&[n, rows, scale, cols, scale, d])
            .permute(&[0, 1, 3, 2, 4, 5]) // [n, rows, cols, scale, scale, d]
            .reshape(&[n, rows * cols, scale * scale * d])
    }
}
