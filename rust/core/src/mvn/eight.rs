//! KL(q ‖ p) of eight rows of the batch at once, a lane each, where triangles differ by row.
//!
//! Contract. Each lane runs the operations of one row in `solve` and `kl`, in their order, so a row has the same bits here, there and in any company.
//! Nothing waits for a lane's neighbour, and above the diagonals nothing is computed: width³/6 multiply-adds for the eight. Triangles are read
//! from the top, four rows of each, turned so that a vector holds one entry of all eight, and solved with at once: of p only those four rows are
//! kept, of X all, in panels of four columns.

use super::Tril;
use super::kl::log_excess;
use super::solve::{BLOCK, LANES, padded};
use crate::float::Float;
use crate::reduce::{Compensated, LaneSum};
use crate::simd::{Fused, Select, Simd, SimdBase, SimdMask, apart, ask_for, f64x8};

/// Rows of the triangles from the one at hand to the one that is asked for, where they lie far away: sixteen arrays at once.
const AHEAD: usize = 2;
/// Bytes of a cache line.
const LINE: usize = 64;

/// One number of each of the eight rows, in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lanes([f64; LANES]);

impl Lanes {
    const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    fn of<S: Simd>(x: f64x8<S>) -> Self {
        let mut lanes = Self::ZERO;
        lanes.store(x);
        lanes
    }

    #[inline(always)]
    fn load<S: Simd>(&self, simd: S) -> f64x8<S> {
        f64x8::from_slice(simd, &self.0)
    }

    #[inline(always)]
    fn store<S: Simd>(&mut self, x: f64x8<S>) {
        x.store_slice(&mut self.0);
    }
}

/// What the rows of a batch are, q's and p's.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a, F> {
    pub(super) loc: &'a [F],
    pub(super) tril: Tril<'a, F>,
    pub(super) prior_loc: &'a [F],
    pub(super) prior_tril: Tril<'a, F>,
}

/// The working memory of eight rows.
pub(super) struct Eight<'a> {
    width: usize,
    /// The width in whole blocks.
    height: usize,
    /// Rows from one panel of X to the next: odd, lest a row's entries, which are stored together, fall on the same few sets of the cache.
    stride: usize,
    /// The diagonals of L₁ and of L₂, and what L₂'s rows are divided by; padded to whole blocks.
    diagonal: &'a mut [[Lanes; 2]],
    inverse: &'a mut [Lanes],
    /// Eight entries of a row of L₁ and of L₂, the diagonals' among them.
    piece: [[Lanes; 2]; LANES],
    /// −N of the four rows at hand, column by column.
    minus: &'a mut [[Lanes; BLOCK]],
    /// X, a panel for each four columns; before that, of the four rows at hand, L₁ − L₂ divided by the diagonal.
    x: &'a mut [[Lanes; BLOCK]],
    /// y, and before that loc − `prior_loc`; padded to whole vectors.
    y: &'a mut [Lanes],
    /// Whether the triangles lie far away.
    far: bool,
}

impl<'a> Eight<'a> {
    /// Puts itself up in `memory`, all of it in one piece, whose making is a good part of a small batch's time.
    #[inline(always)]
    pub(super) fn new(width: usize, far: bool, memory: &'a mut Vec<Lanes>) -> Self {
        let height = width.next_multiple_of(BLOCK);
        let stride = height + 1;
        let parts = [2 * height, height, BLOCK * height, stride * height, padded(width)];
        memory.resize(parts.iter().sum(), Lanes::ZERO);
        let (diagonal, rest) = memory.split_at_mut(parts[0]);
        let (inverse, rest) = rest.split_at_mut(parts[1]);
        let (minus, rest) = rest.split_at_mut(parts[2]);
        let (x, y) = rest.split_at_mut(parts[3]);
        let (diagonal, minus, x) = (diagonal.as_chunks_mut().0, minus.as_chunks_mut().0, x.as_chunks_mut().0);
        Self {
            width,
            height,
            stride,
            diagonal: &mut diagonal[..width],
            inverse,
            piece: [[Lanes::ZERO; 2]; LANES],
            minus,
            x,
            y,
            far,
        }
    }

    /// Twice the divergences of `rows`, and whether all their diagonals are positive.
    #[inline(always)]
    pub(super) fn twice_kl<F: Float, S: Simd>(&mut self, simd: S, batch: Batch<F>, rows: [usize; LANES]) -> (f64x8<S>, bool) {
        let width = self.width;
        let cells = width * width;
        let one_loc = batch.prior_loc.len() == width;
        let ours = views(batch.tril.data(), rows, cells, batch.tril.shared());
        let theirs = views(batch.prior_tril.data(), rows, cells, batch.prior_tril.shared());
        self.means(simd, &views(batch.loc, rows, width, false), &views(batch.prior_loc, rows, width, one_loc));
        let mut sums = [Compensated::zero(simd); LANES];
        for top in (0..width).step_by(BLOCK) {
            for i in top..top + BLOCK {
                if i < width {
                    self.row(simd, &ours, &theirs, i);
                } else {
                    self.pad(i);
                }
            }
            self.forward_vector(simd, top);
            // A lane's sums are of the columns that are the same modulo eight, over panels of sixteen columns.
            for (panel, half) in (0..=top).step_by(2 * LANES).flat_map(|panel| [(panel, 0), (panel, BLOCK)]) {
                let mut squares = [f64x8::splat(simd, 0.0); BLOCK];
                for column in [panel + half, panel + LANES + half] {
                    if column > top {
                        continue;
                    }
                    apart(
                        simd,
                        (&mut *self, &mut squares),
                        #[inline(always)]
                        |simd, (eight, squares): (&mut Self, &mut [f64x8<S>; BLOCK])| {
                            if column < top {
                                eight.block::<S, false>(simd, column, top, squares);
                            } else {
                                eight.block::<S, true>(simd, column, top, squares);
                            }
                        },
                    );
                }
                for c in 0..BLOCK {
                    sums[half + c] = sums[half + c].add(squares[c]);
                }
            }
        }
        let zero = f64x8::splat(simd, 0.0);
        let mut positive = zero.simd_eq(zero);
        for (([ours, theirs], inverse), l) in self.diagonal.iter().zip(&*self.inverse).zip((0..LANES).cycle()) {
            let (ours, theirs) = (ours.load(simd), theirs.load(simd));
            positive = positive & ours.simd_gt(zero) & theirs.simd_gt(zero);
            let excess = log_excess(simd, (ours - theirs) * inverse.load(simd), ours, theirs);
            sums[l] = sums[l].add(excess + excess);
        }
        for (y, l) in self.y[..width].iter().zip((0..LANES).cycle()) {
            let y = y.load(simd);
            sums[l] = sums[l].add(y * y);
        }
        (Compensated::finish_lanes(sums), positive.all_true())
    }

    /// loc − `prior_loc`.
    #[inline(always)]
    fn means<F: Float, S: Simd>(&mut self, simd: S, ours: &[&[F]; LANES], theirs: &[&[F]; LANES]) {
        for (i, y) in self.y.chunks_exact_mut(LANES).enumerate() {
            let ours = by_column(simd, ours, i * LANES);
            let theirs = by_column(simd, theirs, i * LANES);
            for l in 0..LANES {
                y[l].store(ours[l] - theirs[l]);
            }
        }
    }

    /// Takes row `i` of the triangles.
    #[inline(always)]
    fn row<F: Float, S: Simd>(&mut self, simd: S, ours: &[&[F]; LANES], theirs: &[&[F]; LANES], i: usize) {
        let (stride, r) = (self.stride, i % BLOCK);
        if self.far {
            self.ask_for_row(simd, ours, i + AHEAD);
            self.ask_for_row(simd, theirs, i + AHEAD);
        }
        let mut inverse = f64x8::splat(simd, 0.0);
        // From the diagonal on, by which all is divided.
        for at in (0..=i / LANES).rev().map(|piece| piece * LANES) {
            let ours = by_column(simd, ours, i * self.width + at);
            let theirs = by_column(simd, theirs, i * self.width + at);
            if i - at < LANES {
                for l in 0..LANES {
                    self.piece[l] = [Lanes::of(ours[l]), Lanes::of(theirs[l])];
                }
                self.diagonal[i] = self.piece[i - at];
                inverse = 1.0 / self.piece[i - at][1].load(simd);
                // As the triangle's.
                inverse = inverse.simd_gt(f64::MAX).select(f64x8::splat(simd, f64::MAX), inverse);
                self.inverse[i].store(inverse);
            }
            let by = -inverse;
            for half in [0, BLOCK] {
                if at + half <= i {
                    let minus = &mut self.minus[at + half..][..BLOCK];
                    let x = &mut self.x[(at + half) / BLOCK * stride + i];
                    for c in 0..BLOCK {
                        minus[c][r].store(theirs[half + c] * by);
                        x[c].store((ours[half + c] - theirs[half + c]) * inverse);
                    }
                }
            }
        }
    }

    /// Asks for row `i` of the triangles, or of those of the next eight rows of the batch.
    #[inline(always)]
    fn ask_for_row<F: Float, S: Simd>(&self, simd: S, triangles: &[&[F]; LANES], i: usize) {
        if triangles[0].as_ptr() == triangles[1].as_ptr() {
            // One for all, which is at hand.
            return;
        }
        let (row, next) = if i < self.width { (i, 0) } else { (i - self.width, LANES * self.width * self.width) };
        let from = next + row * self.width;
        // The last need not begin a line.
        for column in (0..row).step_by(LINE / size_of::<F>()).chain([row]) {
            for triangle in triangles {
                ask_for(simd, triangle.as_ptr().wrapping_add(from + column));
            }
        }
    }

    /// Row `i` where the triangles have none.
    #[inline(always)]
    fn pad(&mut self, i: usize) {
        for minus in &mut *self.minus {
            minus[i % BLOCK] = Lanes::ZERO;
        }
        for column in 0..=i / BLOCK {
            self.x[column * self.stride + i] = [Lanes::ZERO; BLOCK];
        }
    }

    /// Solves for four rows of four columns, `column ≤ top` the first, and adds their squares by column.
    #[inline(always)]
    fn block<S: Simd, const DIAGONAL: bool>(&mut self, simd: S, column: usize, top: usize, squares: &mut [f64x8<S>; BLOCK]) {
        let zero = f64x8::splat(simd, 0.0);
        let (solved, open) = self.x[column / BLOCK * self.stride..][..self.height].split_at_mut(top);
        let open = &mut open[..BLOCK];
        let mut x = [[zero; BLOCK]; BLOCK];
        for r in 0..BLOCK {
            for c in 0..BLOCK {
                if !DIAGONAL || c <= r {
                    x[r][c] = open[r][c].load(simd);
                }
            }
        }
        for (minus, solved) in self.minus[column..top].iter().zip(&solved[column..]) {
            let mut known = [zero; BLOCK];
            for c in 0..BLOCK {
                known[c] = solved[c].load(simd);
            }
            for r in 0..BLOCK {
                let m = minus[r].load(simd);
                for c in 0..BLOCK {
                    x[r][c] = known[c].fma(m, x[r][c]);
                }
            }
        }
        let minus = &self.minus[top..top + BLOCK];
        for r in 1..BLOCK {
            for s in 0..r {
                let (m, known) = (minus[s][r].load(simd), x[s]);
                for c in 0..BLOCK {
                    if !DIAGONAL || c <= s {
                        x[r][c] = known[c].fma(m, x[r][c]);
                    }
                }
            }
        }
        for r in 0..BLOCK {
            for c in 0..BLOCK {
                if !DIAGONAL || c <= r {
                    squares[c] = x[r][c].fma(x[r][c], squares[c]);
                }
                open[r][c].store(x[r][c]);
            }
        }
    }

    /// Solves for four rows of y.
    #[inline(always)]
    fn forward_vector<S: Simd>(&mut self, simd: S, top: usize) {
        let zero = f64x8::splat(simd, 0.0);
        let whole = top / LANES * LANES;
        let (solved, open) = self.y.split_at_mut(top);
        let open = &mut open[..BLOCK];
        let mut y = [zero; BLOCK];
        for r in 0..BLOCK {
            y[r] = open[r].load(simd) * self.inverse[top + r].load(simd);
        }
        if whole > 0 {
            for pair in [0, 2] {
                let mut stripes = [[zero; LANES]; 2];
                for (minus, solved) in self.minus[..whole].chunks_exact(LANES).zip(solved.chunks_exact(LANES)) {
                    for l in 0..LANES {
                        let known = solved[l].load(simd);
                        for r in 0..2 {
                            stripes[r][l] = minus[l][pair + r].load(simd).fma(known, stripes[r][l]);
                        }
                    }
                }
                for r in 0..2 {
                    let [a, b, c, d, e, f, g, h] = stripes[r];
                    y[pair + r] += ((a + e) + (c + g)) + ((b + f) + (d + h));
                }
            }
        }
        for (minus, solved) in self.minus[whole..top].iter().zip(&solved[whole..]) {
            let known = solved.load(simd);
            for r in 0..BLOCK {
                y[r] = minus[r].load(simd).fma(known, y[r]);
            }
        }
        let minus = &self.minus[top..top + BLOCK];
        for r in 1..BLOCK {
            for s in 0..r {
                y[r] = minus[s][r].load(simd).fma(y[s], y[r]);
            }
        }
        for r in 0..BLOCK {
            open[r].store(y[r]);
        }
    }
}

/// The data from each row's numbers on, `each` a row or one row for all; as far as is possible for all.
#[inline(always)]
fn views<F>(data: &[F], rows: [usize; LANES], each: usize, one: bool) -> [&[F]; LANES] {
    let each = if one { 0 } else { each };
    // Of one length, so that one check serves all.
    let len = data.len() - rows[LANES - 1] * each;
    let [a, b, c, d, e, f, g, h] = rows;
    [
        &data[a * each..][..len],
        &data[b * each..][..len],
        &data[c * each..][..len],
        &data[d * each..][..len],
        &data[e * each..][..len],
        &data[f * each..][..len],
        &data[g * each..][..len],
        &data[h * each..][..len],
    ]
}

/// Numbers `at … at + 8` of each row, one of all rows a vector; what is past the end of the data is 0.
#[inline(always)]
fn by_column<F: Float, S: Simd>(simd: S, rows: &[&[F]; LANES], at: usize) -> [f64x8<S>; LANES] {
    let last;
    let (rows, at) = if at + LANES <= rows[0].len() {
        (*rows, at)
    } else {
        last = last_numbers(rows, at);
        (last.each_ref().map(|row| &row[..]), 0)
    };
    let [first, second] = [four_by_column(simd, &rows, at), four_by_column(simd, &rows, at + BLOCK)];
    [first[0], first[1], first[2], first[3], second[0], second[1], second[2], second[3]]
}

/// Numbers `at … at + 4` of each row.
#[inline(always)]
fn four_by_column<F: Float, S: Simd>(simd: S, rows: &[&[F]; LANES], at: usize) -> [f64x8<S>; BLOCK] {
    // Lane 4 h + c of vector v is number c of row 2 v + h. Parting even lanes from odd ones exchanges the lowest bit of the lane's number
    // with one of the vector's, and moves the others down.
    let mut pairs = [f64x8::splat(simd, 0.0); BLOCK];
    for v in 0..BLOCK {
        pairs[v] = F::widened_halves(simd, &rows[2 * v][at..at + BLOCK], &rows[2 * v + 1][at..at + BLOCK]);
    }
    let (a, b) = pairs[0].deinterleave(pairs[1]);
    let (c, d) = pairs[2].deinterleave(pairs[3]);
    let (p, q) = a.deinterleave(c);
    let (r, s) = b.deinterleave(d);
    [p, r, q, s]
}

#[cold]
#[inline(never)]
fn last_numbers<F: Float>(rows: &[&[F]; LANES], at: usize) -> [[F; LANES]; LANES] {
    let mut last = [[F::ZERO; LANES]; LANES];
    for (last, row) in last.iter_mut().zip(rows) {
        for (last, x) in last.iter_mut().zip(&row[at..]) {
            *last = *x;
        }
    }
    last
}
