//! Real cells: −½ ((x − loc) / scale)² − (ln scale + ½ ln 2π).

use super::cells::{CellOp, seen, where_seen};
use crate::float::Float;
use crate::gaussian::{LN_2PI, ends, minus_half_squares};
use crate::random::CellWords;
use crate::reduce::ordered_sum_of;
use crate::rows::{LaneOp, Term, no_flaw};
use crate::simd::{Simd, SimdBase};
use crate::vmath::{Lanes, exp};

/// A scale known beforehand; the tables hold 1 / scale and −ln scale − ½ ln 2π.
#[derive(Debug, Clone)]
pub(super) struct Fixed<F> {
    pub(super) scale: Vec<F>,
}

impl<F: Float> LaneOp<F, 4, 1> for Fixed<F> {
    const SHORT_ROWS: bool = true;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [x, loc, inverse, constant]: [Lanes<F, S>; 4]) -> Term<F, S, 1> {
        let seen = seen::<F, S>(x);
        let (delta, [term]) = minus_half_squares::<F, S, 1>([x, loc, inverse], [constant]);
        let [term, d] = where_seen::<F, S, 2>(simd, seen, [term, delta * inverse]);
        // A number that is not finite shows in the row's sum, which is always asked for.
        Term { sum: term, out: [d], flaw: no_flaw::<F, S>(simd) }
    }

    const MENDS: bool = true;

    fn mend(&self, [x, loc, inverse, constant]: [&[F]; 4], out: &mut [&mut [F]], _sum: f64) -> f64 {
        let cells = x.iter().zip(loc).zip(inverse.iter().zip(constant)).enumerate();
        ordered_sum_of(cells.map(|(at, ((x, loc), (inverse, constant)))| {
            let [x, loc, inverse, constant] = [x, loc, inverse, constant].map(|x| x.to_f64());
            if x.is_nan() {
                return 0.0;
            }
            let (delta, pull) = (ends::scaled(x, loc, [inverse]), ends::scaled(x, loc, [inverse; 2]));
            for slots in out.iter_mut() {
                ends::mend(&mut slots[at], pull);
            }
            constant - 0.5 * delta * delta
        }))
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
        let seen = seen::<F, S>(x);
        // Not capped: a row with an infinite inverse is not finite, and is computed again.
        let inverse = exp::<F, S>(simd, log_var * F::from_f64(-0.5));
        let half = F::Lanes::splat(simd, F::from_f64(0.5));
        let constant = (log_var + F::from_f64(LN_2PI)) * F::from_f64(-0.5);
        let (delta, [term, pull]) = minus_half_squares::<F, S, 2>([x, loc, inverse], [constant, half]);
        let [term, d_loc, d_log_var] = where_seen::<F, S, 3>(simd, seen, [term, delta * inverse, -pull]);
        // As above: where log_var is not finite, it is the sum's.
        Term { sum: term, out: [d_loc, d_log_var], flaw: no_flaw::<F, S>(simd) }
    }

    const MENDS: bool = true;

    fn mend(&self, [x, loc, log_var]: [&[F]; 3], out: &mut [&mut [F]], _sum: f64) -> f64 {
        ordered_sum_of(x.iter().zip(loc).zip(log_var).enumerate().map(|(at, ((x, loc), log_var))| {
            let [x, loc, log_var] = [x, loc, log_var].map(|x| x.to_f64());
            if x.is_nan() {
                return 0.0;
            }
            let delta = ends::delta(x, loc, log_var);
            let half_square = 0.5 * delta * delta;
            for (slots, gradient) in out.iter_mut().zip([ends::pull(x, loc, log_var), half_square - 0.5]) {
                ends::mend(&mut slots[at], gradient);
            }
            -0.5 * (log_var + LN_2PI) - half_square
        }))
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
