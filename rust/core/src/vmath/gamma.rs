//! Binet's function with its derivative, and lgamma and digamma built on it.
//!
//! J(x) = lgamma(x) − [(x − ½) ln x − x + ½ ln 2π] is what Stirling's formula leaves out (DLMF 5.11). It is positive and falls from +∞ at
//! 0 through 0.08 at 1 to 1/(12x), so that formulas for counts written in differences of J, rather than of lgamma, cancel nothing
//! (Loader, *Fast and accurate computation of binomial probabilities*, 2000).
//!
//! Every function is for x > 0, from the smallest subnormal number to the largest, NaN below 0, and infinite only where its value is past
//! the range. The errors given are the largest over every float32 and over five million random float64 of all sizes; `tests/vmath/gamma.rs`
//! of this crate asserts them against double-double references, which values of mpmath check in turn. lgamma and ψ keep their relative
//! accuracy beside their zeros.

use super::{Lanes, ln_parts, polynomial, two_sum};
use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, SimdMask, apart};

/// `a · b` and its rounding error.
#[inline(always)]
fn two_product<F: Float, S: Simd>(a: Lanes<F, S>, b: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let product = a * b;
    (product, a.fma(b, -product))
}

/// 1/(2x) and what is missing from it, finite where 1/(2x) is.
#[inline(always)]
fn half_reciprocal<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let half = F::Lanes::splat(simd, F::from_f64(0.5));
    let q = half / x;
    let part = (-x).fma(q, half) * q;
    (q, part + part)
}

/// (J(x), J′(x)): Binet's function J(x) = lgamma(x) − [(x − ½) ln x − x + ½ ln 2π] and its derivative ψ(x) − ln x + 1/(2x), for x > 0; at 0
/// (+∞, −∞), at +∞ (0, −0).
///
/// * x ≥ ½: (1/12 + a)/x and −(1/12 + b)/x², where from 4 (float64: 8) on a and b are polynomials in 1/x² without constant term, after the
///   asymptotic series (DLMF 5.11.1, 5.11.2), and below rational functions of x, |a| < 0.007 and |b| < 0.016. What the rounded 1/x and
///   1/12 lack is added to a and b.
/// * x < ½: −(½ + x) ln x − ½ ln 2π + (1 − γ) x + x² P(x) and −1/(2x) − ln x − γ + x Q(x), summed with their rounding errors.
///
/// Largest errors: J 1.68 ulp in float32 and 1.60 in float64, J′ 2.94 and 2.71.
#[inline(always)]
pub fn stirling<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let (binet, slope) = stirling_from_half::<F, S>(simd, x);
    let small = x.simd_lt(F::from_f64(0.5));
    if !small.any_true() {
        return (binet, slope);
    }
    let (near, near_slope) = stirling_to_half::<F, S>(simd, x);
    (small.select(near, binet), small.select(near_slope, slope))
}

/// [`stirling`] for x ≥ ½ and NaN.
#[inline(always)]
fn stirling_from_half<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            // x J = 1/12 + rest and −x² J′ = 1/12 + rest: what 1/x and 1/12 lack goes into the small rests, so that it is not lost.
            let one = F::Lanes::splat(simd, F::ONE);
            let y = one / x;
            let lack = (-x).fma(y, one);
            let lack = y.simd_gt(F::ZERO).select(lack, y);
            let (twelfth, twelfth_error) = F::TWELFTH;
            let lack_binet = lack.fma(twelfth, F::Lanes::splat(simd, twelfth_error));
            let lack_slope = lack.fma(twelfth, lack_binet);
            let u = y * y;
            let mut rest = u.fma(polynomial::<F, S>(simd, u, F::BINET_FAR), lack_binet);
            let mut rest_slope = u.fma(polynomial::<F, S>(simd, u, F::SLOPE_FAR), lack_slope);
            let near = x.simd_lt(F::BINET_FAR_FROM);
            if near.any_true() {
                // Two fractions a/b and c/d; the rests are small beside 1/12, so that their rounding errors hardly count, and one division serves both.
                let (a, b) = (polynomial::<F, S>(simd, x, F::BINET_NEAR_OVER), polynomial::<F, S>(simd, x, F::BINET_NEAR_UNDER));
                let (c, d) = (polynomial::<F, S>(simd, x, F::SLOPE_NEAR_OVER), polynomial::<F, S>(simd, x, F::SLOPE_NEAR_UNDER));
                let both = one / (b * d);
                rest = near.select((-(a * d)).fma(both, lack_binet), rest);
                rest_slope = near.select((-(c * b)).fma(both, lack_slope), rest_slope);
            }
            (y * (rest + twelfth), -(y * (y * (rest_slope + twelfth))))
        },
    )
}

/// [`stirling`] for 0 ≤ x ≤ ½, from ln x and the series of lgamma and ψ at 1; NaN below.
#[inline(always)]
fn stirling_to_half<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let zero = F::Lanes::splat(simd, F::ZERO);
            let half = F::from_f64(0.5);
            let (log, log_error) = ln_parts::<F, S>(simd, x);
            let (log, log_error) = (-log, -log_error);

            // J = −(½ + x) ln x − ½ ln 2π + (1 − γ) x + (lgamma(1 + x) + γ x), summed with its rounding errors.
            let (constant, constant_error) = F::HALF_LN_2PI;
            let (linear, linear_error) = F::ONE_LESS_EULER;
            let (sum, first) = two_sum::<F, S>(log * half, zero - constant);
            let (product, second) = two_product::<F, S>(x, log);
            let (sum, third) = two_sum::<F, S>(sum, product);
            let (product, fourth) = two_product::<F, S>(x, zero + linear);
            let (sum, fifth) = two_sum::<F, S>(sum, product);
            let rest = (x + half).fma(log_error, first + second + third + fourth + fifth - constant_error);
            let rest = x.fma(x * polynomial::<F, S>(simd, x, F::GAMMA_1P), x.fma(linear_error, rest));
            let binet = rest + sum;

            // J′ = −1/(2x) − ln x + ψ(1 + x).
            let (euler, euler_error) = F::EULER;
            let (inverse, inverse_error) = half_reciprocal::<F, S>(simd, x);
            let (sum, first) = two_sum::<F, S>(log, -inverse);
            let (sum, second) = two_sum::<F, S>(sum, zero - euler);
            let rest = first + second + log_error - euler_error - inverse_error;
            let slope = x.fma(polynomial::<F, S>(simd, x, F::DIGAMMA_1P), rest) + sum;

            // Past the range 1/(2x) leaves ∞ − ∞ behind, and ln is of positive numbers.
            let infinity = F::Lanes::splat(simd, F::INFINITY);
            let slope = inverse.abs().simd_lt(F::INFINITY).select(slope, -infinity);
            let binet = x.simd_eq(F::ZERO).select(infinity, binet);
            let below = x.simd_lt(F::ZERO);
            let nan = F::Lanes::splat(simd, F::NAN);
            (below.select(nan, binet), below.select(nan, slope))
        },
    )
}

/// ln Γ(x) for x > 0; +∞ at 0 and at +∞.
///
/// * x ≥ 2½: (x − ½)(ln x − 1) + ½ (ln 2π − 1) + J(x), ln x in two parts (DLMF 5.11.1).
/// * Below, with d = x − 2, x − 1 or x: (1 − γ) d − ln(1, x or x (x + 1)) + d² P(d), |d| ≤ ½, summed with its rounding errors; P is
///   (lgamma(2 + d) − (1 − γ) d) / d².
///
/// Largest errors: 2.32 ulp in float32 and 2.31 in float64, relative to the value beside the zeros 1 and 2 too.
#[inline(always)]
pub fn lgamma<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let one = F::Lanes::splat(simd, F::ONE);
            let infinity = F::Lanes::splat(simd, F::INFINITY);
            let half = F::from_f64(0.5);
            // x = 2 + d, 1 + d or d: Γ(x) = Γ(2 + d) / divisor, the divisor 1, x or x (x + 1).
            let small = x.simd_lt(half);
            let large = x.simd_ge(F::from_f64(2.5));
            let unit = x.simd_ge(F::from_f64(1.5));
            let divisor = small.select(x.fma(x, x), unit.select(one, x));
            let (log, log_error) = ln_parts::<F, S>(simd, large.select(x, divisor));
            let mut y = one;
            if large.any_true() {
                // (x − ½)(ln x − 1) + ½ (ln 2π − 1) + J(x), small terms first.
                let less = log - F::ONE;
                let less_error = ((log - less) - F::ONE) + log_error;
                let (binet, _) = stirling_from_half::<F, S>(simd, x);
                let (constant, constant_error) = F::HALF_LN_2PI;
                let small = x.fma(less_error, binet + constant_error);
                let rest = less.fma(F::ZERO - half, small) + (constant - half);
                y = x.fma(less, rest);
                y = x.simd_lt(F::INFINITY).select(y, x);
            }
            if !large.all_true() {
                let d = small.select(x, unit.select(x - F::from_f64(2.0), x - F::ONE));
                // The two terms nearly cancel where x is near 1.
                let (linear, linear_error) = F::ONE_LESS_EULER;
                let (product, first) = two_product::<F, S>(d, F::Lanes::splat(simd, linear));
                let (sum, second) = two_sum::<F, S>(product, -log);
                let rest = d.fma(linear_error, first + second - log_error);
                let near = d.fma(d * polynomial::<F, S>(simd, d, F::GAMMA_2P), rest) + sum;
                let near = x.simd_eq(F::ZERO).select(infinity, near);
                let near = x.simd_lt(F::ZERO).select(F::Lanes::splat(simd, F::NAN), near);
                y = large.select(y, near);
            }
            x.simd_eq(x).select(y, x)
        },
    )
}

/// ψ(x), the derivative of ln Γ, for x > 0; −∞ at 0, +∞ at +∞.
///
/// * x ≥ 2: ln x − 1/(2x) + J′(x), ln x in two parts (DLMF 5.11.2).
/// * 1 ≤ x < 2: (x − r) P(x − r), r the zero 1.4616… in two parts.
/// * x < 1: ψ(1 + x) − 1/x, 1/x with its rounding error (DLMF 5.5.2).
///
/// Largest errors: 2.49 ulp in float32 and 2.14 in float64, relative to the value beside the zero too.
#[inline(always)]
pub fn digamma<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let zero = F::Lanes::splat(simd, F::ZERO);
            let large = x.simd_ge(F::from_f64(2.0));
            let (inverse, inverse_error) = half_reciprocal::<F, S>(simd, x);
            let mut y = inverse;
            if large.any_true() {
                // ln x − 1/(2x) + J′(x).
                let (log, log_error) = ln_parts::<F, S>(simd, x);
                let (_, slope) = stirling_from_half::<F, S>(simd, x);
                let (sum, error) = two_sum::<F, S>(log, -inverse);
                y = sum + (error + log_error + slope);
                y = x.simd_lt(F::INFINITY).select(y, x);
            }
            if !large.all_true() {
                // x or x + 1 is r + w, r the zero in two parts; ψ(x) = ψ(x + 1) − 1/x.
                let (root, root_error) = F::DIGAMMA_ZERO;
                let small = x.simd_lt(F::ONE);
                let w = x - small.select(zero + (root - F::ONE), zero + root);
                let value = (w - root_error) * polynomial::<F, S>(simd, w, F::DIGAMMA_ROOT);
                let below = (value - (inverse_error + inverse_error)) - (inverse + inverse);
                let below = inverse.abs().simd_lt(F::INFINITY).select(below, zero - F::INFINITY);
                let near = small.select(below, value);
                let near = x.simd_lt(F::ZERO).select(zero + F::NAN, near);
                y = large.select(y, near);
            }
            x.simd_eq(x).select(y, x)
        },
    )
}
