//! Bounds on the log evidence from both sides, from one set of log weights: those of the folds, with the k-hat that tells whether the upper one can be trusted.

use super::{Folds, Tail, check};
use crate::error::Result;
use crate::float::Float;
use crate::rows::check_len;
use crate::threads::{RowsMut, for_rows};

/// Log weights that are dealt to the folds at a time: whole deals, at places that do not hang on the threads.
const BLOCK: usize = 160;

/// Where the bounds of a batch go, one number a row.
#[derive(Debug)]
pub struct Evidence<'a, F> {
    /// The log of the mean weight, in expectation at most log p(x).
    pub lower: &'a mut [F],
    /// Its jackknife over the folds.
    pub estimate: &'a mut [F],
    /// In expectation at least log p(x); +∞ for one particle, and where k-hat says that it cannot be trusted.
    pub upper: &'a mut [F],
    /// Of the estimate, over the folds.
    pub standard_error: &'a mut [F],
    /// As [`khat`](super::khat) has it.
    pub khat: &'a mut [F],
    /// (Σ w)² / Σ w².
    pub ess: &'a mut [F],
}

/// The k-hat up to which a mean of `num_particles` weights can be trusted: min(1 − 1/log₁₀ K, 0.7) (Vehtari et al. 2024).
fn trusted_khat(num_particles: usize) -> f64 {
    (1.0 - 1.0 / libm::log10(num_particles as f64)).min(0.7)
}

/// lower, estimate, upper, standard error, k-hat and ess of a row whose log weights, rounded to F where they were made, are all in.
pub(crate) fn conclude<F: Float>(folds: &Folds, tail: &Tail, num_particles: usize) -> [f64; 6] {
    let b = folds.bounds();
    let khat = tail.khat(F::EPSILON.to_f64());
    let upper = if khat > trusted_khat(num_particles) { f64::INFINITY } else { b.upper };
    [b.lower, b.estimate, upper, b.standard_error, khat, b.ess]
}

/// Bounds on each row's log evidence by log weights (particles, batch), as [`Evidence`] says; particles are dealt to the folds in turn, so they must be independent of each other.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and, for NaN or +∞, [`Error::NonFinite`](crate::Error).
pub fn evidence<F: Float>(log_weights: &[F], out: Evidence<F>) -> Result<()> {
    /// Nanoseconds of a particle, and of a row beside them.
    const WORK: (usize, usize) = (15, 3000);
    let batch = out.lower.len();
    let particles = check(log_weights, batch)?;
    let out = [out.lower, out.estimate, out.upper, out.standard_error, out.khat, out.ess];
    for out in &out {
        check_len("out", out, batch, 1)?;
    }
    let out = out.map(|out| RowsMut::new(out, 1));
    for_rows(batch, WORK.0 * particles + WORK.1, out, &|rows, out: [RowsMut<F>; 6]| {
        let mut out = out.map(|out| out.data);
        let mut block = Vec::with_capacity(BLOCK);
        for (at, row) in rows.enumerate() {
            let (mut folds, mut tail) = (Folds::new(particles), Tail::new(particles));
            let mut column = log_weights.iter().skip(row).step_by(batch).map(|w| w.to_f64());
            loop {
                block.clear();
                block.extend(column.by_ref().take(BLOCK));
                if block.is_empty() {
                    break;
                }
                folds.push(&block);
                tail.push(&block);
            }
            for (out, result) in out.iter_mut().zip(conclude::<F>(&folds, &tail, particles)) {
                out[at] = F::from_f64(result);
            }
        }
    });
    Ok(())
}
