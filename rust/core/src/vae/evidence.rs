//! Bounds on the log evidence of rows, streamed: of a row's particles its folds and the tail of their weights are kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::laplace;
use super::model::Model;
use super::score::check_particles;
use super::scorer::{Drawn, over_rows, work, work_of_draw};
use super::source::Source;
use crate::bound::{Folds, Tail, conclude};
use crate::error::Result;
use crate::float::Float;
use crate::random::{Draw, Key};
use crate::rows::check_len;
use crate::threads::{Interrupt, RowsMut};

/// Where a batch's bounds on log p(x) go, one number a row; x as given, its observed cells alone.
#[derive(Debug)]
pub struct Evidence<'a, F> {
    /// The importance-weighted bound, in expectation at most log p(x).
    pub lower: &'a mut [F],
    /// Its jackknife.
    pub estimate: &'a mut [F],
    /// In expectation at least log p(x); +∞ for one particle, and where k-hat says that it cannot be trusted.
    pub upper: &'a mut [F],
    /// Of the estimate, over the folds.
    pub standard_error: &'a mut [F],
    /// The Pareto k-hat of the weights; +∞ below 25 particles.
    pub khat: &'a mut [F],
    /// (Σ w)² / Σ w², of at most the number of particles.
    pub ess: &'a mut [F],
    /// Cells that are not missing.
    pub num_observed: &'a mut [u64],
}

/// What the particles of a row are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// The encoder's q.
    Posterior,
    /// N(z*, 1.15² H⁻¹) around the mode z* of log p(x, z), H = I + Jᵀ F J with the decoder's Jacobian J and the likelihood's Fisher information F; with a
    /// mixture prior its curvature at z* in the place of I, or the mean of the components' by share where that is not positive definite.
    Laplace,
}

/// Bounds on each row's log p(x) by `num_particles` draws from the proposal, as [`Evidence`] says. A row without an observed
/// cell has evidence 0; one without a mode keeps q, and one whose q leaves the range is then weighed by draws from the prior.
/// Returns for how many rows no mode was found.
///
/// # Errors
/// As [`check`](super::check), and [`Error::Value`](crate::Error) for 0 particles.
pub fn log_evidence<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    key: Key,
    num_particles: usize,
    proposal: Proposal,
    interrupt: &Interrupt,
    out: Evidence<F>,
) -> Result<usize> {
    check_particles(num_particles)?;
    let numbers = [out.lower, out.estimate, out.upper, out.standard_error, out.khat, out.ess];
    for out in &numbers {
        check_len("out", out, source.rows(), 1)?;
    }
    check_len("out", out.num_observed, source.rows(), 1)?;
    let out = (numbers.map(|out| RowsMut::new(out, 1)), RowsMut::new(out.num_observed, 1));
    let of_decoder = work_of_draw(model);
    let mut work = work(&model.encoder) + num_particles.saturating_mul(of_decoder);
    if proposal == Proposal::Laplace {
        work = work.saturating_add(laplace::work(&model.decoder, of_decoder));
    }
    let without = AtomicUsize::new(0);
    over_rows(model, source, work, interrupt, out, |scorer, (numbers, num_observed)| {
        let mut numbers = numbers.map(|out| out.data);
        scorer.encode();
        if proposal == Proposal::Laplace {
            without.fetch_add(scorer.find_modes(|_| true, interrupt)?, Ordering::Relaxed);
        }
        let mut weights = Vec::new();
        let push = |(folds, tail): &mut (Folds, Tail), drawn: Drawn<F>| {
            weights.clear();
            weights.extend(drawn.log_weights());
            folds.push(&weights);
            tail.push(&weights);
            Ok(())
        };
        scorer.draw(
            key,
            num_particles,
            interrupt,
            |_| true,
            || (Folds::new(num_particles), Tail::new(num_particles)),
            push,
            |row, (folds, tail)| {
                let mut results = conclude::<F>(&folds, &tail, num_particles);
                results[..3].iter_mut().for_each(|bound| *bound += row.offset);
                if row.observed == 0 {
                    // Every weight is p(z) / q(z), whose mean is 1.
                    results = [0.0, 0.0, 0.0, 0.0, 0.0, num_particles as f64];
                }
                for (out, result) in numbers.iter_mut().zip(results) {
                    out[row.index] = F::from_f64(result);
                }
                num_observed.data[row.index] = row.observed;
            },
        )
    })?;
    Ok(without.into_inner())
}
