//! Elementary functions on lanes, written once over the lane abstraction and accurate to 2 ulp in both element types; lgamma, digamma and
//! Binet's function to 4.
//!
//! Contract. Each function is a pure function of one number, the same bits at every level; overflow gives ±∞ and NaN goes
//! through; [`exp_excess`] alone gives NaN of ±∞ where its limit is ∞. The largest errors, over every float32 and over dense random float64, stand in `tests/vmath/elementary.rs` and `tests/vmath/gamma.rs` of
//! this crate, which assert them against float64 (for float32) and against double-double series (for float64).

mod coefficients;
mod exp;
mod gamma;
mod gamma_coefficients;
mod gelu;
mod ln_1p;
mod softplus;
mod turn;

pub use coefficients::Coefficients;
use exp::reduced;
pub(crate) use exp::{excess_series, exp_below, exp_excess_from, exp_split, exp_times, scaled};
pub use exp::{exp, exp_excess};
pub use gamma::{digamma, lgamma, stirling};
pub use gamma_coefficients::GammaCoefficients;
pub use gelu::gelu;
pub use ln_1p::{expm1, ln_1p};
pub(crate) use ln_1p::{ln_1p_to_one, ln_parts, ln_reduced_parts};
pub(crate) use softplus::{exp_minus_abs, share, shares};
pub use softplus::{sigmoids, softplus_sigmoid, softplus_sigmoids};
pub use turn::sin_cos_turn;

use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, SimdFloat, apart, f32x16, f64x8};

/// The lanes of an element type.
pub type Lanes<F, S> = <F as Float>::Lanes<S>;

/// What the elementary functions need to know of an element type's bits.
pub trait Elementary: Coefficients + GammaCoefficients + Sized {
    /// exp of anything larger overflows.
    const EXP_MAX: Self;
    /// Arguments just past both ends, whose exponentials round to 0 and to ∞.
    const EXP_ENDS: (Self, Self);
    /// The largest exponent of a finite number.
    const EXPONENT_MAX: Self;
    /// Added to a whole number, it leaves that and the exponent's bias in the low bits: 1.5 · 2^mantissa and the bias.
    const EXPONENT_LIFT: Self;

    /// 2ⁿ of n + [`EXPONENT_LIFT`](Self::EXPONENT_LIFT).
    fn exp2_lifted<S: Simd>(lifted: Lanes<Self, S>) -> Lanes<Self, S>
    where
        Self: Float;

    /// 2ⁿ for whole n within the normal exponents.
    fn exp2_whole<S: Simd>(simd: S, n: Lanes<Self, S>) -> Lanes<Self, S>
    where
        Self: Float;

    /// The whole number n nearest to v / ln 2, and two powers whose product is 2ⁿ: n may lie past the normal exponents, the factors do not,
    /// so that a product with one and then the other is rounded once.
    fn exponent<S: Simd>(simd: S, v: Lanes<Self, S>) -> (Lanes<Self, S>, [Lanes<Self, S>; 2])
    where
        Self: Float;

    /// As [`exponent`](Self::exponent) for v ≤ 0, where the second factor can be the same for all.
    fn exponent_below<S: Simd>(simd: S, v: Lanes<Self, S>) -> (Lanes<Self, S>, [Lanes<Self, S>; 2])
    where
        Self: Float;

    /// `x = m · 2ᵉ` as (m, e), √½ ≤ m < √2, for positive finite x, subnormal ones included.
    fn split_exponent<S: Simd>(simd: S, x: Lanes<Self, S>) -> (Lanes<Self, S>, Lanes<Self, S>)
    where
        Self: Float;

    /// As [`split_exponent`](Self::split_exponent) where no x is subnormal.
    fn split_exponent_normal<S: Simd>(simd: S, x: Lanes<Self, S>) -> (Lanes<Self, S>, Lanes<Self, S>)
    where
        Self: Float;
}

macro_rules! elementary {
    ($t:ident, $lanes:ident, $mantissa:literal, $bias:literal, $exp_max:literal, $exp_ends:expr) => {
        #[allow(clippy::cast_lossless, reason = "one body for both types")]
        impl Elementary for $t {
            const EXP_MAX: Self = $exp_max;
            const EXP_ENDS: (Self, Self) = $exp_ends;
            const EXPONENT_MAX: Self = $bias;
            const EXPONENT_LIFT: Self = 1.5 * (1_u64 << $mantissa) as $t + $bias;

            #[inline(always)]
            fn exp2_lifted<S: Simd>(lifted: $lanes<S>) -> $lanes<S> {
                $lanes::from_bits(lifted.to_bits() << $mantissa)
            }

            #[inline(always)]
            fn exp2_whole<S: Simd>(simd: S, n: $lanes<S>) -> $lanes<S> {
                Self::exp2_lifted::<S>(n + $lanes::splat(simd, Self::EXPONENT_LIFT))
            }

            #[inline(always)]
            fn exponent<S: Simd>(simd: S, v: $lanes<S>) -> ($lanes<S>, [$lanes<S>; 2]) {
                // As in `exp2_whole`, with the biases put in beforehand: once for n's half and twice for n, so that their difference has one.
                let magic = 1.5 * (1_u64 << $mantissa) as $t;
                let (once, twice) = ($lanes::splat(simd, magic + $bias), $lanes::splat(simd, magic + 2.0 * $bias));
                let whole = v.fma(Self::INV_LN2, twice);
                let half = v.fma(0.5 * Self::INV_LN2, once);
                let first = $lanes::from_bits(half.to_bits() << $mantissa);
                let second = $lanes::from_bits((whole.to_bits() - half.to_bits()) << $mantissa);
                (whole - twice, [first, second])
            }

            #[inline(always)]
            fn exponent_below<S: Simd>(simd: S, v: $lanes<S>) -> ($lanes<S>, [$lanes<S>; 2]) {
                // 2ⁿ⁺ˡ 2⁻ˡ, l half the bias: from n = 0 down to the last subnormal number both are normal.
                let lift = ($bias as u64).div_ceil(2);
                let lifted = $lanes::splat(simd, 1.5 * (1_u64 << $mantissa) as $t + $bias + lift as $t);
                let whole = v.fma(Self::INV_LN2, lifted);
                let down = $t::from_bits((($bias as u64 - lift) << $mantissa) as _);
                (whole - lifted, [$lanes::from_bits(whole.to_bits() << $mantissa), $lanes::splat(simd, down)])
            }

            #[inline(always)]
            fn split_exponent<S: Simd>(simd: S, x: $lanes<S>) -> ($lanes<S>, $lanes<S>) {
                let subnormal = x.simd_lt($t::MIN_POSITIVE);
                let lift = (1_u64 << ($mantissa + 1)) as $t;
                let (m, e) = Self::split_exponent_normal(simd, subnormal.select(x * lift, x));
                let zero = $lanes::splat(simd, 0.0);
                (m, e - subnormal.select(zero + ($mantissa + 1) as $t, zero))
            }

            #[inline(always)]
            fn split_exponent_normal<S: Simd>(_simd: S, x: $lanes<S>) -> ($lanes<S>, $lanes<S>) {
                let bits = x.to_bits();
                let root = std::$t::consts::FRAC_1_SQRT_2.to_bits();
                // Counting exponents from √½ instead of from 1 centres m on 1.
                let one = (1.0 as $t).to_bits();
                let biased = (bits + one - root) >> $mantissa;
                let m = $lanes::from_bits(bits - ((biased - (one >> $mantissa)) << $mantissa));
                // A whole number below 2^mantissa in the low bits of 2^mantissa is that float.
                let base = (1_u64 << $mantissa) as $t;
                (m, $lanes::from_bits(biased | base.to_bits()) - (base + $bias))
            }
        }
    };
}

elementary!(f32, f32x16, 23, 127.0, 88.722_84, (-104.0, 89.0));
elementary!(f64, f64x8, 52, 1023.0, 709.782_712_893_384, (-746.0, 710.0));

/// Horner's scheme, lowest degree first.
#[inline(always)]
pub(crate) fn polynomial<F: Float, S: Simd>(simd: S, x: Lanes<F, S>, coefficients: &'static [F]) -> Lanes<F, S> {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let [value] = polynomials::<F, S, 1>(simd, [x], coefficients);
            value
        },
    )
}

/// [`polynomial`] of `N` vectors, a coefficient of all and then the next.
#[inline(always)]
fn polynomials<F: Float, S: Simd, const N: usize>(simd: S, x: [Lanes<F, S>; N], coefficients: &'static [F]) -> [Lanes<F, S>; N] {
    let mut values = [F::Lanes::splat(simd, coefficients[coefficients.len() - 1]); N];
    for &c in coefficients.iter().rev().skip(1) {
        for (value, x) in values.iter_mut().zip(&x) {
            *value = value.fma(*x, c);
        }
    }
    values
}

#[inline(always)]
fn constant<F: Float, S: Simd>(simd: S, x: f64) -> Lanes<F, S> {
    F::Lanes::splat(simd, F::from_f64(x))
}

/// The whole number nearest to v / ln 2.
#[inline(always)]
fn nearest_exponent<F: Float, S: Simd>(v: Lanes<F, S>) -> Lanes<F, S> {
    (v * F::INV_LN2).round_ties_even()
}

/// v, or the end that it lies past; NaN goes through.
#[inline(always)]
pub(crate) fn at_least<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, low: F) -> Lanes<F, S> {
    let low = F::Lanes::splat(simd, low);
    // x86-64's maximum is its second operand where one is NaN, aarch64's is NaN; elsewhere it may be the other one.
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { low.max(v) } else { v.simd_lt(low).select(low, v) }
}

/// As [`at_least`], from above.
#[inline(always)]
pub(crate) fn at_most<F: Float, S: Simd>(simd: S, v: Lanes<F, S>, high: F) -> Lanes<F, S> {
    let high = F::Lanes::splat(simd, high);
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { high.min(v) } else { v.simd_gt(high).select(high, v) }
}

/// 0 in the lanes where every number is finite, NaN elsewhere: one operation a number where comparisons take three.
#[inline(always)]
pub(crate) fn zero_if_finite<F: Float, S: Simd, const N: usize>(simd: S, x: [Lanes<F, S>; N]) -> Lanes<F, S> {
    let zero = constant::<F, S>(simd, 0.0);
    let mut sum = zero;
    for x in x {
        sum = x.fma(zero, sum);
    }
    sum
}

/// ln x; −∞ at 0 and NaN below.
#[inline(always)]
pub fn ln<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let (m, e) = F::split_exponent(simd, x);
            let y = ln_reduced::<F, S>(simd, m - F::ONE, e);
            let zero = constant::<F, S>(simd, 0.0);
            let y = x.simd_eq(zero).select(F::Lanes::splat(simd, F::ZERO - F::INFINITY), y);
            let y = x.simd_lt(zero).select(F::Lanes::splat(simd, F::NAN), y);
            x.simd_lt(F::INFINITY).select(y, x + y)
        },
    )
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

/// `a + b` and its rounding error (Knuth).
#[inline(always)]
pub(crate) fn two_sum<F: Float, S: Simd>(a: Lanes<F, S>, b: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
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
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            // Past −80 the result is 1.
            let v = x.abs() * F::from_f64(-2.0);
            let v = at_least::<F, S>(simd, v, F::from_f64(-80.0));
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
        },
    )
}

/// (cos 2πu, sin 2πu) for |u| ≤ 1/8.
#[inline(always)]
pub(crate) fn cos_sin_turn<F: Float, S: Simd>(simd: S, u: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let z = u * u;
    let cos = z.fma(polynomial::<F, S>(simd, z, F::COS_TURN), F::ONE);
    let sin = u * polynomial::<F, S>(simd, z, F::SIN_TURN);
    (cos, sin)
}
