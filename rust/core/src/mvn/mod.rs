//! The Gaussian with a full covariance q(z | x) = N(loc, L Lᵀ), L = `scale_tril` lower triangular with a positive diagonal: draws, densities, entropy and
//! divergence, one file each; `diagonal` the triangles of diagonal Gaussians and the divergence of mixed pairs, `solve` holds the substitution they share, `eight` the divergence of eight rows at once.
//!
//! A row is `width` latents and a triangle of `width` rows of `width` numbers, of which those above the diagonal are never read; results are one number a
//! row, in nats. Everything is computed in float64, float32 rows too, and rounded once at the end; no other row takes part in it, and a row's
//! operations and their order depend on `width` alone. Where a triangle is solved with, the error is that of substitution: the result belongs to triangles within
//! (width + 4) 2⁻⁵³ of the given ones, entry by entry. A NaN or infinity in an input is an [`Error::NonFinite`] and a diagonal
//! that is not positive an [`Error::Support`], both named; finite input never gives NaN: what leaves float64's range on the way is ±∞.
//!
//! ```
//! use elbokit_core::mvn::{self, Tril};
//!
//! let (loc, tril) = ([1.0_f64, 0.0], [1.0, f64::NAN, 2.0, 1.0]); // above the diagonal anything may stand
//! let mut kl = [0.0];
//! mvn::kl(&loc, Tril::ByRow(&tril), None, 2, &mut kl)?;
//! assert_eq!(kl, [2.5]); // (1² + 2²) / 2 nats
//! # Ok::<(), elbokit_core::Error>(())
//! ```

mod diagonal;
mod eight;
mod kl;
mod log_prob;
mod sample;
mod solve;

pub use diagonal::{diagonal, kl_of_diagonal, kl_to_diagonal};
pub use kl::{Prior, PriorGrad, kl, kl_grad};
pub use log_prob::{entropy, log_prob};
pub use sample::{rsample, rsample_and_log_prob};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::check_len;

/// Lower triangles, each `width` rows of `width` numbers.
#[derive(Debug, Clone, Copy)]
pub enum Tril<'a, F> {
    /// One for every row.
    Shared(&'a [F]),
    /// One a row.
    ByRow(&'a [F]),
}

impl<'a, F: Float> Tril<'a, F> {
    /// The triangle of a row.
    #[inline(always)]
    pub(crate) fn of(self, row: usize, width: usize) -> &'a [F] {
        match self {
            Self::Shared(data) => data,
            Self::ByRow(data) => &data[row * width * width..][..width * width],
        }
    }

    /// Every triangle, one after another.
    #[inline(always)]
    pub(crate) fn data(self) -> &'a [F] {
        let (Self::Shared(data) | Self::ByRow(data)) = self;
        data
    }

    pub(crate) fn shared(self) -> bool {
        matches!(self, Self::Shared(_))
    }

    pub(crate) fn check_shape(self, argument: &'static str, rows: usize, width: usize) -> Result<()> {
        match self {
            Self::Shared(data) => check_len(argument, data, width, width),
            Self::ByRow(data) => check_len(argument, data, rows, width * width),
        }
    }

    /// Names the first number on or below a diagonal that no triangle may hold: by its row and column in the one matrix that is shared, else by its row of
    /// the batch and its column in that row's matrix.
    pub(crate) fn check_values(self, argument: &'static str, width: usize) -> Result<()> {
        for (at, &x) in self.data().iter().enumerate() {
            let (i, column) = (at / width % width, at % width);
            let row = if self.shared() { i } else { at / (width * width) };
            let value = x.to_f64();
            if column <= i && !x.finite() {
                return Err(Error::NonFinite { argument, row, column, value });
            }
            if column == i && value <= 0.0 {
                let expected = "a positive diagonal".into();
                let cure = "give the Cholesky factor of a covariance, or exp of what a network returns there".into();
                return Err(Error::Support { argument, expected, row, column, value, cure });
            }
        }
        Ok(())
    }
}

/// The rows of loc, of which `rows` draws are a multiple: one for each particle and row.
fn check_posterior<F: Float>(argument: &'static str, rows: usize, loc: &[F], tril: Tril<F>, width: usize) -> Result<usize> {
    let batch = loc.len().checked_div(width).unwrap_or(rows);
    check_len("loc", loc, batch, width)?;
    tril.check_shape("scale_tril", batch, width)?;
    if !rows.is_multiple_of(batch) {
        let expected = format!("a multiple of the {batch} rows of loc");
        return Err(Error::shape(argument, expected, format!("{rows} rows"), "give each draw its loc and scale_tril"));
    }
    Ok(batch)
}
