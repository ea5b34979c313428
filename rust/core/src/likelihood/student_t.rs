//! Real cells with a power's tails: C(ν) − ln scale − ½ (ν + 1) ln(1 + δ²/ν), δ = (x − loc) / scale, ν the degrees of freedom.
//!
//! C(ν) = ln Γ((ν + 1)/2) − ln Γ(ν/2) − ½ ln νπ, by the remainder of Stirling's formula, so that at any ν nothing large is subtracted.

use super::cells::{CellOp, seen, where_seen};
use super::count::LN_2PI_HALF;
use super::scale::{Known, difference};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::{CellWords, ln_gamma_variate};
use crate::rows::{LaneOp, Term};
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdFloat, dispatch, f64x8};
use crate::vmath::{Lanes, exp_split, ln_1p_to_one, ln_parts, ln_reduced_parts, scaled, stirling, two_sum, zero_if_finite};

/// ν and what follows from it, each rounded once.
#[derive(Debug, Clone)]
pub(super) struct Freedom<F> {
    exact: f64,
    df: F,
    /// ν + 1.
    weight: F,
    /// C(ν).
    constant: F,
    /// ½ ln ν, and what is missing from it.
    log_root: [F; 2],
}

/// Of ν within these every product with it is in float32's range wherever its result is.
const SINGLE: std::ops::RangeInclusive<f64> = 1e-30..=1e30;

/// Whether the element type can hold what is computed from ν.
pub(super) fn holds<F: Float>(df: f64) -> bool {
    F::MAX.to_f64() > 1e300 || SINGLE.contains(&df)
}

impl<F: Float> Freedom<F> {
    pub(super) fn new(df: f64) -> Result<Self> {
        let half = df / 2.0;
        if !(df > 0.0 && df.is_finite() && half > 0.0 && (1.0 / df).is_finite()) {
            let expected = "a positive finite number of degrees of freedom";
            return Err(Error::value("df", expected, df, "give a number such as 4; Gaussian() is its limit"));
        }
        let ratio = half * libm::log1p(0.5 / half) - 0.5;
        let [below, above] = [half, half + 0.5].map(|x| remainder_and_ln(x)[0]);
        let constant = ratio + (above - below) - LN_2PI_HALF;
        let log_root = log_parts(0.5, df);
        Ok(Self { exact: df, df: F::from_f64(df), weight: F::from_f64(df + 1.0), constant: F::from_f64(constant), log_root })
    }

    /// ln scale + ½ (ν + 1) ln(1 + δ²/ν), its derivative by −loc, and (ν + 1) δ²/(ν + δ²), for a ln scale of two parts.
    ///
    /// With L = ln |δ| − ½ ln ν and t = e^(−2|L|) the logarithm is 2 max(L, 0) + ln(1 + t), and δ²/(ν + δ²) is t/(1 + t), or 1/(1 + t) where L > 0:
    /// at any scale nothing leaves the range, and L has its rounding error beside it.
    #[inline(always)]
    fn tail<S: Simd>(&self, simd: S, x: Lanes<F, S>, loc: Lanes<F, S>, [log_scale, rest]: [Lanes<F, S>; 2]) -> [Lanes<F, S>; 3] {
        let (zero, one) = (F::Lanes::splat(simd, F::ZERO), F::Lanes::splat(simd, F::ONE));
        let [root, root_rest] = self.log_root;
        let (d, quarter) = difference::<F, S>(x, loc);
        let same = d.simd_eq(zero);
        let (m, e) = F::split_exponent(simd, same.select(one, d.abs()));
        let e = quarter.select(e + F::from_f64(2.0), e);
        let (log, log_rest) = ln_reduced_parts::<F, S>(simd, m - F::ONE, e);
        let (a, a_rest) = two_sum::<F, S>(log, zero - root);
        let (l, l_rest) = two_sum::<F, S>(a, -log_scale);
        let rest = ((log_rest - root_rest) + a_rest) + (l_rest - rest);

        let far = !same & l.simd_gt(zero);
        let twice = rest + rest;
        let (p, n) = exp_split::<F, S>(simd, l.abs() * F::from_f64(-2.0), far.select(-twice, twice));
        let p = same.select(zero, p);
        let t = scaled::<F, S>(simd, p, n);
        let curve = ln_1p_to_one::<F, S>(simd, t) * F::from_f64(0.5);
        // ν L + (L + ln scale), the sum without ln scale's own size where L > 0, stays in the range as long as it is there itself.
        let half = far.select(l + (rest + curve), curve);
        let loss = half.fma(self.df, far.select(a, log_scale) + curve);
        // δ²/(ν + δ²) / d from the parts of d.
        let total = t + F::ONE;
        let slope = far.select(one, p) * self.weight / (total * m);
        let slope = scaled::<F, S>(simd, slope, far.select(zero, n) - e).copysign(d);
        [loss, same.select(zero, slope), far.select(one, t) * self.weight / total]
    }
}

/// J(x), ln x and what is missing from that, of the vector functions.
fn remainder_and_ln(x: f64) -> [f64; 3] {
    struct One(f64);
    impl Kernel for One {
        type Output = [f64; 3];
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [f64; 3] {
            let x = f64x8::splat(simd, self.0);
            let (log, missing) = ln_parts::<f64, S>(simd, x);
            [stirling::<f64, S>(simd, x).0[0], log[0], missing[0]]
        }
    }
    dispatch(One(x))
}

/// `factor` · ln x as two numbers, for a power of two.
fn log_parts<F: Float>(factor: f64, x: f64) -> [F; 2] {
    let [_, log, missing] = remainder_and_ln(x);
    let first = F::from_f64(factor * log);
    [first, F::from_f64((factor * log - first.to_f64()) + factor * missing)]
}

/// The tables of scales known beforehand.
pub(super) fn tables<F: Float>(scales: &[f64]) -> Result<Vec<Vec<F>>> {
    Known::<F>::new(scales)?;
    let logs: Vec<[F; 2]> = scales.iter().map(|s| log_parts(1.0, *s)).collect();
    Ok((0..2).map(|part| logs.iter().map(|log| log[part]).collect()).collect())
}

/// A scale known beforehand; the tables hold ln scale and what is missing from it.
#[derive(Debug, Clone)]
pub(super) struct Fixed<F> {
    pub(super) freedom: Freedom<F>,
    pub(super) scale: Vec<f64>,
}

/// The log-scale of each cell as a second block of params.
#[derive(Debug, Clone)]
pub(super) struct Predicted<F> {
    pub(super) freedom: Freedom<F>,
}

impl<F: Float> LaneOp<F, 4, 1> for Fixed<F> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, log_scale, rest]: [Lanes<F, S>; 4]) -> Term<F, S, 1> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let seen = seen::<F, S>(x);
        let [loss, slope, _] = self.freedom.tail(simd, x, loc, [log_scale, rest]);
        let term = -(loss - self.freedom.constant);
        let [flaw] = where_seen::<F, S, 1>(simd, seen, [zero_if_finite::<F, S, 2>(simd, [x, loc])]);
        Term { sum: seen.select(term, zero), out: [seen.select(slope, zero)], flaw }
    }
}

impl<F: Float> CellOp<F, 4, 1> for Fixed<F> {
    const WORK: f64 = 2.8;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        loc
    }

    fn draw(&self, column: usize, [loc]: [f64; 1], words: &mut CellWords) -> f64 {
        let scale = self.scale[column];
        loc + self.freedom.draw(words).scaled::<F>(scale, || libm::log(scale))
    }
}

impl<F: Float> LaneOp<F, 3, 2> for Predicted<F> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, log_scale]: [Lanes<F, S>; 3]) -> Term<F, S, 2> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let seen = seen::<F, S>(x);
        let [loss, slope, share] = self.freedom.tail(simd, x, loc, [log_scale, zero]);
        let out = where_seen::<F, S, _>(simd, seen, [slope, share - F::ONE]);
        let term = -(loss - self.freedom.constant);
        let [flaw] = where_seen::<F, S, 1>(simd, seen, [zero_if_finite::<F, S, 3>(simd, [x, loc, log_scale])]);
        Term { sum: seen.select(term, zero), out, flaw }
    }
}

impl<F: Float> CellOp<F, 3, 2> for Predicted<F> {
    const WORK: f64 = 2.8;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc, _]: [Lanes<F, S>; 2]) -> Lanes<F, S> {
        loc
    }

    fn draw(&self, _column: usize, [loc, log_scale]: [f64; 2], words: &mut CellWords) -> f64 {
        loc + self.freedom.draw(words).scaled::<F>(libm::exp(log_scale), || log_scale)
    }
}

impl<F> Freedom<F> {
    /// A normal, and the root of an independent χ²/ν = 2 Γ(ν/2)/ν, over which it is a draw of scale 1.
    fn draw(&self, words: &mut CellWords) -> Stretched {
        let normal = words.normal();
        let log_ratio = ln_gamma_variate(words, 0.5 * self.exact) - libm::log(0.5 * self.exact);
        Stretched { normal, log_stretch: -0.5 * log_ratio }
    }
}

/// A draw of scale 1: the normal times the stretch.
struct Stretched {
    normal: f64,
    log_stretch: f64,
}

impl Stretched {
    /// Times the scale, or the largest finite one where it is larger.
    fn scaled<F: Float>(self, scale: f64, log_scale: impl FnOnce() -> f64) -> f64 {
        let most = F::MAX.to_f64();
        let draw = self.normal * libm::exp(self.log_stretch).min(f64::MAX);
        if draw.is_finite() && scale >= f64::MIN_POSITIVE {
            return scale.min(most) * draw;
        }
        // One of the two has left the range; their product may not have.
        let log_size = log_scale().min(libm::log(most)) + self.log_stretch + libm::log(self.normal.abs());
        libm::exp(log_size).copysign(self.normal)
    }
}
