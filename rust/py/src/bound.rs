//! Binds `elbokit_core::bound`.

use elbokit_core::bound;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arrays::{Dtype, Element, Output, View, by_dtype, dtype, filled, same_shape, shape_error};
use crate::enter::enter;

type Any<'py> = Bound<'py, PyAny>;
/// The array that values are to be written to.
type Given<'a, 'py> = Option<&'a Any<'py>>;
/// A value a row, and its standard error where asked for.
type Pair<'py> = (Any<'py>, Option<Any<'py>>);

/// The mean log weight of each row.
#[pyfunction]
pub(crate) fn bound_elbo<'py>(log_weights: &Any<'py>, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    by_dtype!(log_weights, "log_weights", elbo(log_weights, return_error, out))
}

fn elbo<'py, F: Element>(log_weights: &Any<'py>, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    reduce::<F>(log_weights, return_error, out, bound::elbo)
}

/// ln of the mean weight of each row.
#[pyfunction]
pub(crate) fn bound_iwae<'py>(log_weights: &Any<'py>, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    by_dtype!(log_weights, "log_weights", iwae(log_weights, return_error, out))
}

fn iwae<'py, F: Element>(log_weights: &Any<'py>, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    reduce::<F>(log_weights, return_error, out, bound::iwae)
}

/// The Rényi bound of order `alpha` of each row.
#[pyfunction]
pub(crate) fn bound_renyi<'py>(log_weights: &Any<'py>, alpha: f64, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    by_dtype!(log_weights, "log_weights", renyi(log_weights, alpha, return_error, out))
}

fn renyi<'py, F: Element>(log_weights: &Any<'py>, alpha: f64, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    reduce::<F>(log_weights, return_error, out, |w, out, error| bound::renyi(w, alpha, out, error))
}

/// The estimate of the χ bound of each row.
#[pyfunction]
pub(crate) fn bound_cubo<'py>(log_weights: &Any<'py>, order: f64, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    by_dtype!(log_weights, "log_weights", cubo(log_weights, order, return_error, out))
}

fn cubo<'py, F: Element>(log_weights: &Any<'py>, order: f64, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    reduce::<F>(log_weights, return_error, out, |w, out, error| bound::cubo(w, order, out, error))
}

/// The effective sample size of each row.
#[pyfunction]
pub(crate) fn bound_ess<'py>(log_weights: &Any<'py>, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    by_dtype!(log_weights, "log_weights", ess(log_weights, return_error, out))
}

fn ess<'py, F: Element>(log_weights: &Any<'py>, return_error: bool, out: Given<'_, 'py>) -> PyResult<Pair<'py>> {
    reduce::<F>(log_weights, return_error, out, bound::ess)
}

/// The k-hat of each row's weights to a power.
#[pyfunction]
pub(crate) fn bound_khat<'py>(log_weights: &Any<'py>, power: f64) -> PyResult<Any<'py>> {
    by_dtype!(log_weights, "log_weights", khat(log_weights, power))
}

fn khat<'py, F: Element>(log_weights: &Any<'py>, power: f64) -> PyResult<Any<'py>> {
    let (view, batch) = weights::<F>(log_weights)?;
    let py = log_weights.py();
    let mut out = Output::<F>::new(py, None, &[batch])?;
    let (w, o) = (view.slice(), out.slice());
    enter(py, w.len(), || bound::khat(w, power, o))?;
    Ok(out.done())
}

/// Log weights with a smoothed tail, and the k-hat of each row.
#[pyfunction]
pub(crate) fn bound_psis<'py>(log_weights: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    by_dtype!(log_weights, "log_weights", psis(log_weights))
}

fn psis<'py, F: Element>(log_weights: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    let (view, batch) = weights::<F>(log_weights)?;
    let py = log_weights.py();
    let mut smoothed = Output::<F>::new(py, None, view.shape())?;
    let mut khat = Output::<F>::new(py, None, &[batch])?;
    let (w, s, k) = (view.slice(), smoothed.slice(), khat.slice());
    enter(py, w.len(), || bound::psis(w, Some(s), k))?;
    Ok((smoothed.done(), khat.done()))
}

/// lower, estimate, upper, standard error, k-hat and effective sample size of each row.
#[pyfunction]
pub(crate) fn bound_evidence<'py>(log_weights: &Any<'py>) -> PyResult<Bound<'py, PyTuple>> {
    by_dtype!(log_weights, "log_weights", evidence(log_weights))
}

fn evidence<'py, F: Element>(log_weights: &Any<'py>) -> PyResult<Bound<'py, PyTuple>> {
    let (view, batch) = weights::<F>(log_weights)?;
    let py = log_weights.py();
    let make = || Output::<F>::new(py, None, &[batch]);
    let mut out = [make()?, make()?, make()?, make()?, make()?, make()?];
    let [lower, estimate, upper, standard_error, khat, ess] = out.each_mut().map(Output::slice);
    let bounds = bound::Evidence { lower, estimate, upper, standard_error, khat, ess };
    let w = view.slice();
    enter(py, w.len(), || bound::evidence(w, bounds))?;
    PyTuple::new(py, out.map(Output::done))
}

/// Log weights of at least one particle, and the number of batch rows.
fn weights<'py, F: Element>(log_weights: &Any<'py>) -> PyResult<(View<'py, F>, usize)> {
    let py = log_weights.py();
    let view = View::<F>::new(log_weights, "log_weights")?;
    let (particles, batch) = view.matrix(py, "log_weights", "an array (particles, batch)")?;
    if particles == 0 {
        return Err(shape_error(py, "log_weights", "at least one particle", view.shape()));
    }
    Ok((view, batch))
}

fn reduce<'py, F: Element>(
    log_weights: &Any<'py>,
    return_error: bool,
    out: Given<'_, 'py>,
    bound: impl FnOnce(&[F], &mut [F], Option<&mut [F]>) -> elbokit_core::Result<()> + Send,
) -> PyResult<Pair<'py>> {
    let (view, batch) = weights::<F>(log_weights)?;
    let py = log_weights.py();
    let mut out = Output::<F>::new(py, out, &[batch])?;
    let mut error = return_error.then(|| Output::<F>::new(py, None, &[batch])).transpose()?;
    let (w, o, e) = (view.slice(), out.slice(), error.as_mut().map(Output::slice));
    enter(py, w.len(), || bound(w, o, e))?;
    Ok((out.done(), error.map(Output::done)))
}

/// A running mean of each row's terms and its standard error, fed particle by particle in fixed memory.
#[pyclass(module = "elbokit._core")]
pub(crate) struct RunningTerms {
    running: bound::Running,
    batch: usize,
    double: bool,
}

#[pymethods]
impl RunningTerms {
    #[new]
    fn new(batch: usize, double: bool) -> Self {
        Self { running: bound::Running::new(batch), batch, double }
    }

    /// Adds particles: an array (particles, batch).
    fn push(&mut self, terms: &Any<'_>) -> PyResult<()> {
        match dtype(terms, "terms")? {
            Dtype::F32 => self.add::<f32>(terms),
            Dtype::F64 => self.add::<f64>(terms),
        }
    }

    /// Each row's mean and standard error.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
        if self.double { self.collect::<f64>(py) } else { self.collect::<f32>(py) }
    }
}

impl RunningTerms {
    fn add<F: Element>(&mut self, terms: &Any<'_>) -> PyResult<()> {
        let py = terms.py();
        let view = View::<F>::new(terms, "terms")?;
        let (particles, _) = view.matrix(py, "terms", "an array (particles, batch)")?;
        same_shape(py, "terms", view.shape(), "the batch", &[particles, self.batch])?;
        self.running.push(view.slice());
        Ok(())
    }

    fn collect<'py, F: Element>(&self, py: Python<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
        let mean = filled(py, &[self.batch], self.running.mean().iter().map(|&m| F::from_f64(m)))?;
        let error = filled(py, &[self.batch], self.running.standard_error().map(F::from_f64))?;
        Ok((mean, error))
    }
}

/// Importance weights as shares of their sum: all are pushed first, then each divided.
#[pyclass(module = "elbokit._core")]
pub(crate) struct Shares {
    shares: bound::Shares,
    batch: usize,
}

#[pymethods]
impl Shares {
    #[new]
    fn new(batch: usize) -> Self {
        Self { shares: bound::Shares::new(batch), batch }
    }

    /// Adds particles: log weights (particles, batch).
    fn push(&mut self, log_weights: &Any<'_>) -> PyResult<()> {
        match dtype(log_weights, "log_weights")? {
            Dtype::F32 => self.add::<f32>(log_weights),
            Dtype::F64 => self.add::<f64>(log_weights),
        }
    }

    /// Each weight's share of its row's sum.
    fn shares<'py>(&mut self, log_weights: &Any<'py>) -> PyResult<Any<'py>> {
        match dtype(log_weights, "log_weights")? {
            Dtype::F32 => self.each::<f32>(log_weights, bound::Shares::shares),
            Dtype::F64 => self.each::<f64>(log_weights, bound::Shares::shares),
        }
    }

    /// What each particle adds to the importance-weighted bound over leaving it out, less its share.
    fn contributions<'py>(&mut self, log_weights: &Any<'py>) -> PyResult<Any<'py>> {
        match dtype(log_weights, "log_weights")? {
            Dtype::F32 => self.each::<f32>(log_weights, bound::Shares::contributions),
            Dtype::F64 => self.each::<f64>(log_weights, bound::Shares::contributions),
        }
    }
}

impl Shares {
    fn add<F: Element>(&mut self, log_weights: &Any<'_>) -> PyResult<()> {
        let view = self.view::<F>(log_weights)?;
        self.shares.push(view.slice());
        Ok(())
    }

    fn each<'py, F: Element>(
        &mut self,
        log_weights: &Any<'py>,
        f: impl FnOnce(&mut bound::Shares, &[F], &mut [F]),
    ) -> PyResult<Any<'py>> {
        let view = self.view::<F>(log_weights)?;
        let mut out = Output::<F>::new(log_weights.py(), None, view.shape())?;
        f(&mut self.shares, view.slice(), out.slice());
        Ok(out.done())
    }

    fn view<'py, F: Element>(&self, log_weights: &Any<'py>) -> PyResult<View<'py, F>> {
        let (view, batch) = weights::<F>(log_weights)?;
        let particles = view.shape()[0];
        same_shape(log_weights.py(), "log_weights", &[particles, batch], "the batch", &[particles, self.batch])?;
        Ok(view)
    }
}
