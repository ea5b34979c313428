//! Scores of rows: posterior, params, ELBO and evidence, each row's by the row alone.
//!
//! A row's noise comes from `key.fold_in(h)`, h being XXH64 (seed 0) of the row in the model's element type, little-endian, −0 as 0 and every missing
//! cell as one NaN; particle k is row k of that key's stream of normals. So a row scores the same bits alone, shuffled, repeated, or on
//! another worker. Work goes in blocks of fixed sizes, so memory does not grow with the particles.

use super::folds::Folds;
use super::model::Model;
use super::scorer::{DRAWS, over_rows, work};
use super::source::Source;
use crate::bound::Running;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::network::Trace;
use crate::random::{Draw, Key};
use crate::rows::{check_finite, check_len};
use crate::threads::{Interrupt, RowsMut, for_rows};

/// Where a batch's bounds go, one number a row.
#[derive(Debug)]
pub struct ElboTerms<'a, F> {
    /// reconstruction − KL.
    pub elbo: &'a mut [F],
    /// The particles' mean of log p(x | z), x as given.
    pub reconstruction: &'a mut [F],
    /// KL(q ‖ prior), exact.
    pub kl: &'a mut [F],
    /// Of the reconstruction: sd (ddof 1) / √particles, +∞ for one particle.
    pub standard_error: &'a mut [F],
}

/// Where a batch's bounds on log p(x) go, one number a row; x as given, its observed cells alone.
#[derive(Debug)]
pub struct Evidence<'a, F> {
    /// The importance-weighted bound, in expectation at most log p(x).
    pub lower: &'a mut [F],
    /// Its jackknife.
    pub estimate: &'a mut [F],
    /// In expectation at least log p(x); +∞ for one particle.
    pub upper: &'a mut [F],
    /// Of the estimate, over the folds.
    pub standard_error: &'a mut [F],
    /// (Σ w)² / Σ w², of at most the number of particles.
    pub ess: &'a mut [F],
    /// Cells that are not missing.
    pub num_observed: &'a mut [u64],
}

/// Checks the width of rows, and that the likelihood gives every observed cell a probability.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NonFinite`] or [`Error::Support`] with the first bad cell; [`Error::Interrupted`].
pub fn check<F: Float + Draw>(model: &Model<F>, source: &dyn Source<F>, interrupt: &Interrupt) -> Result<()> {
    over_rows(model, source, 0, interrupt, (), |_, ()| Ok(()))
}

/// loc and log-variance of q(z | x), (rows, latents) each.
///
/// # Errors
/// As [`check`], and [`Error::NonFinite`] for a row whose posterior leaves the range.
pub fn encode<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    interrupt: &Interrupt,
    loc: &mut [F],
    log_var: &mut [F],
) -> Result<()> {
    let width = model.config().latent_dim;
    for (argument, out) in [("loc", &loc), ("log_var", &log_var)] {
        check_len(argument, out, source.rows(), width)?;
    }
    let out = (RowsMut::new(&mut *loc, width), RowsMut::new(&mut *log_var, width));
    over_rows(model, source, work(&model.encoder), interrupt, out, |scorer, (loc, log_var)| {
        scorer.encode();
        let [from_loc, from_log_var] = scorer.posterior();
        loc.data.copy_from_slice(from_loc);
        log_var.data.copy_from_slice(from_log_var);
        Ok(())
    })?;
    check_finite("loc", loc, width)?;
    check_finite("log_var", log_var, width)
}

/// The likelihood's params of each row of `z`, for rows as given: a predicted log-variance too is in their units.
///
/// # Errors
/// [`Error::Shape`] and [`Error::NonFinite`].
pub fn decode<F: Float + Draw>(model: &Model<F>, z: &[F], params: &mut [F]) -> Result<()> {
    let (latent_dim, num_params) = (model.config().latent_dim, model.likelihood.num_params());
    let rows = z.len() / latent_dim;
    check_len("z", z, rows, latent_dim)?;
    check_len("params", params, rows, num_params)?;
    check_finite("z", z, latent_dim)?;
    for_rows(rows, work(&model.decoder), RowsMut::new(params, num_params), &|range, params: RowsMut<F>| {
        let mut trace = Trace::forward(&model.decoder, DRAWS.min(range.len()));
        let z = z[range.start * latent_dim..range.end * latent_dim].chunks(DRAWS * latent_dim);
        for (z, params) in z.zip(params.data.chunks_mut(DRAWS * num_params)) {
            model.decoder.forward(&model.parameters, z, z.len() / latent_dim, &mut trace);
            params.copy_from_slice(&trace.output()[..params.len()]);
            model.intake.give_back(params, num_params);
        }
    });
    Ok(())
}

/// The likelihood's mean at each row of `z`, for rows as given.
///
/// # Errors
/// As [`decode`], and [`Error::NonFinite`] where the decoder leaves the range.
pub fn mean<F: Float + Draw>(model: &Model<F>, z: &[F], out: &mut [F]) -> Result<()> {
    let mut params = vec![F::ZERO; z.len() / model.config().latent_dim * model.likelihood.num_params()];
    decode(model, z, &mut params)?;
    model.likelihood.mean(&params, out)
}

/// Each row's ELBO, by `num_particles` draws of z from q. A row whose posterior leaves the range has ELBO −∞.
///
/// # Errors
/// As [`check`], and [`Error::Value`] for 0 particles.
pub fn elbo<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    key: Key,
    num_particles: usize,
    interrupt: &Interrupt,
    out: ElboTerms<F>,
) -> Result<()> {
    check_particles(num_particles)?;
    let out = [out.elbo, out.reconstruction, out.kl, out.standard_error];
    for out in &out {
        check_len("out", out, source.rows(), 1)?;
    }
    let work = work(&model.encoder) + num_particles.saturating_mul(work(&model.decoder));
    over_rows(model, source, work, interrupt, out.map(|out| RowsMut::new(out, 1)), |scorer, out| {
        let [elbo, reconstruction, kl, standard_error] = out.map(|out| out.data);
        scorer.encode();
        scorer.kl(kl)?;
        let push = |running: &mut Running, log_prob: &[F], _: &[f64]| running.push(log_prob);
        scorer.draw(
            key,
            num_particles,
            interrupt,
            || Running::new(1),
            push,
            |row, running| {
                let mean = running.mean()[0] + row.offset;
                let error = running.standard_error().next().unwrap_or(f64::INFINITY);
                reconstruction[row.index] = F::from_f64(mean);
                elbo[row.index] = F::from_f64(mean - kl[row.index].to_f64());
                standard_error[row.index] = F::from_f64(error);
            },
        )
    })
}

/// Bounds on each row's log p(x) by `num_particles` draws from the encoder's q, as [`Evidence`] says. A row without an observed
/// cell has evidence 0; one whose posterior leaves the range is weighed by draws from the prior.
///
/// # Errors
/// As [`check`], and [`Error::Value`] for 0 particles.
pub fn log_evidence<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    key: Key,
    num_particles: usize,
    interrupt: &Interrupt,
    out: Evidence<F>,
) -> Result<()> {
    check_particles(num_particles)?;
    let numbers = [out.lower, out.estimate, out.upper, out.standard_error, out.ess];
    for out in &numbers {
        check_len("out", out, source.rows(), 1)?;
    }
    check_len("out", out.num_observed, source.rows(), 1)?;
    let out = (numbers.map(|out| RowsMut::new(out, 1)), RowsMut::new(out.num_observed, 1));
    let work = work(&model.encoder) + num_particles.saturating_mul(work(&model.decoder));
    over_rows(model, source, work, interrupt, out, |scorer, (numbers, num_observed)| {
        let mut numbers = numbers.map(|out| out.data);
        scorer.encode();
        let push = |folds: &mut Folds, log_prob: &[F], log_ratio: &[f64]| {
            folds.push(log_prob.iter().zip(log_ratio).map(|(p, r)| p.to_f64() + r));
        };
        scorer.draw(
            key,
            num_particles,
            interrupt,
            || Folds::new(num_particles),
            push,
            |row, folds| {
                let b = folds.bounds();
                let mut results = [b.lower + row.offset, b.estimate + row.offset, b.upper + row.offset, b.standard_error, b.ess];
                if row.observed == 0 {
                    results = [0.0, 0.0, 0.0, 0.0, num_particles as f64];
                }
                for (out, result) in numbers.iter_mut().zip(results) {
                    out[row.index] = F::from_f64(result);
                }
                num_observed.data[row.index] = row.observed;
            },
        )
    })
}

fn check_particles(num_particles: usize) -> Result<()> {
    if num_particles == 0 {
        return Err(Error::value("num_particles", "at least 1", num_particles, "give at least 1"));
    }
    Ok(())
}
