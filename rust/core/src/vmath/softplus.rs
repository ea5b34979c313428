//! softplus and sigmoid, of one sign and of both, from one exponential.

use super::{Lanes, constant, exp_below, polynomial};
use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, apart};

/// e^−|x|, from which all of these go on.
#[inline(always)]
pub(crate) fn exp_minus_abs<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    exp_below::<F, S>(simd, -x.abs())
}

/// (softplus(x), sigmoid(x)) = (ln(1 + eˣ), 1/(1 + e⁻ˣ)) from one shared exponential; the second is the first's derivative.
#[inline(always)]
pub fn softplus_sigmoid<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let t = exp_minus_abs::<F, S>(simd, x);
            // max(x, 0) + ln(1 + t), ln(1 + t) = t − t² Q(t) without a division. Below 0 it is rounded once; above, t comes last, as the rest is small
            // where its rounding matters.
            let positive = x.simd_ge(F::ZERO);
            let curve = -(t * t);
            let softplus = curve.fma(polynomial::<F, S>(simd, t, F::LOG1P_TAIL), positive.select(x, t));
            let softplus = positive.select(softplus + t, softplus);
            (softplus, share::<F, S>(simd, positive.select(constant::<F, S>(simd, 1.0), t), t))
        },
    )
}

/// [`softplus_sigmoid`] of x and of −x, the same bits, from one shared exponential.
#[inline(always)]
pub fn softplus_sigmoids<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> [(Lanes<F, S>, Lanes<F, S>); 2] {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let t = exp_minus_abs::<F, S>(simd, x);
            let (curve, tail) = (-(t * t), polynomial::<F, S>(simd, t, F::LOG1P_TAIL));
            let (above, below) = (curve.fma(tail, x.abs()) + t, curve.fma(tail, t));
            let [most, least] = shares::<F, S>(simd, t);
            let (rising, falling) = (x.simd_ge(F::ZERO), x.simd_le(F::ZERO));
            [(rising.select(above, below), rising.select(most, least)), (falling.select(above, below), falling.select(most, least))]
        },
    )
}

/// (sigmoid(x), sigmoid(−x)) from one shared exponential, each with its own digits: the second is 1 less the first.
#[inline(always)]
pub fn sigmoids<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let t = exp_minus_abs::<F, S>(simd, x);
            let [most, least] = shares::<F, S>(simd, t);
            let positive = x.simd_ge(F::ZERO);
            (positive.select(most, least), positive.select(least, most))
        },
    )
}

/// 1 / (1 + t) and t / (1 + t).
#[inline(always)]
pub(crate) fn shares<F: Float, S: Simd>(simd: S, t: Lanes<F, S>) -> [Lanes<F, S>; 2] {
    [share::<F, S>(simd, constant::<F, S>(simd, 1.0), t), share::<F, S>(simd, t, t)]
}

/// part / (1 + t), part 1 or t, whose rounding error is put back.
#[inline(always)]
pub(crate) fn share<F: Float, S: Simd>(simd: S, part: Lanes<F, S>, t: Lanes<F, S>) -> Lanes<F, S> {
    let one = constant::<F, S>(simd, 1.0);
    let whole = t + F::ONE;
    let inverse = one / whole;
    let first = part * inverse;
    let rest = (-first).fma((one - whole) + t, (-first).fma(whole, part));
    rest.fma(inverse, first)
}
