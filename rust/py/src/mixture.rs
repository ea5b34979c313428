//! Binds `elbokit_core::exact::Mixture`.

use elbokit_core::exact::{self, Covariance, EmOptions, Form, Start};
use elbokit_core::random::Key;
use pyo3::prelude::*;

use crate::arrays::{Element, Output, View, by_dtype, filled, same_shape, shape_error};
use crate::enter::{enter, enter_long};
use crate::errors::exception;

type Any<'py> = Bound<'py, PyAny>;

/// What a fit returns: weights, locs, variances, the mean log evidence by iteration, whether the fit converged.
type Fitted<'py> = (Any<'py>, Any<'py>, Any<'py>, Any<'py>, bool);

/// Weights, locs and variances to start from.
type Given<'py> = (Any<'py>, Any<'py>, Any<'py>);

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

    /// The components' shares of each row.
    fn responsibilities<'py>(&self, x: &Any<'py>) -> PyResult<Any<'py>> {
        by_dtype!(x, "X", responsibilities(&self.0, x))
    }

    /// The bound of each row for an assignment.
    fn elbo<'py>(&self, x: &Any<'py>, responsibilities: &Any<'py>) -> PyResult<Any<'py>> {
        by_dtype!(x, "X", judged(&self.0, x, responsibilities, true))
    }

    /// The divergence of each row's assignment from the components' posterior.
    fn gap<'py>(&self, x: &Any<'py>, responsibilities: &Any<'py>) -> PyResult<Any<'py>> {
        by_dtype!(x, "X", judged(&self.0, x, responsibilities, false))
    }

    /// A mixture fitted to rows, from given parameters or from rows drawn by `key`.
    #[staticmethod]
    fn fit<'py>(
        x: &Any<'py>,
        components: usize,
        covariance: &str,
        key: u64,
        given: Option<Given<'py>>,
        tol: f64,
        max_iter: usize,
        regularisation: f64,
    ) -> PyResult<Fitted<'py>> {
        let form = match covariance {
            "spherical" => Form::Spherical,
            "diagonal" => Form::Diagonal,
            _ => Form::Full,
        };
        let options = EmOptions { tolerance: tol, max_iter, regularisation };
        by_dtype!(x, "X", fit(x, components, form, Key(key), given, options))
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

fn responsibilities<'py, F: Element>(mixture: &exact::Mixture, x: &Any<'py>) -> PyResult<Any<'py>> {
    let py = x.py();
    let (view, rows) = rows::<F>(mixture, x)?;
    let mut out = Output::<F>::new(py, None, &[rows, mixture.weights().len()])?;
    let (x, o) = (view.slice(), out.slice());
    enter(py, x.len() * mixture.weights().len(), || mixture.responsibilities(x, o))?;
    Ok(out.done())
}

fn judged<'py, F: Element>(mixture: &exact::Mixture, x: &Any<'py>, shares: &Any<'py>, elbo: bool) -> PyResult<Any<'py>> {
    let py = x.py();
    let (view, rows) = rows::<F>(mixture, x)?;
    let shares = View::<F>::like(shares, "responsibilities", "X")?;
    same_shape(py, "responsibilities", shares.shape(), "the rows of X", &[rows, mixture.weights().len()])?;
    let mut out = Output::<F>::new(py, None, &[rows])?;
    let (x, r, o) = (view.slice(), shares.slice(), out.slice());
    let judge = || if elbo { mixture.elbo(x, r, o) } else { mixture.gap(x, r, o) };
    enter(py, x.len() * mixture.weights().len(), judge)?;
    Ok(out.done())
}

fn fit<'py, F: Element>(
    x: &Any<'py>,
    components: usize,
    form: Form,
    key: Key,
    given: Option<Given<'py>>,
    options: EmOptions,
) -> PyResult<Fitted<'py>> {
    let py = x.py();
    let view = View::<F>::new(x, "X")?;
    let (_, width) = view.matrix(py, "X", "an array (rows, columns)")?;
    if width == 0 {
        return Err(shape_error(py, "X", "at least one column", view.shape()));
    }
    let given = given.map(|(weights, locs, variances)| {
        let views = View::<f64>::new(&weights, "weights")?;
        PyResult::Ok((views, View::<f64>::new(&locs, "locs")?, View::<f64>::new(&variances, "variances")?))
    });
    let given = given.transpose()?;
    let start = match &given {
        Some((weights, locs, variances)) => Start::Given(weights.slice(), locs.slice(), variances.slice()),
        None => Start::Drawn(components, key),
    };
    let rows = view.slice();
    let work = rows.len().saturating_mul(components).saturating_mul(width).saturating_mul(options.max_iter.min(100));
    let fit = enter_long(py, work, |interrupt| exact::Mixture::fit(rows, width, form, start, options, interrupt))?;
    let k = fit.mixture.weights().len();
    let shape = [k, width, width];
    let axes = match form {
        Form::Spherical => 1,
        Form::Diagonal => 2,
        Form::Full => 3,
    };
    Ok((
        filled(py, &[k], fit.mixture.weights().iter().copied())?,
        filled(py, &[k, width], fit.locs)?,
        filled(py, &shape[..axes], fit.variances)?,
        filled(py, &[fit.history.len()], fit.history)?,
        fit.converged,
    ))
}

fn sample<'py, F: Element>(py: Python<'py>, mixture: &exact::Mixture, rows: usize, key: Key, first_row: u64) -> PyResult<Any<'py>> {
    let mut out = Output::<F>::new(py, None, &[rows, mixture.width()])?;
    let o = out.slice();
    enter(py, o.len() * mixture.width(), || mixture.sample(key, first_row, rows, o))?;
    Ok(out.done())
}
