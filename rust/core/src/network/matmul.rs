//! Matrix products: C = A · B (+ bias), the only door to them.
//!
//! Contract. `C[i, j]` is one chain of truly fused multiply-adds over k = 0, 1, … in order, starting from 0, and then the bias is added. Hence row i of C
//! depends on row i of A and on B alone, and nothing else changes a bit: not the number of rows, not where the inner dimension is cut (an
//! accumulator is put down in C and picked up again), not the tile's shape (it follows the level), not the threads (callers share out rows or columns of C, never k).
//! No path is chosen by shape. No memory is allocated. Not promised: speed at the baseline level, which emulates fusion.
//!
//! A is read in place with any strides. B is read in panels of [`panel`] columns: [`pack_transposed`] makes them from rows of Bᵀ, [`pack_rows`] from rows of B, and
//! a row-major B is read in place, which needs some readable numbers after its last row. Panels that are read often pay: a row-major matrix is a page of memory a row,
//! or one of few places in the cache where its width is a power of two.
//!
//! ```
//! use elbokit_core::network::matmul::{Left, Right, multiply, pack_transposed, packed_len};
//!
//! // x (2 × 3) times wᵀ, w (2 × 3) being a layer's weights, plus a bias.
//! let (x, w) = ([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
//! let mut packed = vec![0.0; packed_len::<f32>(3, 2)];
//! pack_transposed(&w, 3, &mut packed);
//! let mut y = [0.0; 4];
//! multiply(2, 2, 3, Left::rows(&x, 3), Right::packed(&packed, 3), Some(&[10.0, 20.0]), &mut y, 2);
//! assert_eq!(y, [11.0, 25.0, 14.0, 31.0]);
//! ```

use crate::float::Float;
use crate::simd::{Fused, Kernel, Simd, SimdBase, SimdFloat, dispatch, prefetch};
use crate::vmath::Lanes;

/// Columns of a panel: two vectors, at every level, so that what is packed does not depend on it.
#[must_use]
pub const fn panel<F: Float>() -> usize {
    2 * F::LANES
}

/// The inner dimension is cut here: a panel's cut and the rows that meet it then lie in the first-level cache together.
const DEPTH: usize = 256;
/// At most so many parts are chained in registers before the accumulators are put down.
const SEGMENTS: usize = 8;

/// A factor A: element (i, k) stands at `i · row_stride + k · k_stride`.
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

    /// The transpose of what [`pack_rows`] made of `depth` rows, from its column `first` on, which begins a panel, to that panel's end.
    #[must_use]
    pub fn transposed_panel(data: &'a [F], depth: usize, first: usize) -> Self {
        Self { data: &data[(first * depth).min(data.len())..], row_stride: 1, k_stride: panel::<F>() }
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
    /// What [`pack_transposed`] made for the inner dimension `depth`, or [`pack_rows`] of `depth` rows.
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

/// The length of a packed B of `depth` rows and `columns` columns.
#[must_use]
pub fn packed_len<F: Float>(depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(panel::<F>()) * depth
}

/// Packs B = Wᵀ from the row-major rows of W, each of `depth` numbers; columns that fill up the last panel are 0.
pub fn pack_transposed<F: Float>(w: &[F], depth: usize, out: &mut [F]) {
    /// A cache line of float32: each line of W is read once.
    const BLOCK: usize = 16;
    let width = panel::<F>();
    if depth == 0 {
        return;
    }
    for (rows, out) in w.chunks(width * depth).zip(out.chunks_exact_mut(width * depth)) {
        if rows.len() < out.len() {
            out.fill(F::ZERO);
        }
        // By half a panel: rows of W are pages apart, and the processor keeps few of those at hand.
        for (half, rows) in rows.chunks(F::LANES * depth).enumerate() {
            for (block, out) in out.chunks_mut(BLOCK * width).enumerate() {
                for (column, row) in rows.chunks_exact(depth).enumerate() {
                    for (x, out) in row[block * BLOCK..].iter().zip(out.chunks_exact_mut(width)) {
                        out[half * F::LANES + column] = *x;
                    }
                }
            }
        }
    }
}

/// Packs a B of row-major rows of `width` numbers; columns that fill up the last panel are 0. `out` may be longer than that takes.
pub fn pack_rows<F: Float>(x: &[F], width: usize, out: &mut [F]) {
    if !x.is_empty() {
        dispatch(PackRows { x, width, out });
    }
}

struct PackRows<'a, F> {
    x: &'a [F],
    width: usize,
    out: &'a mut [F],
}

impl<F: Float> Kernel for PackRows<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, width, out } = self;
        let panel = panel::<F>();
        let depth = x.len() / width;
        for (first, out) in (0..width).step_by(panel).zip(out.chunks_exact_mut(panel * depth)) {
            let live = panel.min(width - first);
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(panel)) {
                let (x, (low, high)) = (&x[first..][..live], out.split_at_mut(F::LANES));
                if live == panel {
                    F::Lanes::from_slice(simd, &x[..F::LANES]).store_slice(low);
                    F::Lanes::from_slice(simd, &x[F::LANES..]).store_slice(high);
                } else {
                    let (x, rest) = x.split_at(live.min(F::LANES));
                    load::<F, S>(simd, x).store_slice(low);
                    load::<F, S>(simd, rest).store_slice(high);
                }
            }
        }
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

/// C (`rows` × `columns`, `c_stride` numbers a row) = A · B over k < `depth`, plus `bias` to each row.
///
/// # Panics
/// If an operand is too short for the shape.
pub fn multiply<F: Float>(
    rows: usize,
    columns: usize,
    depth: usize,
    a: Left<F>,
    b: Right<F>,
    bias: Option<&[F]>,
    c: &mut [F],
    c_stride: usize,
) {
    multiply_parts(rows, columns, std::iter::once(Part { a, b, depth }), bias, c, c_stride);
}

/// As [`multiply`], the inner dimension being given in parts that are chained in order, as if they stood in one matrix.
///
/// # Panics
/// If an operand is too short for the shape.
pub fn multiply_parts<'a, F: Float>(
    rows: usize,
    columns: usize,
    parts: impl Iterator<Item = Part<'a, F>>,
    bias: Option<&[F]>,
    c: &mut [F],
    c_stride: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(c_stride >= columns && reach(rows - 1, c_stride, columns - 1, 1) < c.len(), "C is too short");
    assert!(bias.is_none_or(|bias| bias.len() >= columns), "bias is too short");
    dispatch(Product { parts, bias, sums: Sums { rows, columns, c, c_stride, started: false } });
}

struct Product<'a, F, I> {
    parts: I,
    bias: Option<&'a [F]>,
    sums: Sums<'a, F>,
}

impl<'a, F: Float, I: Iterator<Item = Part<'a, F>>> Kernel for Product<'_, F, I> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { parts, bias, mut sums } = self;
        let mut cut = [Segment::default(); SEGMENTS];
        let (mut len, mut total) = (0, 0);
        for part in parts {
            let mut k = 0;
            while k < part.depth {
                if len == SEGMENTS || total == DEPTH {
                    sums.add(simd, &cut[..len], None);
                    (len, total) = (0, 0);
                }
                let depth = (part.depth - k).min(DEPTH - total);
                cut[len] = Segment::new(&part, k, depth, sums.rows, sums.columns);
                len += 1;
                total += depth;
                k += depth;
            }
        }
        sums.add(simd, &cut[..len], bias);
    }
}

/// A [`Part`], or a piece of one, whose bounds have been checked for the whole of C.
#[derive(Clone, Copy)]
struct Segment<F> {
    a: *const F,
    a_row: usize,
    a_k: usize,
    b: *const F,
    b_k: usize,
    b_panel: usize,
    depth: usize,
}

impl<F: Float> Default for Segment<F> {
    fn default() -> Self {
        Self { a: std::ptr::null(), a_row: 0, a_k: 0, b: std::ptr::null(), b_k: 0, b_panel: 0, depth: 0 }
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
            a_row: a.row_stride,
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
    /// Continues every chain by the segments, made for this C.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, segments: &[Segment<F>], bias: Option<&[F]>) {
        // Registers: with 512-bit vectors a tile of 8 × 2 hides the latency of multiply-adds and leaves half of them free, which the compiler
        // needs when it loads all of A at once (12 × 2 was spilled: 145 instead of 230 GFLOP/s). Elsewhere one logical vector
        // is two or four registers, and 6 × 1 fills them.
        let wide = S::f32s::LEN == 16;
        let mut column = 0;
        while column < self.columns {
            let two = wide && self.columns - column > F::LANES;
            let mut row = 0;
            while row < self.rows {
                row += match (self.rows - row, wide, two) {
                    (8.., true, true) => self.tile::<S, 8, 2>(simd, segments, row, column, bias),
                    (8.., true, false) => self.tile::<S, 8, 1>(simd, segments, row, column, bias),
                    (6.., false, _) => self.tile::<S, 6, 1>(simd, segments, row, column, bias),
                    (4.., _, true) => self.tile::<S, 4, 2>(simd, segments, row, column, bias),
                    (4.., _, false) => self.tile::<S, 4, 1>(simd, segments, row, column, bias),
                    (2.., _, true) => self.tile::<S, 2, 2>(simd, segments, row, column, bias),
                    (2.., _, false) => self.tile::<S, 2, 1>(simd, segments, row, column, bias),
                    (_, _, true) => self.tile::<S, 1, 2>(simd, segments, row, column, bias),
                    (_, _, false) => self.tile::<S, 1, 1>(simd, segments, row, column, bias),
                };
            }
            column += if two { panel::<F>() } else { F::LANES };
        }
        self.started = true;
    }

    /// One tile of ROWS rows and VECTORS vectors of columns; returns ROWS. A frame of its own: among its siblings the innermost loop
    /// loses registers, and two fifths of its speed.
    #[inline(never)]
    fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        segments: &[Segment<F>],
        row: usize,
        column: usize,
        bias: Option<&[F]>,
    ) -> usize {
        simd.vectorize(
            #[inline(always)]
            || self.tile_lanes::<S, ROWS, VECTORS>(simd, segments, row, column, bias),
        );
        ROWS
    }

    #[inline(always)]
    fn tile_lanes<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        segments: &[Segment<F>],
        row: usize,
        column: usize,
        bias: Option<&[F]>,
    ) {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let mut sums = [[zero; VECTORS]; ROWS];
        let place = |i, v| {
            let first = column + v * F::LANES;
            let start = (row + i) * self.c_stride + first;
            start..start + F::LANES.min(self.columns - first)
        };
        if self.started {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = load(simd, &self.c[place(i, v)]);
                }
            }
        } else {
            // A row of C is a page or more from the next, so no processor foresees where the sums will go, and a gradient's place is seldom in its caches.
            for i in 0..ROWS {
                prefetch(&self.c[place(i, 0).start]);
            }
        }
        for s in segments {
            let offset = column / panel::<F>() * s.b_panel + column % panel::<F>();
            // SAFETY: `Segment::new` has checked every element that a tile of this C reaches in `depth` steps; the pointers are
            // moved past the last of them with `wrapping_add` and not read there.
            unsafe { chain(simd, &mut sums, s, s.a.add(row * s.a_row), s.b.add(offset)) };
        }
        for (i, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let sum = match bias {
                    Some(bias) => {
                        let first = column + v * F::LANES;
                        sum + load::<F, S>(simd, &bias[first..self.columns.min(first + F::LANES)])
                    }
                    None => sum,
                };
                store(sum, &mut self.c[place(i, v)]);
            }
        }
    }
}

/// The innermost loop.
///
/// # Safety
/// `a.add(i · a_row + k · a_k)` for i < ROWS, and VECTORS vectors from `b.add(k · b_k)` on, must be readable for k < `s.depth`.
#[inline(always)]
unsafe fn chain<F: Float, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    s: &Segment<F>,
    mut a: *const F,
    mut b: *const F,
) {
    let mut held = *sums;
    for _ in 0..s.depth {
        // SAFETY: the caller's promise.
        let columns: [_; VECTORS] = std::array::from_fn(|v| unsafe {
            F::Lanes::from_slice(simd, std::slice::from_raw_parts(b.add(v * F::LANES), F::LANES))
        });
        for (i, held) in held.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let x = F::Lanes::splat(simd, unsafe { *a.add(i * s.a_row) });
            for (held, &column) in held.iter_mut().zip(&columns) {
                *held = x.fma(column, *held);
            }
        }
        a = a.wrapping_add(s.a_k);
        b = b.wrapping_add(s.b_k);
    }
    *sums = held;
}

/// A vector from at most as many numbers as it has lanes, 0 in the others.
#[inline(always)]
fn load<F: Float, S: Simd>(simd: S, from: &[F]) -> Lanes<F, S> {
    if from.len() == F::LANES {
        return F::Lanes::from_slice(simd, from);
    }
    let mut x = F::Lanes::splat(simd, F::ZERO);
    x.as_mut_slice()[..from.len()].copy_from_slice(from);
    x
}

/// The first lanes of a vector, as many as fit.
#[inline(always)]
fn store<F: Float, S: Simd>(x: impl SimdFloat<S, Element = F>, to: &mut [F]) {
    if to.len() == F::LANES {
        x.store_slice(to);
    } else {
        to.copy_from_slice(&x.as_slice()[..to.len()]);
    }
}
