//! Binds `elbokit_core::gaussian`.

use elbokit_core::gaussian;
use elbokit_core::random::Key;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arrays::{Element, Output, View, by_dtype, of_rows, same_shape, shape_error};
use crate::enter::enter;
use crate::random::seed;

type Any<'py> = Bound<'py, PyAny>;

/// `prior_loc` and `prior_log_var`; either may be left out.
pub(crate) type Prior<'a, 'py> = (Option<&'a Any<'py>>, Option<&'a Any<'py>>);

/// loc and `log_var` of one shape (batch, latent), and a prior for each row or for all.
pub(crate) struct Arguments<'py, F: Element> {
    pub(crate) loc: View<'py, F>,
    pub(crate) log_var: View<'py, F>,
    prior: Option<(View<'py, F>, View<'py, F>)>,
    pub(crate) shape: (usize, usize),
}

impl<'py, F: Element> Arguments<'py, F> {
    /// loc has the element type that the call goes by.
    pub(crate) fn new(loc: &Any<'py>, log_var: &Any<'py>, prior: Prior<'_, 'py>) -> PyResult<Self> {
        Self::of(View::new(loc, "loc")?, log_var, prior)
    }

    fn of(loc: View<'py, F>, log_var: &Any<'py>, prior: Prior<'_, 'py>) -> PyResult<Self> {
        let py = log_var.py();
        let log_var = View::like(log_var, "log_var", "loc")?;
        let view = |object: Option<&Any<'py>>, argument| object.map(|o| View::like(o, argument, "loc")).transpose();
        let prior = match (view(prior.0, "prior_loc")?, view(prior.1, "prior_log_var")?) {
            (None, None) => None,
            (Some(a), Some(b)) => Some((a, b)),
            // The one that is left out is the standard normal's, of the other's shape.
            (Some(a), None) => {
                let b = View::zeros(py, a.shape(), "prior_log_var")?;
                Some((a, b))
            }
            (None, Some(b)) => Some((View::zeros(py, b.shape(), "prior_loc")?, b)),
        };
        let shape = loc.matrix(py, "loc", "an array (batch, latent)")?;
        same_shape(py, "log_var", log_var.shape(), "loc", loc.shape())?;
        if let Some((a, b)) = &prior {
            for (argument, view) in [("prior_loc", a), ("prior_log_var", b)] {
                of_rows(py, argument, view.shape(), shape)?;
            }
        }
        Ok(Self { loc, log_var, prior, shape })
    }

    pub(crate) fn prior(&self) -> gaussian::Prior<'_, F> {
        self.prior.as_ref().map(|(a, b)| (a.slice(), b.slice()))
    }
}

/// `kl` of each row.
#[pyfunction]
#[pyo3(signature = (loc, log_var, prior_loc=None, prior_log_var=None, out=None))]
pub(crate) fn gaussian_kl<'py>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    prior_loc: Option<&Any<'py>>,
    prior_log_var: Option<&Any<'py>>,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    by_dtype!(loc, "loc", kl(loc, log_var, (prior_loc, prior_log_var), out))
}

fn kl<'py, F: Element>(loc: &Any<'py>, log_var: &Any<'py>, prior: Prior<'_, 'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let a = Arguments::<F>::new(loc, log_var, prior)?;
    let (rows, width) = a.shape;
    let mut out = Output::<F>::new(loc.py(), out, &[rows])?;
    let (l, v, p, o) = (a.loc.slice(), a.log_var.slice(), a.prior(), out.slice());
    enter(loc.py(), rows * width, || gaussian::kl(l, v, p, width, o))?;
    Ok(out.done())
}

/// `kl_per_dim` of each cell.
#[pyfunction]
#[pyo3(signature = (loc, log_var, prior_loc=None, prior_log_var=None, out=None))]
pub(crate) fn gaussian_kl_per_dim<'py>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    prior_loc: Option<&Any<'py>>,
    prior_log_var: Option<&Any<'py>>,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    by_dtype!(loc, "loc", kl_per_dim(loc, log_var, (prior_loc, prior_log_var), out))
}

fn kl_per_dim<'py, F: Element>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    prior: Prior<'_, 'py>,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    let a = Arguments::<F>::new(loc, log_var, prior)?;
    let (rows, width) = a.shape;
    let mut out = Output::<F>::new(loc.py(), out, &[rows, width])?;
    let (l, v, p, o) = (a.loc.slice(), a.log_var.slice(), a.prior(), out.slice());
    enter(loc.py(), rows * width, || gaussian::kl_per_dim(l, v, p, width, o))?;
    Ok(out.done())
}

/// `kl` and its gradient: three arrays, or five where a prior is given.
#[pyfunction]
#[pyo3(signature = (loc, log_var, prior_loc=None, prior_log_var=None))]
pub(crate) fn gaussian_kl_grad<'py>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    prior_loc: Option<&Any<'py>>,
    prior_log_var: Option<&Any<'py>>,
) -> PyResult<Bound<'py, PyTuple>> {
    by_dtype!(loc, "loc", kl_grad(loc, log_var, (prior_loc, prior_log_var)))
}

fn kl_grad<'py, F: Element>(loc: &Any<'py>, log_var: &Any<'py>, prior: Prior<'_, 'py>) -> PyResult<Bound<'py, PyTuple>> {
    let py = loc.py();
    let a = Arguments::<F>::new(loc, log_var, prior)?;
    let (rows, width) = a.shape;
    let mut kl = Output::<F>::new(py, None, &[rows])?;
    let make = || Output::<F>::new(py, None, &[rows, width]);
    let (mut d_loc, mut d_log_var) = (make()?, make()?);
    let mut d_prior = a.prior.as_ref().map(|_| PyResult::Ok((make()?, make()?))).transpose()?;
    let (l, v, p, o) = (a.loc.slice(), a.log_var.slice(), a.prior(), kl.slice());
    let (dl, dv) = (d_loc.slice(), d_log_var.slice());
    let dp = d_prior.as_mut().map(|(a, b)| (a.slice(), b.slice()));
    enter(py, rows * width, || gaussian::kl_grad(l, v, p, width, o, dl, dv, dp))?;
    let mut results = vec![kl.done(), d_loc.done(), d_log_var.done()];
    if let Some((a, b)) = d_prior {
        results.extend([a.done(), b.done()]);
    }
    PyTuple::new(py, results)
}

/// `log_prob` of each row of z, whose last two axes are those of loc.
#[pyfunction]
#[pyo3(signature = (z, loc, log_var, out=None))]
pub(crate) fn gaussian_log_prob<'py>(
    z: &Any<'py>,
    loc: &Any<'py>,
    log_var: &Any<'py>,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    by_dtype!(z, "z", log_prob(z, loc, log_var, out))
}

fn log_prob<'py, F: Element>(z: &Any<'py>, loc: &Any<'py>, log_var: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let py = z.py();
    let z = View::<F>::new(z, "z")?;
    let a = Arguments::<F>::of(View::like(loc, "loc", "z")?, log_var, (None, None))?;
    let (_, width) = a.shape;
    check_draws(py, "z", z.shape(), a.shape)?;
    let mut out = Output::<F>::new(py, out, &z.shape()[..z.shape().len() - 1])?;
    let (z, l, v, o) = (z.slice(), a.loc.slice(), a.log_var.slice(), out.slice());
    enter(py, z.len(), || gaussian::log_prob(z, l, v, width, o))?;
    Ok(out.done())
}

/// Draws are (batch, latent), or (particles, batch, latent).
fn check_draws(py: Python<'_>, argument: &'static str, got: &[usize], (rows, width): (usize, usize)) -> PyResult<()> {
    if (2..=3).contains(&got.len()) && got.ends_with(&[rows, width]) {
        return Ok(());
    }
    Err(shape_error(py, argument, &format!("({rows}, {width}) or (particles, {rows}, {width})"), got))
}

/// `log_prob` and its gradient by draw: four arrays.
#[pyfunction]
pub(crate) fn gaussian_log_prob_grad<'py>(z: &Any<'py>, loc: &Any<'py>, log_var: &Any<'py>) -> PyResult<Bound<'py, PyTuple>> {
    by_dtype!(z, "z", log_prob_grad(z, loc, log_var))
}

fn log_prob_grad<'py, F: Element>(z: &Any<'py>, loc: &Any<'py>, log_var: &Any<'py>) -> PyResult<Bound<'py, PyTuple>> {
    let py = z.py();
    let z = View::<F>::new(z, "z")?;
    let a = Arguments::<F>::of(View::like(loc, "loc", "z")?, log_var, (None, None))?;
    check_draws(py, "z", z.shape(), a.shape)?;
    let mut value = Output::<F>::new(py, None, &z.shape()[..z.shape().len() - 1])?;
    let make = || Output::<F>::new(py, None, z.shape());
    let (mut d_z, mut d_loc, mut d_log_var) = (make()?, make()?, make()?);
    let (x, l, v, o) = (z.slice(), a.loc.slice(), a.log_var.slice(), value.slice());
    let (dz, dl, dv) = (d_z.slice(), d_loc.slice(), d_log_var.slice());
    enter(py, x.len(), || gaussian::log_prob_grad(x, l, v, a.shape.1, o, dz, dl, dv))?;
    PyTuple::new(py, [value.done(), d_z.done(), d_loc.done(), d_log_var.done()])
}

/// `entropy` of each row and its gradient.
#[pyfunction]
pub(crate) fn gaussian_entropy_grad<'py>(log_var: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    by_dtype!(log_var, "log_var", entropy_grad(log_var))
}

fn entropy_grad<'py, F: Element>(log_var: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = log_var.py();
    let view = View::<F>::new(log_var, "log_var")?;
    let (rows, width) = view.matrix(py, "log_var", "an array (batch, latent)")?;
    let mut value = Output::<F>::new(py, None, &[rows])?;
    let mut d_log_var = Output::<F>::new(py, None, &[rows, width])?;
    let (v, o, d) = (view.slice(), value.slice(), d_log_var.slice());
    enter(py, rows * width, || gaussian::entropy_grad(v, width, o, d))?;
    Ok((value.done(), d_log_var.done()))
}

/// `entropy` of each row.
#[pyfunction]
#[pyo3(signature = (log_var, out=None))]
pub(crate) fn gaussian_entropy<'py>(log_var: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    by_dtype!(log_var, "log_var", entropy(log_var, out))
}

fn entropy<'py, F: Element>(log_var: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let py = log_var.py();
    let view = View::<F>::new(log_var, "log_var")?;
    let (rows, width) = view.matrix(py, "log_var", "an array (batch, latent)")?;
    let mut out = Output::<F>::new(py, out, &[rows])?;
    let (v, o) = (view.slice(), out.slice());
    enter(py, rows * width, || gaussian::entropy(v, width, o))?;
    Ok(out.done())
}

/// The shape of draws: (batch, latent), with the particles in front where there are any.
pub(crate) fn draws(particles: Option<usize>, inner: &[usize]) -> Vec<usize> {
    particles.into_iter().chain(inner.iter().copied()).collect()
}

/// `rsample`: z.
#[pyfunction]
#[pyo3(signature = (loc, log_var, key, num_particles=None, first_row=0, out=None))]
pub(crate) fn gaussian_rsample<'py>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    key: &Any<'py>,
    num_particles: Option<usize>,
    first_row: u64,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    by_dtype!(loc, "loc", rsample(loc, log_var, seed(key)?, num_particles, first_row, out))
}

fn rsample<'py, F: Element>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    key: Key,
    particles: Option<usize>,
    first_row: u64,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    let a = Arguments::<F>::new(loc, log_var, (None, None))?;
    let (rows, width) = a.shape;
    let mut z = Output::<F>::new(loc.py(), out, &draws(particles, &[rows, width]))?;
    let (l, v, o) = (a.loc.slice(), a.log_var.slice(), z.slice());
    enter(loc.py(), o.len(), || gaussian::rsample(l, v, key, first_row, width, o))?;
    Ok(z.done())
}

/// `rsample_and_log_prob`: z and log q(z | x).
#[pyfunction]
#[pyo3(signature = (loc, log_var, key, num_particles=None, first_row=0, first_particle=0))]
pub(crate) fn gaussian_rsample_and_log_prob<'py>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    key: &Any<'py>,
    num_particles: Option<usize>,
    first_row: u64,
    first_particle: u32,
) -> PyResult<(Any<'py>, Any<'py>)> {
    by_dtype!(loc, "loc", rsample_and_log_prob(loc, log_var, seed(key)?, num_particles, first_row, first_particle))
}

fn rsample_and_log_prob<'py, F: Element>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    key: Key,
    particles: Option<usize>,
    first_row: u64,
    first_particle: u32,
) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = loc.py();
    let a = Arguments::<F>::new(loc, log_var, (None, None))?;
    let (rows, width) = a.shape;
    let mut z = Output::<F>::new(py, None, &draws(particles, &[rows, width]))?;
    let mut log_prob = Output::<F>::new(py, None, &draws(particles, &[rows]))?;
    let (l, v, o, p) = (a.loc.slice(), a.log_var.slice(), z.slice(), log_prob.slice());
    enter(py, o.len(), || gaussian::rsample_and_log_prob(l, v, key, first_particle, first_row, width, o, p))?;
    Ok((z.done(), log_prob.done()))
}

/// `rsample_grad`: the cotangent of z, (batch, latent) or (particles, batch, latent), pulled back to loc and `log_var`.
#[pyfunction]
#[pyo3(signature = (loc, log_var, d_z, key, num_particles=None, first_row=0))]
pub(crate) fn gaussian_rsample_grad<'py>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    d_z: &Any<'py>,
    key: u64,
    num_particles: Option<usize>,
    first_row: u64,
) -> PyResult<(Any<'py>, Any<'py>)> {
    by_dtype!(loc, "loc", rsample_grad(loc, log_var, d_z, Key(key), num_particles, first_row))
}

fn rsample_grad<'py, F: Element>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    d_z: &Any<'py>,
    key: Key,
    particles: Option<usize>,
    first_row: u64,
) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = loc.py();
    let a = Arguments::<F>::new(loc, log_var, (None, None))?;
    let (rows, width) = a.shape;
    let d_z = View::<F>::new(d_z, "d_z")?;
    same_shape(py, "d_z", d_z.shape(), "z", &draws(particles, &[rows, width]))?;
    let mut d_loc = Output::<F>::new(py, None, &[rows, width])?;
    let mut d_log_var = Output::<F>::new(py, None, &[rows, width])?;
    let (l, v, d, o, p) = (a.loc.slice(), a.log_var.slice(), d_z.slice(), d_loc.slice(), d_log_var.slice());
    enter(py, d.len(), || gaussian::rsample_grad(l, v, d, key, first_row, width, o, p))?;
    Ok((d_loc.done(), d_log_var.done()))
}
