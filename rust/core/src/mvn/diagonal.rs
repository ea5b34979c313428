//! Diagonal Gaussians beside full covariances: their triangles, and the divergence of a pair of which one is diagonal.
//!
//! A triangle holds exp(`log_var` / 2), which float64 has for a `log_var` of ±1416 at most. What a `log_var` has beyond that is added to the divergence, in which it stands by itself,
//! times ½. Its squares are those of the least or the largest scale: nothing beside it, but where the other's scale is as far out, and never less than the true ones.

use std::ops::Range;

use super::{Tril, kl};
use crate::error::Result;
use crate::float::{Float, wide};
use crate::rows::{check_finite, check_len};
use crate::threads::{RowsMut, for_rows};

/// The triangles of diagonal Gaussians: exp(`log_var` / 2) on the diagonal, 0 elsewhere. A scale past the range is its end, largest or least normal
/// number, so that every finite `log_var` has a triangle.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
pub fn diagonal<F: Float>(log_var: &[F], width: usize, out: &mut [F]) -> Result<()> {
    check_len("scale_tril", out, log_var.len(), width)?;
    check_finite("log_var", log_var, width)?;
    for_rows(log_var.len(), 10 + width, RowsMut::new(out, width), &|rows, mut out: RowsMut<F>| {
        for (local, at) in rows.enumerate() {
            let row = out.row(local);
            let scale = F::from_f64(libm::exp(0.5 * log_var[at].to_f64()));
            row.fill(F::ZERO);
            row[at % width] = if scale < F::MIN_POSITIVE {
                F::MIN_POSITIVE
            } else if scale > F::MAX {
                F::MAX
            } else {
                scale
            };
        }
    });
    Ok(())
}

/// KL(q ‖ p) of each row into `out`, q diagonal and p of a full covariance, with a loc for each row or one for all. A q wider than float64 has numbers for is infinitely far.
///
/// # Errors
/// As [`kl`].
pub fn kl_of_diagonal<F: Float>(
    loc: &[F],
    log_var: &[F],
    prior_loc: &[F],
    prior_tril: Tril<F>,
    width: usize,
    out: &mut [F],
) -> Result<()> {
    let (rows, ends) = (out.len(), Ends::new());
    check("loc", loc, rows, width)?;
    check("log_var", log_var, rows, width)?;
    check("prior_loc", prior_loc, rows_of(prior_loc, rows, width), width)?;
    check_tril("prior_scale_tril", prior_tril, rows, width)?;
    in_blocks(out, |rows, out| {
        let [loc, log_var, prior_loc] = [loc, log_var, prior_loc].map(|x| block(x, &rows, width));
        let (tril, prior_tril) = (triangles(&log_var, width)?, Widened::of(prior_tril, &rows, width));
        kl(&loc, Tril::ByRow(&tril), Some((&prior_loc, prior_tril.borrowed())), width, out)?;
        for (row, out) in out.iter_mut().enumerate() {
            let [below, above] = ends.beyond(row_of(&log_var, row, width));
            *out = if above > 0.0 { f64::INFINITY } else { *out - 0.5 * below };
        }
        Ok(())
    })
}

/// KL(q ‖ p) of each row into `out`, q of a full covariance and p diagonal, one for each row or one for all. A p narrower than float64 has numbers for is infinitely far.
///
/// # Errors
/// As [`kl`].
pub fn kl_to_diagonal<F: Float>(
    loc: &[F],
    tril: Tril<F>,
    prior_loc: &[F],
    prior_log_var: &[F],
    width: usize,
    out: &mut [F],
) -> Result<()> {
    let (rows, ends) = (out.len(), Ends::new());
    check("loc", loc, rows, width)?;
    check_tril("scale_tril", tril, rows, width)?;
    check("prior_loc", prior_loc, rows_of(prior_loc, rows, width), width)?;
    check("prior_log_var", prior_log_var, rows_of(prior_log_var, rows, width), width)?;
    in_blocks(out, |rows, out| {
        let [loc, prior_loc, log_var] = [loc, prior_loc, prior_log_var].map(|x| block(x, &rows, width));
        let (tril, prior_tril) = (Widened::of(tril, &rows, width), triangles(&log_var, width)?);
        let prior_tril = if log_var.len() == width { Tril::Shared(&prior_tril) } else { Tril::ByRow(&prior_tril) };
        kl(&loc, tril.borrowed(), Some((&prior_loc, prior_tril)), width, out)?;
        for (row, out) in out.iter_mut().enumerate() {
            let [below, above] = ends.beyond(row_of(&log_var, row, width));
            *out = if below < 0.0 { f64::INFINITY } else { *out + 0.5 * above };
        }
        Ok(())
    })
}

fn check<F: Float>(argument: &'static str, data: &[F], rows: usize, width: usize) -> Result<()> {
    check_len(argument, data, rows, width)?;
    check_finite(argument, data, width)
}

fn check_tril<F: Float>(argument: &'static str, tril: Tril<F>, rows: usize, width: usize) -> Result<()> {
    tril.check_shape(argument, rows, width)?;
    tril.check_values(argument, width)
}

/// Rows of `out` by blocks, each made in float64.
fn in_blocks<F: Float>(out: &mut [F], mut body: impl FnMut(Range<usize>, &mut [f64]) -> Result<()>) -> Result<()> {
    /// Rows whose triangles lie in memory together.
    const BLOCK: usize = 256;
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let (first, mut divergences) = (block * BLOCK, vec![0.0; out.len()]);
        body(first..first + out.len(), &mut divergences)?;
        for (out, divergence) in out.iter_mut().zip(divergences) {
            *out = F::from_f64(divergence);
        }
    }
    Ok(())
}

/// The rows that a prior's array has: one for all, or as many as there are.
fn rows_of<F>(x: &[F], rows: usize, width: usize) -> usize {
    if x.len() == width { 1 } else { rows }
}

/// These rows in float64, or the one for all.
fn block<F: Float>(x: &[F], rows: &Range<usize>, width: usize) -> Vec<f64> {
    wide(if x.len() == width { x } else { &x[rows.start * width..rows.end * width] })
}

/// Row `row` of a block, or the one for all.
fn row_of(x: &[f64], row: usize, width: usize) -> &[f64] {
    &x[if x.len() == width { 0 } else { row * width }..][..width]
}

fn triangles(log_var: &[f64], width: usize) -> Result<Vec<f64>> {
    let mut tril = vec![0.0; log_var.len() * width];
    diagonal(log_var, width, &mut tril)?;
    Ok(tril)
}

/// The log-variances of the least and of the largest scale.
struct Ends(f64, f64);

impl Ends {
    fn new() -> Self {
        Self(2.0 * libm::log(f64::MIN_POSITIVE), 2.0 * libm::log(f64::MAX))
    }

    /// The sums of what a row's log-variances have below and above them, beyond those of its triangle.
    fn beyond(&self, log_var: &[f64]) -> [f64; 2] {
        let Self(least, largest) = self;
        log_var
            .iter()
            .fold([0.0, 0.0], |[below, above], log_var| [below + (log_var - least).min(0.0), above + (log_var - largest).max(0.0)])
    }
}

/// Triangles in float64.
enum Widened {
    Shared(Vec<f64>),
    ByRow(Vec<f64>),
}

impl Widened {
    fn of<F: Float>(tril: Tril<F>, rows: &Range<usize>, width: usize) -> Self {
        match tril {
            Tril::Shared(data) => Self::Shared(wide(data)),
            Tril::ByRow(data) => Self::ByRow(wide(&data[rows.start * width * width..rows.end * width * width])),
        }
    }

    fn borrowed(&self) -> Tril<'_, f64> {
        match self {
            Self::Shared(data) => Tril::Shared(data),
            Self::ByRow(data) => Tril::ByRow(data),
        }
    }
}
