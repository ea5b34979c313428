//! The gradient of the objective with respect to q(z | x), and by way of it the encoder, by other estimators than the pathwise one.
//!
//! With f = log p(x | z) + β (log p(z) − log q(z | x)), s a row's weight by the batch and w̃ₖ = 1/K, or exp fₖ / Σ exp f where draws are weighed by importance, the gradient of what is
//! maximised is s Σₖ of
//! - "stl": w̃ₖ ∂fₖ/∂z · ∂z/∂(loc, log-variance), log q's parameters held still (Roeder, Wu and Duvenaud 2017);
//! - "dreg": the same by 1 − β (1 − w̃ₖ), which is w̃ₖ at β = 1 (Tucker, Lawson, Gu and Maddison 2019, equation 8); of the ELBO it is "stl", the bound being of one draw;
//! - "score": cₖ ∂log q/∂(loc, log-variance) at a fixed z, cₖ = (fₖ − mean f) / (K − 1), or ℓ − ℓ₋ₖ − β w̃ₖ with ℓ₋ₖ the bound of the other draws (Mnih and Rezende 2016).
//!
//! The parameters of the decoder and of the prior get s w̃ₖ ∂fₖ whatever the estimator.

use super::objective::{Estimator, Objective, weighted};
use crate::bound::Shares;
use crate::float::Float;
use crate::gaussian::scale;
use crate::network::lanewise;
use crate::simd::{Fused, Kernel, Simd, SimdBase, dispatch};

/// What each draw of a block counts beyond its share: made where an estimator first asks for it.
#[derive(Debug, Default)]
pub(super) struct DrawFactors(Vec<f64>);

impl DrawFactors {
    /// Before the weights become shares: the ELBO's cₖ of log weights fₖ = `log_prob` + β `ratio`, (particles, rows).
    pub(super) fn above_mean<F: Float>(&mut self, objective: Objective, log_prob: &[F], ratio: &[f64], rows: usize) {
        let Self(factors) = self;
        factors.clear();
        let weights = log_prob.iter().zip(ratio).map(|(log_prob, ratio)| log_prob.to_f64() + weighted(objective.kl_weight, *ratio));
        factors.extend(weights);
        let particles = factors.len() / rows;
        for row in 0..rows {
            let of_row = || (row..particles * rows).step_by(rows);
            let mean = of_row().map(|at| factors[at]).sum::<f64>() / particles as f64;
            of_row().for_each(|at| factors[at] = (factors[at] - mean) / (particles - 1) as f64);
        }
    }

    /// Of the importance-weighted bound, from its log weights and the shares that came of them.
    pub(super) fn of_weights(&mut self, objective: Objective, log_weights: &[f64], rows: usize) {
        if objective.estimator == Estimator::Score {
            let mut sums = Shares::new(rows);
            sums.push(log_weights);
            self.0.resize(log_weights.len(), 0.0);
            sums.contributions(log_weights, &mut self.0);
        }
    }

    /// The rest of it, from the shares.
    pub(super) fn of_shares(&mut self, objective: Objective, shares: &[f64]) {
        let (Self(factors), beta) = (self, objective.kl_weight);
        match objective.estimator {
            Estimator::Dreg => {
                factors.clear();
                factors.extend(shares.iter().map(|share| 1.0 - beta * (1.0 - share)));
            }
            Estimator::Score => factors.iter_mut().zip(shares).for_each(|(c, share)| *c += (1.0 - beta) * share),
            Estimator::Pathwise | Estimator::Stl => {}
        }
    }
}

/// A block's posteriors and draws.
pub(super) struct Draws<'a, F> {
    /// Latents.
    pub(super) width: usize,
    /// (rows, latents).
    pub(super) log_var: &'a [F],
    /// ε σ / 2, (particles · rows, latents).
    pub(super) slope: &'a [F],
}

impl<F: Float> Draws<'_, F> {
    /// Makes `dz`, the gradient of what is minimised by way of log p(x | z) and log p(z), into the one that the encoder's heads take; `factor` is β s w̃ₖ by draw.
    pub(super) fn hold_still(
        &self,
        objective: Objective,
        dz: &mut [F],
        factor: impl Fn(usize) -> f64,
        DrawFactors(again): &DrawFactors,
    ) {
        let by_share = objective.estimator == Estimator::Dreg && objective.importance_weighted;
        let by = |draw: usize| [F::from_f64(-factor(draw)), if by_share { F::from_f64(again[draw]) } else { F::ONE }];
        dispatch(Outward { draws: self, dz, by });
    }

    /// The score function's gradient in their places: what the heads take by way of `dz`, and what is the row's own in `d_log_var`; `share` is s by row.
    pub(super) fn score(&self, share: impl Fn(usize) -> f64, dz: &mut [F], d_log_var: &mut [F], DrawFactors(by): &DrawFactors) {
        let rows = d_log_var.len() / self.width;
        dz.fill(F::ZERO);
        let of_draw = |draw: usize| [F::from_f64(-weighted(share(draw % rows), by[draw])), F::ONE];
        dispatch(Outward { draws: self, dz, by: of_draw });
        // ∂log q/∂log-variance is (ε² − 1) / 2, of which dz by the slope is the first part.
        for (row, d) in d_log_var.chunks_exact_mut(self.width).enumerate() {
            let sum: f64 = by[row..].iter().step_by(rows).sum();
            d.fill(F::from_f64(0.5 * weighted(share(row), sum)));
        }
    }
}

/// (dz + by₀ ε / σ) by₁: ε / σ is −∂log q/∂z.
struct Outward<'a, F, B> {
    draws: &'a Draws<'a, F>,
    dz: &'a mut [F],
    by: B,
}

impl<F: Float, B: Fn(usize) -> [F; 2]> Kernel for Outward<'_, F, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Draws { width, log_var, slope } = *self.draws;
        let rows = log_var.chunks_exact(width).cycle();
        let draws = slope.chunks_exact(width).zip(self.dz.chunks_exact_mut(width)).zip(rows);
        for (draw, ((slope, dz), log_var)) in draws.enumerate() {
            let [outward, all] = (self.by)(draw);
            if all == F::ZERO {
                // 0 · ∞ too.
                dz.fill(F::ZERO);
                continue;
            }
            if outward == F::ZERO {
                for dz in dz {
                    *dz *= all;
                }
                continue;
            }
            let [twice, all] = [outward + outward, all].map(|x| F::Lanes::splat(simd, x));
            lanewise::<F, S, 2, 1>(
                simd,
                [log_var, slope],
                [dz],
                #[inline(always)]
                |[log_var, slope], [dz]| {
                    // One factor 1 / σ after the other: 1 / σ² may be past the range where ε / σ is not.
                    let inverse = scale::<F, S>(simd, log_var, -1.0);
                    [((slope * inverse) * inverse).fma(twice, dz) * all]
                },
            );
        }
    }
}
