//! Cells in [0, 1] of density proportional to e^{η x}, η the logit (Loaiza-Ganem and Cunningham 2019): η x − ln((e^η − 1)/η), and its gradient x − mean.
//!
//! With a = |η| and d the distance of x from the likelier end, the value is −d a + N(a), N(a) = ln(a/(1 − e⁻ᵃ)): a − ln(1 + h(a)/a) with
//! h(a) = eᵃ − 1 − a for a ≤ 1, so that it is smooth and exact through 0, and ln a − ln(1 − e⁻ᵃ) above. The mean's distance from the likelier end is
//! 1/a − 1/(eᵃ − 1) = h(a)/(a (eᵃ − 1)).

use super::cells::CellOp;
use crate::random::CellWords;
use crate::rows::{LaneOp, Term};
use crate::simd::{Select, Simd, SimdBase, SimdFloat, f64x8};
use crate::vmath::{exp, exp_excess, ln, ln_1p};

#[derive(Debug, Clone)]
pub(super) struct ContinuousBernoulli;

/// N(a), and the mean's distance from the likelier end.
#[inline(always)]
fn normaliser<S: Simd>(simd: S, a: f64x8<S>) -> (f64x8<S>, f64x8<S>) {
    let (zero, one) = (f64x8::splat(simd, 0.0), f64x8::splat(simd, 1.0));
    let small = a.simd_le(one);
    // Below, h(a) = a²/2 leaves the range; ½ and a/2 are exact long before.
    let none = a.simd_lt(1e-150);
    let near = none.select(one, a.min(one));
    let (excess, expm1) = exp_excess::<f64, S>(simd, near);
    let tail = exp::<f64, S>(simd, -a);
    let ratio = excess / near;
    let curve = ln_1p::<f64, S>(simd, small.select(ratio, -tail));
    let value = small.select(near - curve, ln::<f64, S>(simd, a.max(one)) - curve);
    let distance = small.select(ratio / expm1, one / a.max(one) - tail / (one - tail));
    (none.select(a * 0.5, value), none.select(zero + 0.5, distance))
}

impl LaneOp<f64, 2, 1> for ContinuousBernoulli {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, logits]: [f64x8<S>; 2]) -> Term<f64, S, 1> {
        let (zero, one) = (f64x8::splat(simd, 0.0), f64x8::splat(simd, 1.0));
        let seen = !x.is_nan();
        let up = logits.simd_ge(zero);
        let distance = up.select(one - x, x);
        let a = logits.abs();
        let (value, mean) = normaliser(simd, a);
        let off = mean - distance;
        let inside = x.simd_ge(zero) & x.simd_le(one);
        let bad = seen & !(inside & logits.is_finite());
        let d = up.select(off, -off);
        Term { sum: seen.select(value - distance * a, zero), out: [seen.select(d, zero)], bad }
    }
}

impl CellOp<f64, 2, 1> for ContinuousBernoulli {
    const WORK: f64 = 5.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [logits]: [f64x8<S>; 1]) -> f64x8<S> {
        let (_, distance) = normaliser(simd, logits.abs());
        logits.simd_ge(0.0).select(f64x8::splat(simd, 1.0) - distance, distance)
    }

    fn draw(&self, _column: usize, [logit]: [f64; 1], words: &mut CellWords) -> f64 {
        let (u, a) = (words.uniform(), logit.abs());
        // The inverse of the distribution function (1 − e^{−a d}) / (1 − e⁻ᵃ).
        let distance = if a < 1e-9 { u } else { (-libm::log1p(u * libm::expm1(-a)) / a).min(1.0) };
        if logit >= 0.0 { 1.0 - distance } else { distance }
    }
}
