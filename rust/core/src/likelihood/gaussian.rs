//! Real cells: −½ ((x − loc) / scale)² − (ln scale + ½ ln 2π).

use super::cells::{CellOp, where_seen};
use crate::float::Float;
use crate::gaussian::{LN_2PI, minus_half_squares, scale};
use crate::random::CellWords;
use crate::rows::{LaneOp, Mask, Term};
use crate::simd::{Simd, SimdBase, SimdFloat, SimdMask};
use crate::vmath::Lanes;

/// A scale known beforehand; the tables hold 1 / scale and −ln scale − ½ ln 2π.
#[derive(Debug, Clone)]
pub(super) struct Fixed<F> {
    pub(super) scale: Vec<F>,
}

impl<F: Float> LaneOp<F, 4, 1> for Fixed<F> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, inverse, constant]: [Lanes<F, S>; 4]) -> Term<F, S, 1> {
        let seen = !x.is_nan();
        let (delta, [term]) = minus_half_squares::<F, S, 1>(simd, [x, loc, inverse], [constant]);
        let [term, d] = where_seen::<F, S, 2>(simd, seen, [term, delta * inverse]);
        // A number that is not finite shows in the row's sum, which is always asked for.
        Term { sum: term, out: [d], bad: Mask::<F, S>::splat(simd, false) }
    }
}

impl<F: Float> CellOp<F, 4, 1> for Fixed<F> {
    const WORK: f64 = 0.3;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc]: [Lanes<F, S>; 1]) -> Lanes<F, S> {
        loc
    }

    fn draw(&self, column: usize, [loc]: [f64; 1], words: &mut CellWords) -> f64 {
        loc + self.scale[column].to_f64() * words.normal()
    }
}

/// The log-variance of each cell as a second block of params.
#[derive(Debug, Clone)]
pub(super) struct Predicted;

impl<F: Float> LaneOp<F, 3, 2> for Predicted {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, log_var]: [Lanes<F, S>; 3]) -> Term<F, S, 2> {
        let seen = !x.is_nan();
        let inverse = scale::<F, S>(simd, log_var, -1.0);
        let half = F::Lanes::splat(simd, F::from_f64(0.5));
        let constant = (log_var + F::from_f64(LN_2PI)) * F::from_f64(-0.5);
        let (delta, [term, pull]) = minus_half_squares::<F, S, 2>(simd, [x, loc, inverse], [constant, half]);
        let [term, d_loc, d_log_var] = where_seen::<F, S, 3>(simd, seen, [term, delta * inverse, -pull]);
        // As above: where log_var is not finite, it is the sum's.
        Term { sum: term, out: [d_loc, d_log_var], bad: Mask::<F, S>::splat(simd, false) }
    }
}

impl<F: Float> CellOp<F, 3, 2> for Predicted {
    const WORK: f64 = 0.9;

    #[inline(always)]
    fn mean<S: Simd>(&self, _simd: S, [loc, _]: [Lanes<F, S>; 2]) -> Lanes<F, S> {
        loc
    }

    fn draw(&self, _column: usize, [loc, log_var]: [f64; 2], words: &mut CellWords) -> f64 {
        loc + libm::exp(0.5 * log_var).min(F::MAX.to_f64()) * words.normal()
    }
}
