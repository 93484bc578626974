//! Ops that move no data: reshape, permute, slice, broadcast. Their gradients are views or copies, too.

use crate::layout::{Layout, elements};
use crate::tensor::Tensor;

impl Tensor {
    /// The same elements in another shape. A strided view is copied first. `[..] -> shape`
    ///
    /// # Panics
    /// If the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        let elements = elements("reshape", shape);
        assert!(self.len() == elements, "reshape: {:?} ({} elements) to {shape:?} ({elements} elements)", self.shape(), self.len());
        if shape == self.shape() {
            return self.clone();
        }
        if !self.layout().is_contiguous() {
            return self.contiguous().reshape(shape);
        }
        let layout = Layout { offset: self.layout().offset, ..Layout::contiguous(shape) };
        let before = self.shape().to_vec();
        let y = self.view(layout).with_grad("reshape", [self], move |dy| [Some(dy.reshape(&before))]);
        y.being_view_of(&[self], |home| Layout { offset: home.offset, ..Layout::contiguous(shape) })
    }

    /// Axes in another order, as a view: axis `i` of the result is axis `axes[i]` of the input.
    ///
    /// # Panics
    /// If `axes` is not a permutation.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Tensor {
        let mut inverse = vec![usize::MAX; self.rank()];
        for (to, &from) in axes.iter().enumerate() {
            assert!(
                axes.len() == self.rank() && from < self.rank() && inverse[from] == usize::MAX,
                "permute: {axes:?} is not a permutation of the axes of {:?}",
                self.shape()
            );
            inverse[from] = to;
        }
        let permuted = |Layout { shape, strides, offset }: &Layout| Layout {
            shape: axes.iter().map(|&a| shape[a]).collect(),
            strides: axes.iter().map(|&a| strides[a]).collect(),
            offset: *offset,
        };
        let y = self.view(permuted(self.layout())).with_grad("permute", [self], move |dy| [Some(dy.permute(&inverse))]);
        y.being_view_of(&[self], permuted)
    }

    /// Swaps the last two axes, as a view: `[.., m, n] -> [.., n, m]`.
    ///
    /// # Panics
    /// If there are fewer than two axes.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        let rank = self.rank();
        assert!(rank >= 2, "t: shape {:?} has fewer than two axes", self.shape());
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 2, rank - 1);
        self.permute(&axes)
    }

    /// Elements `start..start + length` along an axis, as a view.
    ///
    /// # Panics
    /// If the range does not lie within the axis.
    #[track_caller]
    pub fn slice(&self, axis: isize, start: usize, length: usize) -> Tensor {
        let axis = self.axis("slice", axis);
        assert!(
            start + length <= self.shape()[axis],
            "slice: {start}..{} of axis {axis} of {:?} ({} long)",
            start + length,
            self.shape(),
            self.shape()[axis]
        );
        let mut layout = self.layout().clone();
        layout.offset += start * layout.strides[axis];
        layout.shape[axis] = length;
        let before = self.shape().to_vec();
        self.view(layout).with_grad("slice", [self], move |dy| {
            let dx = Tensor::zeros(dy.device(), &before, dy.dtype());
            dx.slice(axis as isize, start, length).copy_from_(dy);
            [Some(dx)]
        })
    }

    /// Repeats along axes of length 1 and new leading axes, as a view (NumPy's rules). The gradient is summed back.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn broadcast_to(&self, shape: &[usize]) -> Tensor {
        elements("broadcast_to", shape);
        let Some(layout) = self.layout().broadcast_to(shape) else {
            panic!("broadcast_to: {:?} does not broadcast to {shape:?}", self.shape())
        };
        let before = self.shape().to_vec();
        self.view(layout).with_grad("broadcast_to", [self], move |dy| [Some(dy.sum_to(&before))])
    }

    /// Adds an axis of length 1 before `axis`: `unsqueeze(0)` makes `[..] -> [1, ..]`, `unsqueeze(-1)` makes `[..] -> [.., 1]`.
    ///
    /// # Panics
    /// If there is no such place.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let rank = self.rank() as isize;
        assert!((-rank - 1..=rank).contains(&axis), "unsqueeze: no axis {axis} beside {:?}", self.shape());
        let mut shape = self.shape().to_vec();
        shape.insert((if axis < 0 { axis + rank + 1 } else { axis }) as usize, 1);
        self.reshape(&shape)
    }
}
