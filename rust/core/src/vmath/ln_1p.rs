//! The pair ln(1 + x) and eˣ − 1, relatively accurate near 0.

use super::{Lanes, exp_excess, polynomial};
use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, SimdFloat, apart};

/// ln(1 + x) for x ≥ −1, ±0 at ±0, −∞ at −1, +∞ at +∞; NaN below −1.
///
/// 1 + x + δ = (1 + f) 2ᵉ, √½ ≤ 1 + f < √2, δ the sum's rounding error: e ln 2 + f − f²/2 + f³ P(f) + δ/(1 + x). Where e is 0, f is x itself.
/// Largest errors: 0.92 ulp over every float32, 0.85 over five million random float64 (`tests/vmath/elementary.rs`).
#[inline(always)]
pub fn ln_1p<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let one = F::Lanes::splat(simd, F::ONE);
            let zero = F::Lanes::splat(simd, F::ZERO);
            // 1 + x rounded, and its rounding error: the larger of 1 and x first.
            let sum = x + F::ONE;
            let above = x.simd_ge(F::ONE);
            let error = above.select(one - (sum - x), x - (sum - F::ONE));
            let (m, e) = F::split_exponent(simd, sum);
            // Where the exponent is 0 the reduced argument is x itself; elsewhere the error, scaled alike, enters through 1/m ≈ 1 − f + f² in the
            // sum's tail: it is less than half a unit, so that two digits of 1/m do. 2⁻ᵉ stops where the error has long been lost.
            let within = e.simd_eq(F::ZERO);
            let f = within.select(x, m - F::ONE);
            let scaled = error * F::exp2_whole(simd, -e.min(F::from_f64(100.0)));
            let tail = scaled * f.fma(f - F::ONE, F::ONE);
            let y = ln_reduced_with::<F, S>(simd, f, e, within.select(zero, tail));
            let y = x.simd_eq(F::from_f64(-1.0)).select(zero - F::INFINITY, y.copysign(x));
            let y = x.simd_lt(F::from_f64(-1.0)).select(zero + F::NAN, y);
            x.simd_lt(F::INFINITY).select(y, x)
        },
    )
}

/// eᵛ − 1, the second of [`exp_excess`] alone, ±0 at ±0, and as exact: 1.44 ulp over every float32, 1.15 over five million random float64.
#[inline(always)]
pub fn expm1<F: Float, S: Simd>(simd: S, v: Lanes<F, S>) -> Lanes<F, S> {
    exp_excess::<F, S>(simd, v).1.copysign(v)
}

/// ln((1 + f) · 2ᵉ) + tail for √½ ≤ 1 + f ≤ √2 and a tail of less than an ulp.
#[inline(always)]
fn ln_reduced_with<F: Float, S: Simd>(simd: S, f: Lanes<F, S>, e: Lanes<F, S>, tail: Lanes<F, S>) -> Lanes<F, S> {
    e.fma(F::LN2_HIGH, f + ln_curve::<F, S>(simd, f, e.fma(F::LN2_LOW, tail)))
}

/// ln((1 + f) · 2ᵉ) for √½ ≤ 1 + f ≤ √2, as a number and what is missing from it.
#[inline(always)]
pub(crate) fn ln_reduced_parts<F: Float, S: Simd>(simd: S, f: Lanes<F, S>, e: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let curve = ln_curve::<F, S>(simd, f, e * F::LN2_LOW);
    // Exact, as LN2_HIGH is short; it is 0 or larger than f.
    let top = e * F::LN2_HIGH;
    let first = top + f;
    let rest = ((top - first) + f) + curve;
    let log = first + rest;
    (log, (first - log) + rest)
}

/// ln x as a number and what is missing from it, for positive finite x.
#[inline(always)]
pub(crate) fn ln_parts<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let (m, e) = F::split_exponent(simd, x);
            ln_reduced_parts::<F, S>(simd, m - F::ONE, e)
        },
    )
}

/// ln(1 + f) − f + tail.
#[inline(always)]
fn ln_curve<F: Float, S: Simd>(simd: S, f: Lanes<F, S>, tail: Lanes<F, S>) -> Lanes<F, S> {
    let square = f * f;
    let low = (square * f).fma(polynomial::<F, S>(simd, f, F::LN_TAIL), tail);
    square.fma(F::from_f64(-0.5), low)
}

/// ln(1 + t) for 0 ≤ t ≤ 1, without a division.
#[inline(always)]
pub(crate) fn ln_1p_to_one<F: Float, S: Simd>(simd: S, t: Lanes<F, S>) -> Lanes<F, S> {
    (-(t * t)).fma(polynomial::<F, S>(simd, t, F::LOG1P_TAIL), t)
}
