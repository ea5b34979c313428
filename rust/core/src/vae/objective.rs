//! What training maximises: the ELBO with its KL weighed, the same with a floor under each latent's KL, or the importance-weighted bound.
//!
//! With wᵢ the weight of row i of a batch of B: Σ wᵢ [reconstructionᵢ − β klᵢ] / B; with free bits λ > 0 Σ wᵢ reconstructionᵢ / B − β Σⱼ max(λ, Σᵢ wᵢ klᵢⱼ / B),
//! j over the latents (Kingma et al. 2016, appendix C.8), which only a KL to N(0, I) has; with a mixture prior klᵢ is the particles' mean of log q(zₖ | x) − log p(zₖ); importance-weighted Σ wᵢ ln (1/K Σₖ exp rᵢₖ) / B with rᵢₖ = log p(x | zₖ) + β (log p(zₖ) − log q(zₖ | x)),
//! along which the gradient goes by way of zₖ (Burda, Grosse and Salakhutdinov 2016, section 3): Σₖ wᵢₖ ∇ rᵢₖ, wᵢₖ the share of exp rᵢₖ in the sum.

use super::data_path::{Batch, Block};
use super::prior::Prior;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::Draw;
use crate::reduce::ordered_sum_of;

/// How the gradient with respect to q(z | x), and so the encoder's, is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Estimator {
    /// Along z at a fixed ε: the gradient of what was drawn.
    #[default]
    Pathwise,
    /// Sticking the landing: that with log q's own parameters held still.
    Stl,
    /// Doubly reparameterised.
    Dreg,
    /// The score function's, each draw beside the others.
    Score,
}

impl Estimator {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pathwise => "pathwise",
            Self::Stl => "stl",
            Self::Dreg => "dreg",
            Self::Score => "score",
        }
    }

    /// The estimator of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pathwise, Self::Stl, Self::Dreg, Self::Score].into_iter().find(|estimator| estimator.name() == name)
    }
}

/// What a step maximises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// β, what a nat of KL counts.
    pub kl_weight: f64,
    /// λ, in nats a latent.
    pub free_bits: f64,
    /// Whether draws are weighed by importance: no free bits then.
    pub importance_weighted: bool,
    /// All but [`Estimator::Pathwise`] take the Monte Carlo form of the ELBO, without free bits.
    pub estimator: Estimator,
}

impl Default for Objective {
    fn default() -> Self {
        Self { kl_weight: 1.0, free_bits: 0.0, importance_weighted: false, estimator: Estimator::Pathwise }
    }
}

impl Objective {
    /// # Errors
    /// [`Error::Value`] for a number that is negative or not finite, for free bits with importance weights or another estimator than the pathwise one, and for
    /// [`Estimator::Stl`] with importance weights.
    pub fn check(&self) -> Result<()> {
        for (argument, x) in [("kl_weight", self.kl_weight), ("free_bits", self.free_bits)] {
            if !(x >= 0.0 && x.is_finite()) {
                return Err(Error::value(argument, "a finite number not below 0", x, "use 1.0 and 0.0 for the ELBO"));
            }
        }
        if self.importance_weighted && self.free_bits > 0.0 {
            let expected = "0 with objective \"iwae\", whose bound has no KL term";
            return Err(Error::value("free_bits", expected, self.free_bits, "use objective \"elbo\", or no free bits"));
        }
        if self.estimator != Estimator::Pathwise && self.free_bits > 0.0 {
            let expected =
                format!("0 with estimator {:?}, which draws the KL that a floor asks for in closed form", self.estimator.name());
            return Err(Error::value("free_bits", expected, self.free_bits, "use estimator \"pathwise\", or no free bits"));
        }
        if self.estimator == Estimator::Stl && self.importance_weighted {
            let expected = "\"pathwise\", \"dreg\" or \"score\" with objective \"iwae\", of which \"stl\" is biased";
            return Err(Error::value("estimator", expected, "stl", "use estimator \"dreg\""));
        }
        Ok(())
    }

    /// Whether a step asks for log p(z) − log q(z | x) of each draw.
    pub(super) fn weighs_draws(&self) -> bool {
        self.importance_weighted || self.estimator == Estimator::Score
    }

    /// # Errors
    /// [`Error::Value`] for [`Estimator::Score`] with one particle.
    pub(super) fn check_particles(&self, num_particles: usize) -> Result<()> {
        if self.estimator == Estimator::Score && num_particles < 2 {
            let expected = "at least 2 with estimator \"score\", whose baseline is the other particles";
            return Err(Error::value("num_particles", expected, num_particles, "give more, or use estimator \"pathwise\""));
        }
        Ok(())
    }
}

impl Objective {
    /// # Errors
    /// [`Error::Value`] for free bits where the KL has no part for each latent.
    pub(super) fn check_prior(&self, prior: Prior) -> Result<()> {
        if prior != Prior::Standard && self.free_bits > 0.0 {
            let expected = format!("0 with prior {:?}, to which the KL has no part for each latent", prior.name());
            return Err(Error::value("free_bits", expected, self.free_bits, "use prior \"standard\", or no free bits"));
        }
        Ok(())
    }
}

/// A term by its weight: nothing by a weight of 0, be it infinite.
pub(super) fn weighted(weight: f64, term: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight * term }
}

/// The floor under each latent's KL, for one batch at a time.
#[derive(Debug)]
pub(super) struct Floor {
    /// Σᵢ wᵢ klᵢⱼ / B, rows in order.
    means: Vec<f64>,
    /// Whether latent j's KL is below the floor, where it has no gradient.
    pub(super) below: Vec<bool>,
}

impl Floor {
    pub(super) fn new(latent_dim: usize) -> Self {
        Self { means: vec![0.0; latent_dim], below: vec![false; latent_dim] }
    }

    /// Takes the batch's latent KLs, which the blocks' way through the encoder has left in them.
    pub(super) fn take<F: Float + Draw>(&mut self, blocks: &[Block<F>], batch: &Batch<F>) {
        for (latent, (mean, below)) in self.means.iter_mut().zip(&mut self.below).enumerate() {
            let rows = blocks.iter().flat_map(|b| b.latent_kl(latent).enumerate().map(|(row, kl)| (b.first + row, kl)));
            *mean = ordered_sum_of(rows.map(|(row, kl)| weighted(batch.weight(row), kl))) / batch.rows.len() as f64;
            *below = *mean < batch.objective.free_bits;
        }
    }

    /// Σⱼ max(λ, meanⱼ), in the place of the batch's mean KL.
    pub(super) fn kl(&self, free_bits: f64) -> f64 {
        ordered_sum_of(self.means.iter().map(|mean| mean.max(free_bits)))
    }
}

/// Turns the log weights of one row's particles, `places` in `weights`, into their shares of the sum; returns ln of the mean weight.
pub(super) fn shares_of(weights: &mut [f64], places: impl Iterator<Item = usize> + Clone) -> f64 {
    let largest = places.clone().fold(f64::NEG_INFINITY, |largest, at| largest.max(weights[at]));
    // Where no weight is finite, or one is endless, the largest share alike.
    let sum = ordered_sum_of(places.clone().map(|at| {
        weights[at] = if weights[at] == largest { 1.0 } else { libm::exp(weights[at] - largest) };
        weights[at]
    }));
    let count = places.clone().count();
    places.for_each(|at| weights[at] /= sum);
    largest + libm::log(sum / count as f64)
}
