//! Cells of 0 or 1: min(u, 0) − ln(1 + e^−|u|), u = (2x − 1) · logit, which cancels nowhere, and its gradient x − sigmoid(logit).

use super::cells::{CellOp, exponentials_first, seen};
use crate::float::Float;
use crate::random::CellWords;
use crate::rows::{LaneOp, Term};
use crate::simd::{Fused, Select, Simd, SimdBase};
use crate::vmath::{Lanes, at_most, exp_minus_abs, ln_1p_to_one, share, softplus_sigmoid};

#[derive(Debug, Clone)]
pub(super) struct Bernoulli;

/// A vector of cells from e^−|logit|.
#[inline(always)]
fn after_exponential<F: Float, S: Simd>(simd: S, [x, logits]: [Lanes<F, S>; 2], t: Lanes<F, S>) -> Term<F, S, 1> {
    let zero = F::Lanes::splat(simd, F::ZERO);
    let seen = seen::<F, S>(x);
    let one = x.simd_eq(F::ONE);
    // The probability of the outcome that is seen is sigmoid(u); for either the gradient is that of the other, towards the one seen.
    let u = one.select(logits, -logits);
    let other = share::<F, S>(simd, u.simd_gt(F::ZERO).select(t, F::Lanes::splat(simd, F::ONE)), t);
    let d = one.select(other, -other);
    // x² − x + 0 · logit is 0 where x is 0 or 1 and the logit finite, and nowhere else.
    let flaw = logits.fma(zero, x.fma(x, -x));
    let term = at_most::<F, S>(simd, u, F::ZERO) - ln_1p_to_one::<F, S>(simd, t);
    Term { sum: seen.select(term, zero), out: [seen.select(d, zero)], flaw: seen.select(flaw, zero) }
}

impl<F: Float> LaneOp<F, 2, 1> for Bernoulli {
    const SHORT_ROWS: bool = F::LANES == 16;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, logits]: [Lanes<F, S>; 2]) -> Term<F, S, 1> {
        after_exponential(simd, [x, logits], exp_minus_abs::<F, S>(simd, logits))
    }

    const IN_PARTS: bool = true;

    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        vectors: usize,
        load: impl Fn(usize) -> [Lanes<F, S>; 2],
        put: impl FnMut(usize, Term<F, S, 1>),
    ) {
        exponentials_first(
            simd,
            vectors,
            1,
            load,
            put,
            #[inline(always)]
            |x, t| after_exponential(simd, x, t),
        );
    }
}

impl<F: Float> CellOp<F, 2, 1> for Bernoulli {
    const WORK: f64 = 0.7;

    #[inline(always)]
    fn mean<S: Simd>(&self, simd: S, [logits]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        softplus_sigmoid::<F, S>(simd, logits).1
    }

    fn draw(&self, _column: usize, [logit]: [f64; 1], words: &mut CellWords) -> f64 {
        f64::from(u8::from(words.uniform() < sigmoid(logit)))
    }
}

/// 1 / (1 + e⁻ˣ), the same bits on every machine.
pub(super) fn sigmoid(x: f64) -> f64 {
    let t = libm::exp(-x.abs());
    (if x < 0.0 { t } else { 1.0 }) / (1.0 + t)
}
