//! Draws of x from p(x | params), row-addressed like every draw.

use super::{KernelOf, Prepared};
use crate::error::Result;
use crate::float::Float;
use crate::gaussian::rsample;
use crate::random::{Draw, Key, fill_normals, fill_uniforms};
use crate::rows::{check_finite, check_len};
use crate::threads::Interrupt;

impl<F: Float + Draw> Prepared<F> {
    /// Draws one row of x for each row of `params`. Cell j of row i depends on the key, `first_row` + i, j and its params.
    ///
    /// A count is the number of a cell's uniforms, one for each of its trials, that fall below its probability.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error), [`Error::NonFinite`](crate::Error), and [`Error::Interrupted`](crate::Error) between two trials.
    pub fn sample(&self, params: &[F], key: Key, first_row: u64, interrupt: &Interrupt, out: &mut [F]) -> Result<()> {
        let width = self.num_features;
        let rows = out.len().checked_div(width).unwrap_or(0);
        check_len("params", params, rows, self.num_params())?;
        if rows == 0 {
            return Ok(());
        }
        check_finite("params", params, self.num_params())?;
        match &self.kernel {
            KernelOf::Fixed(op) => {
                fill_normals(key, 0, first_row, width, out);
                for (cell, (&loc, &scale)) in out.iter_mut().zip(params.iter().zip(op.scale.iter().cycle())) {
                    *cell = scale.fused(*cell, loc);
                }
                Ok(())
            }
            KernelOf::Predicted(_) => {
                let (loc, log_var): (Vec<&[F]>, Vec<&[F]>) = params.chunks_exact(2 * width).map(|row| row.split_at(width)).unzip();
                rsample(&loc.concat(), &log_var.concat(), key, first_row, width, out)
            }
            KernelOf::Bernoulli(_) => self.count(1, params, key, first_row, interrupt, out),
            KernelOf::Binomial(op) => self.count(op.total.to_f64() as u32, params, key, first_row, interrupt, out),
        }
    }

    fn count(&self, trials: u32, params: &[F], key: Key, first_row: u64, interrupt: &Interrupt, out: &mut [F]) -> Result<()> {
        let mut probability = vec![F::ZERO; out.len()];
        self.mean(params, &mut probability)?;
        let scale = F::from_f64(f64::from(trials));
        let mut uniform = vec![F::ZERO; out.len()];
        out.fill(F::ZERO);
        for trial in 0..trials {
            interrupt.poll()?;
            fill_uniforms(key, trial, first_row, self.num_features, &mut uniform);
            for ((cell, &u), &p) in out.iter_mut().zip(&uniform).zip(&probability) {
                *cell += if u * scale < p { F::ONE } else { F::ZERO };
            }
        }
        Ok(())
    }
}
