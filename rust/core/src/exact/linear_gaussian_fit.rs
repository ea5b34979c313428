//! Maximum likelihood of the linear Gaussian model from the rows' mean and covariance S (divisor n), so a step's cost does not grow with the rows.
//!
//! Isotropic noise (Tipping and Bishop 1999): W = V (Λ − σ² I)^½ of the leading eigenpairs of S and σ² the mean of the other eigenvalues. Noise by column:
//! given ψ, the best W is Ψ^½ V (Λ − I)^½ of the leading eigenpairs of Ψ^−½ S Ψ^−½, and then ψ ← diag(S − W Wᵀ) raises the
//! likelihood (an ECM step). Steps are extrapolated on ln ψ by SQUAREM (Varadhan and Roland 2008), and an extrapolation that lowers the likelihood is
//! not taken. Columns are taken in units of their standard deviations, so a fit is the same in any units.

use super::eigen::eigen;
use super::linear_gaussian::LinearGaussian;
use super::moments::{Moments, moments};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::gaussian::LN_2PI;
use crate::threads::Interrupt;

/// The least noise relative to a column's variance: without a floor the likelihood of a column that the others determine has no maximum.
const FLOOR: f64 = 1e-6;

/// A fitted model, and what there is to say about it.
#[derive(Debug, Clone)]
pub struct LinearFit {
    /// The model.
    pub model: LinearGaussian,
    /// The mean log evidence of the rows.
    pub log_evidence: f64,
    /// Columns in which all rows are equal.
    pub constant: Vec<usize>,
    /// Whether a column that varies, or with isotropic noise all of them, stands at the floor.
    pub floored: bool,
    /// Whether the steps came to an end by themselves.
    pub converged: bool,
}

fn check_latents(latents: usize) -> Result<()> {
    if latents > 0 {
        return Ok(());
    }
    Err(Error::value("latent_dim", "at least 1", latents, "give the number of latents"))
}

impl LinearGaussian {
    /// Probabilistic principal components: the model of noise σ² I that makes the rows of `x` most likely, or W alone at a given σ².
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Value`].
    pub fn fit_isotropic<F: Float>(x: &[F], width: usize, latents: usize, noise_var: Option<f64>) -> Result<LinearFit> {
        check_latents(latents)?;
        if let Some(v) = noise_var
            && !(v >= f64::MIN_POSITIVE && v.is_finite())
        {
            return Err(Error::value("noise_var", "a positive number", v, "give a variance, or leave it out"));
        }
        let Moments { mean, covariance, constant } = moments(x, width)?;
        let (values, vectors) = eigen(&covariance, width);
        let trace: f64 = (0..width).map(|j| covariance[j * width + j]).sum();
        let floor = FLOOR * trace / width as f64;
        // With as many latents as columns any variance up to the least eigenvalue is as likely.
        let others = &values[latents.min(width - 1)..];
        let best = others.iter().sum::<f64>() / others.len() as f64;
        let noise = noise_var.unwrap_or(best.max(floor));
        let mut weight = vec![0.0; width * latents];
        let (mut log_det, mut fit) = (width as f64 * libm::log(noise), trace / noise);
        for (a, (&value, vector)) in values.iter().zip(vectors.chunks_exact(width)).enumerate().take(latents) {
            if value > noise {
                place(&mut weight, latents, a, vector, (value - noise).sqrt(), |_| 1.0);
                log_det += libm::log(value / noise);
                fit += 1.0 - value / noise;
            }
        }
        let model = Self::new(&weight, &mean, &vec![noise; width], latents)?;
        let log_evidence = -0.5 * (log_det + fit + width as f64 * LN_2PI);
        Ok(LinearFit { model, log_evidence, constant, floored: noise_var.is_none() && best < floor, converged: true })
    }

    /// The eigenvalues of the rows' covariance (divisor n), largest first.
    ///
    /// # Errors
    /// As [`fit_isotropic`](Self::fit_isotropic).
    pub fn eigenvalues<F: Float>(x: &[F], width: usize) -> Result<Vec<f64>> {
        Ok(eigen(&moments(x, width)?.covariance, width).0)
    }

    /// Factor analysis: the model of noise by column that makes the rows of `x` most likely. It ends when three steps gain less than `tolerance` nats a row, or after
    /// `max_iter` times three steps.
    ///
    /// # Errors
    /// As [`fit_isotropic`](Self::fit_isotropic), and [`Error::Interrupted`].
    pub fn fit_diagonal<F: Float>(
        x: &[F],
        width: usize,
        latents: usize,
        tolerance: f64,
        max_iter: usize,
        interrupt: &Interrupt,
    ) -> Result<LinearFit> {
        check_latents(latents)?;
        let Moments { mean, covariance, constant } = moments(x, width)?;
        // A constant column has no unit of its own.
        let varying: Vec<usize> = (0..width).filter(|j| !constant.contains(j)).collect();
        let typical = varying.iter().map(|&j| covariance[j * width + j]).sum::<f64>() / varying.len() as f64;
        let unit: Vec<f64> = varying.iter().map(|&j| covariance[j * width + j].sqrt()).collect();
        let correlation = varying.iter().zip(&unit).flat_map(|(&i, a)| {
            let covariance = &covariance;
            varying.iter().zip(&unit).map(move |(&j, b)| if i == j { 1.0 } else { covariance[i * width + j] / a / b })
        });
        let problem = Problem { correlation: correlation.collect(), width: varying.len(), latents };
        let (best, converged) = problem.solve(tolerance, max_iter, interrupt)?;

        let mut weight = vec![0.0; width * latents];
        let mut noise_var = vec![FLOOR * typical; width];
        for (local, (&j, unit)) in varying.iter().zip(&unit).enumerate() {
            noise_var[j] = libm::exp(best.log_noise[local]) * unit * unit;
            for a in 0..latents {
                weight[j * latents + a] = best.weight[local * latents + a] * unit;
            }
        }
        let model = Self::new(&weight, &mean, &noise_var, latents)?;
        let units: f64 = unit.iter().map(|u| 2.0 * libm::log(*u)).sum();
        let constants = constant.len() as f64 * libm::log(FLOOR * typical);
        let log_evidence = best.objective - 0.5 * (units + constants + width as f64 * LN_2PI);
        let floored = best.log_noise.iter().any(|&theta| theta <= libm::log(FLOOR));
        Ok(LinearFit { model, log_evidence, constant, floored, converged })
    }
}

/// Column `a` of W: `length` times the vector, each entry times `unit` of its column, with the sign that makes its largest entry positive.
fn place(weight: &mut [f64], latents: usize, a: usize, vector: &[f64], length: f64, unit: impl Fn(usize) -> f64) {
    let largest = vector.iter().fold(0.0_f64, |largest, v| if v.abs() > largest.abs() { *v } else { largest });
    let length = length.copysign(largest);
    for (j, v) in vector.iter().enumerate() {
        weight[j * latents + a] = unit(j) * v * length;
    }
}

/// The likelihood of ln ψ, W being the best for it.
struct Problem {
    correlation: Vec<f64>,
    width: usize,
    latents: usize,
}

/// A point, its best W, its likelihood and the step from it.
struct Point {
    log_noise: Vec<f64>,
    weight: Vec<f64>,
    /// −½ [ln det Σ + tr(Σ⁻¹ S)].
    objective: f64,
    next: Vec<f64>,
}

impl Problem {
    fn at(&self, log_noise: Vec<f64>) -> Point {
        let (d, k) = (self.width, self.latents);
        let scale: Vec<f64> = log_noise.iter().map(|t| libm::exp(0.5 * t)).collect();
        let scaled: Vec<f64> = (0..d * d).map(|at| self.correlation[at] / scale[at / d] / scale[at % d]).collect();
        let (values, vectors) = eigen(&scaled, d);
        let mut weight = vec![0.0; d * k];
        let mut sum: f64 = log_noise.iter().sum::<f64>() + (0..d).map(|i| scaled[i * d + i]).sum::<f64>();
        for (a, (&value, vector)) in values.iter().zip(vectors.chunks_exact(d)).enumerate().take(k) {
            if value > 1.0 {
                place(&mut weight, k, a, vector, (value - 1.0).sqrt(), |j| scale[j]);
                sum += libm::log(value) + 1.0 - value;
            }
        }
        let rest = |j: usize| 1.0 - weight[j * k..][..k].iter().map(|w| w * w).sum::<f64>();
        let next = (0..d).map(|j| libm::log(rest(j).max(FLOOR))).collect();
        Point { log_noise, weight, objective: -0.5 * sum, next }
    }

    fn solve(&self, tolerance: f64, max_iter: usize, interrupt: &Interrupt) -> Result<(Point, bool)> {
        let mut here = self.at(vec![0.0; self.width]);
        for _ in 0..max_iter {
            interrupt.poll()?;
            let before = here.objective;
            let one = self.at(here.next.clone());
            let two = self.at(one.next.clone());
            // Twice the step, and the change of the step, whose ratio is how far the steps would go on.
            let first: Vec<f64> = one.log_noise.iter().zip(&here.log_noise).map(|(b, a)| b - a).collect();
            let change: Vec<f64> =
                two.log_noise.iter().zip(&one.log_noise).zip(&first).map(|((c, b), first)| c - b - first).collect();
            let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let alpha = (length(&first) / length(&change)).max(1.0);
            let leap = here.log_noise.iter().zip(first.iter().zip(&change)).map(|(&from, (first, change))| {
                let to = from + 2.0 * alpha * first + alpha * alpha * change;
                // Noise is no more than the variance; what is not a number is no step.
                if to.is_finite() { to.clamp(libm::log(FLOOR), 0.0) } else { from }
            });
            let three = self.at(leap.collect());
            here = if three.objective > two.objective { three } else { two };
            if here.objective - before < tolerance {
                return Ok((here, true));
            }
        }
        Ok((here, false))
    }
}
