//! Counts of a rate: x log λ − λ − ln x! for `log_rate` = log λ, in Loader's (2000) form −x h(t) − ½ ln 2πx − J(x) with t = log λ − ln x, h(t) = eᵗ − 1 − t and J
//! the remainder of Stirling's formula, in which nothing large is subtracted; −λ for x = 0. The gradient is x − λ = −x (eᵗ − 1).

use super::cells::{CellOp, flaw};
use super::count::{Counts, LN_2PI_HALF};
use crate::float::Float;
use crate::random::{CellWords, poisson};
use crate::rows::{LaneOp, Term};
use crate::simd::{Fused, Select, Simd, SimdBase};
use crate::vmath::{Lanes, exp, exp_excess, ln, ln_parts, stirling, two_sum};

#[derive(Debug, Clone)]
pub(super) struct Poisson;

/// What x and log λ give for x ≥ 1: ln x, t, h(t), eᵗ − 1 and x t + x.
#[inline(always)]
fn deviance<F: Float, S: Simd>(simd: S, x: Lanes<F, S>, log_rate: Lanes<F, S>) -> [Lanes<F, S>; 5] {
    if F::EPSILON.to_f64() < 1e-10 {
        let ln_x = ln::<F, S>(simd, x);
        let t = log_rate - ln_x;
        let (excess, expm1) = exp_excess::<F, S>(simd, t);
        return [ln_x, t, excess, expm1, x * t + x];
    }
    // In float32 what t lacks would be seen once multiplied by x: it is put back to first order.
    let (ln_x, missing) = ln_parts::<F, S>(simd, x);
    let (t, lost) = two_sum::<F, S>(log_rate, -ln_x);
    let lost = lost - missing;
    let (excess, expm1) = exp_excess::<F, S>(simd, t);
    [ln_x, t, lost.fma(expm1, excess), lost.fma(expm1 + F::ONE, expm1), x.fma(t, x)]
}

/// Value and gradient of cells, wherever x is a count.
#[inline(always)]
pub(super) fn parts<F: Float, S: Simd>(simd: S, x: Lanes<F, S>, log_rate: Lanes<F, S>) -> [Lanes<F, S>; 2] {
    let positive = x.simd_gt(F::ZERO);
    let x = positive.select(x, F::Lanes::splat(simd, F::ONE));
    let [ln_x, t, excess, expm1, line] = deviance::<F, S>(simd, x, log_rate);
    let rate = exp::<F, S>(simd, log_rate);
    // Far from x the rate itself is exact, where the rounding of a large t would multiply it.
    let near = t.abs().simd_le(F::from_f64(2.0));
    // Past the range it would be ∞ − ∞.
    let far = rate.simd_le(F::MAX).select(rate - line, rate);
    let loss = near.select(x * excess, far);
    let slope = near.select(-(x * expm1), x - rate);
    let (remainder, _) = stirling::<F, S>(simd, x);
    let value = -(loss + (ln_x * F::from_f64(0.5) + (remainder + F::from_f64(LN_2PI_HALF))));
    [positive.select(value, -rate), positive.select(slope, -rate)]
}

impl<F: Float> LaneOp<F, 2, 1> for Poisson {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, log_rate]: [Lanes<F, S>; 2]) -> Term<F, S, 1> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let counts = Counts::<F, S>::new(simd, x);
        let [value, d] = parts::<F, S>(simd, counts.x, log_rate);
        let flaw = flaw::<F, S, 1>(simd, counts.seen, counts.inside, [log_rate]);
        Term { sum: counts.seen.select(value, zero), out: [counts.seen.select(d, zero)], flaw }
    }
}

impl<F: Float> CellOp<F, 2, 1> for Poisson {
    const WORK: f64 = 2.7;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [log_rate]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        exp::<F, S>(simd, log_rate)
    }

    fn draw(&self, _column: usize, [log_rate]: [f64; 1], words: &mut CellWords) -> f64 {
        poisson(words, libm::exp(log_rate))
    }
}
