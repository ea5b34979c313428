//! Bounds on the log evidence from log weights log p(x, z) − log q(z | x), one file each.
//!
//! Log weights are (particles, batch), particle after particle; a bound is one number a batch row, in nats, computed in float64 whatever the element type, in the
//! order of the particles. A weight may be −∞ (the model gives the draw no density); NaN and +∞ are errors that name their place.

mod columns;
mod cubo;
mod elbo;
mod ess;
mod evidence;
mod folds;
mod iwae;
mod pareto;
mod power;
mod psis;
mod renyi;
mod shares;
mod tail;

pub use cubo::cubo;
pub use elbo::{Running, elbo};
pub use ess::ess;
pub(crate) use evidence::conclude;
pub use evidence::{Evidence, evidence};
pub(crate) use folds::{FOLDS, Folds};
pub use iwae::iwae;
pub use pareto::Pareto;
pub use psis::{khat, psis};
pub use renyi::renyi;
pub use shares::Shares;
pub use tail::Tail;

use crate::error::{Error, Result};
use crate::float::Float;

/// Checks the shape of log weights and that none is NaN or +∞; returns the number of particles.
fn check<F: Float>(log_weights: &[F], batch: usize) -> Result<usize> {
    if batch == 0 {
        return Ok(1);
    }
    let particles = log_weights.len() / batch;
    if particles == 0 || log_weights.len() != particles * batch {
        let expected = format!("at least one particle of {batch} rows");
        let got = format!("{} numbers", log_weights.len());
        return Err(Error::shape("log_weights", expected, got, "give an array (particles, batch)"));
    }
    match log_weights.iter().position(|w| w.to_f64().is_nan() || *w == F::INFINITY) {
        Some(at) => {
            Err(Error::NonFinite { argument: "log_weights", row: at / batch, column: at % batch, value: log_weights[at].to_f64() })
        }
        None => Ok(particles),
    }
}
