//! The χ upper bound of Dieng et al. (2017, section 2), as an estimate: (1/n) ln of the mean of the weights' n-th power.

use super::check;
use super::power::log_power_mean;
use crate::error::{Error, Result};
use crate::float::Float;

/// (1/n) ln (1/K Σ wⁿ) of each row, and where asked for its standard error by the delta method, +∞ for one particle.
///
/// It is a consistent estimate, biased low, of something not below the log evidence and often infinite; no bound by itself.
///
/// # Errors
/// [`Error::Value`] for an order below 1 or not finite; [`Error::Shape`] and, for NaN or +∞, [`Error::NonFinite`].
pub fn cubo<F: Float>(log_weights: &[F], order: f64, out: &mut [F], error: Option<&mut [F]>) -> Result<()> {
    let particles = check(log_weights, out.len())?;
    if !(order >= 1.0 && order.is_finite()) {
        return Err(Error::value(
            "order",
            "a finite number not below 1",
            order,
            "use 2, whose distance from the evidence is of χ²",
        ));
    }
    log_power_mean(log_weights, order, particles, out, error);
    Ok(())
}
