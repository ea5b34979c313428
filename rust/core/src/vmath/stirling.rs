//! The remainder of Stirling's formula, on which everything with factorials is built.

use super::{Lanes, constant, ln, ln_1p, polynomial};
use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, SimdMask};

/// (J(x), J′(x)) for x > 0: J(x) = ln Γ(x) − [(x − ½) ln x − x + ½ ln 2π], Binet's function (DLMF 5.11), which falls from ∞ at 0 like 1/12x.
///
/// From 4 on a polynomial in 1/x²; from ¼ to 4 one for each octave; below, J(x) = J(x + 1) + (x + ½) ln(1 + 1/x) − 1. What x ≤ 0 gives is not defined.
#[inline(always)]
pub fn stirling<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let half = F::from_f64(0.5);
    let tiny = x.simd_lt(F::from_f64(0.25));
    let raised = tiny.select(x + F::ONE, x);
    let inverse = constant::<F, S>(simd, 1.0) / raised;
    let square = inverse * inverse;
    let large = raised.simd_ge(F::from_f64(4.0));
    let z = large.select(square, constant::<F, S>(simd, 0.0));
    let (mut value, mut slope) = (polynomial::<F, S>(simd, z, F::STIRLING), polynomial::<F, S>(simd, z, F::STIRLING_SLOPE));
    if !large.all_true() {
        let below = [0.5, 1.0, 2.0].map(|end| raised.simd_lt(F::from_f64(end)));
        let pick = |pieces: [Lanes<F, S>; 4]| {
            let [a, b, c, d] = pieces;
            below[0].select(a, below[1].select(b, below[2].select(c, d)))
        };
        let u = raised * pick([4.0, 2.0, 1.0, 0.5].map(|scale| constant::<F, S>(simd, scale))) - F::from_f64(1.5);
        let piecewise = |pieces: [&'static [F]; 4]| {
            let at = |k: usize| pick(pieces.map(|piece| F::Lanes::splat(simd, piece[k])));
            let degree = pieces[0].len() - 1;
            (0..degree).rev().fold(at(degree), |sum, k| sum.fma(u, at(k)))
        };
        value = large.select(value, piecewise(F::STIRLING_PIECES));
        slope = large.select(slope, piecewise(F::STIRLING_SLOPE_PIECES));
    }
    let (value, slope) = (value * inverse, slope * square);
    if !tiny.any_true() {
        return (value, slope);
    }
    let ln_ratio = ln_1p::<F, S>(simd, x) - ln::<F, S>(simd, x);
    let halves = constant::<F, S>(simd, 0.5) / x + inverse * half;
    (tiny.select(value + ((x + half) * ln_ratio - F::ONE), value), tiny.select(slope + (ln_ratio - halves), slope))
}
