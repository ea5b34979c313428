//! The linear Gaussian model p(z) = N(0, I), p(x | z) = N(W z + b, diag ψ): what makes one, what a pattern of observed cells determines, and its draws.
//! The bounds are in `linear_gaussian_rows.rs`, maximum likelihood in `linear_gaussian_fit.rs`.
//!
//! Parameters are float64, whatever the rows are. Everything rests on the posterior's precision I + Wᵀ Ψ⁻¹ W of the observed columns, kept as U Uᵀ with U
//! upper triangular: U⁻ᵀ is then the lower triangular factor of the posterior's covariance. Each pivot of that factorisation is at least 1,
//! since a Schur complement of I + A with A ⪰ 0 is, so a pivot that rounding puts below 1 is 1, and no parameters break it.
//!
//! ```
//! use elbokit_core::exact::LinearGaussian;
//!
//! // x = z + ε: x ~ N(0, 2).
//! let model = LinearGaussian::new(&[1.0], &[0.0], &[1.0], 1)?;
//! let mut log_evidence = [0.0_f64];
//! model.log_evidence(&[0.0], &mut log_evidence)?;
//! assert!((log_evidence[0] + 0.5 * (4.0 * std::f64::consts::PI).ln()).abs() < 1e-15);
//! # Ok::<(), elbokit_core::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::float::Float;
use crate::gaussian::LN_2PI;
use crate::random::{Draw, Key, fill_normals};
use crate::reduce::ordered_sum_of;
use crate::rows::{check_finite, check_len};
use crate::simd::{Kernel, Simd, dispatch};
use crate::threads::{Outputs, RowsMut, for_rows};

/// A linear Gaussian model; it does not change.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearGaussian {
    pub(super) width: usize,
    pub(super) latents: usize,
    /// W, (width, latents).
    pub(super) weight: Vec<f64>,
    pub(super) offset: Vec<f64>,
    noise_var: Vec<f64>,
    scale: Vec<f64>,
    precision: Vec<f64>,
    log_noise: Vec<f64>,
    /// What a row without a missing cell determines.
    pub(super) whole: Observed,
}

/// What one pattern of observed cells determines.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    pub(super) seen: Vec<bool>,
    /// 1 / ψ of an observed column, 0 of a missing one.
    pub(super) precision: Vec<f64>,
    /// W / ψ, (width, latents), 0 where a column is missing.
    pub(super) scaled: Vec<f64>,
    /// U in the upper triangle, (latents, latents); below it stands what is left of I + Wᵀ Ψ⁻¹ W.
    pub(super) upper: Vec<f64>,
    /// The diagonal of U inverted.
    pub(super) inverse: Vec<f64>,
    /// The diagonal of U Uᵀ.
    pub(super) diagonal: Vec<f64>,
    /// −½ Σ ln 2πψ over the observed columns.
    pub(super) constant: f64,
    /// ½ ln det of the precision.
    pub(super) half_log_det: f64,
}

impl LinearGaussian {
    /// A model of `offset.len()` columns: W is (columns, latents), `noise_var` a variance for each column.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], and [`Error::Value`] for a variance that is not positive, or so small beside the weights that Wᵀ Ψ⁻¹ W
    /// leaves the range.
    pub fn new(weight: &[f64], offset: &[f64], noise_var: &[f64], latents: usize) -> Result<Self> {
        let width = offset.len();
        if width == 0 || latents == 0 {
            let got = format!("{width} rows of {latents}");
            return Err(Error::shape("weight", "at least one column and one latent", got, "give a matrix (columns, latents)"));
        }
        check_len("weight", weight, width, latents)?;
        check_len("noise_var", noise_var, width, 1)?;
        check_finite("weight", weight, latents)?;
        check_finite("offset", offset, width)?;
        check_finite("noise_var", noise_var, width)?;
        // The inverse of a subnormal number is nearly past the range.
        if let Some(j) = noise_var.iter().position(|&v| v < f64::MIN_POSITIVE) {
            let got = format!("{:e} of column {j}", noise_var[j]);
            return Err(Error::value("noise_var", "positive numbers", got, "give variances; without noise there is no density"));
        }
        let mut model = Self {
            width,
            latents,
            weight: weight.to_vec(),
            offset: offset.to_vec(),
            noise_var: noise_var.to_vec(),
            scale: noise_var.iter().map(|v| v.sqrt()).collect(),
            precision: noise_var.iter().map(|v| 1.0 / v).collect(),
            log_noise: noise_var.iter().map(|&v| libm::log(v)).collect(),
            whole: Observed::new(width, latents),
        };
        let mut whole = Observed::new(width, latents);
        dispatch(Condition { model: &model, observed: &mut whole, seen: &vec![true; width] });
        if !whole.upper.iter().chain(&whole.scaled).all(|x| x.is_finite()) {
            let cure = "scale the columns, or raise the least variances";
            return Err(Error::value("noise_var", "weight² / noise_var within float64's range", "an overflow", cure));
        }
        model.whole = whole;
        Ok(model)
    }

    /// The number of columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of latents.
    #[must_use]
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// W, (columns, latents).
    #[must_use]
    pub fn weight(&self) -> &[f64] {
        &self.weight
    }

    /// b, a number a column.
    #[must_use]
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// ψ, a variance a column.
    #[must_use]
    pub fn noise_var(&self) -> &[f64] {
        &self.noise_var
    }

    /// Draws rows `first_row …` into `out`, (rows, width): W z + b + √ψ ε with z and ε that row of the normals of `key.split(0)` and `key.split(1)`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn sample<F: Float + Draw>(&self, key: Key, first_row: u64, rows: usize, out: &mut [F]) -> Result<()> {
        /// Numbers drawn at a time.
        const BLOCK: usize = 2048;
        check_len("out", out, rows, self.width)?;
        let (width, latents) = (self.width, self.latents);
        for_rows(rows, width * (latents + 2), RowsMut::new(out, width), &|range, mut out: RowsMut<F>| {
            let block = (BLOCK / (width + latents)).max(1).min(range.len());
            let (mut z, mut eps) = (vec![F::ZERO; block * latents], vec![F::ZERO; block * width]);
            for first in range.clone().step_by(block.max(1)) {
                let count = block.min(range.end - first);
                let row = first_row.wrapping_add(first as u64);
                fill_normals(key.split(0), 0, row, latents, &mut z[..count * latents]);
                fill_normals(key.split(1), 0, row, width, &mut eps[..count * width]);
                let (part, rest) = out.split_at(count);
                out = rest;
                dispatch(Place { model: self, z: &z, eps: &eps, x: part.data });
            }
        });
        Ok(())
    }
}

/// Rows W z + b + √ψ ε, in float64.
struct Place<'a, F> {
    model: &'a LinearGaussian,
    z: &'a [F],
    eps: &'a [F],
    x: &'a mut [F],
}

impl<F: Float> Kernel for Place<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let LinearGaussian { width, latents, ref weight, ref offset, ref scale, .. } = *self.model;
        let rows = self.x.chunks_exact_mut(width).zip(self.eps.chunks_exact(width)).zip(self.z.chunks_exact(latents));
        for ((x, eps), z) in rows {
            let columns = x.iter_mut().zip(eps).zip(weight.chunks_exact(latents)).zip(offset).zip(scale);
            for ((((x, eps), weight), offset), scale) in columns {
                let loc = weight.iter().zip(z).fold(*offset, |sum, (w, z)| w.fused(z.to_f64(), sum));
                let value = scale.fused(eps.to_f64(), loc);
                // Only what has left the range can be ∞ − ∞.
                *x = F::from_f64(if value.is_nan() { f64::INFINITY } else { value });
            }
        }
    }
}

/// Makes `observed` that of the columns `seen`.
struct Condition<'a> {
    model: &'a LinearGaussian,
    observed: &'a mut Observed,
    seen: &'a [bool],
}

impl Kernel for Condition<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        self.observed.set(self.model, self.seen);
    }
}

impl Observed {
    /// Nothing observed, not yet [`set`](Self::set).
    pub(super) fn new(width: usize, latents: usize) -> Self {
        Self {
            seen: vec![false; width],
            precision: vec![0.0; width],
            scaled: vec![0.0; width * latents],
            upper: vec![0.0; latents * latents],
            inverse: vec![1.0; latents],
            diagonal: vec![1.0; latents],
            constant: 0.0,
            half_log_det: 0.0,
        }
    }

    /// Takes the pattern `seen`. Sums run over the columns in order, one fused multiply-add each.
    #[inline(always)]
    pub(super) fn set(&mut self, model: &LinearGaussian, seen: &[bool]) {
        let k = model.latents;
        self.seen.copy_from_slice(seen);
        self.upper.fill(0.0);
        for a in 0..k {
            self.upper[a * k + a] = 1.0;
        }
        for (j, &seen) in seen.iter().enumerate() {
            let precision = if seen { model.precision[j] } else { 0.0 };
            self.precision[j] = precision;
            let (weight, scaled) = (&model.weight[j * k..][..k], &mut self.scaled[j * k..][..k]);
            for (scaled, w) in scaled.iter_mut().zip(weight) {
                *scaled = precision * w;
            }
            if seen {
                for (a, &s) in scaled.iter().enumerate() {
                    for (m, &w) in self.upper[a * k..][..=a].iter_mut().zip(weight) {
                        *m = s.fused(w, *m);
                    }
                }
            }
        }
        self.factorise(k);
        let observed = seen.iter().zip(&model.log_noise).filter(|(seen, _)| **seen);
        // A difference, so that of nothing observed it is 0 and not −0.
        self.constant = 0.0 - 0.5 * ordered_sum_of(observed.map(|(_, log_noise)| log_noise + LN_2PI));
        self.half_log_det = ordered_sum_of((0..k).map(|i| libm::log(self.upper[i * k + i])));
    }

    /// U from the last row up, in place of the upper triangle of what it is the factor of.
    #[inline(always)]
    fn factorise(&mut self, k: usize) {
        for i in (0..k).rev() {
            self.diagonal[i] = self.upper[i * k + i];
            let rest = self.upper[i * k + i + 1..(i + 1) * k].iter().fold(self.diagonal[i], |rest, u| (-u).fused(*u, rest));
            // Not `max`, so that NaN is seen.
            let pivot = (if rest < 1.0 { 1.0 } else { rest }).sqrt();
            let inverse = 1.0 / pivot;
            self.upper[i * k + i] = pivot;
            self.inverse[i] = inverse;
            for r in 0..i {
                let (above, here) = self.upper.split_at_mut(i * k);
                let rest = above[r * k + i + 1..(r + 1) * k].iter().zip(&here[i + 1..k]);
                let rest = rest.fold(here[r], |rest, (a, b)| (-a).fused(*b, rest));
                above[r * k + i] = rest * inverse;
            }
        }
    }

    /// U⁻ᵀ, the lower triangular factor of the posterior's covariance, into `out`, zeros above its diagonal.
    #[inline(always)]
    pub(super) fn scale_tril(&self, k: usize, out: &mut [f64]) {
        out.fill(0.0);
        for i in 0..k {
            let (before, row) = out.split_at_mut(i * k);
            for (a, solved) in before.chunks_exact(k).enumerate() {
                let u = -self.upper[a * k + i];
                for (x, solved) in row[..=a].iter_mut().zip(solved) {
                    *x = u.fused(*solved, *x);
                }
            }
            for x in &mut row[..i] {
                *x *= self.inverse[i];
            }
            row[i] = self.inverse[i];
        }
    }
}
