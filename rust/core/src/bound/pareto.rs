//! The generalised Pareto distribution, fitted to the exceedances of a tail (Zhang and Stephens 2009), its shape pulled toward ½.

use crate::simd::{Fused, Kernel, Simd, SimdBase, SimdMask, dispatch, f64x8};
use crate::vmath::ln_1p;

/// A generalised Pareto distribution of exceedances y ≥ 0: survival (1 + k y / scale)^(−1/k).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pareto {
    /// k: moments of an order above 1/k are infinite. Pulled toward ½ as by 10 more exceedances (Vehtari et al. 2024).
    pub shape: f64,
    /// σ, by the shape before it was pulled.
    pub scale: f64,
}

/// Candidates of one vector.
const LANES: usize = 8;
/// What the shape is pulled toward, and by how many exceedances.
const PRIOR: (f64, f64) = (0.5, 10.0);

impl Pareto {
    /// Fits exceedances in rising order, none negative and the last positive and finite.
    ///
    /// Zhang and Stephens' estimate of θ = −k/σ: m = 30 + ⌊√n⌋ candidates θⱼ = 1/yₙ + (1 − √(m/(j − ½))) / (3 y*), y* the first quartile, weighed
    /// by their profile likelihoods n (ln(−θⱼ/kⱼ) − kⱼ − 1), kⱼ = 1/n Σ ln(1 − θⱼ yᵢ).
    ///
    /// # Panics
    /// Without exceedances.
    #[must_use]
    pub fn fit(exceedances: &[f64]) -> Self {
        let n = exceedances.len();
        let unit = exceedances[n - 1];
        // The fit does not depend on their unit; in that of the largest nothing overflows.
        let y: Vec<f64> = exceedances.iter().map(|y| y / unit).collect();
        let quartile = y[first_quartile(n)].max(1e-300);
        let m = 30 + n.isqrt();
        let theta: Vec<f64> = (1..=m).map(|j| 1.0 + (1.0 - (m as f64 / (j as f64 - 0.5)).sqrt()) / (3.0 * quartile)).collect();
        let shapes = shapes(&y, &theta);
        let mean = y.iter().sum::<f64>() / n as f64;
        // −k/θ is the mean at θ = 0.
        let scale = |theta: f64, shape: f64| if theta == 0.0 { mean } else { -shape / theta };
        let likelihood = |(&theta, &shape): (&f64, &f64)| -(n as f64) * (libm::log(scale(theta, shape)) + shape + 1.0);
        let likelihoods: Vec<f64> = theta.iter().zip(&shapes).map(likelihood).collect();
        let best = likelihoods.iter().fold(f64::NEG_INFINITY, |best, &l| best.max(l));
        let (mut total, mut sum) = (0.0, 0.0);
        for (theta, likelihood) in theta.iter().zip(likelihoods) {
            let share = libm::exp(likelihood - best);
            total += share;
            sum += share * theta;
        }
        let theta = sum / total;
        let shape = self::shapes(&y, &[theta])[0];
        let (toward, weight) = PRIOR;
        let pulled = (n as f64 * shape + weight * toward) / (n as f64 + weight);
        Self { shape: pulled, scale: scale(theta, shape) * unit }
    }

    /// The exceedance that a share p of them is below.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let log = -libm::log1p(-p);
        if self.shape == 0.0 { self.scale * log } else { self.scale * libm::expm1(self.shape * log) / self.shape }
    }
}

/// The place of the first quartile among n in rising order.
fn first_quartile(n: usize) -> usize {
    (n as f64 / 4.0 + 0.5).max(1.0) as usize - 1
}

/// 1/n Σ ln(1 − θ yᵢ) of each θ.
fn shapes(y: &[f64], theta: &[f64]) -> Vec<f64> {
    let sums = theta.chunks(LANES).flat_map(|theta| dispatch(Logs { y, theta }).into_iter().take(theta.len()));
    sums.map(|sum| sum / y.len() as f64).collect()
}

/// Exceedances whose logarithms are taken at once, where all terms 1 − θ y are between these: their product then has its digits and stays within the range.
const TOGETHER: usize = 8;
const ENDS: (f64, f64) = (0.75, 1e38);

struct Logs<'a> {
    /// In rising order.
    y: &'a [f64],
    theta: &'a [f64],
}

impl Kernel for Logs<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let theta = f64x8::from_fn(simd, |l| self.theta.get(l).map_or(0.0, |theta| -theta));
        let mut sum = f64x8::splat(simd, 0.0);
        for y in self.y.chunks(TOGETHER) {
            // The last is farthest from 1 for every θ.
            let farthest = theta * y[y.len() - 1];
            if (farthest.simd_gt(ENDS.0 - 1.0) & farthest.simd_lt(ENDS.1)).all_true() {
                // The product less 1, which has the digits of terms near 1.
                let mut product = f64x8::splat(simd, 0.0);
                for &y in y {
                    let x = theta * y;
                    product = product.fma(x, product + x);
                }
                sum += ln_1p::<f64, S>(simd, product);
            } else {
                for &y in y {
                    sum += ln_1p::<f64, S>(simd, theta * y);
                }
            }
        }
        sum.into()
    }
}
