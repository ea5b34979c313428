//! Real cells with heavier tails than a Gaussian's: −|x − loc| / scale − ln (2 scale).

use super::cells::{CellOp, seen, where_seen};
use super::scale::difference;
use crate::float::Float;
use crate::random::CellWords;
use crate::rows::{LaneOp, Mask, Term};
use crate::simd::{Select, Simd, SimdBase, SimdFloat};
use crate::vmath::{Lanes, exp_times, zero_if_finite};

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

/// (|δ|, ∂/∂loc), given 1 / scale and |d| / scale for the d of `difference`; both are 0 where x = loc, however small the scale.
#[inline(always)]
fn standardized<F: Float, S: Simd>(
    simd: S,
    d: Lanes<F, S>,
    far: Mask<F, S>,
    [inverse, delta]: [Lanes<F, S>; 2],
) -> [Lanes<F, S>; 2] {
    let zero = F::Lanes::splat(simd, F::ZERO);
    let same = d.simd_eq(zero);
    let delta = far.select(delta * F::from_f64(4.0), delta);
    [same.select(zero, delta), same.select(zero, inverse.copysign(d))]
}

impl<F: Float> LaneOp<F, 4, 1> for Fixed {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, inverse, constant]: [Lanes<F, S>; 4]) -> Term<F, S, 1> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let seen = seen::<F, S>(x);
        let (d, far) = difference::<F, S>(x, loc);
        let [delta, d_loc] = standardized::<F, S>(simd, d, far, [inverse, d.abs() * inverse]);
        let [flaw] = where_seen::<F, S, 1>(simd, seen, [zero_if_finite::<F, S, 2>(simd, [x, loc])]);
        Term { sum: seen.select(-(delta + constant), zero), out: [seen.select(d_loc, zero)], flaw }
    }
}

impl<F: Float> CellOp<F, 4, 1> for Fixed {
    const WORK: f64 = 0.7;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        loc
    }

    fn draw(&self, column: usize, [loc]: [f64; 1], words: &mut CellWords) -> f64 {
        loc + self.scale[column].min(F::MAX.to_f64()) * draw(words)
    }
}

impl<F: Float> LaneOp<F, 3, 2> for Predicted {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, log_scale]: [Lanes<F, S>; 3]) -> Term<F, S, 2> {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let seen = seen::<F, S>(x);
        let (d, far) = difference::<F, S>(x, loc);
        let [delta, d_loc] = standardized::<F, S>(simd, d, far, exp_times::<F, S>(simd, -log_scale, d.abs()));
        let [flaw] = where_seen::<F, S, 1>(simd, seen, [zero_if_finite::<F, S, 3>(simd, [x, loc, log_scale])]);
        let out = where_seen::<F, S, _>(simd, seen, [d_loc, delta - F::ONE]);
        Term { sum: seen.select(-(delta + (log_scale + F::from_f64(LN_2))), zero), out, flaw }
    }
}

impl<F: Float> CellOp<F, 3, 2> for Predicted {
    const WORK: f64 = 1.2;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc, _]: [Lanes<F, S>; 2]) -> Lanes<F, S> {
        loc
    }

    fn draw(&self, _column: usize, [loc, log_scale]: [f64; 2], words: &mut CellWords) -> f64 {
        loc + libm::exp(log_scale).min(F::MAX.to_f64()) * draw(words)
    }
}

/// Of scale 1.
fn draw(words: &mut CellWords) -> f64 {
    let magnitude = words.exponential();
    if words.uniform() < 0.5 { -magnitude } else { magnitude }
}
