//! Counts of mean μ and concentration r, so of variance μ + μ²/r: ln Γ(x + r)/(Γ(r) x!) + r ln(r/(r + μ)) + x ln(μ/(r + μ)), with log μ and log r as params.
//!
//! With n = r + x, s = ln(n/(r + μ)), t = ln(nμ/((r + μ)x)), h(y) = eʸ − 1 − y and J the remainder of Stirling's formula it is (Loader 2000)
//! −r h(s) − x h(t) − ½ ln 2πx − ½ ln(1 + x/r) + J(n) − J(r) − J(x), and r s for x = 0: no term is a difference of large ones, at any concentration.
//! The gradients are r (eˢ − 1) by log μ, and −r h(s) + x/2n + r (J′(n) − J′(r)) by log r.

use super::cells::{CellOp, flaw, where_seen};
use super::count::{Counts, LN_2PI_HALF};
use super::poisson;
use crate::random::{self, CellWords, ln_gamma_variate};
use crate::rows::{LaneOp, Term};
use crate::simd::{Select, Simd, SimdBase, SimdMask, f64x8};
use crate::vmath::{exp, exp_excess, ln, ln_1p, softplus_sigmoids, stirling};

#[derive(Debug, Clone)]
pub(super) struct NegativeBinomial;

/// Past this r leaves the range.
const LOG_CONCENTRATION_MAX: f64 = 709.0;
/// Where log r is more than this above log μ and ln x, the probability is Poisson's to the last digit, while the rounding of log μ − log r would be seen.
const POISSON: f64 = 40.0;
/// Below this, J(r) = −½ log r − ½ ln 2π and r J′(r) = −½ to the last digit, and r may be 0.
const LOG_CONCENTRATION_TINY: f64 = -40.0;
/// Params are held within this, so that their difference stays in the range.
const LOG_MAX: f64 = 1e307;

/// Value and gradients of cells, wherever x is a count.
pub(super) struct Parts<S: Simd> {
    pub(super) value: f64x8<S>,
    pub(super) d_log_mean: f64x8<S>,
    pub(super) d_log_concentration: f64x8<S>,
}

/// [`inline`] as a call: four kernels use it, and it is too long to be compiled into each.
#[inline(never)]
pub(super) fn parts<S: Simd>(simd: S, x: f64x8<S>, log_mean: f64x8<S>, log_concentration: f64x8<S>) -> Parts<S> {
    simd.vectorize(
        #[inline(always)]
        || inline(simd, x, log_mean, log_concentration),
    )
}

#[inline(always)]
fn inline<S: Simd>(simd: S, x: f64x8<S>, log_mean: f64x8<S>, log_concentration: f64x8<S>) -> Parts<S> {
    let (zero, one) = (f64x8::splat(simd, 0.0), f64x8::splat(simd, 1.0));
    let m = log_mean.min(LOG_MAX).max(-LOG_MAX);
    let c = log_concentration.min(LOG_CONCENTRATION_MAX).max(-LOG_MAX);
    let r = exp::<f64, S>(simd, c);
    let positive = x.simd_gt(zero);
    let count = positive.select(x, one);
    let ln_x = ln::<f64, S>(simd, count);

    // s and t differ by log μ − ln x; the one whose parts are small is computed, the other follows: t where r is the least of r, x and μ.
    let odds = m - c;
    // What the difference lost, put back to first order below: a rounding of 80 is many of e⁻⁸⁰.
    let part = odds - m;
    let lost = (m - (odds - part)) - (c + part);
    let direct = r.simd_ge(x) | odds.simd_le(zero);
    let ratio = direct.select(x, r) / direct.select(r, count);
    let far = m - ln_x;
    let ln_ratio = ln_1p::<f64, S>(simd, ratio.min(1e300));
    let ln_ratio = ratio.simd_lt(f64x8::splat(simd, 1e300)).select(ln_ratio, positive.select(ln_x - c, zero));
    let [(softplus, sigmoid), (_, other)] = softplus_sigmoids::<f64, S>(simd, direct.select(odds, -odds));
    let near = ln_ratio - (direct.select(lost, -lost) * sigmoid + softplus);
    let s = direct.select(near, near - far);
    let t = direct.select(near + far, near);

    // The probabilities r/(r + μ) and μ/(r + μ); the smaller is the exact one.
    let (of_mean, of_concentration) = (direct.select(sigmoid, other), direct.select(other, sigmoid));
    let (of_mean, of_concentration) =
        (of_mean + lost * (of_mean * of_concentration), of_concentration - lost * (of_mean * of_concentration));
    let (excess, expm1) = exp_excess::<f64, S>(simd, s);
    let inner = s.abs().simd_le(f64x8::splat(simd, 4.0));
    // Outside, eˢ may leave the range where r eˢ does not.
    let spread = x * of_concentration - r * of_mean;
    let slope = inner.select(r * expm1, spread);
    let loss = inner.select(r * excess, spread - r * s);

    let (excess_t, _) = exp_excess::<f64, S>(simd, t);
    let n = r + x;
    // x eᵗ = n μ/(r + μ), which does not multiply the rounding of a large t.
    let near_t = t.abs().simd_le(f64x8::splat(simd, 2.0));
    let loss_t = near_t.select(count * excess_t, n * of_mean - (count * t + count));
    let tiny = c.simd_lt(f64x8::splat(simd, LOG_CONCENTRATION_TINY));
    let (j_x, _) = stirling::<f64, S>(simd, count);
    let (j_n, dj_n) = stirling::<f64, S>(simd, n.simd_gt(zero).select(n, one));
    let (j_r, dj_r) = stirling::<f64, S>(simd, r.simd_gt(zero).select(r, one));
    let j_r = tiny.select(c * -0.5 - LN_2PI_HALF, j_r);
    let rise = r * dj_n - tiny.select(f64x8::splat(simd, -0.5), r * dj_r);
    // ½ ln(1 + x/r).
    let half_ln = direct.select(ln_ratio, ln_ratio + (ln_x - c)) * 0.5;
    let corrections = ((j_n - j_r) - j_x) - (half_ln + (ln_x * 0.5 + LN_2PI_HALF));
    let value = positive.select(corrections - (loss + loss_t), r * s);
    let share = positive.select(x / n.simd_gt(zero).select(n, one) * 0.5 + rise, zero);
    let past = log_concentration.simd_gt(LOG_CONCENTRATION_MAX);
    let largest = positive.select(ln_x.simd_gt(m).select(ln_x, m), m);
    let limit = past | (c - largest).simd_gt(POISSON);
    if !limit.any_true() {
        return Parts { value, d_log_mean: slope, d_log_concentration: share - loss };
    }
    let [poisson, slope_there] = poisson::parts::<f64, S>(simd, x, m);
    Parts {
        value: limit.select(poisson, value),
        d_log_mean: limit.select(slope_there, slope),
        d_log_concentration: past.select(zero, share - loss),
    }
}

impl LaneOp<f64, 3, 2> for NegativeBinomial {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, log_mean, log_concentration]: [f64x8<S>; 3]) -> Term<f64, S, 2> {
        let zero = f64x8::splat(simd, 0.0);
        let counts = Counts::<f64, S>::new(simd, x);
        let parts = parts(simd, counts.x, log_mean, log_concentration);
        let flaw = flaw::<f64, S, 2>(simd, counts.seen, counts.inside, [log_mean, log_concentration]);
        let out = where_seen::<f64, S, _>(simd, counts.seen, [parts.d_log_mean, parts.d_log_concentration]);
        Term { sum: counts.seen.select(parts.value, zero), out, flaw }
    }
}

impl CellOp<f64, 3, 2> for NegativeBinomial {
    const WORK: f64 = 15.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [log_mean, _]: [f64x8<S>; 2]) -> f64x8<S> {
        exp::<f64, S>(simd, log_mean)
    }

    fn draw(&self, _column: usize, [log_mean, log_concentration]: [f64; 2], words: &mut CellWords) -> f64 {
        draw(log_mean, log_concentration, words)
    }
}

/// A Poisson count whose rate is Gamma of shape r and mean μ.
pub(super) fn draw(log_mean: f64, log_concentration: f64, words: &mut CellWords) -> f64 {
    let c = log_concentration.clamp(-LOG_CONCENTRATION_MAX, LOG_CONCENTRATION_MAX);
    let log_rate = log_mean + (ln_gamma_variate(words, libm::exp(c)) - c);
    random::poisson(words, libm::exp(log_rate).min(f64::MAX))
}
