//! The log density of a diagonal Gaussian, and its entropy.

use super::ends::{self, for_lost_rows, repeated};
use super::{LN_2PI, check_posterior, deviation, square_plus};
use crate::error::Result;
use crate::float::Float;
use crate::rows::{Input, LaneOp, Term, check_finite, check_len, map_rows, no_flaw, no_outputs};
use crate::simd::Simd;
use crate::vmath::{Lanes, exp};

/// −½ Σ [δ² + `log_var` + ln 2π], δ = (z − loc) / scale.
struct LogProb(usize);
/// ½ Σ [`log_var` + 1 + ln 2π].
struct Entropy(usize);

impl<F: Float> LaneOp<F, 3, 0> for LogProb {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [z, loc, log_var]: [Lanes<F, S>; 3]) -> Term<F, S, 0> {
        // Not capped: a row with an infinite inverse is not finite, and is computed again.
        let delta = deviation::<F, S>(simd, z, loc, exp::<F, S>(simd, log_var * F::from_f64(-0.5)));
        Term { sum: square_plus::<F, S>(delta, log_var), out: [], flaw: no_flaw::<F, S>(simd) }
    }

    fn finish(&self, sum: f64) -> f64 {
        -0.5 * (sum + self.0 as f64 * LN_2PI)
    }
}

impl<F: Float> LaneOp<F, 1, 0> for Entropy {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [log_var]: [Lanes<F, S>; 1]) -> Term<F, S, 0> {
        Term { sum: log_var, out: [], flaw: no_flaw::<F, S>(simd) }
    }

    fn finish(&self, sum: f64) -> f64 {
        0.5 * (sum + self.0 as f64 * (1.0 + LN_2PI))
    }
}

/// log N(z; loc, exp(`log_var`)) of each row of z; row r of z belongs to row r mod rows of loc, so z may hold several particles.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
pub fn log_prob<F: Float>(z: &[F], loc: &[F], log_var: &[F], width: usize, out: &mut [F]) -> Result<()> {
    let rows = out.len();
    check_len("z", z, rows, width)?;
    check_posterior("z", rows, loc, log_var, width)?;
    let inputs = [z, loc, log_var].map(|x| Input::rows(x, width));
    if map_rows(&LogProb(width), inputs, rows, width, 0.7, Some(&mut *out), no_outputs()) {
        diagnose(z, loc, log_var, width)?;
        for_lost_rows(out, |row| lost_row(&z[row * width..][..width], repeated(loc, row, width), repeated(log_var, row, width)));
    }
    Ok(())
}

/// Names a NaN or infinity.
pub(super) fn diagnose<F: Float>(z: &[F], loc: &[F], log_var: &[F], width: usize) -> Result<()> {
    check_finite("z", z, width)?;
    check_finite("loc", loc, width)?;
    check_finite("log_var", log_var, width)
}

/// The log density of a row at the end of the range.
pub(super) fn lost_row<F: Float>(z: &[F], loc: &[F], log_var: &[F]) -> f64 {
    let terms = z.iter().zip(loc).zip(log_var).flat_map(|((z, loc), log_var)| {
        let delta = ends::delta(z.to_f64(), loc.to_f64(), log_var.to_f64());
        [-0.5 * delta * delta, -0.5 * log_var.to_f64()]
    });
    ends::sum(terms.chain([-0.5 * z.len() as f64 * LN_2PI]))
}

/// The entropy of each row of `log_var`, in nats.
///
/// # Errors
/// As [`log_prob`].
pub fn entropy<F: Float>(log_var: &[F], width: usize, out: &mut [F]) -> Result<()> {
    check_len("log_var", log_var, out.len(), width)?;
    let rows = out.len();
    if map_rows(&Entropy(width), [Input::rows(log_var, width)], rows, width, 0.15, Some(out), no_outputs()) {
        check_finite("log_var", log_var, width)?;
    }
    Ok(())
}
