//! Shapes, strides and the arithmetic on them.

/// The most axes a tensor may have.
pub const MAX_AXES: usize = 6;

/// Shape, strides and offset of a tensor in its storage, in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The distance in elements between neighbours along each axis; a distance of 0 repeats the same element.
    pub strides: Vec<usize>,
    /// Where the first element lies in the storage, in elements.
    pub offset: usize,
}

/// Number of elements of `shape`.
///
/// # Panics
/// With the shape, if there are 2^32 or more, whatever an axis of length 0 makes of them: strides count them, too.
#[track_caller]
pub fn elements(op: &str, shape: &[usize]) -> usize {
    let counted = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length.max(1)));
    assert!(counted.is_some_and(|product| product <= u32::MAX as usize), "{op}: shape {shape:?} has 2^32 or more elements");
    shape.iter().product()
}

impl Layout {
    /// The layout of a tensor that lies in row-major order from the start of its storage.
    pub fn contiguous(shape: &[usize]) -> Layout {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Layout { shape: shape.to_vec(), strides, offset: 0 }
    }

    /// Number of elements; 1 for a scalar.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the elements lie in row-major order without gaps. Axes of length 1 may have any stride.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (&length, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if length != 1 && stride != expected {
                return self.is_empty();
            }
            expected *= length;
        }
        true
    }

    /// The same elements with stride 0 along the axes that repeat, for `shape` (NumPy's rules).
    pub fn broadcast_to(&self, shape: &[usize]) -> Option<Layout> {
        let new_axes = shape.len().checked_sub(self.shape.len())?;
        let mut strides = vec![0; shape.len()];
        for (axis, (&length, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            let target = shape[new_axes + axis];
            if length == target {
                strides[new_axes + axis] = stride;
            } else if length != 1 {
                return None;
            }
        }
        Some(Layout { shape: shape.to_vec(), strides, offset: self.offset })
    }
}

/// The shape that both shapes broadcast to by NumPy's rules, if there is one.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let axes = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(axes).map_or(1, |i| shape[i]);
    (0..axes)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Merges neighbouring axes that all layouts walk as one, so that kernels see few, long axes. All layouts have the same shape.
pub(crate) fn collapse<const N: usize>(layouts: [&Layout; N]) -> (Vec<usize>, [Vec<usize>; N]) {
    let mut shape: Vec<usize> = Vec::new();
    let mut strides: [Vec<usize>; N] = std::array::from_fn(|_| Vec::new());
    for (axis, &length) in layouts[0].shape.iter().enumerate() {
        if length == 1 {
            continue;
        }
        let joins =
            !shape.is_empty() && (0..N).all(|i| *strides[i].last().expect("same number of axes") == layouts[i].strides[axis] * length);
        if joins {
            *shape.last_mut().expect("not empty") *= length;
            for i in 0..N {
                *strides[i].last_mut().expect("not empty") = layouts[i].strides[axis];
            }
        } else {
            shape.push(length);
            for i in 0..N {
                strides[i].push(layouts[i].strides[axis]);
            }
        }
    }
    (shape, strides)
}

/// Right-aligns into the fixed array of a kernel's parameters, `fill` in front (1 for shapes, 0 for strides).
pub(crate) fn pad_axes(values: &[usize], fill: u32) -> [u32; MAX_AXES] {
    let mut padded = [fill; MAX_AXES];
    let start = MAX_AXES - values.len();
    for (slot, &value) in padded[start..].iter_mut().zip(values) {
        *slot = u32::try_from(value).expect("tensors have fewer than 2^32 elements");
    }
    padded
}

/// Where [`pad_axes`] puts the first of some axes; the last place if there are none.
pub(crate) fn first_axis(values: &[usize]) -> u32 {
    (MAX_AXES - values.len().max(1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collapsing_keeps_the_walk() {
        let a = Layout::contiguous(&[2, 3, 4]);
        assert_eq!(collapse([&a]), (vec![24], [vec![1]]));
        let bias = Layout::contiguous(&[4]).broadcast_to(&[2, 3, 4]).unwrap();
        assert_eq!(collapse([&a, &bias]), (vec![6, 4], [vec![4, 1], vec![0, 1]]));
    }

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast_shapes(&[2, 1, 4], &[3, 1]), Some(vec![2, 3, 4]));
        assert_eq!(broadcast_shapes(&[2], &[3]), None);
        assert_eq!(broadcast_shapes(&[], &[0]), Some(vec![0]));
    }
}
