//! Real cells: −½ [((x − loc) / scale)² + 2 ln scale + ln 2π].

use crate::error::{Error, Result};
use crate::float::Float;
use crate::gaussian::{LN_2PI, scale, square_plus, standardized};
use crate::rows::{LaneOp, Mask, Term};
use crate::simd::{Select, Simd, SimdBase, SimdFloat};
use crate::vmath::{Lanes, zero_if_finite};

/// A scale known beforehand, by feature.
#[derive(Debug, Clone)]
pub(super) struct Fixed<F> {
    /// The scale itself, capped at the largest finite number.
    pub(super) scale: Vec<F>,
    /// 1 / scale.
    pub(super) inverse: Vec<F>,
    /// 2 ln scale + ln 2π.
    pub(super) constant: Vec<F>,
}

impl<F: Float> Fixed<F> {
    pub(super) fn new(scales: &[f64]) -> Result<Self> {
        let usable = |s: f64| {
            let inverse = F::from_f64(1.0 / s);
            s.is_finite() && inverse > F::ZERO && inverse.finite()
        };
        if let Some(&bad) = scales.iter().find(|s| !usable(**s)) {
            return Err(Error::value("scale", "positive finite standard deviations", bad, "give the noise's standard deviation"));
        }
        let inverse = scales.iter().map(|s| F::from_f64(1.0 / s)).collect();
        let constant = scales.iter().map(|s| F::from_f64(2.0 * libm::log(*s) + LN_2PI)).collect();
        let scale = scales.iter().map(|s| F::from_f64(s.min(F::MAX.to_f64()))).collect();
        Ok(Self { scale, inverse, constant })
    }
}

impl<F: Float> LaneOp<F, 4, 1> for Fixed<F> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, inverse, constant]: [Lanes<F, S>; 4]) -> Term<F, S, 1> {
        let seen = !x.is_nan();
        let zero = F::Lanes::splat(simd, F::ZERO);
        let delta = standardized::<F, S>(simd, x, loc, inverse);
        let term = square_plus::<F, S>(delta, constant) * F::from_f64(-0.5);
        let bad = seen & !zero_if_finite::<F, S, 2>(simd, [x, loc]).simd_eq(zero);
        Term { sum: seen.select(term, zero), out: [seen.select(delta[0] * inverse, zero)], bad }
    }
}

/// The log-variance of each cell as a second block of params.
#[derive(Debug, Clone)]
pub(super) struct Predicted;

impl<F: Float> LaneOp<F, 3, 2> for Predicted {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, log_var]: [Lanes<F, S>; 3]) -> Term<F, S, 2> {
        let seen = !x.is_nan();
        let zero = F::Lanes::splat(simd, F::ZERO);
        let half = F::from_f64(0.5);
        let inverse = scale::<F, S>(simd, log_var, -1.0);
        let delta = standardized::<F, S>(simd, x, loc, inverse);
        let term = square_plus::<F, S>(delta, log_var + F::from_f64(LN_2PI)) * F::from_f64(-0.5);
        let excess = square_plus::<F, S>(delta, F::Lanes::splat(simd, F::ZERO - F::ONE));
        let bad = seen & !zero_if_finite::<F, S, 3>(simd, [x, loc, log_var]).simd_eq(zero);
        let out = [seen.select(delta[0] * inverse, zero), seen.select(excess * half, zero)];
        Term { sum: seen.select(term, zero), out, bad }
    }
}

/// The mean is loc.
pub(super) struct Mean;

impl<F: Float> LaneOp<F, 1, 1> for Mean {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [loc]: [Lanes<F, S>; 1]) -> Term<F, S, 1> {
        let bad: Mask<F, S> = !loc.is_finite();
        Term { sum: F::Lanes::splat(simd, F::ZERO), out: [loc], bad }
    }
}
