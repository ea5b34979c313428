//! Draws of x from p(x | params), row-addressed like every draw.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Likelihood, Prepared, Scale};
use crate::error::Result;
use crate::float::Float;
use crate::gaussian::rsample;
use crate::random::{CellWords, Draw, Key, fill_normals};
use crate::rows::{check_finite, check_len};
use crate::threads::{Interrupt, RowsMut, for_rows};

/// About what a cell costs, in nanoseconds on one core.
const WORK: usize = 50;

impl<F: Float + Draw> Prepared<F> {
    /// Draws one row of x for each row of `params`. Cell j of row i depends on the key, `first_row` + i, j, the width and its params.
    ///
    /// A [`Likelihood::Gaussian`] draws its noise as [`rsample`] does; every other kind, and every column of [`Likelihood::Columns`], takes the words of its own
    /// cell ([`CellWords`]).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error), [`Error::NonFinite`](crate::Error), and [`Error::Interrupted`](crate::Error) between two rows.
    pub fn sample(&self, params: &[F], key: Key, first_row: u64, interrupt: &Interrupt, out: &mut [F]) -> Result<()> {
        let width = self.num_features;
        let rows = out.len().checked_div(width).unwrap_or(0);
        check_len("params", params, rows, self.num_params())?;
        if rows == 0 {
            return Ok(());
        }
        check_finite("params", params, self.num_params())?;
        match &self.likelihood {
            Likelihood::Gaussian(scale) => self.gaussian(scale, params, key, first_row, out),
            _ => self.cells(params, key, first_row, interrupt, out),
        }
    }

    fn gaussian(&self, scale: &Scale, params: &[F], key: Key, first_row: u64, out: &mut [F]) -> Result<()> {
        let width = self.num_features;
        if let Some(known) = scale.known(width)? {
            let scale: Vec<F> = known.iter().map(|s| F::from_f64(s.min(F::MAX.to_f64()))).collect();
            fill_normals(key, 0, first_row, width, out);
            for (cell, (&loc, &scale)) in out.iter_mut().zip(params.iter().zip(scale.iter().cycle())) {
                *cell = scale.fused(*cell, loc);
            }
            return Ok(());
        }
        let rows = || params.chunks_exact(self.num_params()).map(|row| row.split_at(width));
        let loc: Vec<F> = rows().flat_map(|(loc, _)| loc.iter().copied()).collect();
        let log_var: Vec<F> = rows().flat_map(|(_, scale)| scale.iter().copied().cycle().take(width)).collect();
        rsample(&loc, &log_var, key, first_row, width, out)
    }

    fn cells(&self, params: &[F], key: Key, first_row: u64, interrupt: &Interrupt, out: &mut [F]) -> Result<()> {
        let (width, num_params) = (self.num_features, self.num_params());
        let stopped = AtomicBool::new(false);
        for_rows(out.len() / width, width * WORK, RowsMut::new(out, width), &|rows, mut out: RowsMut<F>| {
            for (local, row) in rows.enumerate() {
                if interrupt.poll().is_err() {
                    stopped.store(true, Ordering::Relaxed);
                }
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let params = &params[row * num_params..][..num_params];
                let first = first_row.wrapping_add(row as u64).wrapping_mul(width as u64);
                for (column, cell) in out.row(local).iter_mut().enumerate() {
                    let mut words = CellWords::new(key, first.wrapping_add(column as u64));
                    *cell = F::from_f64(self.family.draw(column, params, &mut words));
                }
            }
        });
        if stopped.into_inner() { interrupt.poll() } else { Ok(()) }
    }
}
