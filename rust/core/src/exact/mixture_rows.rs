//! The density and the score of a mixture: eight rows side by side on float64 lanes, one component after another.
//!
//! The quadratic form of a row and a component is summed in order of the columns, eight at a time, each eight added without loss; a full covariance's
//! by forward substitution. The log density is m + ln Σ exp(sₖ − m), m the largest sₖ, so that nothing under- or overflows before the result does.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mixture::{Factor, Mixture};
use crate::error::Result;
use crate::float::Float;
use crate::rows::{check_finite, check_len};
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdFloat, SimdMask, dispatch, f64x8};
use crate::threads::{RowsMut, for_rows};
use crate::vmath::{exp, ln, two_sum};

/// Rows side by side.
pub(super) const ROWS: usize = 8;

impl Mixture {
    /// ln Σ wₖ N(x; locₖ, Σₖ) of each row of `x`, (rows, width), into `out`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
    pub fn log_evidence<F: Float>(&self, x: &[F], out: &mut [F]) -> Result<()> {
        let rows = out.len();
        check_len("X", x, rows, self.width)?;
        let bad = AtomicBool::new(false);
        for_rows(rows, self.work(), RowsMut::new(out, 1), &|range, out: RowsMut<F>| {
            if dispatch(Density { mixture: self, x, range, out: out.data, grad: None }) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        if bad.into_inner() { check_finite("X", x, self.width) } else { Ok(()) }
    }

    /// [`log_evidence`](Self::log_evidence) of each row and its gradient by the row, Σ rₖ Σₖ⁻¹ (locₖ − x) with rₖ the share of component k in the
    /// row's density: `grad` is (rows, width). Where every component's density leaves the range, the nearest component's alone stands.
    ///
    /// # Errors
    /// As [`log_evidence`](Self::log_evidence).
    pub fn log_evidence_grad<F: Float>(&self, x: &[F], out: &mut [F], grad: &mut [F]) -> Result<()> {
        let rows = out.len();
        check_len("X", x, rows, self.width)?;
        check_len("grad", grad, rows, self.width)?;
        let bad = AtomicBool::new(false);
        let outputs = (RowsMut::new(out, 1), RowsMut::new(grad, self.width));
        for_rows(rows, 2 * self.work(), outputs, &|range, (out, grad): (RowsMut<F>, RowsMut<F>)| {
            if dispatch(Density { mixture: self, x, range, out: out.data, grad: Some(grad.data) }) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        if bad.into_inner() { check_finite("X", x, self.width) } else { Ok(()) }
    }

    /// About a row's cost in nanoseconds.
    pub(super) fn work(&self) -> usize {
        let columns = if matches!(self.factor, Factor::Full { .. }) { self.width * self.width } else { self.width };
        self.constants.len() * (columns / 4 + 4)
    }
}

struct Density<'a, F> {
    mixture: &'a Mixture,
    x: &'a [F],
    range: Range<usize>,
    out: &'a mut [F],
    grad: Option<&'a mut [F]>,
}

impl<F: Float> Kernel for Density<'_, F> {
    /// Whether a row held a NaN or an infinity.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> bool {
        let Mixture { width, ref constants, .. } = *self.mixture;
        let zero = f64x8::splat(simd, 0.0);
        let mut x = vec![zero; width];
        let mut y = vec![zero; width];
        let mut total = vec![zero; if self.grad.is_some() { width } else { 0 }];
        let mut score = vec![zero; constants.len()];
        let mut finite = true;
        for first in self.range.clone().step_by(ROWS) {
            let count = ROWS.min(self.range.end - first);
            let block = &self.x[first * width..(first + count) * width];
            finite &= load(simd, block, &mut x);
            let largest = scores(simd, self.mixture, &x, &mut y, &mut score);
            // Where every density is 0 the shift would be ∞ − ∞.
            let shift = largest.is_finite().select(largest, zero);
            let mut sum = zero;
            for score in &mut score {
                *score = exp::<f64, S>(simd, *score - shift);
                sum += *score;
            }
            let value = shift + ln::<f64, S>(simd, sum);
            let local = first - self.range.start;
            for (out, value) in self.out[local..local + count].iter_mut().zip(value.as_slice()) {
                *out = F::from_f64(*value);
            }
            let Some(grad) = &mut self.grad else { continue };
            let lost = sum.simd_eq(zero);
            if lost.any_true() {
                nearest(simd, self.mixture, &x, &mut y, &mut score, lost);
            }
            let sum = lost.select(f64x8::splat(simd, 1.0), sum);
            total.fill(zero);
            for (k, score) in score.iter().enumerate() {
                whiten(simd, self.mixture, k, &x, &mut y);
                pull(simd, self.mixture, k, &mut y);
                let share = *score / sum;
                // A component without a share may be infinitely far.
                let present = share.simd_gt(0.0);
                for (total, y) in total.iter_mut().zip(&y) {
                    *total -= present.select(share * *y, zero);
                }
            }
            for (j, total) in total.iter().enumerate() {
                // Components that pull with infinite force both ways leave ∞ − ∞.
                let total = total.is_nan().select(f64x8::splat(simd, f64::INFINITY), *total);
                for (l, value) in total.as_slice().iter().take(count).enumerate() {
                    grad[(local + l) * width + j] = F::from_f64(*value);
                }
            }
        }
        !finite
    }
}

/// At most eight rows side by side, zeros in the lanes past them; whether all numbers are finite.
#[inline(always)]
pub(super) fn load<F: Float, S: Simd>(simd: S, rows: &[F], x: &mut [f64x8<S>]) -> bool {
    let width = x.len();
    let mut finite = true;
    for (j, x) in x.iter_mut().enumerate() {
        *x = f64x8::from_fn(simd, |l| rows.get(l * width + j).map_or(0.0, |x| x.to_f64()));
        finite &= !(!x.is_finite()).any_true();
    }
    finite
}

/// ln wₖ N(x; k) of each component, and the largest of them.
#[inline(always)]
pub(super) fn scores<S: Simd>(simd: S, mixture: &Mixture, x: &[f64x8<S>], y: &mut [f64x8<S>], scores: &mut [f64x8<S>]) -> f64x8<S> {
    let mut largest = f64x8::splat(simd, f64::NEG_INFINITY);
    for (k, (score, constant)) in scores.iter_mut().zip(&mixture.constants).enumerate() {
        let square = whiten(simd, mixture, k, x, y);
        *score = square.fma(-0.5, f64x8::splat(simd, *constant));
        largest = score.simd_gt(largest).select(*score, largest);
    }
    largest
}

/// y = L⁻¹ (x − loc) of component k, and Σ y².
#[inline(always)]
fn whiten<S: Simd>(simd: S, mixture: &Mixture, k: usize, x: &[f64x8<S>], y: &mut [f64x8<S>]) -> f64x8<S> {
    let width = mixture.width;
    let loc = &mixture.locs[k * width..][..width];
    match &mixture.factor {
        Factor::Diagonal { inverse, .. } => {
            let inverse = &inverse[k * width..][..width];
            for (((y, x), loc), inverse) in y.iter_mut().zip(x).zip(loc).zip(inverse) {
                *y = (*x - *loc) * *inverse;
            }
        }
        Factor::Full { lower, inverse } => {
            for i in 0..width {
                let row = &lower[(k * width + i) * width..][..i];
                let (before, after) = y.split_at_mut(i);
                let mut rest = x[i] - loc[i];
                for (l, y) in row.iter().zip(before) {
                    rest = (-*y).fma(*l, rest);
                }
                after[0] = rest * inverse[k * width + i];
            }
        }
    }
    let zero = f64x8::splat(simd, 0.0);
    let (mut sum, mut error) = (zero, zero);
    for eight in y.chunks(8) {
        let mut part = zero;
        for y in eight {
            part = y.fma(*y, part);
        }
        let (next, lost) = two_sum::<f64, S>(sum, part);
        (sum, error) = (next, error + lost);
    }
    // Beside an infinite part the error is ∞ − ∞, and so may be a substitution's: the row is then infinitely far.
    let total = sum + error;
    let far = f64x8::splat(simd, f64::INFINITY);
    sum.is_finite().select(total, far)
}

/// L⁻ᵀ y in place of y.
#[inline(always)]
fn pull<S: Simd>(simd: S, mixture: &Mixture, k: usize, y: &mut [f64x8<S>]) {
    let width = mixture.width;
    match &mixture.factor {
        Factor::Diagonal { inverse, .. } => {
            for (y, inverse) in y.iter_mut().zip(&inverse[k * width..]) {
                *y *= *inverse;
            }
        }
        Factor::Full { lower, inverse } => {
            for i in (0..width).rev() {
                let (before, after) = y.split_at_mut(i);
                let value = after[0] * inverse[k * width + i];
                // Only what has left the range can be ∞ − ∞.
                let value = value.is_nan().select(f64x8::splat(simd, f64::INFINITY), value);
                after[0] = value;
                let row = &lower[(k * width + i) * width..][..i];
                for (y, l) in before.iter_mut().zip(row) {
                    *y = (-value).fma(*l, *y);
                }
            }
        }
    }
}

/// In the `lost` lanes, whose rows are further than float64 can square: a share of 1 for the nearest component, by the largest of its |y|.
#[inline(always)]
pub(super) fn nearest<S: Simd>(
    simd: S,
    mixture: &Mixture,
    x: &[f64x8<S>],
    y: &mut [f64x8<S>],
    shares: &mut [f64x8<S>],
    lost: <f64x8<S> as SimdBase<S>>::Mask,
) {
    let mut best = f64x8::splat(simd, f64::INFINITY);
    let mut index = f64x8::splat(simd, 0.0);
    for k in 0..shares.len() {
        whiten(simd, mixture, k, x, y);
        let mut far = f64x8::splat(simd, 0.0);
        for y in &*y {
            far = far.max(y.abs());
        }
        let closer = far.simd_lt(best);
        best = closer.select(far, best);
        index = closer.select(f64x8::splat(simd, k as f64), index);
    }
    for (k, share) in shares.iter_mut().enumerate() {
        let mine = index.simd_eq(k as f64).select(f64x8::splat(simd, 1.0), f64x8::splat(simd, 0.0));
        *share = lost.select(mine, *share);
    }
}
