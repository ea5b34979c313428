//! Matrix products: C = A · B, and what [`Finish`] says is done to it, the only door to them.
//!
//! Contract. `C[i, j]` is one chain of truly fused multiply-adds over k = 0, 1, … in order, starting from 0, and is then finished. Hence row i of C
//! depends on row i of A and on B alone, and nothing else changes a bit: not the number of rows, not where the inner dimension is cut (an
//! accumulator is put down in C and picked up again), not the tile's shape (it follows the level), not the threads (callers share out rows or columns of C, never k).
//! A left factor that is [sparse](Left::sparse_rows) keeps all of this where B is finite, but that a sum of −0 becomes 0. No arithmetic is chosen by shape. No memory is allocated. Not promised: speed at the baseline level, which emulates fusion.
//!
//! A is read in place, by rows or by columns. B is read in panels of [`panel`] columns, as [`panels`](super::panels) packs them, and
//! a row-major B is read in place, which needs some readable numbers after its last row. Panels that are read often pay: a row-major matrix is a page of memory a row,
//! or one of few places in the cache where its width is a power of two.
//!
//! ```
//! use elbokit_core::network::matmul::{Finish, Left, Right, multiply};
//! use elbokit_core::network::panels::{pack_transposed, packed_len};
//!
//! // x (2 × 3) times wᵀ, w (2 × 3) being a layer's weights, plus a bias.
//! let (x, w) = ([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
//! let mut packed = vec![0.0; packed_len::<f32>(3, 2)];
//! pack_transposed(&w, 3, &mut packed);
//! let mut y = [0.0; 4];
//! multiply(2, 2, 3, Left::rows(&x, 3), Right::packed(&packed, 3), Finish::Bias(&[10.0, -20.0]), &mut y, 2);
//! assert_eq!(y, [11.0, -15.0, 14.0, -9.0]);
//! multiply(2, 2, 3, Left::rows(&x, 3), Right::packed(&packed, 3), Finish::BiasRelu(&[10.0, -20.0]), &mut y, 2);
//! assert_eq!(y, [11.0, 0.0, 14.0, 0.0]);
//! ```

use std::ops::Range;

use super::activation::Slope;
use super::live::Live;
use super::panels::panel;
use super::segment::{FromTile, HIGHEST, Segment, reach};
use super::tile::{Place, SlopeAt, WIDEST, tiles, width};
use crate::float::Float;
use crate::rows::copy_few;
use crate::simd::{Kernel, Simd, dispatch};

/// The inner dimension is cut here at the latest: a panel's cut and the rows that meet it then lie in the first-level cache together; of four panels that are read at once they come
/// from the second in time. Six strips of float32.
pub(super) const DEPTH: usize = 288;
/// At most so many parts are chained in registers before the accumulators are put down.
const SEGMENTS: usize = 12;

/// A factor A: element (i, k) stands at `i · row_stride + k · k_stride`, one of which is 1.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a, F> {
    pub(super) data: &'a [F],
    pub(super) row_stride: usize,
    pub(super) k_stride: usize,
    pub(super) sparse: bool,
}

impl<'a, F: Float> Left<'a, F> {
    /// A row-major matrix, `stride` numbers a row.
    #[must_use]
    pub fn rows(data: &'a [F], stride: usize) -> Self {
        Self { data, row_stride: stride, k_stride: 1, sparse: false }
    }

    /// The same rows, of which neighbours are mostly 0 in the same columns, as what relu makes of draws around one place. Columns that are 0 in all of a tile's rows are passed
    /// over, which changes no bit of any row where B is finite, but that a sum of −0 becomes 0. Finding them takes about as long as six columns of C, so narrow products lose by it.
    #[must_use]
    pub fn sparse_rows(data: &'a [F], stride: usize) -> Self {
        Self { sparse: true, ..Self::rows(data, stride) }
    }

    /// The transpose of a row-major matrix of `stride` numbers a row, from its column `first` on.
    #[must_use]
    pub fn transposed(data: &'a [F], stride: usize, first: usize) -> Self {
        Self { data: &data[first.min(data.len())..], row_stride: 1, k_stride: stride, sparse: false }
    }
}

/// A factor B in panels: element (k, j) stands at `k · k_stride + (j / panel) · panel_stride + j % panel`.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a, F> {
    pub(super) data: &'a [F],
    pub(super) k_stride: usize,
    pub(super) panel_stride: usize,
}

impl<'a, F: Float> Right<'a, F> {
    /// What [`pack_transposed`](super::panels::pack_transposed) made for the inner dimension `depth`, or [`pack_rows`](super::panels::pack_rows) of `depth` rows.
    #[must_use]
    pub fn packed(data: &'a [F], depth: usize) -> Self {
        Self { data, k_stride: panel::<F>(), panel_stride: panel::<F>() * depth }
    }

    /// A row-major matrix read in place, `stride` numbers a row, followed by at least [`panel`] readable numbers of any value.
    #[must_use]
    pub fn rows(data: &'a [F], stride: usize) -> Self {
        Self { data, k_stride: stride, panel_stride: panel::<F>() }
    }
}

/// A stretch of the inner dimension: `depth` columns of A and as many rows of B.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a, F> {
    /// The columns of A.
    pub a: Left<'a, F>,
    /// The rows of B.
    pub b: Right<'a, F>,
    /// How many.
    pub depth: usize,
}

/// What becomes of C's sums when their chains are complete, before they leave the registers.
#[derive(Clone, Copy, Debug)]
pub enum Finish<'a, F> {
    /// They are the result.
    Sums,
    /// These numbers are added to each row.
    Bias(&'a [F]),
    /// The same, and what is not positive then becomes 0, as [`Activation::Relu`](super::activation::Activation::Relu) has it.
    BiasRelu(&'a [F]),
    /// They are multiplied by an activation's derivative, whose rows are as far from each other as C's.
    Times(Slope<'a, F>),
}

impl<F: Float> Finish<'_, F> {
    fn slope(&self) -> Option<Slope<'_, F>> {
        if let Self::Times(slope) = self { Some(*slope) } else { None }
    }

    fn bias(&self) -> Option<&[F]> {
        match self {
            Self::Sums | Self::Times(_) => None,
            Self::Bias(bias) | Self::BiasRelu(bias) => Some(bias),
        }
    }
}

/// C (`rows` × `columns`, `c_stride` numbers a row) = A · B over k < `depth`, finished.
///
/// # Panics
/// If an operand is too short for the shape.
pub fn multiply<F: Float>(
    rows: usize,
    columns: usize,
    depth: usize,
    a: Left<F>,
    b: Right<F>,
    finish: Finish<F>,
    c: &mut [F],
    c_stride: usize,
) {
    multiply_parts(rows, columns, [Part { a, b, depth }].iter().copied(), finish, c, c_stride);
}

/// As [`multiply`], the inner dimension being given in parts that are chained in order, as if they stood in one matrix.
///
/// # Panics
/// If an operand is too short for the shape.
pub fn multiply_parts<'a, F: Float>(
    rows: usize,
    columns: usize,
    parts: impl Iterator<Item = Part<'a, F>>,
    finish: Finish<F>,
    c: &mut [F],
    c_stride: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(c_stride >= columns && reach(rows - 1, c_stride, columns - 1, 1) < c.len(), "C is too short");
    assert!(finish.bias().is_none_or(|bias| bias.len() >= columns), "bias is too short");
    assert!(
        finish.slope().is_none_or(|slope| reach(rows - 1, c_stride, columns - 1, 1) < slope.numbers().len()),
        "slope is too short"
    );
    dispatch(Product { parts, finish, sums: Sums { rows, columns, c, c_stride, started: false } });
}

struct Product<'a, F, I> {
    parts: I,
    finish: Finish<'a, F>,
    sums: Sums<'a, F>,
}

impl<'a, F: Float, I: Iterator<Item = Part<'a, F>>> Kernel for Product<'_, F, I> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { parts, finish, mut sums } = self;
        let mut cut = [Segment::default(); SEGMENTS];
        let (mut len, mut total) = (0, 0);
        for part in parts {
            // Cuts of one depth: a short one would read and write C as often as a deep one.
            let each = part.depth.div_ceil(part.depth.div_ceil(DEPTH).max(1));
            let mut k = 0;
            while k < part.depth {
                let depth = each.min(part.depth - k);
                // What is sparse is a cut of its own.
                let apart = len > 0 && (part.a.sparse || cut[len - 1].sparse);
                if len == SEGMENTS || total + depth > DEPTH || apart {
                    sums.add(simd, &cut[..len], Finish::Sums);
                    (len, total) = (0, 0);
                }
                cut[len] = Segment::new(&part, k, depth, sums.rows, sums.columns);
                len += 1;
                total += depth;
                k += depth;
            }
        }
        sums.add(simd, &cut[..len], finish);
    }
}

/// The accumulators of a product, which lie in C between cuts.
struct Sums<'a, F> {
    rows: usize,
    columns: usize,
    c: &'a mut [F],
    c_stride: usize,
    started: bool,
}

impl<F: Float> Sums<'_, F> {
    /// Continues every chain by the segments, made for this C, and finishes it.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, segments: &[Segment<F>], finish: Finish<F>) {
        // A cut of a sparse A is one segment.
        let mut live = matches!(segments, [segment] if segment.sparse).then(Live::new);
        let mut first = 0;
        while first < self.rows {
            let left = self.rows - first;
            let found = live.as_mut().map_or(0, |live| {
                // SAFETY: C has these rows, and `Segment::new` has checked A for all of C.
                unsafe { live.find(simd, &segments[0], first, left) }
            });
            let (rows, live) = if found > 0 { (found, live.as_ref()) } else { (left, None) };
            self.add_rows(simd, segments, finish, first..first + rows, live);
            first += rows;
        }
        self.started = true;
    }

    /// The same for some rows, whose tiles have [`HIGHEST`] rows and the live columns `live` where there are any.
    #[inline(always)]
    fn add_rows<S: Simd>(&mut self, simd: S, segments: &[Segment<F>], finish: Finish<F>, rows: Range<usize>, live: Option<&Live>) {
        let relu = matches!(finish, Finish::BiasRelu(_));
        let sparse = segments.iter().any(|s| s.sparse);
        let mut padded = [F::ZERO; WIDEST];
        let mut column = 0;
        while column < self.columns {
            let left = self.columns - column;
            let vectors = width::<S>(left.div_ceil(F::LANES));
            let bias = finish.bias().map(|bias| {
                if left >= vectors * F::LANES {
                    return bias[column..].as_ptr();
                }
                copy_few(&bias[column..self.columns], &mut padded[..left]);
                padded.as_ptr()
            });
            let (c, stride, started) = (std::ptr::null_mut(), self.c_stride, self.started);
            let nowhere = Place { c, stride, started, sparse, bias, relu, slope: None };
            let in_place = self.in_place((column, vectors * F::LANES), rows.clone());
            let mut row = rows.start;
            while row < in_place {
                let at = row * self.c_stride + column;
                let slope = finish.slope().map(|slope| SlopeAt::new(slope.after(at)));
                let c = self.c[at..].as_mut_ptr();
                let place = Place { c, slope, ..nowhere };
                // SAFETY: C has these rows and at least as many columns from here on as a tile, or numbers behind them that may be written to, and so have bias and slope;
                // `Segment::new` has checked the factors for all of C, and `live` was found for these rows.
                row +=
                    unsafe { tiles(simd, segments, (row, in_place - row), (column, vectors), place, live.map(|live| (live, 0))) };
            }
            if row < rows.end {
                let live = live.map(|live| (live, (row - rows.start) / HIGHEST));
                self.edge(simd, segments, finish.slope(), nowhere, row..rows.end, (column, vectors), live);
            }
            column += vectors * F::LANES;
        }
    }

    /// The end of those of `rows` whose tiles of `wide` columns from `column` on can be made where they stand: all, where C has these columns. If it has fewer and they are its first, as
    /// many whole tiles as end before C does: what they put behind a row's end is the beginning of the next, which is made after it.
    #[inline(always)]
    fn in_place(&self, (column, wide): (usize, usize), rows: Range<usize>) -> usize {
        if column + wide <= self.columns {
            return rows.end;
        }
        let all = self.rows * self.columns;
        if column > 0 || self.started || self.c_stride != self.columns || all < wide {
            return rows.start;
        }
        let end = rows.end.min((all - wide) / self.columns + 1);
        rows.start + end.saturating_sub(rows.start) / HIGHEST * HIGHEST
    }

    /// The last columns of some rows, from `column` on, fewer than `vectors` vectors have: as tiles that stand elsewhere meanwhile.
    #[inline(always)]
    fn edge<S: Simd>(
        &mut self,
        simd: S,
        segments: &[Segment<F>],
        slope: Option<Slope<F>>,
        nowhere: Place<F>,
        rows: Range<usize>,
        (column, vectors): (usize, usize),
        live: Option<FromTile>,
    ) {
        let mut tile_of_c = [[F::ZERO; WIDEST]; HIGHEST];
        let mut slope = slope.map(|slope| (slope, tile_of_c));
        let left = self.columns - column;
        let Range { start, end } = rows;
        let mut row = start;
        while row < end {
            let rows = (end - row).min(HIGHEST);
            let live = live.map(|(live, first)| (live, first + (row - start) / HIGHEST));
            let own = |i| (row + i) * self.c_stride + column..(row + i) * self.c_stride + self.columns;
            if self.started {
                for (i, there) in tile_of_c.iter_mut().take(rows).enumerate() {
                    copy_few(&self.c[own(i)], &mut there[..left]);
                }
            }
            let slope = slope.as_mut().map(|(slope, tile)| {
                for (i, there) in tile.iter_mut().take(rows).enumerate() {
                    copy_few(&slope.numbers()[own(i)], &mut there[..left]);
                }
                SlopeAt::new(slope.by(tile.as_flattened()))
            });
            let c = tile_of_c.as_mut_ptr().cast();
            let place = Place { c, stride: WIDEST, slope, ..nowhere };
            // SAFETY: these rows, their slopes and the bias have these vectors' columns; `Segment::new` has checked the factors for all of C, B up to its last vector's end, and `live` was
            // found for tiles from row `start` on.
            let done = unsafe { tiles(simd, segments, (row, rows), (column, vectors), place, live) };
            for (i, there) in tile_of_c.iter().take(done).enumerate() {
                copy_few(&there[..left], &mut self.c[own(i)]);
            }
            row += done;
        }
    }
}
