//! What training tells of a batch and of an epoch.

use crate::reduce::ordered_sum;

/// Means over the rows of an epoch's steps, each row counting by its weight, in nats a row. They are taken as the epoch goes, so each step's rows are
/// scored before the step is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochTerms {
    /// reconstruction − KL.
    pub elbo: f64,
    /// E\[log p(x | z)\], of the rows as given.
    pub reconstruction: f64,
    /// KL(q ‖ prior).
    pub kl: f64,
    /// What was maximised: reconstruction − β KL, or the like.
    pub objective: f64,
    /// The mean over steps of the gradient's Euclidean norm, before it is clipped; +∞ where no step was taken.
    pub gradient_norm: f64,
    /// Of the epoch's last step, taken or not; 0 without one.
    pub learning_rate: f64,
    /// Steps taken.
    pub steps: u64,
    /// Steps not taken, whose rows count in no mean.
    pub skipped_steps: u64,
}

/// A batch's sums over its rows, by weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchTerms {
    /// Of the reconstructions, of the rows as given.
    pub reconstruction: f64,
    /// Of the KLs.
    pub kl: f64,
    /// Of what is maximised; with free bits, the batch's rows times its mean.
    pub objective: f64,
    /// Of the weights.
    pub weight: f64,
    /// The Euclidean norm of the gradient.
    pub gradient_norm: f64,
}

/// An epoch's sums over its batches, in the order of the steps.
#[derive(Default)]
pub(super) struct Sums {
    batches: [Vec<f64>; 5],
    /// Of the last step.
    pub(super) learning_rate: f64,
    skipped: u64,
}

impl Sums {
    pub(super) fn add(&mut self, terms: Option<BatchTerms>) {
        match terms {
            Some(BatchTerms { reconstruction, kl, objective, weight, gradient_norm }) => {
                for (sums, term) in self.batches.iter_mut().zip([reconstruction, kl, objective, weight, gradient_norm]) {
                    sums.push(term);
                }
            }
            None => self.skipped += 1,
        }
    }

    pub(super) fn means(&self) -> EpochTerms {
        let [reconstruction, kl, objective, weight, norms] = [0, 1, 2, 3, 4].map(|i| ordered_sum(&self.batches[i]));
        let steps = self.batches[0].len();
        // Without a step taken there is nothing to average: the worst that could be said.
        let [reconstruction, kl, objective] = if weight > 0.0 {
            [reconstruction, kl, objective].map(|sum| sum / weight)
        } else {
            [f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY]
        };
        EpochTerms {
            elbo: reconstruction - kl,
            reconstruction,
            kl,
            objective,
            gradient_norm: if steps > 0 { norms / steps as f64 } else { f64::INFINITY },
            learning_rate: self.learning_rate,
            steps: steps as u64,
            skipped_steps: self.skipped,
        }
    }
}
