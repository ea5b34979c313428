//! Binds what a model says of rows: posteriors, params, bounds and filled cells, with the GIL released and in arrays made here.

use elbokit_core::random::Key;
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{self, ElboTerms, Evidence, Model, Proposal, Source};
use elbokit_core::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{Any, State, work};
use crate::arrays::{Element, Output, View};
use crate::enter::enter_long;
use crate::errors::exception;
use crate::rows::{Data, Rows};

pub(super) fn encode<'py, F: Element>(py: Python<'py>, state: &State<F>, data: &Data<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    data.with(py, None, |source: &dyn Source<F>| {
        let shape = [source.rows(), state.model.config().latent_dim];
        let (mut loc, mut log_var) = (Output::<F>::new(py, None, &shape)?, Output::<F>::new(py, None, &shape)?);
        let (l, v) = (loc.slice(), log_var.slice());
        enter_long(py, work(&state.model, source.rows(), 1), |interrupt| vae::encode(&state.model, source, interrupt, l, v))?;
        Ok((loc.done(), log_var.done()))
    })
}

pub(super) fn decode<'py, F: Element>(
    state: &State<F>,
    z: &Any<'py>,
    condition: Option<&Any<'py>>,
    finite: bool,
) -> PyResult<Any<'py>> {
    from_latents(state, z, condition, state.model.num_params_as_given(), if finite { vae::decode } else { vae::decode_any })
}

pub(super) fn mean<'py, F: Element>(state: &State<F>, z: &Any<'py>, condition: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    from_latents(state, z, condition, state.model.likelihood().num_means(), vae::mean)
}

pub(super) fn sample_prior<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    n: usize,
    key: Key,
    first_row: u64,
) -> PyResult<Any<'py>> {
    let width = state.model.config().latent_dim;
    let mut out = Output::<F>::new(py, None, &[n, width])?;
    let z = out.slice();
    // A draw costs about as much as 50 multiply-adds a number.
    enter_long(py, n.saturating_mul(50 * width), |_: &Interrupt| vae::sample_prior(&state.model, key, first_row, z))?;
    Ok(out.done())
}

fn from_latents<'py, F: Element>(
    state: &State<F>,
    z: &Any<'py>,
    condition: Option<&Any<'py>>,
    width: usize,
    f: impl FnOnce(&Model<F>, &[F], Option<&dyn Source<F>>, &mut [F]) -> Result<()> + Send,
) -> PyResult<Any<'py>> {
    let py = z.py();
    let z = View::<F>::new(z, "z")?;
    let (rows, latents) = z.matrix(py, "z", "an array (rows, latent)")?;
    let expected = state.model.config().latent_dim;
    if latents != expected {
        let error = Error::shape("z", format!("{expected} columns"), latents, "give the model's latents");
        return Err(exception(py, error));
    }
    let condition = condition.map(|c| Rows::new(c, "condition")).transpose()?;
    let condition = condition.as_ref().map(Rows::source::<F>);
    let mut out = Output::<F>::new(py, None, &[rows, width])?;
    let (z, o) = (z.slice(), out.slice());
    enter_long(py, work(&state.model, rows, 1), |_: &Interrupt| f(&state.model, z, condition.as_deref(), o))?;
    Ok(out.done())
}

pub(super) fn elbo<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    data: &Data<'py>,
    subset: Option<&[u32]>,
    key: Key,
    num_particles: usize,
) -> PyResult<Bound<'py, PyTuple>> {
    data.with(py, subset, |source: &dyn Source<F>| {
        let make = || Output::<F>::new(py, None, &[source.rows()]);
        let mut out = [make()?, make()?, make()?, make()?];
        let [elbo, reconstruction, kl, standard_error] = out.each_mut().map(Output::slice);
        let terms = ElboTerms { elbo, reconstruction, kl, standard_error };
        enter_long(py, work(&state.model, source.rows(), num_particles), |interrupt| {
            vae::elbo(&state.model, source, key, num_particles, interrupt, terms)
        })?;
        PyTuple::new(py, out.map(Output::done))
    })
}

pub(super) fn elbo_per_column<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    data: &Data<'py>,
    key: Key,
    num_particles: usize,
) -> PyResult<Any<'py>> {
    let (columns, ()) = by_cell(py, state, data, num_particles, None, |source, interrupt, out| {
        vae::elbo_per_column(&state.model, source, key, num_particles, interrupt, out)
    })?;
    Ok(columns)
}

pub(super) fn impute<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    data: &Data<'py>,
    key: Key,
    num_particles: usize,
    proposal: Proposal,
) -> PyResult<(Any<'py>, usize)> {
    by_cell(py, state, data, num_particles, None, |source, interrupt, out| {
        vae::impute(&state.model, source, key, num_particles, proposal, interrupt, out)
    })
}

pub(super) fn impute_draws<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    data: &Data<'py>,
    key: Key,
    num_particles: usize,
    num_draws: usize,
    proposal: Proposal,
) -> PyResult<(Any<'py>, usize)> {
    by_cell(py, state, data, num_particles.saturating_add(num_draws), Some(num_draws), |source, interrupt, out| {
        vae::impute_draws(&state.model, source, key, num_particles, num_draws, proposal, interrupt, out)
    })
}

/// What `f` writes for each cell of the rows, `times` over where that is given, and what it returns.
fn by_cell<'py, F: Element, T: Send>(
    py: Python<'py>,
    state: &State<F>,
    data: &Data<'py>,
    passes: usize,
    times: Option<usize>,
    f: impl FnOnce(&dyn Source<F>, &Interrupt, &mut [F]) -> Result<T> + Send,
) -> PyResult<(Any<'py>, T)> {
    data.with(py, None, |source: &dyn Source<F>| {
        let shape: Vec<usize> = times.into_iter().chain([source.rows(), source.width()]).collect();
        let mut out = Output::<F>::new(py, None, &shape)?;
        let o = out.slice();
        let told = enter_long(py, work(&state.model, source.rows(), passes), |interrupt| f(source, interrupt, o))?;
        Ok((out.done(), told))
    })
}

pub(super) fn log_evidence<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    data: &Data<'py>,
    key: Key,
    num_particles: usize,
    proposal: Proposal,
) -> PyResult<(Bound<'py, PyTuple>, usize)> {
    data.with(py, None, |source: &dyn Source<F>| {
        let make = || Output::<F>::new(py, None, &[source.rows()]);
        let mut out = [make()?, make()?, make()?, make()?, make()?, make()?];
        let mut observed = vec![0; source.rows()];
        let [lower, estimate, upper, standard_error, khat, ess] = out.each_mut().map(Output::slice);
        let terms = Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut observed };
        let without = enter_long(py, work(&state.model, source.rows(), num_particles), |interrupt| {
            vae::log_evidence(&state.model, source, key, num_particles, proposal, interrupt, terms)
        })?;
        let observed = numpy::PyArray1::from_iter(py, observed.into_iter().map(u64::cast_signed)).into_any();
        let [a, b, c, d, e, f] = out.map(Output::done);
        Ok((PyTuple::new(py, [a, b, c, d, e, f, observed])?, without))
    })
}

pub(super) fn weigh<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    data: &Data<'py>,
    z: &Any<'py>,
    proposal: Proposal,
) -> PyResult<(Any<'py>, usize)> {
    let z = View::<F>::new(z, "z")?;
    data.with(py, None, |source: &dyn Source<F>| {
        let mut out = Output::<F>::new(py, None, &[source.rows()])?;
        let (z, o) = (z.slice(), out.slice());
        let without = enter_long(py, work(&state.model, source.rows(), 1), |interrupt| {
            vae::weigh(&state.model, source, z, proposal, interrupt, o)
        })?;
        Ok((out.done(), without))
    })
}

pub(super) fn hashes<'py, F: Element>(py: Python<'py>, state: &State<F>, data: &Data<'py>) -> PyResult<Any<'py>> {
    data.with(py, None, |source: &dyn Source<F>| {
        let mut out = vec![0; source.rows()];
        enter_long(py, source.rows(), |interrupt| vae::hashes(&state.model, source, interrupt, &mut out))?;
        Ok(numpy::PyArray1::from_vec(py, out).into_any())
    })
}
