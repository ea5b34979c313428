//! Negative binomial counts, of which a share π = sigmoid(gate) is made 0 besides: ln(π + (1 − π) NB(0)) for x = 0, else ln(1 − π) + ln NB(x).
//!
//! With a = ln NB(0) the first is ln(1 + (eᵃ − 1) sigmoid(−gate)), or ln(e^gate + eᵃ) − softplus(gate) where that is past −ln 2: neither cancels. Its
//! gradient by the gate is −sigmoid(gate − a) sigmoid(−gate) (eᵃ − 1), and by the other params sigmoid(a − gate) times that of a.

use super::cells::{CellOp, flaw, where_seen};
use super::count::Counts;
use super::negative_binomial::{draw, parts};
use crate::random::CellWords;
use crate::rows::{LaneOp, Term};
use crate::simd::{Select, Simd, SimdBase, f64x8};
use crate::vmath::{exp, exp_excess, ln_1p, softplus_sigmoid, softplus_sigmoids};

#[derive(Debug, Clone)]
pub(super) struct ZeroInflatedNegativeBinomial;

impl LaneOp<f64, 4, 3> for ZeroInflatedNegativeBinomial {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, log_mean, log_concentration, gate]: [f64x8<S>; 4]) -> Term<f64, S, 3> {
        let zero = f64x8::splat(simd, 0.0);
        let counts = Counts::<f64, S>::new(simd, x);
        let count = parts(simd, counts.x, log_mean, log_concentration);
        let [(softplus, sigmoid), (_, closed)] = softplus_sigmoids::<f64, S>(simd, gate);

        let a = count.value;
        let (_, expm1) = exp_excess::<f64, S>(simd, a);
        let lost = expm1 * closed;
        // The shares of the gate and of the counts among zeros. Where a is −∞ the gate alone gives them.
        let apart = a.simd_lt(-f64::MAX).select(f64x8::splat(simd, f64::MAX), gate - a);
        let [(rise, small), (_, large)] = softplus_sigmoids::<f64, S>(simd, -apart.abs());
        let gated = apart.simd_ge(zero);
        let (extra, natural) = (gated.select(large, small), gated.select(small, large));
        let far = (gated.select(gate, a) + rise) - softplus;
        let at_zero = lost.simd_gt(-0.5).select(ln_1p::<f64, S>(simd, lost), far);
        // A share of 0 takes nothing of an infinite slope.
        let shared = natural.simd_gt(zero);
        let by_mean = shared.select(natural * count.d_log_mean, zero);
        let by_concentration = shared.select(natural * count.d_log_concentration, zero);

        let positive = counts.x.simd_gt(zero);
        let value = positive.select(a - softplus, at_zero);
        let d_log_mean = positive.select(count.d_log_mean, by_mean);
        let d_log_concentration = positive.select(count.d_log_concentration, by_concentration);
        let d_gate = positive.select(-sigmoid, -(extra * lost));
        let flaw = flaw::<f64, S, 3>(simd, counts.seen, counts.inside, [log_mean, log_concentration, gate]);
        let out = where_seen::<f64, S, _>(simd, counts.seen, [d_log_mean, d_log_concentration, d_gate]);
        Term { sum: counts.seen.select(value, zero), out, flaw }
    }
}

impl CellOp<f64, 4, 3> for ZeroInflatedNegativeBinomial {
    const WORK: f64 = 20.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [log_mean, _, gate]: [f64x8<S>; 3]) -> f64x8<S> {
        let (mean, closed) = (exp::<f64, S>(simd, log_mean), softplus_sigmoid::<f64, S>(simd, -gate).1);
        // Where either leaves the range, their product may be inside.
        let inside = mean.simd_le(f64::MAX) & closed.simd_gt(1e-290);
        let joined = exp::<f64, S>(simd, log_mean - softplus_sigmoid::<f64, S>(simd, gate).0);
        inside.select(mean * closed, joined)
    }

    fn draw(&self, _column: usize, [log_mean, log_concentration, gate]: [f64; 3], words: &mut CellWords) -> f64 {
        let zero = words.uniform() < super::bernoulli::sigmoid(gate);
        if zero { 0.0 } else { draw(log_mean, log_concentration, words) }
    }
}
