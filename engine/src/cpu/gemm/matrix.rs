//! The operands of a product: strided matrices in slices, sizes and scales.

use crate::dtype::Element;

/// A strided matrix in a slice: element (r, c) is `data[r * row_stride + c * col_stride]`. How many rows and columns it has, the product says.
#[derive(Clone, Copy)]
pub struct Block<'a, T> {
    pub(super) data: &'a [T],
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a, T> Block<'a, T> {
    /// A matrix that begins at the start of `data`, with the distances between its rows and between its columns.
    pub fn new(data: &'a [T], row_stride: usize, col_stride: usize) -> Block<'a, T> {
        Block { data, row_stride, col_stride }
    }

    /// A matrix that begins at the start of `data`, with contiguous rows that lie `row_stride` apart.
    pub fn rows(data: &'a [T], row_stride: usize) -> Block<'a, T> {
        Block::new(data, row_stride, 1)
    }

    /// The transposed matrix, in the same slice.
    pub fn t(self) -> Block<'a, T> {
        Block::new(self.data, self.col_stride, self.row_stride)
    }

    /// From column `first` on; nothing if that is past the end.
    pub(super) fn columns_from(self, first: usize) -> Block<'a, T> {
        Block { data: self.data.get(first * self.col_stride..).unwrap_or(&[]), ..self }
    }

    /// From row `first` on; nothing if that is past the end.
    pub(super) fn rows_from(self, first: usize) -> Block<'a, T> {
        self.t().columns_from(first).t()
    }

    /// The same elements under the name that their type has where it is known.
    pub(super) fn cast<U: Element>(self) -> Block<'a, U>
    where
        T: Element,
    {
        Block { data: bytemuck::cast_slice(self.data), row_stride: self.row_stride, col_stride: self.col_stride }
    }

    pub(super) fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// How much of the machine a product may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Only the calling thread.
    One,
    /// All of them.
    All,
}

/// In which order the products of an element are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As is fastest for the sizes.
    Fastest,
    /// So that a row has the same bits whatever stands beside it: as for many rows. On processors for which the kernels are our own.
    OfRow,
}

/// The sizes of a product `c = alpha a b + beta c`, `[m, k] [k, n] -> [m, n]`, and its scales. The rows of `c` lie `c_stride` apart; with `beta` 0,
/// `c` is not read.
#[derive(Clone, Copy)]
pub struct Form<F> {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: F,
    pub(super) beta: F,
    pub(super) c_stride: usize,
    pub(super) order: Order,
}

impl<F> Form<F> {
    /// Checks that the matrices lie in their slices. A product without elements has nothing to check; false is returned.
    #[track_caller]
    pub(super) fn check<T>(&self, a: &Block<F>, b: &Block<T>, c: &[F]) -> bool {
        let &Form { m, n, k, c_stride, .. } = self;
        if m == 0 || n == 0 {
            return false;
        }
        assert!(
            a.holds(m, k) && b.holds(k, n) && (m - 1) * c_stride + n <= c.len() && (m == 1 || n <= c_stride),
            "gemm: [{m}, {k}] [{k}, {n}]: a matrix reaches past its slice"
        );
        true
    }
}
