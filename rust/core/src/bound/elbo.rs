//! The evidence lower bound itself: the mean log weight, and a running mean with its standard error.

use super::check;
use crate::error::Result;
use crate::float::Float;

/// The mean and its standard error of each row's terms, fed particle by particle in fixed memory (Welford 1962).
#[derive(Debug, Clone)]
pub struct Running {
    count: usize,
    mean: Vec<f64>,
    /// Σ (term − mean)².
    squares: Vec<f64>,
}

impl Running {
    /// No particles yet, for a batch of rows.
    #[must_use]
    pub fn new(batch: usize) -> Self {
        Self { count: 0, mean: vec![0.0; batch], squares: vec![0.0; batch] }
    }

    /// Adds particles: `terms` is (particles, batch).
    pub fn push<F: Float>(&mut self, terms: &[F]) {
        for particle in terms.chunks_exact(self.mean.len().max(1)) {
            self.count += 1;
            let share = 1.0 / self.count as f64;
            for ((mean, squares), term) in self.mean.iter_mut().zip(&mut self.squares).zip(particle) {
                let term = term.to_f64();
                let off = term - *mean;
                *mean += if off.is_finite() {
                    off * share
                } else if term.is_finite() && mean.is_finite() {
                    // Their distance alone has left the range.
                    term * share - *mean * share
                } else {
                    // Once a term is infinite the mean is; ∞ − ∞ would make it NaN.
                    term
                };
                *squares += off * (term - *mean);
            }
        }
    }

    /// Each row's mean.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Each row's standard error sd (ddof 1) / √particles; +∞ for one particle, or where a term was infinite.
    pub fn standard_error(&self) -> impl Iterator<Item = f64> + '_ {
        let count = self.count as f64;
        self.squares.iter().map(move |&squares| {
            let error = (squares / (count - 1.0) / count).sqrt();
            if self.count > 1 && error.is_finite() { error } else { f64::INFINITY }
        })
    }
}

/// The mean log weight of each row and, where asked for, its standard error.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and, for NaN or +∞, [`Error::NonFinite`](crate::Error).
pub fn elbo<F: Float>(log_weights: &[F], out: &mut [F], error: Option<&mut [F]>) -> Result<()> {
    check(log_weights, out.len())?;
    let mut running = Running::new(out.len());
    running.push(log_weights);
    for (o, &mean) in out.iter_mut().zip(running.mean()) {
        *o = F::from_f64(mean);
    }
    if let Some(error) = error {
        for (o, e) in error.iter_mut().zip(running.standard_error()) {
            *o = F::from_f64(e);
        }
    }
    Ok(())
}
