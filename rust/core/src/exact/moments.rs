//! The mean and the covariance of rows, and how sums over rows are shared out: what fits of exact models are made from.
//!
//! Contract. Rows are cut into blocks of a fixed length; a block's sum runs over its rows in order, and blocks are added in order. So a sum over
//! rows depends on the rows alone, not on threads.

use crate::error::{Error, Result};
use crate::float::Float;
use crate::network::matmul::{Finish, Left, Right, multiply};
use crate::network::panels::panel;
use crate::rows::check_finite;
use crate::threads::{RowsMut, for_rows};

/// Blocks whose sums lie in memory together.
const WAVE: usize = 8;

/// Sums of `len` numbers over `rows` rows: `block` adds those of one block of at most `length` rows to zeros, `work` nanoseconds or about that.
pub(super) fn sum_blocks(
    rows: usize,
    length: usize,
    len: usize,
    work: usize,
    block: impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let blocks = rows.div_ceil(length);
    let mut total = vec![0.0; len];
    let mut parts = vec![0.0; WAVE.min(blocks) * len];
    for first in (0..blocks).step_by(WAVE) {
        let wave = WAVE.min(blocks - first);
        let parts = &mut parts[..wave * len];
        parts.fill(0.0);
        for_rows(wave, work, RowsMut::new(parts, len), &|range, mut out: RowsMut<f64>| {
            for (local, b) in range.enumerate() {
                let from = (first + b) * length;
                block(from..rows.min(from + length), out.row(local));
            }
        });
        for part in parts.chunks_exact(len) {
            for (total, part) in total.iter_mut().zip(part) {
                *total += part;
            }
        }
    }
    total
}

/// The first two moments of rows.
pub(super) struct Moments {
    pub(super) mean: Vec<f64>,
    /// With divisor n, (width, width).
    pub(super) covariance: Vec<f64>,
    /// Columns in which all rows are equal; their covariance is 0.
    pub(super) constant: Vec<usize>,
}

/// Rows of a block.
const BLOCK: usize = 256;

/// The moments of at least two rows, of which at least one column varies.
pub(super) fn moments<F: Float>(x: &[F], width: usize) -> Result<Moments> {
    let rows = x.len() / width;
    if rows < 2 {
        return Err(Error::shape("X", "at least two rows", rows, "a covariance needs more"));
    }
    check_finite("X", x, width)?;
    let varies: Vec<bool> = (0..width).map(|j| x.chunks_exact(width).any(|row| row[j] != x[j])).collect();
    if !varies.contains(&true) {
        return Err(Error::value("X", "a column that varies", "equal rows", "there is no variance to fit"));
    }
    // Of the distance from the first row, so that a constant column's mean is its value.
    let sums = sum_blocks(rows, BLOCK, width, BLOCK * width / 2, |range, out| {
        for row in x[range.start * width..range.end * width].chunks_exact(width) {
            for ((out, row), first) in out.iter_mut().zip(row).zip(x) {
                *out += row.to_f64() - first.to_f64();
            }
        }
    });
    let mean: Vec<f64> = sums.iter().zip(x).map(|(sum, first)| first.to_f64() + sum / rows as f64).collect();
    let work = BLOCK * width * width / 8 + BLOCK * width;
    let mut covariance = sum_blocks(rows, BLOCK, width * width, work, |range, out| {
        // What is read past a row's end.
        let mut off = vec![0.0; range.len() * width + panel::<f64>()];
        let given = x[range.start * width..range.end * width].chunks_exact(width);
        for (off, row) in off.chunks_exact_mut(width).zip(given) {
            for ((off, x), mean) in off.iter_mut().zip(row).zip(&mean) {
                *off = x.to_f64() - mean;
            }
        }
        let (left, right) = (Left::transposed(&off, width, 0), Right::rows(&off, width));
        multiply(width, width, range.len(), left, right, Finish::Sums, out, width);
    });
    for x in &mut covariance {
        *x /= rows as f64;
    }
    if !covariance.iter().all(|x| x.is_finite()) {
        return Err(Error::value("X", "variances within float64's range", "an overflow", "scale the columns"));
    }
    let constant = (0..width).filter(|&j| !varies[j]).collect();
    Ok(Moments { mean, covariance, constant })
}
