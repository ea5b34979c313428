//! Binds `elbokit_core::exact::Mixture`.

use elbokit_core::exact::{self, Covariance};
use elbokit_core::random::Key;
use pyo3::prelude::*;

use crate::arrays::{Element, Output, View, by_dtype, filled, shape_error};
use crate::enter::enter;
use crate::errors::exception;

type Any<'py> = Bound<'py, PyAny>;

/// A mixture of Gaussians; it does not change.
#[pyclass(module = "elbokit._core", frozen)]
pub(crate) struct Mixture(exact::Mixture);

#[pymethods]
impl Mixture {
    /// From float64 arrays (k,), (k, d), and (k,), (k, d) or (k, d, d).
    #[new]
    fn new(weights: &Any<'_>, locs: &Any<'_>, variances: &Any<'_>) -> PyResult<Self> {
        let py = weights.py();
        let (weights, locs) = (View::<f64>::new(weights, "weights")?, View::<f64>::new(locs, "locs")?);
        let variances = View::<f64>::new(variances, "variances")?;
        let &[k] = weights.shape() else {
            return Err(shape_error(py, "weights", "one axis, a weight a component", weights.shape()));
        };
        let &[rows, d] = locs.shape() else {
            return Err(shape_error(py, "locs", "an array (components, columns)", locs.shape()));
        };
        if rows != k {
            return Err(shape_error(py, "locs", &format!("{k} rows, one a weight"), locs.shape()));
        }
        let covariance = match *variances.shape() {
            [n] if n == k => Covariance::Isotropic(variances.slice()),
            [n, m] if (n, m) == (k, d) => Covariance::Diagonal(variances.slice()),
            [n, m, o] if (n, m, o) == (k, d, d) => Covariance::Full(variances.slice()),
            ref other => return Err(shape_error(py, "variances", &format!("({k},), ({k}, {d}) or ({k}, {d}, {d})"), other)),
        };
        let mixture = exact::Mixture::new(weights.slice(), locs.slice(), d, covariance);
        mixture.map(Self).map_err(|error| exception(py, error))
    }

    /// The normalised weights.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        filled(py, &[self.0.weights().len()], self.0.weights().iter().copied())
    }

    /// The log density of each row.
    #[pyo3(signature = (x, out=None))]
    fn log_evidence<'py>(&self, x: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
        by_dtype!(x, "X", log_evidence(&self.0, x, out))
    }

    /// The log density of each row and its gradient.
    fn log_evidence_grad<'py>(&self, x: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
        by_dtype!(x, "X", log_evidence_grad(&self.0, x))
    }

    /// Rows of the mixture.
    #[pyo3(signature = (rows, key, double, first_row=0))]
    fn sample<'py>(&self, py: Python<'py>, rows: usize, key: u64, double: bool, first_row: u64) -> PyResult<Any<'py>> {
        if double {
            sample::<f64>(py, &self.0, rows, Key(key), first_row)
        } else {
            sample::<f32>(py, &self.0, rows, Key(key), first_row)
        }
    }
}

/// Rows as wide as the mixture.
fn rows<'py, F: Element>(mixture: &exact::Mixture, x: &Any<'py>) -> PyResult<(View<'py, F>, usize)> {
    let view = View::<F>::new(x, "X")?;
    match *view.shape() {
        [rows, width] if width == mixture.width() => Ok((view, rows)),
        ref shape => Err(shape_error(x.py(), "X", &format!("(rows, {})", mixture.width()), shape)),
    }
}

fn log_evidence<'py, F: Element>(mixture: &exact::Mixture, x: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let py = x.py();
    let (view, rows) = rows::<F>(mixture, x)?;
    let mut out = Output::<F>::new(py, out, &[rows])?;
    let (x, o) = (view.slice(), out.slice());
    enter(py, x.len() * mixture.weights().len(), || mixture.log_evidence(x, o))?;
    Ok(out.done())
}

fn log_evidence_grad<'py, F: Element>(mixture: &exact::Mixture, x: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = x.py();
    let (view, rows) = rows::<F>(mixture, x)?;
    let mut out = Output::<F>::new(py, None, &[rows])?;
    let mut grad = Output::<F>::new(py, None, &[rows, mixture.width()])?;
    let (x, o, g) = (view.slice(), out.slice(), grad.slice());
    enter(py, x.len() * mixture.weights().len(), || mixture.log_evidence_grad(x, o, g))?;
    Ok((out.done(), grad.done()))
}

fn sample<'py, F: Element>(py: Python<'py>, mixture: &exact::Mixture, rows: usize, key: Key, first_row: u64) -> PyResult<Any<'py>> {
    let mut out = Output::<F>::new(py, None, &[rows, mixture.width()])?;
    let o = out.slice();
    enter(py, o.len() * mixture.width(), || mixture.sample(key, first_row, rows, o))?;
    Ok(out.done())
}
