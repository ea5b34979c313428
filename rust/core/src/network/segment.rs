//! What a matrix product's innermost loops read: pieces of its factors, checked once for the whole of C.

use super::live::Live;
use super::matmul::Part;
use super::panels::panel;
use crate::float::Float;

/// Rows of a tile where there are as many, but for tiles of one 512-bit vector; those whose live columns are found together.
pub(super) const HIGHEST: usize = 6;

/// A [`Part`], or a piece of one, whose bounds have been checked for the whole of C.
#[derive(Clone, Copy)]
pub(super) struct Segment<F> {
    a: *const F,
    /// From one row of A to the next.
    pub(super) a_row: usize,
    pub(super) a_k: usize,
    pub(super) b: *const F,
    pub(super) b_k: usize,
    pub(super) b_panel: usize,
    pub(super) depth: usize,
    /// As [`Left::sparse_rows`](super::matmul::Left::sparse_rows) has it.
    pub(super) sparse: bool,
}

impl<F: Float> Default for Segment<F> {
    fn default() -> Self {
        Self { a: std::ptr::null(), a_row: 0, a_k: 0, b: std::ptr::null(), b_k: 0, b_panel: 0, depth: 0, sparse: false }
    }
}

impl<F: Float> Segment<F> {
    /// `depth ≥ 1` steps of `part` from `k` on.
    pub(super) fn new(part: &Part<F>, k: usize, depth: usize, rows: usize, columns: usize) -> Self {
        let Part { a, b, .. } = part;
        let (from_a, from_b) = (&a.data[k.saturating_mul(a.k_stride)..], &b.data[k.saturating_mul(b.k_stride)..]);
        assert!(reach(rows - 1, a.row_stride, depth - 1, a.k_stride) < from_a.len(), "A is too short");
        // Whole vectors are read, so the last column is the last of its vector.
        let last = columns.next_multiple_of(F::LANES) - 1;
        // Only where panels do not overlap does the last column lie behind all others.
        assert!(columns <= panel::<F>() || b.panel_stride >= panel::<F>(), "B is too short");
        let last = reach(last / panel::<F>(), b.panel_stride, last % panel::<F>(), 1);
        assert!(reach(1, last, depth - 1, b.k_stride) < from_b.len(), "B is too short");
        Self {
            a: from_a.as_ptr(),
            a_row: a.row_stride,
            a_k: a.k_stride,
            b: from_b.as_ptr(),
            b_k: b.k_stride,
            b_panel: b.panel_stride,
            depth,
            sparse: a.sparse,
        }
    }

    /// Row i of an A by rows.
    ///
    /// # Safety
    /// The segment must have been made for more than i rows.
    #[inline(always)]
    pub(super) unsafe fn row(&self, i: usize) -> &[F] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.row_start(i), self.depth) }
    }

    /// Where row i of A begins.
    ///
    /// # Safety
    /// As [`row`](Self::row).
    #[inline(always)]
    pub(super) unsafe fn row_start(&self, i: usize) -> *const F {
        // SAFETY: the caller's promise.
        unsafe { self.a.add(i * self.a_row) }
    }
}

/// Where element (i, j) stands by its strides; past any array's end where the range of `usize` is left.
pub(super) fn reach(i: usize, i_stride: usize, j: usize, j_stride: usize) -> usize {
    i.saturating_mul(i_stride).saturating_add(j.saturating_mul(j_stride))
}

/// What is multiplied between two times that the accumulators are put down.
pub(super) trait Cut<F>: Copy {
    fn segments(&self) -> &[Segment<F>];

    /// The live columns of a tile of a sparse A.
    #[inline(always)]
    fn live(&self, _tile: usize) -> Option<&[u16]> {
        None
    }
}

impl<F> Cut<F> for &[Segment<F>] {
    #[inline(always)]
    fn segments(&self) -> &[Segment<F>] {
        self
    }
}

/// A cut of one segment, whose fields the compiler then keeps from tile to tile: beside what is written to C it could not know them from memory.
#[derive(Clone, Copy)]
pub(super) struct One<F>(pub(super) Segment<F>);

impl<F: Float> Cut<F> for One<F> {
    #[inline(always)]
    fn segments(&self) -> &[Segment<F>] {
        std::slice::from_ref(&self.0)
    }
}

/// The same of a sparse A, from a tile of those whose live columns were found on.
#[derive(Clone, Copy)]
pub(super) struct Sparse<'a, F>(pub(super) Segment<F>, pub(super) FromTile<'a>);

/// Live columns, and the first tile that is meant.
pub(super) type FromTile<'a> = (&'a Live, usize);

impl<F: Float> Cut<F> for Sparse<'_, F> {
    #[inline(always)]
    fn segments(&self) -> &[Segment<F>] {
        std::slice::from_ref(&self.0)
    }

    #[inline(always)]
    fn live(&self, tile: usize) -> Option<&[u16]> {
        let (live, first) = self.1;
        Some(live.of_tile(first + tile))
    }
}
