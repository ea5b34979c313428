//! The mixture of Gaussians Σ wₖ N(locₖ, Σₖ): what makes one, and its draws. Its density and score are in `mixture_rows.rs`.
//!
//! Parameters are float64, whatever the rows are; a full covariance is held as its Cholesky factor. A mixture does not change once it is made,
//! and its constructor has checked all that could fail later but the rows.
//!
//! ```
//! use elbokit_core::exact::{Covariance, Mixture};
//!
//! let mixture = Mixture::new(&[0.5, 0.5], &[-1.0, 1.0], 1, Covariance::Isotropic(&[1.0, 1.0]))?;
//! let mut log_evidence = [0.0_f64];
//! mixture.log_evidence(&[0.0], &mut log_evidence)?;
//! assert!((log_evidence[0] + 0.5 + 0.918_938_533_204_672_7).abs() < 1e-15);
//! # Ok::<(), elbokit_core::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::float::Float;
use crate::gaussian::LN_2PI;
use crate::random::{Draw, Key, fill_normals, fill_uniforms};
use crate::reduce::ordered_sum_of;
use crate::rows::{check_finite, check_len};
use crate::simd::{Kernel, Simd, dispatch};
use crate::threads::{Outputs, RowsMut, for_rows};

/// The covariances of k components of width d.
#[derive(Debug, Clone, Copy)]
pub enum Covariance<'a> {
    /// One variance for all columns of a component: (k,).
    Isotropic(&'a [f64]),
    /// A variance for each column: (k, d).
    Diagonal(&'a [f64]),
    /// Symmetric positive definite matrices: (k, d, d).
    Full(&'a [f64]),
}

/// Standard deviations or Cholesky factors, as draws and densities need them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Factor {
    /// Scales and their inverses, (k, d).
    Diagonal { scale: Vec<f64>, inverse: Vec<f64> },
    /// Lower triangles, (k, d, d), and the inverses of their diagonals, (k, d).
    Full { lower: Vec<f64>, inverse: Vec<f64> },
}

/// A mixture of Gaussians.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    weights: Vec<f64>,
    pub(super) locs: Vec<f64>,
    pub(super) width: usize,
    pub(super) factor: Factor,
    /// ln wₖ − ½ ln det Σₖ − d/2 ln 2π.
    pub(super) constants: Vec<f64>,
}

/// How far from 1 the weights may sum: what float32 weights lose.
const SUM_TOLERANCE: f64 = 1e-6;
/// How far from symmetric a covariance may be, relative to its diagonal.
const SYMMETRY: f64 = 1e-6;

impl Mixture {
    /// A mixture of `weights.len()` components of `width` columns; the weights are divided by their sum, which must be 1 but for rounding.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], and [`Error::Value`] that names the component.
    pub fn new(weights: &[f64], locs: &[f64], width: usize, covariance: Covariance) -> Result<Self> {
        let components = weights.len();
        if components == 0 {
            return Err(Error::shape("weights", "at least one component", "none", "give one weight a component"));
        }
        if width == 0 {
            return Err(Error::shape("locs", "at least one column", "none", "give each component a loc (d,)"));
        }
        check_finite("weights", weights, components)?;
        if let Some(k) = weights.iter().position(|&w| w <= 0.0) {
            let got = format!("{:e} of component {k}", weights[k]);
            return Err(Error::value("weights", "positive numbers", got, "leave the component out"));
        }
        let total = ordered_sum_of(weights.iter().copied());
        if (total - 1.0).abs() > SUM_TOLERANCE {
            return Err(Error::value("weights", "a sum of 1", total, "divide them by their sum"));
        }
        check_len("locs", locs, components, width)?;
        check_finite("locs", locs, width)?;
        let (factor, log_dets) = match covariance {
            Covariance::Isotropic(variances) => {
                check_len("variances", variances, components, 1)?;
                let repeated: Vec<f64> = variances.iter().flat_map(|&v| std::iter::repeat_n(v, width)).collect();
                check_positive(variances, 1)?;
                diagonal(&repeated, width)
            }
            Covariance::Diagonal(variances) => {
                check_len("variances", variances, components, width)?;
                check_positive(variances, width)?;
                diagonal(variances, width)
            }
            Covariance::Full(variances) => {
                check_len("variances", variances, components, width * width)?;
                check_finite("variances", variances, width * width)?;
                full(variances, width)?
            }
        };
        let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let constants = weights.iter().zip(log_dets);
        let constants = constants.map(|(&w, log_det)| libm::log(w) - 0.5 * (log_det + width as f64 * LN_2PI)).collect();
        Ok(Self { weights, locs: locs.to_vec(), width, factor, constants })
    }

    /// The normalised weights.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The number of columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Draws rows `first_row …` into `out`, (rows, width): row i is a function of the key, i and the width. Its component is the first whose
    /// cumulative weight is above a uniform (the float64 uniform of row i under the same key), its point loc + factor · ε with ε row i of the key's normals.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn sample<F: Float + Draw>(&self, key: Key, first_row: u64, rows: usize, out: &mut [F]) -> Result<()> {
        /// Numbers of ε drawn at a time.
        const BLOCK: usize = 2048;
        check_len("out", out, rows, self.width)?;
        if rows == 0 {
            return Ok(());
        }
        let width = self.width;
        let mut total = 0.0;
        let above: Vec<f64> = self.weights.iter().map(|w| (total += w, total).1).collect();
        let cost = if matches!(self.factor, Factor::Full { .. }) { width * width } else { 4 * width };
        for_rows(rows, cost, RowsMut::new(out, width), &|range, mut out: RowsMut<F>| {
            let block = (BLOCK / width).max(1).min(range.len());
            let (mut eps, mut uniforms) = (vec![F::ZERO; block * width], vec![0.0_f64; block]);
            for first in range.clone().step_by(block) {
                let count = block.min(range.end - first);
                let row = first_row.wrapping_add(first as u64);
                fill_uniforms(key, 0, row, 1, &mut uniforms[..count]);
                fill_normals(key, 0, row, width, &mut eps[..count * width]);
                let (part, rest) = out.split_at(count);
                out = rest;
                let (eps, uniforms) = (&eps[..count * width], &uniforms[..count]);
                dispatch(Place { mixture: self, above: &above, uniforms, eps, x: part.data });
            }
        });
        Ok(())
    }
}

/// Rows loc + factor · ε of the components that their uniforms pick, in float64.
struct Place<'a, F> {
    mixture: &'a Mixture,
    above: &'a [f64],
    uniforms: &'a [f64],
    eps: &'a [F],
    x: &'a mut [F],
}

impl<F: Float> Kernel for Place<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Mixture { width, ref locs, ref factor, .. } = *self.mixture;
        let rows = self.x.chunks_exact_mut(width).zip(self.eps.chunks_exact(width)).zip(self.uniforms);
        for ((x, eps), uniform) in rows {
            let k = self.above.partition_point(|sum| sum <= uniform).min(self.above.len() - 1);
            let loc = &locs[k * width..][..width];
            match factor {
                Factor::Diagonal { scale, .. } => {
                    for (((x, loc), scale), eps) in x.iter_mut().zip(loc).zip(&scale[k * width..]).zip(eps) {
                        *x = F::from_f64(scale.fused(eps.to_f64(), *loc));
                    }
                }
                Factor::Full { lower, .. } => {
                    for (i, (x, &loc)) in x.iter_mut().zip(loc).enumerate() {
                        let row = &lower[(k * width + i) * width..][..=i];
                        let sum = row.iter().zip(eps).fold(loc, |sum, (l, eps)| l.fused(eps.to_f64(), sum));
                        // Only a sum that has left the range can be ∞ − ∞.
                        *x = F::from_f64(if sum.is_nan() { f64::INFINITY } else { sum });
                    }
                }
            }
        }
    }
}

fn check_positive(variances: &[f64], width: usize) -> Result<()> {
    check_finite("variances", variances, width)?;
    // The inverse of a subnormal number is nearly past the range, and its own digits are lost.
    match variances.iter().position(|&v| v < f64::MIN_POSITIVE) {
        Some(at) => {
            let got = format!("{:e} of component {}, column {}", variances[at], at / width, at % width);
            Err(Error::value("variances", "positive numbers", got, "give variances, not scales; a point mass has no density"))
        }
        None => Ok(()),
    }
}

/// The factor and each component's ln det of diagonal covariances.
fn diagonal(variances: &[f64], width: usize) -> (Factor, Vec<f64>) {
    let scale: Vec<f64> = variances.iter().map(|v| v.sqrt()).collect();
    let inverse = scale.iter().map(|s| 1.0 / s).collect();
    let log_det = |row: &[f64]| ordered_sum_of(row.iter().map(|&v| libm::log(v)));
    (Factor::Diagonal { scale, inverse }, variances.chunks_exact(width).map(log_det).collect())
}

/// The Cholesky factors of full covariances, row by row.
fn full(variances: &[f64], width: usize) -> Result<(Factor, Vec<f64>)> {
    let mut lower = vec![0.0; variances.len()];
    let (mut inverse, mut log_dets) = (Vec::new(), Vec::new());
    for (k, (a, l)) in variances.chunks_exact(width * width).zip(lower.chunks_exact_mut(width * width)).enumerate() {
        for i in 0..width {
            for j in 0..i {
                let (one, other) = (a[i * width + j], a[j * width + i]);
                if (one - other).abs() > SYMMETRY * (a[i * width + i].abs().sqrt() * a[j * width + j].abs().sqrt()) {
                    let got = format!("{one:e} at ({i}, {j}) and {other:e} at ({j}, {i}) of component {k}");
                    return Err(Error::value("variances", "symmetric matrices", got, "give (A + Aᵀ) / 2"));
                }
            }
        }
        for i in 0..width {
            for j in 0..=i {
                let mean = 0.5 * a[i * width + j] + 0.5 * a[j * width + i];
                let rest = (0..j).fold(mean, |rest: f64, m| f64::mul_add(-l[i * width + m], l[j * width + m], rest));
                if i > j {
                    l[i * width + j] = rest / l[j * width + j];
                } else if rest > 0.0 && rest.is_finite() {
                    l[i * width + i] = rest.sqrt();
                    inverse.push(1.0 / l[i * width + i]);
                } else {
                    let got = format!("pivot {rest:e} at column {i} of component {k}");
                    return Err(Error::value("variances", "positive definite matrices", got, "add a little to the diagonal"));
                }
            }
        }
        log_dets.push(2.0 * ordered_sum_of((0..width).map(|i| libm::log(l[i * width + i]))));
    }
    Ok((Factor::Full { lower, inverse }, log_dets))
}
