//! Counts of 0 to n: ln C(n, x) − x softplus(−logit) − (n − x) softplus(logit), and its gradient x sigmoid(−logit) − (n − x) sigmoid(logit).

use super::cells::CellOp;
use super::count::{Counts, LN_2PI_HALF};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::{CellWords, binomial};
use crate::rows::{LaneOp, Term};
use crate::simd::{Select, Simd, SimdBase, SimdFloat, f64x8};
use crate::vmath::{Lanes, exp_excess, ln, softplus_sigmoid, softplus_sigmoids, stirling};

/// Totals up to this have their coefficients in a table.
pub(super) const TABLE: u32 = 4096;

/// A total whose coefficients fit a table.
#[derive(Debug, Clone)]
pub(super) struct Tabled<F> {
    /// n.
    total: F,
    n: u32,
    /// ln C(n, x) for x = 0 … n.
    table: Vec<F>,
}

/// A total too large for a table: the deviance form of Loader (2000), in which nothing large is subtracted,
/// −x h(ln(np/x)) − (n − x) h(ln(nq/(n − x))) + J(n) − J(x) − J(n − x) − ½ ln(2π x (n − x)/n), with h(t) = eᵗ − 1 − t and J the remainder of
/// Stirling's formula.
#[derive(Debug, Clone)]
pub(super) struct Large {
    n: u32,
    /// ln n and J(n).
    constants: [f64; 2],
}

/// n, or why it cannot be.
pub(super) fn checked<F: Float>(n: u32) -> Result<F> {
    if n == 0 {
        return Err(Error::value("total_count", "at least 1", n, "give the largest count that a cell can hold"));
    }
    let total = F::from_f64(f64::from(n));
    if total.to_f64() != f64::from(n) {
        return Err(Error::value("total_count", format!("a count that {} holds", F::NAME), n, "use float64"));
    }
    Ok(total)
}

impl<F: Float> Tabled<F> {
    pub(super) fn new(n: u32) -> Result<Self> {
        Ok(Self { total: checked(n)?, n, table: (0..=n).map(|k| F::from_f64(ln_choose(n, k))).collect() })
    }

    /// ln C(n, x) of a count from 0 to n.
    #[inline(always)]
    fn coefficient(&self, x: F) -> F {
        // By way of i32, whose conversion is a few instructions where that of u64 is a dozen.
        self.table.get(x.to_f64() as i32 as usize).copied().unwrap_or(F::ZERO)
    }
}

impl Large {
    pub(super) fn new(n: u32) -> Self {
        let x = f64::from(n);
        Self { n, constants: [libm::log(x), stirling_error(n)] }
    }
}

impl<F: Float> LaneOp<F, 2, 1> for Tabled<F> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, logits]: [Lanes<F, S>; 2]) -> Term<F, S, 1> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let seen = !x.is_nan();
        let inside = x.simd_ge(zero) & x.simd_le(self.total) & x.simd_eq(x.floor());
        let failures = -(x - self.total);
        let [(up, sigmoid), (down, complement)] = softplus_sigmoids::<F, S>(simd, logits);
        let counts = inside.select(x, zero);
        let cells = counts.as_slice();
        let coefficient = F::Lanes::from_fn(simd, |l| self.coefficient(cells[l]));
        // A count of 0 adds 0 even where its softplus is past the range.
        let successes = x.simd_eq(zero).select(zero, x * down);
        let rest = failures.simd_eq(zero).select(zero, failures * up);
        let term = coefficient - (successes + rest);
        let d = x * complement - failures * sigmoid;
        let bad = seen & !(inside & logits.is_finite());
        Term { sum: seen.select(term, zero), out: [seen.select(d, zero)], bad }
    }
}

impl<F: Float> CellOp<F, 2, 1> for Tabled<F> {
    const WORK: f64 = 1.5;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [logits]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        softplus_sigmoid::<F, S>(simd, logits).1 * self.total
    }

    fn draw(&self, _column: usize, [logit]: [f64; 1], words: &mut CellWords) -> f64 {
        binomial(words, self.n, logit)
    }
}

/// k h(ln(mean / k)) + ½ ln k + J(k) of a count k with this ln mean.
#[inline(always)]
fn deviance<S: Simd>(simd: S, count: f64x8<S>, ln_mean: f64x8<S>) -> f64x8<S> {
    let ln_count = ln::<f64, S>(simd, count);
    let (excess, _) = exp_excess::<f64, S>(simd, ln_mean - ln_count);
    count * excess + ln_count * 0.5 + stirling::<f64, S>(simd, count).0
}

impl LaneOp<f64, 2, 1> for Large {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, logits]: [f64x8<S>; 2]) -> Term<f64, S, 1> {
        let total = f64x8::splat(simd, f64::from(self.n));
        let counts = Counts::new(simd, x);
        let inside = counts.inside & x.simd_le(total);
        // The ends have formulas of their own; what stands for a count there is 1.
        let failures = total - counts.x;
        let middle = counts.x.simd_gt(0.0) & failures.simd_gt(0.0);
        let one = f64x8::splat(simd, 1.0);
        let (successes, rest) = (middle.select(counts.x, one), middle.select(failures, one));
        let [(up, sigmoid), (down, complement)] = softplus_sigmoids::<f64, S>(simd, logits);
        let [ln_n, remainder] = self.constants;
        let ln_n = f64x8::splat(simd, ln_n);
        let inner =
            -(deviance(simd, successes, ln_n - down) + deviance(simd, rest, ln_n - up)) + (ln_n * 0.5 + (remainder - LN_2PI_HALF));
        let ends = counts.x.simd_gt(0.0).select(-down, -up) * total;
        let term = middle.select(inner, ends);
        let d = counts.x * complement - failures * sigmoid;
        let bad = counts.seen & !(inside & logits.is_finite());
        let zero = f64x8::splat(simd, 0.0);
        Term { sum: counts.seen.select(term, zero), out: [counts.seen.select(d, zero)], bad }
    }
}

impl CellOp<f64, 2, 1> for Large {
    const WORK: f64 = 10.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [logits]: [f64x8<S>; 1]) -> f64x8<S> {
        softplus_sigmoid::<f64, S>(simd, logits).1 * f64::from(self.n)
    }

    fn draw(&self, _column: usize, [logit]: [f64; 1], words: &mut CellWords) -> f64 {
        binomial(words, self.n, logit)
    }
}

/// ln C(n, k): exact products below 60, else Stirling's series arranged so that nothing large is subtracted (Loader 2000, "Fast and
/// accurate computation of binomial probabilities", gives the errors).
#[must_use]
pub fn ln_choose(n: u32, k: u32) -> f64 {
    let k = k.min(n - k.min(n));
    if k == 0 {
        return 0.0;
    }
    if n < 60 {
        // Below 2⁵³ at every step up to n = 56, and within a rounding or two above.
        return libm::log((1..=k).fold(1.0, |c, i| c * f64::from(n - k + i) / f64::from(i)));
    }
    let (total, chosen, rest) = (f64::from(n), f64::from(k), f64::from(n - k));
    let entropy = chosen * libm::log(total / chosen) - rest * libm::log1p(-chosen / total);
    let width = 0.5 * libm::log(total / (2.0 * std::f64::consts::PI * chosen * rest));
    entropy + width + stirling_error(n) - stirling_error(k) - stirling_error(n - k)
}

/// ln n! − [(n + ½) ln n − n + ½ ln 2π].
fn stirling_error(n: u32) -> f64 {
    let x = f64::from(n);
    if n < 16 {
        let factorial: f64 = (1..=n).map(f64::from).product();
        return libm::log(factorial) - ((x + 0.5) * libm::log(x.max(1.0)) - x + 0.5 * crate::gaussian::LN_2PI);
    }
    let z = 1.0 / (x * x);
    // Bernoulli numbers B_{2j} / (2j (2j − 1)); the first one left out is below 1e-17 at 16.
    let series = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0];
    series.iter().rev().fold(0.0, |sum, c| sum * z + c) / x
}
