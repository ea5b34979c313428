//! The importance-weighted bound of Burda, Grosse and Salakhutdinov (2016, eq. 8): ln of the mean weight.

use super::check;
use super::power::log_power_mean;
use crate::error::Result;
use crate::float::Float;

/// ln (1/K Σ exp `log_weight`) of each row, K the particles given, and where asked for its standard error by the delta method:
/// sd(weight) / (mean(weight) √K), +∞ for one particle.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and, for NaN or +∞, [`Error::NonFinite`](crate::Error).
pub fn iwae<F: Float>(log_weights: &[F], out: &mut [F], error: Option<&mut [F]>) -> Result<()> {
    let particles = check(log_weights, out.len())?;
    log_power_mean(log_weights, 1.0, particles, out, error);
    Ok(())
}
