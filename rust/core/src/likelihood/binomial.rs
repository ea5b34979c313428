//! Counts of 0 to n: ln C(n, x) − x softplus(−logit) − (n − x) softplus(logit), and its gradient x sigmoid(−logit) − (n − x) sigmoid(logit).

use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::{LaneOp, Term};
use crate::simd::{Select, Simd, SimdBase, SimdFloat};
use crate::vmath::{Lanes, softplus_sigmoid};

/// Totals up to this have their coefficients in a table.
const TABLE: u32 = 4096;

#[derive(Debug, Clone)]
pub(super) struct Binomial<F> {
    /// n.
    pub(super) total: F,
    n: u32,
    /// ln C(n, x) for x = 0 … n; empty where n is too large for a table.
    table: Vec<F>,
}

impl<F: Float> Binomial<F> {
    pub(super) fn new(n: u32) -> Result<Self> {
        if n == 0 {
            return Err(Error::value("total_count", "at least 1", n, "give the largest count that a cell can hold"));
        }
        let total = F::from_f64(f64::from(n));
        if total.to_f64() != f64::from(n) {
            return Err(Error::value("total_count", format!("a count that {} holds", F::NAME), n, "use float64"));
        }
        let table = if n <= TABLE { (0..=n).map(|k| F::from_f64(ln_choose(n, k))).collect() } else { Vec::new() };
        Ok(Self { total, n, table })
    }

    /// ln C(n, x), and 0 for cells outside the support, whose value is never used.
    fn coefficient(&self, x: F) -> F {
        let x = x.to_f64();
        let k = x as u32; // saturates, and takes NaN to 0
        match self.table.get(k as usize) {
            Some(&value) => value,
            None if k <= self.n => F::from_f64(ln_choose(self.n, k)),
            None => F::ZERO,
        }
    }
}

impl<F: Float> LaneOp<F, 2, 1> for Binomial<F> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, logits]: [Lanes<F, S>; 2]) -> Term<F, S, 1> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let seen = !x.is_nan();
        let inside = x.simd_ge(zero) & x.simd_le(self.total) & x.simd_eq(x.floor());
        let failures = -(x - self.total);
        let (up, sigmoid) = softplus_sigmoid::<F, S>(simd, logits);
        let (down, complement) = softplus_sigmoid::<F, S>(simd, -logits);
        let cells = x.as_slice();
        let coefficient = F::Lanes::from_fn(simd, |l| self.coefficient(cells[l]));
        // A count of 0 adds 0 even where its softplus is past the range.
        let part = |count: Lanes<F, S>, y: Lanes<F, S>| count.simd_eq(zero).select(zero, count * y);
        let term = coefficient - (part(x, down) + part(failures, up));
        let d = x * complement - failures * sigmoid;
        let bad = seen & !(inside & logits.is_finite());
        Term { sum: seen.select(term, zero), out: [seen.select(d, zero)], bad }
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
