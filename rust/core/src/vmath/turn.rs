//! Sine and cosine of an angle given in turns, whose reduction is exact.

use super::{Lanes, cos_sin_turn};
use crate::float::Float;
use crate::simd::{Select, Simd, SimdBase, SimdFloat};

/// (cos 2πu, sin 2πu), the cosine first, for any finite u; NaN at ±∞.
#[inline(always)]
pub fn sin_cos_turn<F: Float, S: Simd>(simd: S, u: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    // Both differences are exact: whole turns first, for 4u may overflow, then quarters, −2 to 2.
    let u = u - u.round_ties_even();
    let quarters = (u * F::from_f64(4.0)).round_ties_even();
    let (cos, sin) = cos_sin_turn::<F, S>(simd, u - quarters * F::from_f64(0.25));
    let odd = quarters.abs().simd_eq(F::ONE);
    let half = quarters.abs().simd_eq(F::from_f64(2.0));
    let (cos, sin) = (odd.select(sin, cos), odd.select(cos, sin));
    let cos = (half | quarters.simd_eq(F::ONE)).select(-cos, cos);
    let sin = (half | quarters.simd_eq(F::from_f64(-1.0))).select(-sin, sin);
    (cos, sin)
}
