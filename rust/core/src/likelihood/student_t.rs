//! Real cells with a power's tails: C(ν) − ln scale − ½ (ν + 1) ln(1 + δ²/ν), δ = (x − loc) / scale, ν the degrees of freedom.
//!
//! C(ν) = ln Γ((ν + 1)/2) − ln Γ(ν/2) − ½ ln νπ, by the remainder of Stirling's formula, so that at any ν nothing large is subtracted.

use super::cells::{CellOp, where_seen};
use super::count::LN_2PI_HALF;
use super::scale::difference;
use crate::error::{Error, Result};
use crate::random::{CellWords, ln_gamma_variate};
use crate::rows::{LaneOp, Term};
use crate::simd::{Kernel, Select, Simd, SimdBase, SimdFloat, dispatch, f64x8};
use crate::vmath::{exp, ln, ln_1p, stirling};

/// ν and what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Freedom {
    df: f64,
    /// C(ν).
    constant: f64,
    inverse_root: f64,
}

impl Freedom {
    pub(super) fn new(df: f64) -> Result<Self> {
        let half = df / 2.0;
        if !(df > 0.0 && df.is_finite() && half > 0.0 && (1.0 / df).is_finite()) {
            let expected = "a positive finite number of degrees of freedom";
            return Err(Error::value("df", expected, df, "give a number such as 4; Gaussian() is its limit"));
        }
        let ratio = half * libm::log1p(0.5 / half) - 0.5;
        let constant = ratio + (remainder(half + 0.5) - remainder(half)) - LN_2PI_HALF;
        Ok(Self { df, constant, inverse_root: 1.0 / df.sqrt() })
    }

    /// ln scale + ½ (ν + 1) ln(1 + δ²/ν), the derivative of ½ ln(1 + δ²/ν) by −loc, and δ²/(ν + δ²).
    #[inline(always)]
    fn tail<S: Simd>(&self, simd: S, x: f64x8<S>, loc: f64x8<S>, inverse: f64x8<S>, log_scale: f64x8<S>) -> [f64x8<S>; 3] {
        let (zero, one) = (f64x8::splat(simd, 0.0), f64x8::splat(simd, 1.0));
        let [d, k] = difference(simd, x, loc);
        // Where it is 0 the product is, however large the inverse.
        let same = d.simd_eq(zero);
        let w = same.select(zero, (d * inverse) * (k * self.inverse_root));
        // Past this, 1 + w² is w² to the last digit, and w itself may leave the range.
        let far = w.abs().simd_gt(1e10);
        let w = far.select(one, w);
        let u = w * w;
        let distance = far.select(d.abs(), one);
        // There ln w = a − ln scale, of whose multiples one less than all remain.
        let a = ln::<f64, S>(simd, distance) + ln::<f64, S>(simd, k * self.inverse_root);
        let weight = self.df + 1.0;
        let near = one / (u + one);
        let slope = same.select(zero, w * near * self.inverse_root * inverse);
        [
            far.select(a * weight - log_scale * self.df, ln_1p::<f64, S>(simd, u) * (0.5 * weight) + log_scale),
            far.select(one / (far.select(d, one) * k), slope),
            far.select(one, u * near),
        ]
    }
}

/// J(x) of the vector functions.
fn remainder(x: f64) -> f64 {
    struct One(f64);
    impl Kernel for One {
        type Output = f64;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f64 {
            stirling::<f64, S>(simd, f64x8::splat(simd, self.0)).0[0]
        }
    }
    dispatch(One(x))
}

/// A scale known beforehand; the tables hold 1 / scale and ln scale.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub(super) freedom: Freedom,
    pub(super) scale: Vec<f64>,
}

/// The log-scale of each cell as a second block of params.
#[derive(Debug, Clone)]
pub(super) struct Predicted {
    pub(super) freedom: Freedom,
}

impl LaneOp<f64, 4, 1> for Fixed {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, inverse, log_scale]: [f64x8<S>; 4]) -> Term<f64, S, 1> {
        let zero = f64x8::splat(simd, 0.0);
        let seen = !x.is_nan();
        let [loss, slope, _] = self.freedom.tail(simd, x, loc, inverse, log_scale);
        let weight = self.freedom.df + 1.0;
        let d = slope * weight;
        let term = -(loss - self.freedom.constant);
        let bad = seen & !(x.is_finite() & loc.is_finite());
        Term { sum: seen.select(term, zero), out: [seen.select(d, zero)], bad }
    }
}

impl CellOp<f64, 4, 1> for Fixed {
    const WORK: f64 = 5.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc]: [f64x8<S>; 1]) -> f64x8<S> {
        loc
    }

    fn draw(&self, column: usize, [loc]: [f64; 1], words: &mut CellWords) -> f64 {
        loc + self.scale[column] * self.freedom.draw(words)
    }
}

impl LaneOp<f64, 3, 2> for Predicted {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, log_scale]: [f64x8<S>; 3]) -> Term<f64, S, 2> {
        let zero = f64x8::splat(simd, 0.0);
        let seen = !x.is_nan();
        let inverse = exp::<f64, S>(simd, -log_scale);
        let [loss, slope, share] = self.freedom.tail(simd, x, loc, inverse, log_scale);
        let weight = self.freedom.df + 1.0;
        let out = where_seen::<f64, S, _>(simd, seen, [slope * weight, share * weight - 1.0]);
        let term = -(loss - self.freedom.constant);
        let bad = seen & !(x.is_finite() & loc.is_finite() & log_scale.is_finite());
        Term { sum: seen.select(term, zero), out, bad }
    }
}

impl CellOp<f64, 3, 2> for Predicted {
    const WORK: f64 = 6.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc, _]: [f64x8<S>; 2]) -> f64x8<S> {
        loc
    }

    fn draw(&self, _column: usize, [loc, log_scale]: [f64; 2], words: &mut CellWords) -> f64 {
        loc + libm::exp(log_scale).min(f64::MAX) * self.freedom.draw(words)
    }
}

impl Freedom {
    /// Of scale 1: a normal over the root of an independent χ²/ν = 2 Γ(ν/2)/ν.
    fn draw(&self, words: &mut CellWords) -> f64 {
        let normal = words.normal();
        let log_ratio = ln_gamma_variate(words, 0.5 * self.df) - libm::log(0.5 * self.df);
        normal * libm::exp(-0.5 * log_ratio).min(f64::MAX)
    }
}
