//! Binds `elbokit_core::bound`.

use elbokit_core::bound;
use pyo3::prelude::*;

use crate::arrays::{Dtype, Element, Output, View, by_dtype, dtype, filled, same_shape, shape_error};
use crate::enter::enter;

type Any<'py> = Bound<'py, PyAny>;

/// The mean log weight of each row, and its standard error.
#[pyfunction]
pub(crate) fn bound_elbo<'py>(log_weights: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    by_dtype!(log_weights, "log_weights", elbo(log_weights))
}

fn elbo<'py, F: Element>(log_weights: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    reduce::<F>(log_weights, |w, out, error| bound::elbo(w, out, Some(error)))
}

/// ln of the mean weight of each row, and its standard error.
#[pyfunction]
pub(crate) fn bound_iwae<'py>(log_weights: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    by_dtype!(log_weights, "log_weights", iwae(log_weights))
}

fn iwae<'py, F: Element>(log_weights: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    reduce::<F>(log_weights, |w, out, error| bound::iwae(w, out, Some(error)))
}

fn reduce<'py, F: Element>(
    log_weights: &Any<'py>,
    bound: impl FnOnce(&[F], &mut [F], &mut [F]) -> elbokit_core::Result<()> + Send,
) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = log_weights.py();
    let view = View::<F>::new(log_weights, "log_weights")?;
    let (particles, batch) = view.matrix(py, "log_weights", "an array (particles, batch)")?;
    if particles == 0 {
        return Err(shape_error(py, "log_weights", "at least one particle", view.shape()));
    }
    let mut out = Output::<F>::new(py, None, &[batch])?;
    let mut error = Output::<F>::new(py, None, &[batch])?;
    let (w, o, e) = (view.slice(), out.slice(), error.slice());
    enter(py, w.len(), || bound(w, o, e))?;
    Ok((out.done(), error.done()))
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
