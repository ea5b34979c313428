//! Binds `elbokit_core::exact::LinearGaussian`.

use elbokit_core::Result;
use elbokit_core::exact::{self, Approximation, LinearFit};
use elbokit_core::mvn::Tril;
use elbokit_core::random::Key;
use pyo3::prelude::*;

use crate::arrays::{Element, Output, View, by_dtype, filled, same_shape, shape_error};
use crate::enter::{enter, enter_long};
use crate::errors::exception;

type Any<'py> = Bound<'py, PyAny>;

/// A linear Gaussian model; it does not change.
#[pyclass(module = "elbokit._core", frozen)]
pub(crate) struct LinearGaussian(exact::LinearGaussian);

/// What a fit returns: weight, offset, `noise_var`, the mean log evidence, constant columns, whether noise stands at its floor, whether the fit converged.
type Fitted<'py> = (Any<'py>, Any<'py>, Any<'py>, f64, Vec<usize>, bool, bool);

#[pymethods]
impl LinearGaussian {
    /// From float64 arrays (columns, latents), (columns,) and (columns,).
    #[new]
    fn new(weight: &Any<'_>, offset: &Any<'_>, noise_var: &Any<'_>) -> PyResult<Self> {
        let py = weight.py();
        let weight = View::<f64>::new(weight, "weight")?;
        let (offset, noise_var) = (View::<f64>::new(offset, "offset")?, View::<f64>::new(noise_var, "noise_var")?);
        let (width, latents) = weight.matrix(py, "weight", "an array (columns, latents)")?;
        same_shape(py, "offset", offset.shape(), "the rows of weight", &[width])?;
        same_shape(py, "noise_var", noise_var.shape(), "the rows of weight", &[width])?;
        let model = exact::LinearGaussian::new(weight.slice(), offset.slice(), noise_var.slice(), latents);
        model.map(Self).map_err(|error| exception(py, error))
    }

    /// The log density of each row's observed cells.
    #[pyo3(signature = (x, out=None))]
    fn log_evidence<'py>(&self, x: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
        by_dtype!(x, "X", log_evidence(&self.0, x, out))
    }

    /// The posterior's means and its factor: one a row, or the one of all rows where no cell is missing.
    fn posterior<'py>(&self, x: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
        by_dtype!(x, "X", posterior(&self.0, x))
    }

    /// The bound of each row for a Gaussian whose `spread` is `log_var`, or `scale_tril` if `full`.
    fn elbo<'py>(&self, x: &Any<'py>, loc: &Any<'py>, spread: &Any<'py>, full: bool) -> PyResult<Any<'py>> {
        let (model, form) = (&self.0, (spread, full));
        by_dtype!(loc, "loc", judged(model, x, loc, form, Judge { elbo: true }))
    }

    /// The divergence of each row's Gaussian from the posterior.
    fn gap<'py>(&self, x: &Any<'py>, loc: &Any<'py>, spread: &Any<'py>, full: bool) -> PyResult<Any<'py>> {
        let (model, form) = (&self.0, (spread, full));
        by_dtype!(loc, "loc", judged(model, x, loc, form, Judge { elbo: false }))
    }

    /// Rows of the model.
    #[pyo3(signature = (rows, key, double, first_row=0))]
    fn sample<'py>(&self, py: Python<'py>, rows: usize, key: u64, double: bool, first_row: u64) -> PyResult<Any<'py>> {
        if double {
            sample::<f64>(py, &self.0, rows, Key(key), first_row)
        } else {
            sample::<f32>(py, &self.0, rows, Key(key), first_row)
        }
    }

    /// Maximum likelihood with isotropic noise, or with that which is given.
    #[staticmethod]
    #[pyo3(signature = (x, latent_dim, noise_var=None))]
    fn fit_isotropic<'py>(x: &Any<'py>, latent_dim: usize, noise_var: Option<f64>) -> PyResult<Fitted<'py>> {
        by_dtype!(x, "X", fit_isotropic(x, latent_dim, noise_var))
    }

    /// Maximum likelihood with noise by column.
    #[staticmethod]
    fn fit_diagonal<'py>(x: &Any<'py>, latent_dim: usize, tol: f64, max_iter: usize) -> PyResult<Fitted<'py>> {
        by_dtype!(x, "X", fit_diagonal(x, latent_dim, tol, max_iter))
    }

    /// The eigenvalues of the rows' covariance.
    #[staticmethod]
    fn eigenvalues<'py>(x: &Any<'py>) -> PyResult<Any<'py>> {
        by_dtype!(x, "X", eigenvalues(x))
    }
}

/// Rows as wide as the model.
fn rows<'py, F: Element>(model: &exact::LinearGaussian, x: &Any<'py>) -> PyResult<(View<'py, F>, usize)> {
    let view = View::<F>::new(x, "X")?;
    match *view.shape() {
        [rows, width] if width == model.width() => Ok((view, rows)),
        ref shape => Err(shape_error(x.py(), "X", &format!("(rows, {})", model.width()), shape)),
    }
}

fn log_evidence<'py, F: Element>(model: &exact::LinearGaussian, x: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let py = x.py();
    let (view, rows) = rows::<F>(model, x)?;
    let mut out = Output::<F>::new(py, out, &[rows])?;
    let (x, o) = (view.slice(), out.slice());
    enter(py, x.len() * model.latents(), || model.log_evidence(x, o))?;
    Ok(out.done())
}

fn posterior<'py, F: Element>(model: &exact::LinearGaussian, x: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = x.py();
    let (view, rows) = rows::<F>(model, x)?;
    let k = model.latents();
    let missing = view.slice().iter().any(|x| x.to_f64().is_nan());
    let mut loc = Output::<F>::new(py, None, &[rows, k])?;
    let shape = [rows, k, k];
    let mut tril = Output::<F>::new(py, None, &shape[usize::from(!missing)..])?;
    let (x, l, t) = (view.slice(), loc.slice(), tril.slice());
    enter(py, x.len() * k, || model.posterior(x, l, t))?;
    Ok((loc.done(), tril.done()))
}

/// Whether the bound or the gap is asked for.
struct Judge {
    elbo: bool,
}

fn judged<'py, F: Element>(
    model: &exact::LinearGaussian,
    x: &Any<'py>,
    loc: &Any<'py>,
    (spread, full): (&Any<'py>, bool),
    judge: Judge,
) -> PyResult<Any<'py>> {
    let py = x.py();
    let (view, rows) = rows::<F>(model, x)?;
    let k = model.latents();
    let (loc, name) = (View::<F>::new(loc, "loc")?, if full { "scale_tril" } else { "log_var" });
    same_shape(py, "loc", loc.shape(), "the rows of X and the latents", &[rows, k])?;
    let spread = View::<F>::like(spread, name, "loc")?;
    let shared = full && spread.shape() == [k, k];
    if !shared {
        let shape = [rows, k, k];
        same_shape(py, name, spread.shape(), "loc", &shape[..if full { 3 } else { 2 }])?;
    }
    let q = match (full, shared) {
        (false, _) => Approximation::Diagonal(loc.slice(), spread.slice()),
        (true, true) => Approximation::Full(loc.slice(), Tril::Shared(spread.slice())),
        (true, false) => Approximation::Full(loc.slice(), Tril::ByRow(spread.slice())),
    };
    let mut out = Output::<F>::new(py, None, &[rows])?;
    let (x, o) = (view.slice(), out.slice());
    let run = || -> Result<()> { if judge.elbo { model.elbo(x, q, o) } else { model.gap(x, q, o) } };
    enter(py, x.len() * k, run)?;
    Ok(out.done())
}

fn sample<'py, F: Element>(
    py: Python<'py>,
    model: &exact::LinearGaussian,
    rows: usize,
    key: Key,
    first_row: u64,
) -> PyResult<Any<'py>> {
    let mut out = Output::<F>::new(py, None, &[rows, model.width()])?;
    let o = out.slice();
    enter(py, o.len() * model.latents(), || model.sample(key, first_row, rows, o))?;
    Ok(out.done())
}

/// A matrix of rows to fit.
fn matrix<'py, F: Element>(x: &Any<'py>) -> PyResult<(View<'py, F>, usize)> {
    let view = View::<F>::new(x, "X")?;
    let (_, width) = view.matrix(x.py(), "X", "an array (rows, columns)")?;
    if width == 0 {
        return Err(shape_error(x.py(), "X", "at least one column", view.shape()));
    }
    Ok((view, width))
}

fn fit_isotropic<'py, F: Element>(x: &Any<'py>, latents: usize, noise_var: Option<f64>) -> PyResult<Fitted<'py>> {
    let (view, width) = matrix::<F>(x)?;
    let rows = view.slice();
    let fit = enter(x.py(), rows.len() * width, || exact::LinearGaussian::fit_isotropic(rows, width, latents, noise_var))?;
    fitted(x.py(), fit)
}

fn fit_diagonal<'py, F: Element>(x: &Any<'py>, latents: usize, tol: f64, max_iter: usize) -> PyResult<Fitted<'py>> {
    let (view, width) = matrix::<F>(x)?;
    let rows = view.slice();
    let fit = enter_long(x.py(), rows.len() * width + 1000 * width.pow(3), |interrupt| {
        exact::LinearGaussian::fit_diagonal(rows, width, latents, tol, max_iter, interrupt)
    })?;
    fitted(x.py(), fit)
}

fn eigenvalues<'py, F: Element>(x: &Any<'py>) -> PyResult<Any<'py>> {
    let (view, width) = matrix::<F>(x)?;
    let rows = view.slice();
    let values = enter(x.py(), rows.len() * width, || exact::LinearGaussian::eigenvalues(rows, width))?;
    filled(x.py(), &[values.len()], values)
}

fn fitted(py: Python<'_>, fit: LinearFit) -> PyResult<Fitted<'_>> {
    let LinearFit { model, log_evidence, constant, floored, converged } = fit;
    let (width, latents) = (model.width(), model.latents());
    let weight = filled(py, &[width, latents], model.weight().iter().copied())?;
    let offset = filled(py, &[width], model.offset().iter().copied())?;
    let noise_var = filled(py, &[width], model.noise_var().iter().copied())?;
    Ok((weight, offset, noise_var, log_evidence, constant, floored, converged))
}
