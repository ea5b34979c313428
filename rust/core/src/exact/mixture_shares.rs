//! The latent component of a mixture: its posterior, the bound for any assignment of rows to components, and what that falls short by.
//!
//! With sₖ = ln wₖ N(x; k) and ρₖ = exp(sₖ − log p(x)): the bound is Σ rₖ (sₖ − ln rₖ), and the gap Σ rₖ (eᵛ − 1 − v), v = ln ρₖ − ln rₖ, which is KL(r ‖ ρ) since r
//! and ρ both sum to 1; no term of it is negative. Where rₖ = 0 its term is ρₖ. Shares are divided by their sum, which must be 1 but for rounding.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mixture::Mixture;
use super::mixture_rows::{ROWS, load, nearest, scores};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::{check_finite, check_len};
use crate::simd::{Kernel, Select, Simd, SimdBase, SimdFloat, SimdMask, dispatch, f64x8};
use crate::threads::{RowsMut, for_rows};
use crate::vmath::{exp, exp_excess, ln};

/// How far from 1 a row's shares may sum: what float32 shares lose.
const SUM_TOLERANCE: f64 = 1e-5;

impl Mixture {
    /// p(k | x) of each row of `x`, (rows, width), into `out`, (rows, components). Where every component's density leaves the range, the nearest has it all.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`].
    pub fn responsibilities<F: Float>(&self, x: &[F], out: &mut [F]) -> Result<()> {
        let components = self.weights().len();
        let rows = x.len() / self.width;
        check_len("X", x, rows, self.width)?;
        check_len("responsibilities", out, rows, components)?;
        self.pass(x, RowsMut::new(out, components), Task::Shares)
    }

    /// `E_r[ln wₖ N(x; k) − ln rₖ]` of each row for the assignment `shares`, (rows, components).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Support`] for a negative share and [`Error::Value`] for a row's that do not sum to 1.
    pub fn elbo<F: Float>(&self, x: &[F], shares: &[F], out: &mut [F]) -> Result<()> {
        self.check_shares(x, shares, out.len())?;
        self.pass(x, RowsMut::new(out, 1), Task::Elbo(shares))
    }

    /// KL(r ‖ p(k | x)) of each row, p(k | x) as [`responsibilities`](Self::responsibilities) has it: never negative, with its relative accuracy near 0.
    ///
    /// # Errors
    /// As [`elbo`](Self::elbo).
    pub fn gap<F: Float>(&self, x: &[F], shares: &[F], out: &mut [F]) -> Result<()> {
        self.check_shares(x, shares, out.len())?;
        self.pass(x, RowsMut::new(out, 1), Task::Gap(shares))
    }

    fn check_shares<F: Float>(&self, x: &[F], shares: &[F], rows: usize) -> Result<()> {
        let components = self.weights().len();
        check_len("X", x, rows, self.width)?;
        check_len("responsibilities", shares, rows, components)?;
        check_finite("responsibilities", shares, components)?;
        for (row, shares) in shares.chunks_exact(components).enumerate() {
            if let Some(column) = shares.iter().position(|r| r.to_f64() < 0.0) {
                let (value, expected) = (shares[column].to_f64(), "shares, none of them negative".into());
                let cure = "give probabilities".into();
                return Err(Error::Support { argument: "responsibilities", expected, row, column, value, cure });
            }
            let total: f64 = shares.iter().map(|r| r.to_f64()).sum();
            if (total - 1.0).abs() > SUM_TOLERANCE {
                let got = format!("{total} in row {row}");
                return Err(Error::value("responsibilities", "rows that sum to 1", got, "divide each row by its sum"));
            }
        }
        Ok(())
    }

    fn pass<F: Float>(&self, x: &[F], out: RowsMut<F>, task: Task<F>) -> Result<()> {
        let bad = AtomicBool::new(false);
        let rows = out.data.len() / out.width;
        for_rows(rows, self.work(), out, &|range, out: RowsMut<F>| {
            if dispatch(Shares { mixture: self, x, range, task, out: out.data }) {
                bad.store(true, Ordering::Relaxed);
            }
        });
        if bad.into_inner() { check_finite("X", x, self.width) } else { Ok(()) }
    }
}

/// What is wanted of rows; shares are those of all rows.
#[derive(Clone, Copy)]
enum Task<'a, F> {
    Shares,
    Elbo(&'a [F]),
    Gap(&'a [F]),
}

struct Shares<'a, F> {
    mixture: &'a Mixture,
    x: &'a [F],
    range: Range<usize>,
    task: Task<'a, F>,
    /// From the first row of the range on.
    out: &'a mut [F],
}

impl<F: Float> Kernel for Shares<'_, F> {
    /// Whether a row held a NaN or an infinity.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let out = self.out;
        let (width, components) = (self.mixture.width, self.mixture.constants.len());
        let zero = f64x8::splat(simd, 0.0);
        let (mut x, mut y, mut score) = (vec![zero; width], vec![zero; width], vec![zero; components]);
        let mut finite = true;
        for first in self.range.clone().step_by(ROWS) {
            let count = ROWS.min(self.range.end - first);
            finite &= load(simd, &self.x[first * width..(first + count) * width], &mut x);
            let largest = scores(simd, self.mixture, &x, &mut y, &mut score);
            let local = first - self.range.start;
            let given = |shares: &[F], k: usize| {
                f64x8::from_fn(simd, |l| if l < count { shares[(first + l) * components + k].to_f64() } else { 1.0 })
            };
            match self.task {
                Task::Shares => {
                    shares_of(simd, self.mixture, &x, &mut y, &mut score, largest);
                    for (k, share) in score.iter().enumerate() {
                        for (l, &share) in share.as_slice().iter().take(count).enumerate() {
                            out[(local + l) * components + k] = F::from_f64(share);
                        }
                    }
                }
                Task::Elbo(shares) => {
                    let mut total = zero;
                    for k in 0..components {
                        total += given(shares, k);
                    }
                    let mut value = zero;
                    for (k, score) in score.iter().enumerate() {
                        let share = given(shares, k) / total;
                        let term = share * (*score - ln::<f64, S>(simd, share));
                        value += share.simd_gt(0.0).select(term, zero);
                    }
                    for (out, value) in out[local..local + count].iter_mut().zip(value.as_slice()) {
                        *out = F::from_f64(*value);
                    }
                }
                Task::Gap(shares) => {
                    let mut evidence = log_sum(simd, &score, largest);
                    let lost = evidence.simd_eq(f64::NEG_INFINITY);
                    if lost.any_true() {
                        let mut shares = vec![zero; components];
                        nearest(simd, self.mixture, &x, &mut y, &mut shares, lost);
                        for (score, share) in score.iter_mut().zip(shares) {
                            *score = lost.select(ln::<f64, S>(simd, share), *score);
                        }
                        evidence = lost.select(zero, evidence);
                    }
                    let mut total = zero;
                    for k in 0..components {
                        total += given(shares, k);
                    }
                    let mut value = zero;
                    for (k, score) in score.iter().enumerate() {
                        let share = given(shares, k) / total;
                        let posterior = *score - evidence;
                        let v = posterior - ln::<f64, S>(simd, share);
                        // Past 700 eᵛ may leave the range although rₖ eᵛ = ρₖ does not, and rₖ is nothing beside it.
                        let near = share.simd_gt(0.0) & v.simd_lt(700.0);
                        let (excess, _) = exp_excess::<f64, S>(simd, v);
                        value += near.select(share * excess, exp::<f64, S>(simd, posterior));
                    }
                    for (out, &value) in out[local..local + count].iter_mut().zip(value.as_slice()) {
                        // A share of a component that cannot have made the row is an infinite gap, of which the excess is NaN.
                        *out = F::from_f64(if value.is_nan() { f64::INFINITY } else { value });
                    }
                }
            }
        }
        !finite
    }
}

/// m + ln Σ exp(sₖ − m).
#[inline(always)]
fn log_sum<S: Simd>(simd: S, scores: &[f64x8<S>], largest: f64x8<S>) -> f64x8<S> {
    let zero = f64x8::splat(simd, 0.0);
    let shift = largest.is_finite().select(largest, zero);
    let mut sum = zero;
    for score in scores {
        sum += exp::<f64, S>(simd, *score - shift);
    }
    shift + ln::<f64, S>(simd, sum)
}

/// The shares of the components in place of their scores, and log p(x).
#[inline(always)]
pub(super) fn shares_of<S: Simd>(
    simd: S,
    mixture: &Mixture,
    x: &[f64x8<S>],
    y: &mut [f64x8<S>],
    scores: &mut [f64x8<S>],
    largest: f64x8<S>,
) -> f64x8<S> {
    let zero = f64x8::splat(simd, 0.0);
    // Where every density is 0 the shift would be ∞ − ∞.
    let shift = largest.is_finite().select(largest, zero);
    let mut sum = zero;
    for score in scores.iter_mut() {
        *score = exp::<f64, S>(simd, *score - shift);
        sum += *score;
    }
    let evidence = shift + ln::<f64, S>(simd, sum);
    let lost = sum.simd_eq(zero);
    let inverse = f64x8::splat(simd, 1.0) / lost.select(f64x8::splat(simd, 1.0), sum);
    if lost.any_true() {
        nearest(simd, mixture, x, y, scores, lost);
    }
    for score in scores.iter_mut() {
        *score *= inverse;
    }
    evidence
}
