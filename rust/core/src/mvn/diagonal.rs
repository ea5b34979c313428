//! Diagonal Gaussians beside full covariances: their triangles, and the divergence of a pair of which one is diagonal.
//!
//! A triangle holds exp(`log_var` / 2), which float64 has for a `log_var` of ±1416 at most. What a `log_var` has beyond that is added to the divergence, in which it stands by itself,
//! times ½: what it does to the squares is nothing beside it, or more than the range holds.

use super::{Tril, kl};
use crate::error::Result;
use crate::float::Float;
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
    let (log_var, prior_tril) = (wide(log_var), prior_tril.widened());
    let mut tril = vec![0.0; log_var.len() * width];
    diagonal(&log_var, width, &mut tril)?;
    let mut divergence = vec![0.0; out.len()];
    let prior = Some((&*wide(prior_loc), prior_tril.borrowed()));
    kl(&wide(loc), Tril::ByRow(&tril), prior, width, &mut divergence)?;
    for (row, (out, divergence)) in out.iter_mut().zip(divergence).enumerate() {
        let Beyond { below, above } = Beyond::of(&log_var[row * width..][..width]);
        *out = F::from_f64(if above > 0.0 { f64::INFINITY } else { divergence - 0.5 * below });
    }
    Ok(())
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
    let (log_var, tril) = (wide(prior_log_var), tril.widened());
    let mut prior_tril = vec![0.0; log_var.len() * width];
    diagonal(&log_var, width, &mut prior_tril)?;
    let one_row = log_var.len() == width;
    let prior_tril = if one_row { Tril::Shared(&prior_tril) } else { Tril::ByRow(&prior_tril) };
    let mut divergence = vec![0.0; out.len()];
    kl(&wide(loc), tril.borrowed(), Some((&wide(prior_loc), prior_tril)), width, &mut divergence)?;
    for (row, (out, divergence)) in out.iter_mut().zip(divergence).enumerate() {
        let first = if one_row { 0 } else { row * width };
        let Beyond { below, above } = Beyond::of(&log_var[first..][..width]);
        *out = F::from_f64(if below < 0.0 { f64::INFINITY } else { divergence + 0.5 * above });
    }
    Ok(())
}

/// The sums of what a row's log-variances have beyond those of its triangle.
struct Beyond {
    /// Not above 0.
    below: f64,
    /// Not below 0.
    above: f64,
}

impl Beyond {
    fn of(log_var: &[f64]) -> Self {
        let [least, largest] = [f64::MIN_POSITIVE, f64::MAX].map(|scale| 2.0 * libm::log(scale));
        log_var.iter().fold(Self { below: 0.0, above: 0.0 }, |Self { below, above }, log_var| Self {
            below: below + (log_var - least).min(0.0),
            above: above + (log_var - largest).max(0.0),
        })
    }
}

/// Triangles in float64.
enum Widened {
    Shared(Vec<f64>),
    ByRow(Vec<f64>),
}

impl Widened {
    fn borrowed(&self) -> Tril<'_, f64> {
        match self {
            Self::Shared(data) => Tril::Shared(data),
            Self::ByRow(data) => Tril::ByRow(data),
        }
    }
}

impl<F: Float> Tril<'_, F> {
    fn widened(self) -> Widened {
        let data = wide(self.data());
        if self.shared() { Widened::Shared(data) } else { Widened::ByRow(data) }
    }
}

fn wide<F: Float>(x: &[F]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}
