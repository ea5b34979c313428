//! Cells in [0, 1] of density proportional to e^{η x}, η the logit (Loaiza-Ganem and Cunningham 2019): η x − ln((e^η − 1)/η), and its gradient x − mean.
//!
//! With a = |η| and d the distance of x from the likelier end the value is (½ − d) a − S(a), S(a) = ln(sinh(a/2) / (a/2)), which is a²/24 near 0: up to a = 4, where S is a polynomial.
//! Above, where the digits of a/2 would be lost, it is ln(a/(1 − e⁻ᵃ)) − d a. The mean's distance from the likelier end is ½ − S′(a) up to 4, and 1/a − e⁻ᵃ/(1 − e⁻ᵃ) above.

use super::cells::{CellOp, flaw, seen};
use crate::float::Float;
use crate::random::CellWords;
use crate::rows::{LaneOp, Mask, Term};
use crate::simd::{Fused, Select, Simd, SimdBase};
use crate::vmath::{Lanes, exp_below, ln, polynomial};

#[derive(Debug, Clone)]
pub(super) struct ContinuousBernoulli;

/// What depends on a = |η| alone.
struct OfSize<F: Float, S: Simd> {
    small: Mask<F, S>,
    /// S(a) where a is small, elsewhere ln(a/(1 − e⁻ᵃ)).
    normaliser: Lanes<F, S>,
    /// S′(a) where a is small, the mean's distance from the middle, whose digits the distance from the end would lose; elsewhere that from the likelier end.
    slope: Lanes<F, S>,
}

impl<F: Float, S: Simd> OfSize<F, S> {
    #[inline(always)]
    fn new(simd: S, a: Lanes<F, S>) -> Self {
        let (one, four) = (F::Lanes::splat(simd, F::ONE), F::Lanes::splat(simd, F::from_f64(4.0)));
        let small = a.simd_le(four);
        let (near, far) = (a.min(four), a.max(four));
        let square = near * near;
        let curve = square * polynomial::<F, S>(simd, square, F::LOG_SINHC);
        let slope = near * polynomial::<F, S>(simd, square, F::LOG_SINHC_SLOPE);
        let tail = exp_below::<F, S>(simd, -far);
        let inverse = one / (one - tail);
        let normaliser = small.select(curve, ln::<F, S>(simd, far * inverse));
        Self { small, normaliser, slope: small.select(slope, (-tail).fma(inverse, one / far)) }
    }
}

impl<F: Float> LaneOp<F, 2, 1> for ContinuousBernoulli {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, logits]: [Lanes<F, S>; 2]) -> Term<F, S, 1> {
        let (zero, one) = (F::Lanes::splat(simd, F::ZERO), F::Lanes::splat(simd, F::ONE));
        let half = F::from_f64(0.5);
        let seen = seen::<F, S>(x);
        let up = logits.simd_ge(zero);
        let a = logits.abs();
        let OfSize { small, normaliser, slope } = OfSize::<F, S>::new(simd, a);
        let middle = x - half;
        let (distance, from_middle) = (up.select(one - x, x), up.select(middle, -middle));
        let value = small.select(from_middle.fma(a, -normaliser), (-distance).fma(a, normaliser));
        let off = small.select(from_middle - slope, slope - distance);
        let inside = x.simd_ge(zero) & x.simd_le(one);
        let flaw = flaw::<F, S, 1>(simd, seen, inside, [logits]);
        let d = up.select(off, -off);
        Term { sum: seen.select(value, zero), out: [seen.select(d, zero)], flaw }
    }
}

impl<F: Float> CellOp<F, 2, 1> for ContinuousBernoulli {
    const WORK: f64 = 2.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [logits]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        let one = F::Lanes::splat(simd, F::ONE);
        let OfSize { small, slope, .. } = OfSize::<F, S>::new(simd, logits.abs());
        let distance = small.select(F::Lanes::splat(simd, F::from_f64(0.5)) - slope, slope);
        logits.simd_ge(F::ZERO).select(one - distance, distance)
    }

    fn draw(&self, _column: usize, [logit]: [f64; 1], words: &mut CellWords) -> f64 {
        let (u, a) = (words.uniform(), logit.abs());
        // The inverse of the distribution function (1 − e^{−a d}) / (1 − e⁻ᵃ).
        let distance = if a < 1e-9 { u } else { (-libm::log1p(u * libm::expm1(-a)) / a).min(1.0) };
        if logit >= 0.0 { 1.0 - distance } else { distance }
    }
}
