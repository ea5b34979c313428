//! Matrix products: C = A · B, and what [`Finish`] says is done to it, the only door to them.
//!
//! Contract. `C[i, j]` is one chain of truly fused multiply-adds over k = 0, 1, … in order, starting from 0, and is then finished. Hence row i of C
//! depends on row i of A and on B alone, and nothing else changes a bit: not the number of rows, not where the inner dimension is cut (an
//! accumulator is put down in C and picked up again), not the tile's shape (it follows the level), not the threads (callers share out rows or columns of C, never k).
//! No path is chosen by shape. No memory is allocated. Not promised: speed at the baseline level, which emulates fusion.
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

use super::activation::Activation;
use super::panels::{panel, strip};
use crate::float::Float;
use crate::simd::{Fused, Kernel, Simd, SimdBase, dispatch, prefetch, prefetch_to_write};
use crate::vmath::Lanes;

/// The inner dimension is cut here at the latest: a panel's cut and the rows that meet it then lie in the first-level cache together. Six strips of float32.
const DEPTH: usize = 288;
/// Multiply-adds of a sum in one turn of the innermost loop. A turn asks for one row of B's next columns, so that as many tiles, one below another, have asked for all of them: at the
/// pace of one tile they would have to come from beyond the second-level cache faster than they can.
const UNROLLED: usize = 4;
/// At most so many parts are chained in registers before the accumulators are put down.
const SEGMENTS: usize = 12;

/// A factor A: element (i, k) stands at `i · row_stride + k · k_stride`, one of which is 1.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a, F> {
    data: &'a [F],
    row_stride: usize,
    k_stride: usize,
}

impl<'a, F: Float> Left<'a, F> {
    /// A row-major matrix, `stride` numbers a row.
    #[must_use]
    pub fn rows(data: &'a [F], stride: usize) -> Self {
        Self { data, row_stride: stride, k_stride: 1 }
    }

    /// The transpose of a row-major matrix of `stride` numbers a row, from its column `first` on.
    #[must_use]
    pub fn transposed(data: &'a [F], stride: usize, first: usize) -> Self {
        Self { data: &data[first.min(data.len())..], row_stride: 1, k_stride: stride }
    }

    /// The transpose of what [`pack_strips`](super::panels::pack_strips) made of `depth` rows, from its column `first` on, which begins a strip, to that strip's end.
    #[must_use]
    pub fn transposed_strip(data: &'a [F], depth: usize, first: usize) -> Self {
        Self { data: &data[(first * depth).min(data.len())..], row_stride: 1, k_stride: strip::<F>() }
    }
}

/// A factor B in panels: element (k, j) stands at `k · k_stride + (j / panel) · panel_stride + j % panel`.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a, F> {
    data: &'a [F],
    k_stride: usize,
    panel_stride: usize,
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
    /// The same, and what is not positive then becomes 0, as [`Activation::Relu`] has it.
    BiasRelu(&'a [F]),
}

impl<F> Finish<'_, F> {
    fn bias(&self) -> Option<&[F]> {
        match self {
            Self::Sums => None,
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
    multiply_parts(rows, columns, std::iter::once(Part { a, b, depth }), finish, c, c_stride);
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
                if len == SEGMENTS || total + depth > DEPTH {
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

/// A [`Part`], or a piece of one, whose bounds have been checked for the whole of C.
#[derive(Clone, Copy)]
struct Segment<F> {
    a: *const F,
    /// Where a tile's rows begin, from its first on. Read from here they are no multiples of one stride to the compiler, which would make a chain of additions of them from
    /// row to row, as long as the multiply-adds take.
    a_rows: [usize; MOST_ROWS],
    a_k: usize,
    b: *const F,
    b_k: usize,
    b_panel: usize,
    depth: usize,
}

impl<F: Float> Default for Segment<F> {
    fn default() -> Self {
        Self { a: std::ptr::null(), a_rows: [0; MOST_ROWS], a_k: 0, b: std::ptr::null(), b_k: 0, b_panel: 0, depth: 0 }
    }
}

impl<F: Float> Segment<F> {
    /// `depth ≥ 1` steps of `part` from `k` on.
    fn new(part: &Part<F>, k: usize, depth: usize, rows: usize, columns: usize) -> Self {
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
            a_rows: std::array::from_fn(|i| a.row_stride.wrapping_mul(i)),
            a_k: a.k_stride,
            b: from_b.as_ptr(),
            b_k: b.k_stride,
            b_panel: b.panel_stride,
            depth,
        }
    }
}

/// Where element (i, j) stands by its strides; past any array's end where the range of `usize` is left.
fn reach(i: usize, i_stride: usize, j: usize, j_stride: usize) -> usize {
    i.saturating_mul(i_stride).saturating_add(j.saturating_mul(j_stride))
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
        let relu = matches!(finish, Finish::BiasRelu(_));
        let mut column = 0;
        while column < self.columns {
            let left = self.columns - column;
            column += if left < F::LANES {
                self.edge(simd, segments, finish, column);
                left
            } else {
                let two = S::f32s::LEN == 16 && left >= 2 * F::LANES;
                let bias = finish.bias().map(|bias| bias[column..].as_ptr());
                let mut row = 0;
                while row < self.rows {
                    let c = self.c[row * self.c_stride + column..].as_mut_ptr();
                    let place = Place { c, stride: self.c_stride, started: self.started, bias, relu };
                    // SAFETY: C has these rows and at least as many columns from here on as a tile, and so has the bias; `Segment::new` has checked the factors for all of C.
                    row += unsafe { tiles(simd, segments, (row, self.rows - row), column, two, place) };
                }
                if two { 2 * F::LANES } else { F::LANES }
            };
        }
        self.started = true;
    }

    /// The columns from `column` on, fewer than a vector: as a tile that stands elsewhere meanwhile.
    #[inline(always)]
    fn edge<S: Simd>(&mut self, simd: S, segments: &[Segment<F>], finish: Finish<F>, column: usize) {
        let mut tile_of_c = [[F::ZERO; MOST_LANES]; MOST_ROWS];
        let mut padded = [F::ZERO; MOST_LANES];
        let left = self.columns - column;
        if let Some(bias) = finish.bias() {
            padded[..left].copy_from_slice(&bias[column..self.columns]);
        }
        let bias = finish.bias().map(|_| padded.as_ptr());
        let relu = matches!(finish, Finish::BiasRelu(_));
        let mut row = 0;
        while row < self.rows {
            let rows = (self.rows - row).min(MOST_ROWS);
            let own = |i| (row + i) * self.c_stride + column..(row + i) * self.c_stride + self.columns;
            if self.started {
                for (i, there) in tile_of_c.iter_mut().take(rows).enumerate() {
                    there[..left].copy_from_slice(&self.c[own(i)]);
                }
            }
            let place = Place { c: tile_of_c.as_mut_ptr().cast(), stride: MOST_LANES, started: self.started, bias, relu };
            // SAFETY: these rows and the bias have a vector's columns; `Segment::new` has checked the factors for all of C, B up to its last vector's end.
            let done = unsafe { tiles(simd, segments, (row, rows), column, false, place) };
            for (i, there) in tile_of_c.iter().take(done).enumerate() {
                self.c[own(i)].copy_from_slice(&there[..left]);
            }
            row += done;
        }
    }
}

/// Rows of the highest tile.
const MOST_ROWS: usize = 8;
/// Lanes of float32, the most that there are.
const MOST_LANES: usize = 16;

/// Where tiles of C lie, one below another, whether their sums have been started, and what finishes them.
#[derive(Clone, Copy)]
struct Place<F> {
    c: *mut F,
    stride: usize,
    started: bool,
    /// Of the columns.
    bias: Option<*const F>,
    relu: bool,
}

/// Tiles from row `first` of A and column `column` of B on, as high as `left` rows allow, and as many as have one height; returns their rows.
///
/// Registers: with 512-bit vectors a tile of 8 × 2 hides the latency of multiply-adds and leaves half of them free, which the compiler needs when it loads all of A
/// at once (12 × 2 was spilled: 145 instead of 230 GFLOP/s). Elsewhere one logical vector is two or four registers, and 6 × 1 fills them.
///
/// # Safety
/// `place` must have `left` rows and one vector of columns, or `two`, and the segments must be those of a C that has these rows and columns.
#[inline(always)]
unsafe fn tiles<F: Float, S: Simd>(
    simd: S,
    segments: &[Segment<F>],
    (first, left): (usize, usize),
    column: usize,
    two: bool,
    place: Place<F>,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        match (left, S::f32s::LEN == 16, two) {
            (8.., true, true) => tiles_of::<F, S, 8, 2>(simd, segments, (first, left), column, place),
            (8.., true, false) => tiles_of::<F, S, 8, 1>(simd, segments, (first, left), column, place),
            (6.., false, _) => tiles_of::<F, S, 6, 1>(simd, segments, (first, left), column, place),
            (4.., _, true) => tiles_of::<F, S, 4, 2>(simd, segments, (first, left), column, place),
            (4.., _, false) => tiles_of::<F, S, 4, 1>(simd, segments, (first, left), column, place),
            (2.., _, true) => tiles_of::<F, S, 2, 2>(simd, segments, (first, left), column, place),
            (2.., _, false) => tiles_of::<F, S, 2, 1>(simd, segments, (first, left), column, place),
            (_, _, true) => tiles_of::<F, S, 1, 2>(simd, segments, (first, left), column, place),
            (_, _, false) => tiles_of::<F, S, 1, 1>(simd, segments, (first, left), column, place),
        }
    }
}

/// All tiles of ROWS rows that `left ≥ ROWS` rows have, of VECTORS vectors of columns; returns their rows. A frame of its own: among its siblings the innermost loop
/// loses registers, and two fifths of its speed.
///
/// # Safety
/// As [`tiles`].
#[inline(never)]
unsafe fn tiles_of<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    segments: &[Segment<F>],
    (first, left): (usize, usize),
    column: usize,
    place: Place<F>,
) -> usize {
    let rows = left / ROWS * ROWS;
    simd.vectorize(
        #[inline(always)]
        || {
            for down in (0..rows).step_by(ROWS) {
                let place = Place { c: place.c.wrapping_add(down * place.stride), ..place };
                // SAFETY: the caller's promise.
                unsafe { tile::<F, S, ROWS, VECTORS>(simd, segments, first + down, column, place) };
            }
        },
    );
    rows
}

/// One tile.
///
/// # Safety
/// As [`tiles`], of ROWS rows.
#[inline(always)]
unsafe fn tile<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    segments: &[Segment<F>],
    row: usize,
    column: usize,
    place: Place<F>,
) {
    let Place { c, stride, started, bias, relu } = place;
    let at = |i, v| c.wrapping_add(i * stride + v * F::LANES);
    let zero = F::Lanes::splat(simd, F::ZERO);
    let mut sums = [[zero; VECTORS]; ROWS];
    for (i, sums) in sums.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            if started {
                // SAFETY: the caller's promise.
                *sum = unsafe { vector(simd, at(i, v)) };
            } else if v == 0 {
                // A row of C is a page or more from the next, so no processor foresees where the sums will go, and a gradient's place is seldom in its caches.
                prefetch_to_write(at(i, v));
            }
        }
    }
    for s in segments {
        let b = s.b.wrapping_add(column / panel::<F>() * s.b_panel);
        let next = b.wrapping_add(VECTORS * s.b_panel);
        let part = (row / ROWS).min(UNROLLED - 1) * (s.depth / UNROLLED);
        // The second row begins one stride behind the first.
        // SAFETY: the caller's promise; the pointers are moved past the last element with `wrapping_add` and not read there.
        unsafe { chain(simd, &mut sums, s, s.a.add(row * s.a_rows[1]), b, next.wrapping_add(part * s.b_k)) };
    }
    for (i, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            let mut sum = bias.map_or(sum, |bias| sum + unsafe { vector(simd, bias.wrapping_add(v * F::LANES)) });
            if relu {
                sum = Activation::Relu.lanes::<F, S>(simd, sum)[0];
            }
            // SAFETY: the caller's promise.
            sum.store_slice(unsafe { std::slice::from_raw_parts_mut(at(i, v), F::LANES) });
        }
    }
}

/// The innermost loop, once for either way that A stands: with both strides free, addresses would take registers from the sums.
///
/// # Safety
/// `a.add(a_rows[i] + k · a_k)` for i < ROWS, and a vector from each `b.add(v · b_panel + k · b_k)` on for v < VECTORS, must be readable for k < `s.depth`.
#[inline(always)]
unsafe fn chain<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    a: *const F,
    b: *const F,
    ahead: *const F,
) {
    if s.a_k == 1 {
        let mut rows: [usize; ROWS] = std::array::from_fn(|i| s.a_rows[i]);
        // As the compiler could not know from memory.
        rows[0] = 0;
        // SAFETY: the caller's promise.
        unsafe { turns(simd, sums, s, (a, 1, rows), b, ahead) };
    } else {
        debug_assert!(ROWS == 1 || s.a_rows[1] == 1);
        // SAFETY: the caller's promise.
        unsafe { turns(simd, sums, s, (a, s.a_k, std::array::from_fn(|i| i)), b, ahead) };
    }
}

/// A multiply-add to every sum for each k. A begins at `a`, and has its columns `a_k` and its rows `rows` from there. A part of the next tile's columns of B
/// is asked for, from `ahead` on.
///
/// # Safety
/// As [`chain`].
#[inline(always)]
unsafe fn turns<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    (mut a, a_k, rows): (*const F, usize, [usize; ROWS]),
    mut b: *const F,
    ahead: *const F,
) {
    let mut held = *sums;
    for turn in 0..s.depth / UNROLLED {
        for v in 0..VECTORS {
            prefetch(ahead.wrapping_add(turn * s.b_k + v * s.b_panel));
        }
        for _ in 0..UNROLLED {
            // SAFETY: the caller's promise.
            unsafe { step(simd, &mut held, (a, rows), (b, s.b_panel)) };
            (a, b) = (a.wrapping_add(a_k), b.wrapping_add(s.b_k));
        }
    }
    for _ in 0..s.depth % UNROLLED {
        // SAFETY: the caller's promise.
        unsafe { step(simd, &mut held, (a, rows), (b, s.b_panel)) };
        (a, b) = (a.wrapping_add(a_k), b.wrapping_add(s.b_k));
    }
    *sums = held;
}

/// One multiply-add to every sum: A's numbers stand at `rows` from `a` on, B's vectors `panel` apart from `b` on.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn step<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    (a, rows): (*const F, [usize; ROWS]),
    (b, panel): (*const F, usize),
) {
    // SAFETY: the caller's promise.
    let columns: [_; VECTORS] = std::array::from_fn(|v| unsafe { vector(simd, b.wrapping_add(v * panel)) });
    for (sums, row) in sums.iter_mut().zip(rows) {
        // SAFETY: the caller's promise.
        let x = F::Lanes::splat(simd, unsafe { *a.wrapping_add(row) });
        for (sum, &column) in sums.iter_mut().zip(&columns) {
            *sum = x.fma(column, *sum);
        }
    }
}

/// The vector that begins at `from`.
///
/// # Safety
/// All of it must be readable.
#[inline(always)]
unsafe fn vector<F: Float, S: Simd>(simd: S, from: *const F) -> Lanes<F, S> {
    // SAFETY: the caller's promise. Said for the compiler, which would look for null in the innermost loop and there lose the sums' registers.
    unsafe { std::hint::assert_unchecked(!from.is_null()) };
    // SAFETY: the caller's promise.
    F::Lanes::from_slice(simd, unsafe { std::slice::from_raw_parts(from, F::LANES) })
}
