//! Counts of a rate: x log λ − λ − ln x! for `log_rate` = log λ, in Loader's (2000) form −x h(t) − ½ ln 2πx − J(x) with t = log λ − ln x, h(t) = eᵗ − 1 − t and J
//! the remainder of Stirling's formula, in which nothing large is subtracted; −λ for x = 0. The gradient is x − λ = −x (eᵗ − 1).

use super::cells::CellOp;
use super::count::{Counts, LN_2PI_HALF};
use crate::random::{CellWords, poisson};
use crate::rows::{LaneOp, Term};
use crate::simd::{Select, Simd, SimdBase, SimdFloat, f64x8};
use crate::vmath::{exp, exp_excess, ln, stirling};

#[derive(Debug, Clone)]
pub(super) struct Poisson;

/// Value and gradient of cells, wherever x is a count.
#[inline(always)]
pub(super) fn parts<S: Simd>(simd: S, x: f64x8<S>, log_rate: f64x8<S>) -> [f64x8<S>; 2] {
    let positive = x.simd_gt(0.0);
    let x = positive.select(x, f64x8::splat(simd, 1.0));
    let ln_x = ln::<f64, S>(simd, x);
    let t = log_rate - ln_x;
    let (excess, expm1) = exp_excess::<f64, S>(simd, t);
    let rate = exp::<f64, S>(simd, log_rate);
    // Far from x the rate itself is exact, where the rounding of a large t would multiply it.
    let near = t.abs().simd_le(f64x8::splat(simd, 2.0));
    // Past the range it would be ∞ − ∞.
    let far = rate.simd_le(f64x8::splat(simd, f64::MAX)).select(rate - (x * t + x), rate);
    let loss = near.select(x * excess, far);
    let slope = near.select(-(x * expm1), x - rate);
    let (remainder, _) = stirling::<f64, S>(simd, x);
    let value = -(loss + (ln_x * 0.5 + (remainder + LN_2PI_HALF)));
    [positive.select(value, -rate), positive.select(slope, -rate)]
}

impl LaneOp<f64, 2, 1> for Poisson {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, log_rate]: [f64x8<S>; 2]) -> Term<f64, S, 1> {
        let zero = f64x8::splat(simd, 0.0);
        let counts = Counts::new(simd, x);
        let [value, d] = parts(simd, counts.x, log_rate);
        let bad = counts.seen & !(counts.inside & log_rate.is_finite());
        Term { sum: counts.seen.select(value, zero), out: [counts.seen.select(d, zero)], bad }
    }
}

impl CellOp<f64, 2, 1> for Poisson {
    const WORK: f64 = 5.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [log_rate]: [f64x8<S>; 1]) -> f64x8<S> {
        exp::<f64, S>(simd, log_rate)
    }

    fn draw(&self, _column: usize, [log_rate]: [f64; 1], words: &mut CellWords) -> f64 {
        poisson(words, libm::exp(log_rate))
    }
}
