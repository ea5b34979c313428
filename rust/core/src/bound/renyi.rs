//! The variational Rényi bound of Li and Turner (2016, section 3): the order α interpolates between the evidence and beyond the ELBO.

use super::power::log_power_mean;
use super::{check, elbo};
use crate::error::{Error, Result};
use crate::float::Float;

/// (1/(1 − α)) ln (1/K Σ w¹⁻ᵅ) of each row: the importance-weighted bound at α = 0, the mean log weight at α = 1. Where asked for
/// its standard error by the delta method, +∞ for one particle.
///
/// A weight of 0 makes it −∞ for α ≥ 1.
///
/// # Errors
/// [`Error::Value`] for an α that is not finite; [`Error::Shape`] and, for NaN or +∞, [`Error::NonFinite`].
pub fn renyi<F: Float>(log_weights: &[F], alpha: f64, out: &mut [F], error: Option<&mut [F]>) -> Result<()> {
    let particles = check(log_weights, out.len())?;
    if !alpha.is_finite() {
        return Err(Error::value("alpha", "a finite number", alpha, "use 0 for the importance-weighted bound, 1 for the ELBO"));
    }
    let power = 1.0 - alpha;
    if power == 0.0 {
        return elbo(log_weights, out, error);
    }
    log_power_mean(log_weights, power, particles, out, error);
    Ok(())
}
