//! KL(q ‖ p) of eight rows of the batch at once, a lane each, where triangles differ by row.
//!
//! Contract. Each lane runs the operations of one row in `solve` and `kl`, in their order, so a row has the same bits here, there and in any company.
//! Nothing waits for a lane's neighbour, and above the diagonals nothing is computed: width³/6 multiply-adds for the eight. Triangles are read
//! from the top, four rows of each, turned so that a vector holds one entry of all eight, and solved with at once: of p only those four rows are
//! kept, of X all, in panels of four columns.

use super::Tril;
use super::kl::log_excess;
use super::solve::{BLOCK, LANES, load as partial};
use crate::float::Float;
use crate::reduce::{Compensated, LaneSum, transposed};
use crate::simd::{Fused, Select, Simd, SimdBase, SimdMask, f64x8};

/// One number of each of the eight rows, in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Lanes([f64; LANES]);

impl Lanes {
    const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    fn load<S: Simd>(&self, simd: S) -> f64x8<S> {
        f64x8::from_slice(simd, &self.0)
    }

    #[inline(always)]
    fn store<S: Simd>(&mut self, x: f64x8<S>) {
        x.store_slice(&mut self.0);
    }
}

type Quad<S> = [f64x8<S>; BLOCK];

/// What the rows of a batch are, q's and p's.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a, F> {
    pub(super) loc: &'a [F],
    pub(super) tril: Tril<'a, F>,
    pub(super) prior_loc: &'a [F],
    pub(super) prior_tril: Tril<'a, F>,
}

/// The working memory of eight rows.
pub(super) struct Eight {
    width: usize,
    /// The width in whole blocks.
    height: usize,
    /// −N of the four rows at hand, column by column.
    minus: Vec<[Lanes; BLOCK]>,
    /// L₁ − L₂ and then X, `height` rows for each four columns.
    x: Vec<[Lanes; BLOCK]>,
    /// L₁ from the first column of the vector that holds the diagonal.
    ours: [Lanes; LANES],
    /// 2 (x − ln(1 + x)).
    excess: Vec<Lanes>,
    y: Vec<Lanes>,
}

impl Eight {
    pub(super) fn new(width: usize) -> Self {
        let height = width.next_multiple_of(BLOCK);
        let zero = [Lanes::ZERO; BLOCK];
        Self {
            width,
            height,
            minus: vec![zero; height],
            x: vec![zero; height * height / BLOCK],
            ours: [Lanes::ZERO; LANES],
            excess: vec![Lanes::ZERO; width],
            y: vec![Lanes::ZERO; width],
        }
    }

    /// Twice the divergences of `rows`, and whether all their diagonals are positive.
    #[inline(always)]
    pub(super) fn twice_kl<F: Float, S: Simd>(&mut self, simd: S, batch: Batch<F>, rows: [usize; LANES]) -> (f64x8<S>, bool) {
        let width = self.width;
        let mut sums = [Compensated::zero(simd); LANES];
        let mut positive = true;
        self.means(simd, batch, rows);
        for top in (0..width).step_by(BLOCK) {
            let mut inverse = [f64x8::splat(simd, 0.0); BLOCK];
            for r in 0..BLOCK {
                if top + r < width {
                    let sound;
                    (inverse[r], sound) = self.row(simd, batch, rows, top + r);
                    positive &= sound;
                } else {
                    self.pad(top, r);
                }
            }
            self.forward_vector(simd, top, inverse);
            // A lane's sums are of the columns that are the same modulo eight, over panels of sixteen columns.
            for (panel, half) in (0..=top).step_by(2 * LANES).flat_map(|panel| [(panel, 0), (panel, BLOCK)]) {
                let mut squares = [f64x8::splat(simd, 0.0); BLOCK];
                for column in [panel + half, panel + LANES + half] {
                    if column < top {
                        self.block::<S, false>(simd, column, top, inverse, &mut squares);
                    } else if column == top {
                        self.block::<S, true>(simd, column, top, inverse, &mut squares);
                    }
                }
                for c in 0..BLOCK {
                    sums[half + c] = sums[half + c].add(squares[c]);
                }
            }
        }
        for (excess, l) in self.excess.iter().zip((0..LANES).cycle()) {
            sums[l] = sums[l].add(excess.load(simd));
        }
        for (y, l) in self.y.iter().zip((0..LANES).cycle()) {
            let y = y.load(simd);
            sums[l] = sums[l].add(y * y);
        }
        (Compensated::finish_lanes(sums), positive)
    }

    /// loc − `prior_loc`, to be divided by the diagonal.
    #[inline(always)]
    fn means<F: Float, S: Simd>(&mut self, simd: S, batch: Batch<F>, rows: [usize; LANES]) {
        let width = self.width;
        let one = batch.prior_loc.len() == width;
        for (i, y) in self.y.chunks_mut(LANES).enumerate() {
            let mut starts = rows;
            for (start, row) in starts.iter_mut().zip(rows) {
                *start = row * width + i * LANES;
            }
            let ours = by_column(simd, batch.loc, starts);
            let theirs = if one { of_one(simd, &batch.prior_loc[i * LANES..]) } else { by_column(simd, batch.prior_loc, starts) };
            for (y, (ours, theirs)) in y.iter_mut().zip(ours.into_iter().zip(theirs)) {
                y.store(ours - theirs);
            }
        }
    }

    /// Takes row `i` of the triangles: −N, L₁ − L₂ and x − ln(1 + x). The inverse of p's diagonal, and whether both diagonals are positive.
    #[inline(always)]
    fn row<F: Float, S: Simd>(&mut self, simd: S, batch: Batch<F>, rows: [usize; LANES], i: usize) -> (f64x8<S>, bool) {
        let (width, height, r) = (self.width, self.height, i % BLOCK);
        for at in (0..=i).step_by(LANES) {
            let ours = entries(simd, batch.tril, rows, width, i * width + at);
            let theirs = entries(simd, batch.prior_tril, rows, width, i * width + at);
            for (minus, theirs) in self.minus[at..].iter_mut().zip(theirs) {
                minus[r].store(theirs);
            }
            for half in [0, BLOCK] {
                if at + half < height {
                    let x = &mut self.x[(at + half) / BLOCK * height + i];
                    for c in 0..BLOCK {
                        x[c].store(ours[half + c] - theirs[half + c]);
                    }
                }
            }
            if i - at < LANES {
                for (lanes, ours) in self.ours.iter_mut().zip(ours) {
                    lanes.store(ours);
                }
            }
        }
        let zero = f64x8::splat(simd, 0.0);
        let (ours, theirs) = (self.ours[i % LANES].load(simd), self.minus[i][r].load(simd));
        let inverse = 1.0 / theirs;
        // As the triangle's.
        let inverse = inverse.simd_gt(f64::MAX).select(f64x8::splat(simd, f64::MAX), inverse);
        let by = -inverse;
        for minus in &mut self.minus[..i] {
            let n = minus[r].load(simd) * by;
            minus[r].store(n);
        }
        let excess = log_excess(simd, (ours - theirs) * inverse, ours, theirs);
        self.excess[i].store(excess + excess);
        (inverse, (ours.simd_gt(zero) & theirs.simd_gt(zero)).all_true())
    }

    /// Row `r` of the block at `top`, past the triangles' last.
    #[inline(always)]
    fn pad(&mut self, top: usize, r: usize) {
        for minus in &mut self.minus {
            minus[r] = Lanes::ZERO;
        }
        for column in 0..=top / BLOCK {
            self.x[column * self.height + top + r] = [Lanes::ZERO; BLOCK];
        }
    }

    /// Solves for four rows of four columns, `column ≤ top` the first, and adds their squares by column.
    #[inline(always)]
    fn block<S: Simd, const DIAGONAL: bool>(
        &mut self,
        simd: S,
        column: usize,
        top: usize,
        inverse: Quad<S>,
        squares: &mut Quad<S>,
    ) {
        let zero = f64x8::splat(simd, 0.0);
        let (solved, open) = self.x[column / BLOCK * self.height..][..self.height].split_at_mut(top);
        let open = &mut open[..BLOCK];
        let mut x = [[zero; BLOCK]; BLOCK];
        for r in 0..BLOCK {
            for c in 0..BLOCK {
                if !DIAGONAL || c <= r {
                    x[r][c] = open[r][c].load(simd) * inverse[r];
                }
            }
        }
        for (minus, solved) in self.minus[column..top].iter().zip(&solved[column..]) {
            let known = load(simd, solved);
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
                let m = minus[s][r].load(simd);
                for c in 0..if DIAGONAL { s + 1 } else { BLOCK } {
                    x[r][c] = x[s][c].fma(m, x[r][c]);
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
    fn forward_vector<S: Simd>(&mut self, simd: S, top: usize, inverse: Quad<S>) {
        let zero = f64x8::splat(simd, 0.0);
        let whole = top / LANES * LANES;
        let (solved, open) = self.y.split_at_mut(top);
        let mut y = [zero; BLOCK];
        for (y, (open, inverse)) in y.iter_mut().zip(open.iter().zip(inverse)) {
            *y = open.load(simd) * inverse;
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
        for (open, y) in open.iter_mut().zip(y) {
            open.store(y);
        }
    }
}

#[inline(always)]
fn load<S: Simd>(simd: S, x: &[Lanes; BLOCK]) -> Quad<S> {
    let mut quad = [f64x8::splat(simd, 0.0); BLOCK];
    for (quad, x) in quad.iter_mut().zip(x) {
        *quad = x.load(simd);
    }
    quad
}

/// Entries `at … at + 8` of the rows' triangles, one a vector; what is past a triangle's row is anything.
#[inline(always)]
fn entries<F: Float, S: Simd>(simd: S, tril: Tril<F>, rows: [usize; LANES], width: usize, at: usize) -> [f64x8<S>; LANES] {
    match tril {
        Tril::Shared(data) => of_one(simd, &data[at..]),
        Tril::ByRow(data) => {
            let mut starts = rows;
            for start in &mut starts {
                *start = *start * width * width + at;
            }
            by_column(simd, data, starts)
        }
    }
}

/// Vector c holds number c after each of the starts.
#[inline(always)]
fn by_column<F: Float, S: Simd>(simd: S, data: &[F], starts: [usize; LANES]) -> [f64x8<S>; LANES] {
    let mut lanes = [f64x8::splat(simd, 0.0); LANES];
    for (lanes, start) in lanes.iter_mut().zip(starts) {
        *lanes = match data.get(start..start + LANES) {
            Some(all) => F::widened(simd, all),
            None => partial::<F, S>(simd, &data[start..], 0, data.len() - start),
        };
    }
    transposed(lanes)
}

/// The first eight numbers, each in every lane.
#[inline(always)]
fn of_one<F: Float, S: Simd>(simd: S, data: &[F]) -> [f64x8<S>; LANES] {
    let mut lanes = [f64x8::splat(simd, 0.0); LANES];
    for (lanes, x) in lanes.iter_mut().zip(data) {
        *lanes = f64x8::splat(simd, x.to_f64());
    }
    lanes
}
