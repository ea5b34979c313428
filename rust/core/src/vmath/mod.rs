//! Elementary functions on lanes, written once over the lane abstraction and accurate to 2 ulp in both element types.
//!
//! Contract. Each function is a pure function of one number, the same bits at every level; overflow gives ±∞ and NaN goes
//! through. The largest errors, over every float32 and over dense random float64, stand in `tests/vmath.rs` of this crate, which
//! asserts them against float64 (for float32) and against double-double series (for float64).

mod coefficients;
mod gamma;
mod gamma_coefficients;
mod ln_1p;
mod turn;

pub use coefficients::Coefficients;
pub use gamma::{digamma, lgamma, stirling};
pub use gamma_coefficients::GammaCoefficients;
pub use ln_1p::{expm1, ln_1p};
pub use turn::sin_cos_turn;

use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, SimdFloat, f32x16, f64x8};

/// The lanes of an element type.
pub type Lanes<F, S> = <F as Float>::Lanes<S>;

/// What the elementary functions need to know of an element type's bits.
pub trait Elementary: Coefficients + GammaCoefficients + Sized {
    /// exp of anything larger overflows.
    const EXP_MAX: Self;
    /// exp of anything smaller rounds to 0.
    const EXP_MIN: Self;
    /// The least and the greatest n for which 2ⁿ, or an argument near it, is computed.
    const EXPONENT_RANGE: (Self, Self);

    /// 2ⁿ for whole n within the normal exponents.
    fn exp2_whole<S: Simd>(simd: S, n: Lanes<Self, S>) -> Lanes<Self, S>
    where
        Self: Float;

    /// `x = m · 2ᵉ` as (m, e), √½ ≤ m < √2, for positive finite x, subnormal ones included.
    fn split_exponent<S: Simd>(simd: S, x: Lanes<Self, S>) -> (Lanes<Self, S>, Lanes<Self, S>)
    where
        Self: Float;
}

macro_rules! elementary {
    ($t:ident, $lanes:ident, $mantissa:literal, $bias:literal, $exp_max:literal, $exp_min:literal, $range:expr) => {
        #[allow(clippy::cast_lossless, reason = "one body for both types")]
        impl Elementary for $t {
            const EXP_MAX: Self = $exp_max;
            const EXP_MIN: Self = $exp_min;
            const EXPONENT_RANGE: (Self, Self) = $range;

            #[inline(always)]
            fn exp2_whole<S: Simd>(simd: S, n: $lanes<S>) -> $lanes<S> {
                // 1.5 · 2^mantissa: adding it leaves the whole number in the low bits.
                let magic = $lanes::splat(simd, 1.5 * (1_u64 << $mantissa) as $t);
                $lanes::from_bits((n + $bias + magic).to_bits() << $mantissa)
            }

            #[inline(always)]
            fn split_exponent<S: Simd>(simd: S, x: $lanes<S>) -> ($lanes<S>, $lanes<S>) {
                let subnormal = x.simd_lt($t::MIN_POSITIVE);
                let lift = (1_u64 << ($mantissa + 1)) as $t;
                let x = subnormal.select(x * lift, x);
                let bits = x.to_bits();
                let root = std::$t::consts::FRAC_1_SQRT_2.to_bits();
                // Counting exponents from √½ instead of from 1 centres m on 1.
                let one = (1.0 as $t).to_bits();
                let biased = (bits + one - root) >> $mantissa;
                let m = $lanes::from_bits(bits - ((biased - (one >> $mantissa)) << $mantissa));
                // A whole number below 2^mantissa in the low bits of 2^mantissa is that float.
                let base = (1_u64 << $mantissa) as $t;
                let e = $lanes::from_bits(biased | base.to_bits()) - base - $bias;
                let zero = $lanes::splat(simd, 0.0);
                (m, e - subnormal.select(zero + ($mantissa + 1) as $t, zero))
            }
        }
    };
}

elementary!(f32, f32x16, 23, 127.0, 88.722_84, -103.972_08, (-151.0, 128.0));
elementary!(f64, f64x8, 52, 1023.0, 709.782_712_893_384, -745.133_219_101_941_2, (-1076.0, 1024.0));

/// Horner's scheme, lowest degree first.
#[inline(always)]
fn polynomial<F: Float, S: Simd>(simd: S, x: Lanes<F, S>, coefficients: &'static [F]) -> Lanes<F, S> {
    let mut value = F::Lanes::splat(simd, coefficients[coefficients.len() - 1]);
    for &c in coefficients.iter().rev().skip(1) {
        value = value.fma(x, c);
    }
    value
}

#[inline(always)]
fn constant<F: Float, S: Simd>(simd: S, x: f64) -> Lanes<F, S> {
    F::Lanes::splat(simd, F::from_f64(x))
}

/// The whole number nearest to v / ln 2, within the range of exponents.
#[inline(always)]
fn nearest_exponent<F: Float, S: Simd>(v: Lanes<F, S>) -> Lanes<F, S> {
    let (low, high) = F::EXPONENT_RANGE;
    (v * F::INV_LN2).round_ties_even().max(low).min(high)
}

/// v − n ln 2: Cody and Waite's reduction.
#[inline(always)]
fn reduced<F: Float, S: Simd>(v: Lanes<F, S>, n: Lanes<F, S>) -> Lanes<F, S> {
    let r = (-n).fma(F::LN2_HIGH, v);
    (-n).fma(F::LN2_LOW, r)
}

/// e^r − 1 for r = v − n ln 2, |r| ≤ 0.75.
#[inline(always)]
fn reduced_expm1<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, n: Lanes<F, S>) -> Lanes<F, S> {
    let r = reduced::<F, S>(v, n);
    let tail = polynomial::<F, S>(simd, r, F::EXP_TAIL);
    (r * r).fma(tail, r)
}

/// `y · 2ⁿ` in two steps, so that n may lie past the normal exponents and a subnormal result is rounded once.
#[inline(always)]
fn scale<F: Float, S: Simd>(simd: S, y: Lanes<F, S>, n: Lanes<F, S>) -> Lanes<F, S> {
    let half = (n * F::from_f64(0.5)).floor();
    y * F::exp2_whole(simd, half) * F::exp2_whole(simd, n - half)
}

/// eᵛ from its reduced parts, with the ends of the range put right.
#[inline(always)]
fn exp_from<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, n: Lanes<F, S>, t: Lanes<F, S>) -> Lanes<F, S> {
    let e = scale::<F, S>(simd, t + F::ONE, n);
    let e = v.simd_gt(F::EXP_MAX).select(F::Lanes::splat(simd, F::INFINITY), e);
    v.simd_lt(F::EXP_MIN).select(constant::<F, S>(simd, 0.0), e)
}

/// eᵛ.
#[inline(always)]
pub fn exp<F: Float, S: Simd>(simd: S, v: Lanes<F, S>) -> Lanes<F, S> {
    let n = nearest_exponent::<F, S>(v);
    let t = reduced_expm1::<F, S>(simd, v, n);
    exp_from::<F, S>(simd, v, n, t)
}

/// (eᵛ − 1 − v, eᵛ − 1): the first is never negative and keeps full relative accuracy near 0, where it is v²/2.
#[inline(always)]
pub fn exp_excess<F: Float, S: Simd>(simd: S, v: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    // n = 0 where |v| ≤ 0.75, so that nothing cancels there.
    let small = v.abs().simd_le(F::from_f64(0.75));
    let n = small.select(constant::<F, S>(simd, 0.0), nearest_exponent::<F, S>(v));
    let t = reduced_expm1::<F, S>(simd, v, n);
    // v² with its rounding error, so that a product of two rounded factors does not add both errors.
    let square = v * v;
    let tail = polynomial::<F, S>(simd, v, F::EXP_TAIL);
    let tiny = square.fma(tail, v.fma(v, -square) * tail);
    // |v| ≤ 4: 2ⁿ(e^r − 1) + (2ⁿ − 1 − v), the bracket with its rounding error beside it.
    let near = v.abs().simd_le(F::from_f64(4.0));
    let power = F::exp2_whole(simd, near.select(n, constant::<F, S>(simd, 0.0)));
    let whole = power - F::ONE;
    let bracket = whole - v;
    let error = (whole - bracket) - v;
    let e = exp_from::<F, S>(simd, v, n, t);
    let expm1 = near.select(power.fma(t, whole), e - F::ONE);
    // Past the range v + 1 would be ∞ − ∞.
    let excess = near.select(power.fma(t, error) + bracket, e - (v.min(F::MAX) + F::ONE));
    (small.select(tiny, excess), small.select(t, expm1))
}

/// ln x; −∞ at 0 and NaN below.
#[inline(always)]
pub fn ln<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    let (m, e) = F::split_exponent(simd, x);
    let y = ln_reduced::<F, S>(simd, m - F::ONE, e);
    let zero = constant::<F, S>(simd, 0.0);
    let y = x.simd_eq(zero).select(F::Lanes::splat(simd, F::ZERO - F::INFINITY), y);
    let y = x.simd_lt(zero).select(F::Lanes::splat(simd, F::NAN), y);
    x.simd_lt(F::INFINITY).select(y, x + y)
}

/// ln((1 + f) · 2ᵉ) for √½ ≤ 1 + f ≤ √2.
#[inline(always)]
pub(crate) fn ln_reduced<F: Float, S: Simd>(simd: S, f: Lanes<F, S>, e: Lanes<F, S>) -> Lanes<F, S> {
    let tail = polynomial::<F, S>(simd, f, F::LN_TAIL);
    let square = f * f;
    let low = (square * f).fma(tail, e * F::LN2_LOW);
    let low = square.fma(F::from_f64(-0.5), low);
    e.fma(F::LN2_HIGH, f + low)
}

/// (softplus(x), sigmoid(x)) = (ln(1 + eˣ), 1/(1 + e⁻ˣ)) from one shared exponential; the second is the first's derivative.
#[inline(always)]
pub fn softplus_sigmoid<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let zero = constant::<F, S>(simd, 0.0);
    let t = exp::<F, S>(simd, -x.abs());
    // ln(1 + t) = t − (t²/2 − s(t²/2 + s² R(s²))), s = t / (2 + t): the leading term is exact.
    let s = t / (t + F::from_f64(2.0));
    let z = s * s;
    let half_square = t * t * F::from_f64(0.5);
    let series = z * polynomial::<F, S>(simd, z, F::ATANH_TAIL);
    let log1p = t - (half_square - s * (half_square + series));
    let positive = x.simd_ge(zero);
    let softplus = positive.select(x + log1p, log1p);
    let one = constant::<F, S>(simd, 1.0);
    let below = t + F::ONE;
    let sigmoid = quotient::<F, S>(simd, positive.select(one, t), zero, below, (one - below) + t);
    (softplus, sigmoid)
}

/// (a + δa) / (b + δb), rounded about once, where δa and δb are rounding errors of a and b.
#[inline(always)]
fn quotient<F: Float, S: Simd>(simd: S, a: Lanes<F, S>, a_error: Lanes<F, S>, b: Lanes<F, S>, b_error: Lanes<F, S>) -> Lanes<F, S> {
    let inverse = constant::<F, S>(simd, 1.0) / b;
    let first = a * inverse;
    let rest = (-first).fma(b, a) + (-first).fma(b_error, a_error);
    rest.fma(inverse, first)
}

/// tanh x = −(e^v − 1) / (e^v + 1), v = −2 |x|.
#[inline(always)]
pub fn tanh<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    // Past −80 the result is 1; a comparison rather than a maximum, so that NaN goes through.
    let v = x.abs() * F::from_f64(-2.0);
    let v = v.simd_lt(F::from_f64(-80.0)).select(constant::<F, S>(simd, -80.0), v);
    let n = v.abs().simd_le(F::from_f64(0.75)).select(constant::<F, S>(simd, 0.0), nearest_exponent::<F, S>(v));
    // e^v − 1 = (2ⁿ − 1) + 2ⁿ r + 2ⁿ (e^r − 1 − r) as a sum and its rounding error.
    let r = reduced::<F, S>(v, n);
    let curve = r * r * polynomial::<F, S>(simd, r, F::EXP_TAIL);
    let t = r + curve;
    let power = F::exp2_whole(simd, n);
    let whole = power - F::ONE;
    let e = power.fma(t, whole);
    let e_error = power.fma(t, whole - e) + power * (curve - (t - r));
    let two = constant::<F, S>(simd, 2.0);
    let below = e + two;
    quotient::<F, S>(simd, -e, -e_error, below, (two - below) + e + e_error).copysign(x)
}

/// (cos 2πu, sin 2πu) for |u| ≤ 1/8.
#[inline(always)]
pub(crate) fn cos_sin_turn<F: Float, S: Simd>(simd: S, u: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let z = u * u;
    let cos = z.fma(polynomial::<F, S>(simd, z, F::COS_TURN), F::ONE);
    let sin = u * polynomial::<F, S>(simd, z, F::SIN_TURN);
    (cos, sin)
}
