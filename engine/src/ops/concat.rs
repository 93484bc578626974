//! Joining tensors along an axis; tensors that lie one behind the other in memory, without a copy.

use crate::layout::Layout;
use crate::tensor::Tensor;

impl Tensor {
    /// Puts tensors one after the other along an axis; a negative axis counts from the end. Tensors that [lie in order](Tensor::lie_in_order) are joined along
    /// axis 0 without a copy: the result shares their memory. `[.., a, ..], [.., b, ..], .. -> [.., a + b + .., ..]`
    ///
    /// # Panics
    /// If there are none, they differ in type, device or the length of another axis, or hold halves and do not lie in order.
    #[track_caller]
    pub fn concat(parts: &[&Tensor], axis: isize) -> Tensor {
        let Some(first) = parts.first() else { panic!("concat: no tensors") };
        let axis = first.axis("concat", axis);
        let fits = |x: &Tensor| {
            let same_elsewhere = (0..first.rank()).all(|a| a == axis || x.shape()[a] == first.shape()[a]);
            x.rank() == first.rank() && same_elsewhere && x.dtype() == first.dtype() && x.device() == first.device()
        };
        let as_they_lie = axis == 0 && Tensor::lie_in_order(parts);
        for x in parts {
            assert!(
                fits(x) && (as_they_lie || !x.dtype().is_half()),
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
        let y = if as_they_lie {
            first.view(Layout { offset: first.layout().offset, ..Layout::contiguous(&shape) })
        } else {
            let y = Tensor::uninit(first.device(), &shape, first.dtype(), "concat");
            let mut start = 0;
            for (x, &length) in parts.iter().zip(&lengths) {
                y.slice(axis as isize, start, length).copy_from_(x);
                start += length;
            }
            y
        };
        let needs: Vec<bool> = parts.iter().map(|x| x.requires_grad()).collect();
        let y = y.with_grads("concat", parts, move |dy| {
            let mut start = 0;
            let take = |(&length, &needed): (&usize, &bool)| {
                start += length;
                needed.then(|| dy.slice(axis as isize, start - length, length))
            };
            lengths.iter().zip(&needs).map(take).collect()
        });
        if as_they_lie { y.being_view_of(parts, |home| Layout { offset: home.offset, ..Layout::contiguous(&shape) }) } else { y }
    }

    /// True if each of these tensors is contiguous and begins in memory where the one before it ends.
    pub fn lie_in_order(parts: &[&Tensor]) -> bool {
        let follows = |pair: &[&Tensor]| {
            let [a, b] = [pair[0], pair[1]];
            std::ptr::eq(a.storage(), b.storage()) && a.dtype() == b.dtype() && a.byte_range().0 + a.byte_range().1 == b.byte_range().0
        };
        parts.iter().all(|x| x.layout().is_contiguous()) && parts.windows(2).all(follows)
    }

    /// Copies of these tensors that [lie in order](Tensor::lie_in_order), each with its tensor's place in the graph: a parameter stays the same parameter. Themselves if they do
    /// already, and if they cannot, because kernels could not bind one that begins where the one before it ends, or all together.
    ///
    /// # Panics
    /// If they differ in type or device.
    #[track_caller]
    pub fn laid_in_order(parts: &[&Tensor]) -> Vec<Tensor> {
        let themselves = || parts.iter().map(|&x| x.clone()).collect();
        let Some(first) = parts.first() else { return themselves() };
        for x in parts {
            let same = x.dtype() == first.dtype() && x.device() == first.device();
            assert!(same, "laid_in_order: {} on {} and {} on {}", first.dtype(), first.device(), x.dtype(), x.device());
        }
        let starts: Vec<usize> = parts.iter().scan(0, |end, x| Some(std::mem::replace(end, *end + x.len()))).collect();
        let alignment = first.device().offset_alignment_bytes();
        let total: usize = parts.iter().map(|x| x.len()).sum();
        let fits = first.device().adapter().is_none_or(|adapter| (total * first.dtype().size_bytes()) as u64 <= adapter.max_binding_bytes);
        let can = fits && starts.iter().all(|start| (start * first.dtype().size_bytes()).is_multiple_of(alignment));
        if !can || Tensor::lie_in_order(parts) {
            return themselves();
        }
        let all = Tensor::uninit(first.device(), &[total], first.dtype(), "laid_in_order");
        let lay = |(x, start): (&&Tensor, usize)| {
            let place = all.view(Layout { offset: start, ..Layout::contiguous(x.shape()) });
            place.copy_packed_(x);
            place.with_edge(x.edge().cloned())
        };
        parts.iter().zip(starts).map(lay).collect()
    }
}
