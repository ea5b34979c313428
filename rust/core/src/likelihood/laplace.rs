//! Real cells with heavier tails than a Gaussian's: −|x − loc| / scale − ln (2 scale).

use super::cells::{CellOp, where_seen};
use super::scale::difference;
use crate::random::CellWords;
use crate::rows::{LaneOp, Term};
use crate::simd::{Select, Simd, SimdBase, SimdFloat, f64x8};
use crate::vmath::exp;

/// ln 2.
pub(super) const LN_2: f64 = std::f64::consts::LN_2;

/// A scale known beforehand; the tables hold 1 / scale and ln scale + ln 2.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub(super) scale: Vec<f64>,
}

/// The log-scale of each cell as a second block of params.
#[derive(Debug, Clone)]
pub(super) struct Predicted;

/// (|δ|, ∂/∂loc) for δ = (x − loc) / scale; both are 0 where x = loc, however small the scale.
#[inline(always)]
fn standardized<S: Simd>(simd: S, x: f64x8<S>, loc: f64x8<S>, inverse: f64x8<S>) -> (f64x8<S>, f64x8<S>) {
    let zero = f64x8::splat(simd, 0.0);
    let [d, k] = difference(simd, x, loc);
    let same = d.simd_eq(zero);
    (same.select(zero, (d.abs() * inverse) * k), same.select(zero, inverse.copysign(d)))
}

impl LaneOp<f64, 4, 1> for Fixed {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, inverse, constant]: [f64x8<S>; 4]) -> Term<f64, S, 1> {
        let zero = f64x8::splat(simd, 0.0);
        let seen = !x.is_nan();
        let (delta, d_loc) = standardized(simd, x, loc, inverse);
        let bad = seen & !(x.is_finite() & loc.is_finite());
        Term { sum: seen.select(-(delta + constant), zero), out: [seen.select(d_loc, zero)], bad }
    }
}

impl CellOp<f64, 4, 1> for Fixed {
    const WORK: f64 = 1.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc]: [f64x8<S>; 1]) -> f64x8<S> {
        loc
    }

    fn draw(&self, column: usize, [loc]: [f64; 1], words: &mut CellWords) -> f64 {
        loc + self.scale[column] * draw(words)
    }
}

impl LaneOp<f64, 3, 2> for Predicted {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, log_scale]: [f64x8<S>; 3]) -> Term<f64, S, 2> {
        let zero = f64x8::splat(simd, 0.0);
        let seen = !x.is_nan();
        let (delta, d_loc) = standardized(simd, x, loc, exp::<f64, S>(simd, -log_scale));
        let bad = seen & !(x.is_finite() & loc.is_finite() & log_scale.is_finite());
        let out = where_seen::<f64, S, _>(simd, seen, [d_loc, delta - 1.0]);
        Term { sum: seen.select(-(delta + (log_scale + LN_2)), zero), out, bad }
    }
}

impl CellOp<f64, 3, 2> for Predicted {
    const WORK: f64 = 3.0;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc, _]: [f64x8<S>; 2]) -> f64x8<S> {
        loc
    }

    fn draw(&self, _column: usize, [loc, log_scale]: [f64; 2], words: &mut CellWords) -> f64 {
        loc + libm::exp(log_scale).min(f64::MAX) * draw(words)
    }
}

/// Of scale 1.
fn draw(words: &mut CellWords) -> f64 {
    let magnitude = words.exponential();
    if words.uniform() < 0.5 { -magnitude } else { magnitude }
}
