//! Joining tensors along an axis.

use crate::tensor::Tensor;

impl Tensor {
    /// Puts tensors one after the other along an axis; a negative axis counts from the end. `[.., a, ..], [.., b, ..], .. -> [.., a + b + .., ..]`
    ///
    /// # Panics
    /// If there are none, they differ in type, device or the length of another axis, or hold halves.
    #[track_caller]
    pub fn concat(parts: &[&Tensor], axis: isize) -> Tensor {
        let Some(first) = parts.first() else { panic!("concat: no tensors") };
        let axis = first.axis("concat", axis);
        let fits = |x: &Tensor| {
            let same_elsewhere = (0..first.rank()).all(|a| a == axis || x.shape()[a] == first.shape()[a]);
            x.rank() == first.rank() && same_elsewhere && x.dtype() == first.dtype() && !x.dtype().is_half() && x.device() == first.device()
        };
        for x in parts {
            assert!(
                fits(x),
                "concat: {} {:?} on {} and {} {:?} on {} along axis {axis}",
                first.dtype(),
                first.shape(),
                first.device(),
                x.dtype(),
                x.shape(),
                x.device()
            );
        }
        let lengths: Vec<usize> = parts.iter().map(|x| x.shape()[axis]).collect();
        let mut shape = first.shape().to_vec();
        shape[axis] = lengths.iter().sum();
        let y = Tensor::uninit(first.device(), &shape, first.dtype(), "concat");
        let mut start = 0;
        for (x, &length) in parts.iter().zip(&lengths) {
            y.slice(axis as isize, start, length).copy_from_(x);
            start += length;
        }
        let needs: Vec<bool> = parts.iter().map(|x| x.requires_grad()).collect();
        y.with_grads("concat", parts, move |dy| {
            let mut start = 0;
            let take = |(&length, &needed): (&usize, &bool)| {
                start += length;
                needed.then(|| dy.slice(axis as isize, start - length, length))
            };
            lengths.iter().zip(&needs).map(take).collect()
        })
    }
}
