//! Scores of rows: posterior, params and ELBO, each row's by the row alone.
//!
//! A row's noise comes from `key.fold_in(h)`, h being XXH64 (seed 0) of the row and, behind it, its condition in the model's element type, little-endian, −0 as 0 and every missing
//! cell as one NaN; particle k is row k of that key's stream of normals. So a row scores the same bits alone, shuffled, repeated, or on
//! another worker. Work goes in blocks of fixed sizes, so memory does not grow with the particles.

use std::sync::{Mutex, PoisonError};

use super::condition::{append, check_condition};
use super::members::{is_real, kinds_of_columns};
use super::model::Model;
use super::scorer::{DRAWS, Drawn, Scorer, over_rows, work, work_of_draw};
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
    /// KL(q ‖ prior): exact to N(0, I), to a mixture the particles' mean of log q(z | x) − log p(z), which may be negative.
    pub kl: &'a mut [F],
    /// Of what is drawn, the reconstruction or with a mixture prior the whole: sd (ddof 1) / √particles, +∞ for one particle.
    pub standard_error: &'a mut [F],
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

/// The params of each row of `z`, for rows as given and [`Model::likelihood_as_given`]: loc and scales are in the columns' units. A conditional model takes as many rows of
/// `condition`, as given.
///
/// # Errors
/// [`Error::Shape`], and [`Error::NonFinite`] where the decoder leaves the range too.
pub fn decode<F: Float + Draw>(model: &Model<F>, z: &[F], condition: Option<&dyn Source<F>>, params: &mut [F]) -> Result<()> {
    decode_any(model, z, condition, params)?;
    check_finite("params", params, model.num_params_as_given())
}

/// The same, whatever the decoder makes of a row.
///
/// # Errors
/// [`Error::Shape`], and [`Error::NonFinite`] for z and condition.
pub fn decode_any<F: Float + Draw>(model: &Model<F>, z: &[F], condition: Option<&dyn Source<F>>, params: &mut [F]) -> Result<()> {
    let width = model.num_params_as_given();
    through_decoder(model, z, condition, params, width, |inner, out| {
        model.assembly.give_back(inner, out);
        Ok(())
    })
}

/// Runs `body` on params for scaled rows at some rows of `z`, with their part of `out`, which has rows of `width`.
fn through_decoder<F: Float + Draw>(
    model: &Model<F>,
    z: &[F],
    condition: Option<&dyn Source<F>>,
    out: &mut [F],
    width: usize,
    body: impl Fn(&[F], &mut [F]) -> Result<()> + Sync,
) -> Result<()> {
    let (latent_dim, assembly) = (model.config().latent_dim, &model.assembly);
    let rows = z.len() / latent_dim;
    check_len("z", z, rows, latent_dim)?;
    check_len("out", out, rows, width)?;
    check_finite("z", z, latent_dim)?;
    check_condition(model.config(), condition.map_or(0, Source::width))?;
    if let Some(given) = condition.map(Source::rows).filter(|given| *given != rows) {
        return Err(Error::shape("condition", format!("{rows} rows"), given, "give one row for each row of z"));
    }
    let beside = model.condition.width;
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    for_rows(rows, work(&model.decoder), RowsMut::new(out, width), &|range, out: RowsMut<F>| {
        let mut trace = Trace::forward(&model.decoder, DRAWS.min(range.len()));
        let mut params = vec![F::ZERO; DRAWS.min(range.len()) * assembly.num_params];
        let (mut conditions, mut inputs) = (Vec::new(), Vec::new());
        let z = z[range.start * latent_dim..range.end * latent_dim].chunks(DRAWS * latent_dim);
        for (piece, (z, out)) in z.zip(out.data.chunks_mut(DRAWS * width)).enumerate() {
            let (count, first) = (z.len() / latent_dim, range.start + piece * DRAWS);
            let mut run = || {
                let mut z = z;
                if let Some(condition) = condition {
                    conditions.resize(count * beside, F::ZERO);
                    for (row, c) in conditions.chunks_exact_mut(beside).enumerate() {
                        condition.copy_row(first + row, c);
                    }
                    model.condition.take(&mut conditions)?;
                    inputs.resize(count * (latent_dim + beside), F::ZERO);
                    append(z, latent_dim, conditions.chunks_exact(beside), &mut inputs);
                    z = &inputs;
                }
                model.decoder.forward(&model.parameters, z, count, &mut trace);
                let params = &mut params[..count * assembly.num_params];
                assembly.put_together(&trace.output()[..count * assembly.num_outputs], model.learned(), params);
                body(params, out)
            };
            if let Err(error) = run() {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(row, _)| first < *row) {
                    *failed = Some((first, error.at_row(first)));
                }
                return;
            }
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
}

/// The likelihood's mean at each row of `z`, for rows as given: [`Prepared::num_means`](crate::likelihood::Prepared::num_means) numbers a row.
///
/// # Errors
/// As [`decode`], and [`Error::NonFinite`] where the decoder leaves the range.
pub fn mean<F: Float + Draw>(model: &Model<F>, z: &[F], condition: Option<&dyn Source<F>>, out: &mut [F]) -> Result<()> {
    let width = model.likelihood.num_means();
    let places = mean_places(model);
    through_decoder(model, z, condition, out, width, |params, out| {
        model.likelihood.mean(params, out)?;
        for means in out.chunks_exact_mut(width) {
            for &(column, place) in &places {
                means[place] = model.intake.unscaled(column, means[place].to_f64());
            }
        }
        Ok(())
    })
}

/// Where the means of real columns stand, where rows are scaled at all.
fn mean_places<F: Float + Draw>(model: &Model<F>) -> Vec<(usize, usize)> {
    if model.scaling().is_identity() {
        return Vec::new();
    }
    let mut next = 0;
    let columns = kinds_of_columns(&model.config().likelihood, model.config().num_features).into_iter().enumerate();
    let places = columns.filter_map(|(column, kind)| {
        let place = next;
        next += kind.num_means(1);
        is_real(kind).then_some((column, place))
    });
    places.collect()
}

/// Each row's ELBO, by `num_particles` draws of z from q; with a mixture prior the KL is the draws' too. A row whose posterior leaves the range has ELBO −∞.
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
    let work = work(&model.encoder) + num_particles.saturating_mul(work_of_draw(model));
    over_rows(model, source, work, interrupt, out.map(|out| RowsMut::new(out, 1)), |scorer, out| {
        let [elbo, reconstruction, kl, standard_error] = out.map(|out| out.data);
        scorer.encode();
        if model.components.is_some() {
            return by_draws(scorer, key, num_particles, interrupt, [elbo, reconstruction, kl, standard_error]);
        }
        scorer.kl(kl)?;
        let push = |running: &mut Running, drawn: Drawn<F>| {
            running.push(drawn.log_prob);
            Ok(())
        };
        scorer.draw(
            key,
            num_particles,
            interrupt,
            |_| true,
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

/// The ELBO of a block's rows by the definition: the particles' mean of log p(x | z), of log q(z | x) − log p(z), and of the former without the latter.
fn by_draws<F: Float + Draw>(
    scorer: &mut Scorer<F>,
    key: Key,
    num_particles: usize,
    interrupt: &Interrupt,
    out: [&mut [F]; 4],
) -> Result<()> {
    let [elbo, reconstruction, kl, standard_error] = out;
    let mut columns = Vec::new();
    let push = |running: &mut Running, drawn: Drawn<F>| {
        columns.clear();
        for ((weight, log_prob), log_ratio) in drawn.log_weights().zip(drawn.log_prob).zip(drawn.log_ratio) {
            columns.extend([*log_prob, F::from_f64(-log_ratio), F::from_f64(weight)]);
        }
        running.push(&columns);
        Ok(())
    };
    let mut rows = Vec::new();
    scorer.draw(key, num_particles, interrupt, |_| true, || Running::new(3), push, |row, running| rows.push((row, running)))?;
    for (row, running) in rows {
        let (mean, at) = (running.mean(), row.index);
        let divergence = if scorer.is_sound(at) { mean[1] } else { f64::INFINITY };
        let explained = mean[0] + row.offset;
        kl[at] = F::from_f64(divergence);
        reconstruction[at] = F::from_f64(explained);
        elbo[at] = F::from_f64(if divergence.is_finite() { explained - divergence } else { f64::NEG_INFINITY });
        standard_error[at] = F::from_f64(running.standard_error().nth(2).unwrap_or(f64::INFINITY));
    }
    Ok(())
}

pub(super) fn check_particles(num_particles: usize) -> Result<()> {
    if num_particles == 0 {
        return Err(Error::value("num_particles", "at least 1", num_particles, "give at least 1"));
    }
    Ok(())
}
