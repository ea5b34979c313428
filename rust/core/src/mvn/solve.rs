//! Substitution with a lower triangle in float64 lanes: L X = B for a matrix and for a vector, and the same with Lᵀ.
//!
//! Contract. The triangle is kept as −N, N = L with each row divided by its diagonal and the diagonal left out, so that a row of the solution is
//! `X_i = B_i / L_ii + Σ (−N_ik) X_k`, k from 0 up (with Lᵀ from the last row down), one fused multiply-add a term. Lanes are columns, in panels of sixteen that
//! start at the diagonal; four rows run together, which shares loads and changes no operation. A vector's product with a row is striped over eight lanes
//! up to the last multiple of eight, added as in `reduce`, and goes on term by term. Rows are padded to whole vectors; the padding is 0. `eight` does the
//! same operations in the same order for eight rows of the batch at once.

use std::ops::Range;

use crate::float::Float;
use crate::reduce::{Compensated, LaneSum};
use crate::simd::{Fused, Select, Simd, SimdBase, SimdSplit, apart, f64x8};

/// Lanes of float64.
pub(super) const LANES: usize = 8;
/// Columns that run together: two vectors of four rows are eight sums in flight, which hide the multiply-add's latency.
const PANEL: usize = 2 * LANES;
/// Rows that run together.
pub(super) const BLOCK: usize = 4;

/// The padded length of a row of `width` numbers.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

/// A square matrix of float64 whose rows are padded, all zeros.
pub(super) fn square(width: usize) -> Vec<f64> {
    vec![0.0; padded(width) * padded(width)]
}

/// Numbers `at … at + 8` of a row of which `count` are wanted and the rest is 0, whatever stands there.
#[inline(always)]
pub(super) fn load<F: Float, S: Simd>(simd: S, x: &[F], at: usize, count: usize) -> f64x8<S> {
    let live = count.saturating_sub(at);
    if live >= LANES {
        return F::widened(simd, &x[at..at + LANES]);
    }
    let zero = f64x8::splat(simd, 0.0);
    if at + LANES <= x.len() {
        return first(simd, live).select(F::widened(simd, &x[at..at + LANES]), zero);
    }
    let mut part = [0.0; LANES];
    for (part, x) in part.iter_mut().zip(&x[at..at + live]) {
        *part = x.to_f64();
    }
    f64x8::from_slice(simd, &part)
}

/// Rounds lanes to numbers `at … at + 8` of a row, as far as it goes; what is NaN has overflowed on the way, its sign lost, and is +∞.
#[inline(always)]
pub(super) fn store<F: Float, S: Simd>(simd: S, x: f64x8<S>, out: &mut [F], at: usize) {
    let x = x.simd_eq(x).select(x, f64x8::splat(simd, f64::INFINITY));
    if at + LANES <= out.len() {
        F::store_rounded(x, &mut out[at..at + LANES]);
    } else {
        for (out, &x) in out[at..].iter_mut().zip(x.as_slice()) {
            *out = F::from_f64(x);
        }
    }
}

/// The first `n` lanes.
#[inline(always)]
pub(super) fn first<S: Simd>(simd: S, n: usize) -> <f64x8<S> as SimdBase<S>>::Mask {
    lane_numbers(simd).simd_lt(n as f64)
}

/// `x` in lane `lane`, 0 in the others.
#[inline(always)]
pub(super) fn in_lane<S: Simd>(simd: S, lane: usize, x: f64) -> f64x8<S> {
    lane_numbers(simd).simd_eq(lane as f64).select(f64x8::splat(simd, x), f64x8::splat(simd, 0.0))
}

#[inline(always)]
fn lane_numbers<S: Simd>(simd: S) -> f64x8<S> {
    f64x8::from_slice(simd, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
}

/// The sum of the lanes in the order of `reduce`.
#[inline(always)]
pub(super) fn lane_sum<S: Simd>(x: f64x8<S>) -> f64 {
    let (a, b) = x.split();
    let (a, b) = (a + b).split();
    let pair = a + b;
    pair[0] + pair[1]
}

/// A triangle made ready to be solved with.
pub(super) struct Triangle {
    width: usize,
    stride: usize,
    /// −N below the diagonal, 0 elsewhere.
    minus: Vec<f64>,
    /// The diagonal, padded with 1.
    pub(super) diagonal: Vec<f64>,
    /// Its inverse, padded with 0; the inverse of a subnormal number is capped at the largest finite one, so that 0 times it is 0.
    pub(super) inverse: Vec<f64>,
}

impl Triangle {
    /// The identity.
    pub(super) fn new(width: usize) -> Self {
        let stride = padded(width);
        let mut inverse = vec![0.0; stride];
        inverse[..width].fill(1.0);
        Self { width, stride, minus: square(width), diagonal: vec![1.0; stride], inverse }
    }

    /// Rows and columns.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Takes the triangle `tril`.
    #[inline(always)]
    pub(super) fn set<F: Float, S: Simd>(&mut self, simd: S, tril: &[F]) {
        let width = self.width;
        for (diagonal, tril) in self.diagonal.iter_mut().zip(tril.iter().step_by(width + 1)) {
            *diagonal = tril.to_f64();
        }
        for at in (0..width).step_by(LANES) {
            let inverse = 1.0 / f64x8::from_slice(simd, &self.diagonal[at..at + LANES]);
            // A comparison rather than a minimum, so that NaN goes through.
            let inverse = inverse.simd_gt(f64::MAX).select(f64x8::splat(simd, f64::MAX), inverse);
            let live = first(simd, width - at);
            live.select(inverse, f64x8::splat(simd, 0.0)).store_slice(&mut self.inverse[at..at + LANES]);
        }
        let rows = tril.chunks_exact(width).zip(self.minus.chunks_exact_mut(self.stride));
        for (i, (tril, row)) in rows.enumerate() {
            let by = -self.inverse[i];
            for at in (0..i).step_by(LANES) {
                (load::<F, S>(simd, tril, at, i) * by).store_slice(&mut row[at..at + LANES]);
            }
        }
    }

    /// Solves L X = B for lower triangular X where `x` holds B with each row divided by the diagonal, and adds the squares of X to `sum`. Without
    /// `SOLVE` it is `x` itself that is squared, in the same order.
    #[inline(always)]
    pub(super) fn forward<S: Simd, const SOLVE: bool>(&self, simd: S, x: &mut [f64], mut sum: Compensated<S>) -> Compensated<S> {
        for top in (0..self.width).step_by(BLOCK) {
            for panel in (0..=top).step_by(PANEL) {
                // A lane's squares of a block are few enough to be added as they are.
                sum = sum.add(apart(
                    simd,
                    &mut *x,
                    #[inline(always)]
                    |simd, x: &mut [f64]| {
                        if top < panel + LANES {
                            self.forward_block::<S, 1, SOLVE>(simd, x, panel, top)
                        } else {
                            self.forward_block::<S, 2, SOLVE>(simd, x, panel, top)
                        }
                    },
                ));
            }
        }
        sum
    }

    #[inline(always)]
    fn forward_block<S: Simd, const C: usize, const SOLVE: bool>(
        &self,
        simd: S,
        x: &mut [f64],
        panel: usize,
        top: usize,
    ) -> f64x8<S> {
        let stride = self.stride;
        let (solved, open) = x.split_at_mut(top * stride);
        let mut rows = load_block::<S, C>(simd, &open[panel..], stride);
        if SOLVE {
            // The panel's first rows have nothing in its second vector.
            let middle = if C == 1 { top } else { panel + LANES };
            let minus = &self.minus[top * stride..][..BLOCK * stride];
            rows = self.update::<S, 1, C>(simd, rows, &solved[panel * stride..], panel, panel..middle, top);
            if C == 2 {
                rows = self.update::<S, C, C>(simd, rows, &solved[middle * stride..], panel, middle..top, top);
            }
            for r in 1..BLOCK {
                for s in 0..r {
                    let m = minus[r * stride + top + s];
                    let known = rows[s];
                    for (x, known) in rows[r].iter_mut().zip(known) {
                        *x = known.fma(m, *x);
                    }
                }
            }
        }
        let mut squares = f64x8::splat(simd, 0.0);
        for v in 0..C {
            for x in &rows {
                squares = x[v].fma(x[v], squares);
            }
        }
        if SOLVE {
            store_block(&rows, &mut open[panel..], stride);
        }
        squares
    }

    /// Adds to the first `A` vectors of rows `top` and on what the solved rows `columns` give, which `solved` begins with.
    #[inline(always)]
    fn update<S: Simd, const A: usize, const C: usize>(
        &self,
        simd: S,
        mut rows: [[f64x8<S>; C]; BLOCK],
        solved: &[f64],
        panel: usize,
        columns: Range<usize>,
        top: usize,
    ) -> [[f64x8<S>; C]; BLOCK] {
        let minus = |r: usize| &self.minus[(top + r) * self.stride..][columns.clone()];
        // Side by side, so that no index is checked in the loop.
        let rest = minus(0).iter().zip(minus(1)).zip(minus(2)).zip(minus(3));
        for (solved, (((a, b), c), d)) in solved.chunks_exact(self.stride).zip(rest) {
            let solved = load_panel::<S, A>(simd, &solved[panel..]);
            for v in 0..A {
                rows[0][v] = solved[v].fma(*a, rows[0][v]);
                rows[1][v] = solved[v].fma(*b, rows[1][v]);
                rows[2][v] = solved[v].fma(*c, rows[2][v]);
                rows[3][v] = solved[v].fma(*d, rows[3][v]);
            }
        }
        rows
    }

    /// Solves Nᵀ H = X in place, H's lower triangle only; in the lanes above the diagonal it leaves what it likes. Each row times the inverse
    /// diagonal is then that of L⁻ᵀ X.
    #[inline(always)]
    pub(super) fn backward<S: Simd>(&self, simd: S, x: &mut [f64]) {
        for panel in (0..self.width).step_by(PANEL) {
            for block in (panel / BLOCK..self.width.div_ceil(BLOCK)).rev() {
                let top = block * BLOCK;
                apart(
                    simd,
                    &mut *x,
                    #[inline(always)]
                    |simd, x: &mut [f64]| {
                        if top < panel + LANES {
                            self.backward_block::<S, 1>(simd, x, panel, top);
                        } else {
                            self.backward_block::<S, 2>(simd, x, panel, top);
                        }
                    },
                );
            }
        }
    }

    #[inline(always)]
    fn backward_block<S: Simd, const C: usize>(&self, simd: S, x: &mut [f64], panel: usize, top: usize) {
        let stride = self.stride;
        let (open, solved) = x.split_at_mut((top + BLOCK) * stride);
        let open = &mut open[top * stride..];
        let mut rows = load_block::<S, C>(simd, &open[panel..], stride);
        let below = self.width.saturating_sub(top + BLOCK) * stride;
        let solved = solved[..below].chunks_exact(stride).rev();
        let minus = self.minus[(top + BLOCK) * stride..][..below].chunks_exact(stride).rev();
        for (solved, minus) in solved.zip(minus) {
            let solved = load_panel::<S, C>(simd, &solved[panel..]);
            let [a, b, c, d] = [minus[top], minus[top + 1], minus[top + 2], minus[top + 3]];
            for v in 0..C {
                rows[0][v] = solved[v].fma(a, rows[0][v]);
                rows[1][v] = solved[v].fma(b, rows[1][v]);
                rows[2][v] = solved[v].fma(c, rows[2][v]);
                rows[3][v] = solved[v].fma(d, rows[3][v]);
            }
        }
        for r in (0..BLOCK - 1).rev() {
            for s in (r + 1..BLOCK).rev() {
                let m = self.minus[(top + s) * stride + top + r];
                let known = rows[s];
                for (x, known) in rows[r].iter_mut().zip(known) {
                    *x = known.fma(m, *x);
                }
            }
        }
        store_block(&rows, &mut open[panel..], stride);
    }

    /// Solves L y = b in place, where `y` holds b divided by the diagonal.
    #[inline(always)]
    pub(super) fn forward_vector<S: Simd>(&self, simd: S, y: &mut [f64]) {
        for i in 1..self.width {
            let minus = &self.minus[i * self.stride..][..self.stride];
            let whole = i / LANES * LANES;
            let mut value = y[i];
            if whole > 0 {
                let mut lanes = f64x8::splat(simd, 0.0);
                for (m, y) in minus[..whole].chunks_exact(LANES).zip(y.chunks_exact(LANES)) {
                    lanes = f64x8::from_slice(simd, m).fma(f64x8::from_slice(simd, y), lanes);
                }
                value += lane_sum(lanes);
            }
            for (m, y) in minus[whole..i].iter().zip(&y[whole..i]) {
                value = m.mul_add(*y, value);
            }
            y[i] = value;
        }
    }

    /// Solves Nᵀ h = y in place, as [`backward`](Self::backward) does for a matrix.
    #[inline(always)]
    pub(super) fn backward_vector<S: Simd>(&self, simd: S, h: &mut [f64]) {
        for k in (1..self.width).rev() {
            let last = h[k];
            let minus = &self.minus[k * self.stride..][..self.stride];
            for at in (0..k).step_by(LANES) {
                let here = f64x8::from_slice(simd, &h[at..at + LANES]);
                let next = f64x8::from_slice(simd, &minus[at..at + LANES]).fma(last, here);
                // What is solved stays as it is: 0 times an infinity is not 0.
                let next = if k - at < LANES { first(simd, k - at).select(next, here) } else { next };
                next.store_slice(&mut h[at..at + LANES]);
            }
        }
    }

    /// The lower triangle of A B into `out`, for A lower and B upper triangular; in the lanes above the diagonal it leaves what it likes.
    #[inline(always)]
    pub(super) fn product<S: Simd>(&self, simd: S, a: &[f64], b: &[f64], out: &mut [f64]) {
        let stride = self.stride;
        for panel in (0..stride).step_by(PANEL) {
            for top in (panel..self.width).step_by(BLOCK) {
                // B has nothing below its diagonal, nor A above.
                let inner = (top + BLOCK).min(panel + PANEL);
                apart(
                    simd,
                    &mut *out,
                    #[inline(always)]
                    |simd, out: &mut [f64]| {
                        if top < panel + LANES {
                            product_block::<S, 1>(simd, a, b, out, stride, panel, top, inner);
                        } else {
                            product_block::<S, 2>(simd, a, b, out, stride, panel, top, inner);
                        }
                    },
                );
            }
        }
    }
}

#[inline(always)]
fn product_block<S: Simd, const C: usize>(
    simd: S,
    a: &[f64],
    b: &[f64],
    out: &mut [f64],
    stride: usize,
    panel: usize,
    top: usize,
    inner: usize,
) {
    let mut rows = [[f64x8::splat(simd, 0.0); C]; BLOCK];
    let row = |r: usize| &a[(top + r) * stride..][..inner];
    let a = row(0).iter().zip(row(1)).zip(row(2)).zip(row(3));
    for (b, (((p, q), r), s)) in b.chunks_exact(stride).zip(a) {
        let b = load_panel::<S, C>(simd, &b[panel..]);
        for c in 0..C {
            rows[0][c] = b[c].fma(*p, rows[0][c]);
            rows[1][c] = b[c].fma(*q, rows[1][c]);
            rows[2][c] = b[c].fma(*r, rows[2][c]);
            rows[3][c] = b[c].fma(*s, rows[3][c]);
        }
    }
    store_block(&rows, &mut out[top * stride + panel..], stride);
}

// Arrays of lanes are filled in loops: a closure of `array::from_fn` is not always inlined, and then runs without the frame's instructions.
#[inline(always)]
fn load_panel<S: Simd, const C: usize>(simd: S, x: &[f64]) -> [f64x8<S>; C] {
    let mut panel = [f64x8::splat(simd, 0.0); C];
    let x = &x[..C * LANES];
    for c in 0..C {
        panel[c] = f64x8::from_slice(simd, &x[c * LANES..(c + 1) * LANES]);
    }
    panel
}

#[inline(always)]
fn load_block<S: Simd, const C: usize>(simd: S, x: &[f64], stride: usize) -> [[f64x8<S>; C]; BLOCK] {
    let mut rows = [[f64x8::splat(simd, 0.0); C]; BLOCK];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = load_panel(simd, &x[r * stride..]);
    }
    rows
}

#[inline(always)]
fn store_block<S: Simd, const C: usize>(rows: &[[f64x8<S>; C]; BLOCK], x: &mut [f64], stride: usize) {
    for (r, row) in rows.iter().enumerate() {
        for (lanes, x) in row.iter().zip(x[r * stride..].chunks_exact_mut(LANES)) {
            lanes.store_slice(x);
        }
    }
}
