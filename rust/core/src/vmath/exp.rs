//! eˣ and its kin: products with it, its parts beside a power of two, and the excess eˣ − 1 − x.

use super::{Lanes, at_least, at_most, constant, polynomial, polynomials};
use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, apart};

/// v − n ln 2: Cody and Waite's reduction.
#[inline(always)]
pub(super) fn reduced<F: Float, S: Simd>(v: Lanes<F, S>, n: Lanes<F, S>) -> Lanes<F, S> {
    let r = (-n).fma(F::LN2_HIGH, v);
    (-n).fma(F::LN2_LOW, r)
}

/// e^r for |r| ≤ ln 2 / 2, elsewhere without its accuracy.
#[inline(always)]
fn exp_near<F: Float, S: Simd>(simd: S, r: Lanes<F, S>) -> Lanes<F, S> {
    (r * r).fma(polynomial::<F, S>(simd, r, F::EXP_NEAR), r) + F::ONE
}

/// e^r · 2ⁿ for v = r + n ln 2 between [`Elementary::EXP_ENDS`], 2ⁿ in two factors.
#[inline(always)]
fn exp_of_parts<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, (n, [first, second]): (Lanes<F, S>, [Lanes<F, S>; 2])) -> Lanes<F, S> {
    exp_near::<F, S>(simd, reduced::<F, S>(v, n)) * first * second
}

/// eᵛ.
#[inline(always)]
pub fn exp<F: Float, S: Simd>(simd: S, v: Lanes<F, S>) -> Lanes<F, S> {
    apart(
        simd,
        v,
        #[inline(always)]
        |simd, v: Lanes<F, S>| {
            let (low, high) = F::EXP_ENDS;
            let v = at_most::<F, S>(simd, at_least::<F, S>(simd, v, low), high);
            exp_of_parts::<F, S>(simd, v, F::exponent(simd, v))
        },
    )
}

/// eᵛ for v ≤ 0.
#[inline(always)]
pub(crate) fn exp_below<F: Float, S: Simd>(simd: S, v: Lanes<F, S>) -> Lanes<F, S> {
    apart(
        simd,
        v,
        #[inline(always)]
        |simd, v: Lanes<F, S>| {
            let v = at_least::<F, S>(simd, v, F::EXP_ENDS.0);
            exp_of_parts::<F, S>(simd, v, F::exponent_below(simd, v))
        },
    )
}

/// [eᵛ, x eᵛ] for x up to half of the range: each is right wherever it is in the range itself.
#[inline(always)]
pub(crate) fn exp_times<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, x: Lanes<F, S>) -> [Lanes<F, S>; 2] {
    // Past this even the least number's product overflows, and the largest's is 0.
    let end = F::EXP_ENDS.0 + F::EXP_ENDS.0;
    let v = at_most::<F, S>(simd, at_least::<F, S>(simd, v, end), F::ZERO - end);
    // 2ⁿ in three factors, which are normal where two would not be.
    let n = whole::<F, S>(simd, v, F::INV_LN2);
    let third = whole::<F, S>(simd, n, F::from_f64(1.0 / 3.0));
    let (outer, inner) = (F::exp2_whole(simd, third), F::exp2_whole(simd, n - (third + third)));
    let near = exp_near::<F, S>(simd, reduced::<F, S>(v, n));
    [near * outer * outer * inner, x * outer * near * outer * inner]
}

/// The whole number nearest to v · factor, where that is small beside 1/ε.
#[inline(always)]
fn whole<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, factor: F) -> Lanes<F, S> {
    let magic = F::Lanes::splat(simd, F::from_f64(1.5) / F::EPSILON);
    v.fma(factor, magic) - magic
}

/// (m, n) with e^(v + rest) = m · 2ⁿ for v ≤ 0 and the rest that v's rounding lost: m has its digits however far the product has left the range.
#[inline(always)]
pub(crate) fn exp_split<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, rest: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    // Below, m 2ⁿ x is 0 for every x, and the rest of a huge v may be anything.
    let v = at_least::<F, S>(simd, v, F::EXP_ENDS.0 * F::from_f64(3.0));
    let rest = rest.min(F::ONE).max(F::ZERO - F::ONE);
    let n = whole::<F, S>(simd, v, F::INV_LN2);
    (exp_near::<F, S>(simd, reduced::<F, S>(v, n) + rest), n)
}

/// x · 2ⁿ for whole n of any size.
#[inline(always)]
pub(crate) fn scaled<F: Float, S: Simd>(simd: S, x: Lanes<F, S>, n: Lanes<F, S>) -> Lanes<F, S> {
    let most = F::EXPONENT_MAX + F::EXPONENT_MAX - F::from_f64(2.0);
    let n = n.min(most).max(F::ZERO - most);
    let half = whole::<F, S>(simd, n, F::from_f64(0.5));
    x * F::exp2_whole(simd, half) * F::exp2_whole(simd, n - half)
}

/// (eᵛ − 1 − v, eᵛ − 1): the first is never negative and keeps full relative accuracy near 0, where it is v²/2. Of an infinite v it is NaN.
#[inline(always)]
pub fn exp_excess<F: Float, S: Simd>(simd: S, v: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    apart(
        simd,
        v,
        #[inline(always)]
        |simd, v: Lanes<F, S>| {
            let [series] = excess_series::<F, S, 1>(simd, [v]);
            exp_excess_from::<F, S>(v, series)
        },
    )
}

/// v = n ln 2 + r as n, lifted, and r, and (e^r − 1 − r) / r²: the first part of [`exp_excess`], of `N` vectors step by step. Of each alone every step waits for the one before, and
/// the processor sees too few vectors ahead to fill the time with.
#[inline(always)]
pub(crate) fn excess_series<F: Float, S: Simd, const N: usize>(simd: S, v: [Lanes<F, S>; N]) -> [[Lanes<F, S>; 3]; N] {
    let (lift, zero) = (F::Lanes::splat(simd, F::EXPONENT_LIFT), constant::<F, S>(simd, 0.0));
    let (mut lifted, mut r) = ([zero; N], [zero; N]);
    for ((lifted, r), v) in lifted.iter_mut().zip(&mut r).zip(v) {
        // Below −80 eᵛ is lost beside 1.
        *r = at_least::<F, S>(simd, v, F::from_f64(-80.0));
        // n = 0 where |v| ≤ 0.75 and nowhere else, so that nothing cancels there: r is v. At the top 2ⁿ stays finite: r reaches ln 2, and past it the result overflows.
        let large = v.abs().simd_gt(F::from_f64(0.75));
        let n = r.fma(F::INV_LN2, lift).min(F::EXPONENT_LIFT + F::EXPONENT_MAX);
        *lifted = large.select(n, lift);
    }
    for part in [F::LN2_HIGH, F::LN2_LOW] {
        for (r, lifted) in r.iter_mut().zip(&lifted) {
            *r = (lift - *lifted).fma(part, *r);
        }
    }
    let tail = polynomials::<F, S, N>(simd, r, F::EXP_TAIL);
    let mut series = [[zero; 3]; N];
    for (i, series) in series.iter_mut().enumerate() {
        *series = [lifted[i], r[i], tail[i]];
    }
    series
}

/// [`exp_excess`] of v and its [`excess_series`].
#[inline(always)]
pub(crate) fn exp_excess_from<F: Float, S: Simd>(
    v: Lanes<F, S>,
    [lifted, r, tail]: [Lanes<F, S>; 3],
) -> (Lanes<F, S>, Lanes<F, S>) {
    let small = lifted.simd_eq(F::EXPONENT_LIFT);
    let square = r * r;
    let t = square.fma(tail, r);
    // v² with its rounding error, so that a product of two rounded factors does not add both errors.
    let tiny = square.fma(tail, r.fma(r, -square) * tail);
    // 2ⁿ(e^r − 1) + (2ⁿ − 1 − v), the bracket with its rounding error beside it.
    let power = F::exp2_lifted::<S>(lifted);
    let whole = power - F::ONE;
    let bracket = whole - v;
    let error = (whole - bracket) - v;
    let excess = power.fma(t, error) + bracket;
    (small.select(tiny, excess), power.fma(t, whole))
}
