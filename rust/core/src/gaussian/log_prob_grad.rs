//! The log density of a diagonal Gaussian and its entropy with their gradients.

use super::ends::{self, for_lost_rows, mend, repeated};
use super::log_prob::{diagnose, entropy, lost_row};
use super::{LN_2PI, check_posterior, deviation, square_plus};
use crate::error::Result;
use crate::float::Float;
use crate::rows::{Input, LaneOp, Term, check_len, map_rows, no_flaw};
use crate::simd::{Simd, SimdBase};
use crate::threads::RowsMut;
use crate::vmath::{Lanes, exp};

/// The sum of [`log_prob`](super::log_prob), and δ / scale twice and ½ (δ² − 1).
struct LogProbGrad(usize);

impl<F: Float> LaneOp<F, 3, 3> for LogProbGrad {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [z, loc, log_var]: [Lanes<F, S>; 3]) -> Term<F, S, 3> {
        let half = F::from_f64(0.5);
        let inverse = exp::<F, S>(simd, log_var * F::from_f64(-0.5));
        let delta = deviation::<F, S>(simd, z, loc, inverse);
        let d_loc = delta[0] * inverse;
        let less_one = square_plus::<F, S>(delta, F::Lanes::splat(simd, F::ZERO - F::ONE));
        let out = [-d_loc, d_loc, less_one * half];
        Term { sum: square_plus::<F, S>(delta, log_var), out, flaw: no_flaw::<F, S>(simd) }
    }

    fn finish(&self, sum: f64) -> f64 {
        -0.5 * (sum + self.0 as f64 * LN_2PI)
    }
}

/// [`log_prob`](super::log_prob) of each row of z and its gradient by draw, each of z's shape: with δ = (z − loc) / scale, ∂/∂z = −δ / scale,
/// ∂/∂loc = δ / scale, ∂/∂`log_var` = ½ (δ² − 1). Row r of z belongs to row r mod rows of loc; nothing is summed over particles.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
pub fn log_prob_grad<F: Float>(
    z: &[F],
    loc: &[F],
    log_var: &[F],
    width: usize,
    out: &mut [F],
    d_z: &mut [F],
    d_loc: &mut [F],
    d_log_var: &mut [F],
) -> Result<()> {
    let rows = out.len();
    check_len("z", z, rows, width)?;
    check_posterior("z", rows, loc, log_var, width)?;
    check_len("d_z", d_z, rows, width)?;
    check_len("d_loc", d_loc, rows, width)?;
    check_len("d_log_var", d_log_var, rows, width)?;
    let inputs = [z, loc, log_var].map(|x| Input::rows(x, width));
    let outputs = [&mut *d_z, &mut *d_loc, &mut *d_log_var].map(|x| RowsMut::new(x, width));
    if map_rows(&LogProbGrad(width), inputs, rows, width, 0.8, Some(&mut *out), outputs) {
        diagnose(z, loc, log_var, width)?;
        for_lost_rows(out, |row| {
            let (l, v) = (repeated(loc, row, width), repeated(log_var, row, width));
            let z = &z[row * width..][..width];
            for j in 0..width {
                let [x, l, v] = [z[j], l[j], v[j]].map(Float::to_f64);
                let (delta, pull, at) = (ends::delta(x, l, v), ends::pull(x, l, v), row * width + j);
                mend(&mut d_z[at], -pull);
                mend(&mut d_loc[at], pull);
                mend(&mut d_log_var[at], 0.5 * delta * delta - 0.5);
            }
            lost_row(z, l, v)
        });
    }
    Ok(())
}

/// [`entropy`] of each row and its gradient, ½ everywhere.
///
/// # Errors
/// As [`entropy`].
pub fn entropy_grad<F: Float>(log_var: &[F], width: usize, out: &mut [F], d_log_var: &mut [F]) -> Result<()> {
    check_len("d_log_var", d_log_var, out.len(), width)?;
    entropy(log_var, width, out)?;
    d_log_var.fill(F::from_f64(0.5));
    Ok(())
}
