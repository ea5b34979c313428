//! Binds `elbokit_core::mvn`.

use elbokit_core::mvn::{self, Tril};
use elbokit_core::random::Key;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arrays::{Element, Output, View, by_dtype, of_rows, shape_error};
use crate::enter::enter;
use crate::gaussian::{self, draws};

type Any<'py> = Bound<'py, PyAny>;

/// Triangles (batch, latent, latent), or (latent, latent) for every row.
struct Triangles<'py, F: Element> {
    view: View<'py, F>,
}

impl<'py, F: Element> Triangles<'py, F> {
    fn new(array: &Any<'py>, argument: &'static str, (rows, width): (usize, usize)) -> PyResult<Self> {
        let view = View::<F>::new(array, argument)?;
        if view.shape() != [width, width] && view.shape() != [rows, width, width] {
            let expected = format!("({rows}, {width}, {width}) or ({width}, {width})");
            return Err(shape_error(array.py(), argument, &expected, view.shape()));
        }
        Ok(Self { view })
    }

    fn tril(&self) -> Tril<'_, F> {
        let data = self.view.slice();
        if self.view.shape().len() == 2 { Tril::Shared(data) } else { Tril::ByRow(data) }
    }
}

/// An array (batch, latent), or (latent,) for every row.
fn prior_row<'py, F: Element>(array: &Any<'py>, argument: &'static str, shape: (usize, usize)) -> PyResult<View<'py, F>> {
    let view = View::new(array, argument)?;
    of_rows(array.py(), argument, view.shape(), shape)?;
    Ok(view)
}

/// loc (batch, latent), its triangles, and a prior for each row or for all.
struct Arguments<'py, F: Element> {
    loc: View<'py, F>,
    tril: Triangles<'py, F>,
    prior: Option<(View<'py, F>, Triangles<'py, F>)>,
    shape: (usize, usize),
}

impl<'py, F: Element> Arguments<'py, F> {
    fn new(loc: &Any<'py>, tril: &Any<'py>, prior: Option<(&Any<'py>, &Any<'py>)>) -> PyResult<Self> {
        let py = loc.py();
        let loc = View::new(loc, "loc")?;
        let shape = loc.matrix(py, "loc", "an array (batch, latent)")?;
        let tril = Triangles::new(tril, "scale_tril", shape)?;
        let prior = prior
            .map(|(a, b)| {
                let a = prior_row(a, "prior_loc", shape)?;
                PyResult::Ok((a, Triangles::new(b, "prior_scale_tril", shape)?))
            })
            .transpose()?;
        Ok(Self { loc, tril, prior, shape })
    }

    fn prior(&self) -> mvn::Prior<'_, F> {
        self.prior.as_ref().map(|(a, b)| (a.slice(), b.tril()))
    }

    /// Numbers that a call reads.
    fn elements(&self) -> usize {
        self.shape.0 * self.shape.1 * (1 + self.shape.1)
    }
}

/// `kl` of each row.
#[pyfunction]
#[pyo3(signature = (loc, scale_tril, prior_loc=None, prior_scale_tril=None, out=None))]
pub(crate) fn mvn_kl<'py>(
    loc: &Any<'py>,
    scale_tril: &Any<'py>,
    prior_loc: Option<&Any<'py>>,
    prior_scale_tril: Option<&Any<'py>>,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    by_dtype!(loc, "loc", kl(loc, scale_tril, prior_loc.zip(prior_scale_tril), out))
}

fn kl<'py, F: Element>(
    loc: &Any<'py>,
    tril: &Any<'py>,
    prior: Option<(&Any<'py>, &Any<'py>)>,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    let a = Arguments::<F>::new(loc, tril, prior)?;
    let (rows, width) = a.shape;
    let mut out = Output::<F>::new(loc.py(), out, &[rows])?;
    let (l, t, p, o) = (a.loc.slice(), a.tril.tril(), a.prior(), out.slice());
    enter(loc.py(), a.elements(), || mvn::kl(l, t, p, width, o))?;
    Ok(out.done())
}

/// `kl` and its gradient: three arrays, or five where a prior is given.
#[pyfunction]
#[pyo3(signature = (loc, scale_tril, prior_loc=None, prior_scale_tril=None))]
pub(crate) fn mvn_kl_grad<'py>(
    loc: &Any<'py>,
    scale_tril: &Any<'py>,
    prior_loc: Option<&Any<'py>>,
    prior_scale_tril: Option<&Any<'py>>,
) -> PyResult<Bound<'py, PyTuple>> {
    by_dtype!(loc, "loc", kl_grad(loc, scale_tril, prior_loc.zip(prior_scale_tril)))
}

fn kl_grad<'py, F: Element>(
    loc: &Any<'py>,
    tril: &Any<'py>,
    prior: Option<(&Any<'py>, &Any<'py>)>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = loc.py();
    let a = Arguments::<F>::new(loc, tril, prior)?;
    let (rows, width) = a.shape;
    let mut kl = Output::<F>::new(py, None, &[rows])?;
    let make = || PyResult::Ok((Output::<F>::new(py, None, &[rows, width])?, Output::<F>::new(py, None, &[rows, width, width])?));
    let (mut d_loc, mut d_tril) = make()?;
    let mut d_prior = a.prior.as_ref().map(|_| make()).transpose()?;
    let (l, t, p, o) = (a.loc.slice(), a.tril.tril(), a.prior(), kl.slice());
    let (dl, dt) = (d_loc.slice(), d_tril.slice());
    let dp = d_prior.as_mut().map(|(a, b)| (a.slice(), b.slice()));
    enter(py, a.elements(), || mvn::kl_grad(l, t, p, width, o, dl, dt, dp))?;
    let mut results = vec![kl.done(), d_loc.done(), d_tril.done()];
    if let Some((a, b)) = d_prior {
        results.extend([a.done(), b.done()]);
    }
    PyTuple::new(py, results)
}

/// `log_prob` of each row of z, whose last two axes are those of loc.
#[pyfunction]
#[pyo3(signature = (z, loc, scale_tril, out=None))]
pub(crate) fn mvn_log_prob<'py>(z: &Any<'py>, loc: &Any<'py>, scale_tril: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    by_dtype!(z, "z", log_prob(z, loc, scale_tril, out))
}

fn log_prob<'py, F: Element>(z: &Any<'py>, loc: &Any<'py>, tril: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let py = z.py();
    let a = Arguments::<F>::new(loc, tril, None)?;
    let (rows, width) = a.shape;
    let z = View::<F>::new(z, "z")?;
    if !matches!(z.shape().len(), 2 | 3) || !z.shape().ends_with(&[rows, width]) {
        return Err(shape_error(py, "z", &format!("({rows}, {width}) or (particles, {rows}, {width})"), z.shape()));
    }
    let mut out = Output::<F>::new(py, out, &z.shape()[..z.shape().len() - 1])?;
    let (z, l, t, o) = (z.slice(), a.loc.slice(), a.tril.tril(), out.slice());
    enter(py, z.len() * width, || mvn::log_prob(z, l, t, width, o))?;
    Ok(out.done())
}

/// The triangles of diagonal Gaussians: `log_var` with one axis more.
#[pyfunction]
pub(crate) fn mvn_diagonal<'py>(log_var: &Any<'py>) -> PyResult<Any<'py>> {
    by_dtype!(log_var, "log_var", diagonal(log_var))
}

fn diagonal<'py, F: Element>(log_var: &Any<'py>) -> PyResult<Any<'py>> {
    let view = View::<F>::new(log_var, "log_var")?;
    let width = view.shape().last().copied().unwrap_or(0);
    let shape: Vec<usize> = view.shape().iter().copied().chain([width]).collect();
    let mut out = Output::<F>::new(log_var.py(), None, &shape)?;
    let (v, o) = (view.slice(), out.slice());
    enter(log_var.py(), o.len(), || mvn::diagonal(v, width, o))?;
    Ok(out.done())
}

/// `kl` of each row, q diagonal.
#[pyfunction]
pub(crate) fn mvn_kl_of_diagonal<'py>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    prior_loc: &Any<'py>,
    prior_scale_tril: &Any<'py>,
) -> PyResult<Any<'py>> {
    by_dtype!(loc, "loc", kl_of_diagonal(loc, log_var, prior_loc, prior_scale_tril))
}

fn kl_of_diagonal<'py, F: Element>(
    loc: &Any<'py>,
    log_var: &Any<'py>,
    prior_loc: &Any<'py>,
    prior_tril: &Any<'py>,
) -> PyResult<Any<'py>> {
    let py = loc.py();
    let q = gaussian::Arguments::<F>::new(loc, log_var, (None, None))?;
    let (rows, width) = q.shape;
    let prior_loc = prior_row(prior_loc, "prior_loc", q.shape)?;
    let prior_tril = Triangles::new(prior_tril, "prior_scale_tril", q.shape)?;
    let mut out = Output::<F>::new(py, None, &[rows])?;
    let (l, v, m, t, o) = (q.loc.slice(), q.log_var.slice(), prior_loc.slice(), prior_tril.tril(), out.slice());
    enter(py, rows * width * width, || mvn::kl_of_diagonal(l, v, m, t, width, o))?;
    Ok(out.done())
}

/// `kl` of each row, the prior diagonal.
#[pyfunction]
pub(crate) fn mvn_kl_to_diagonal<'py>(
    loc: &Any<'py>,
    scale_tril: &Any<'py>,
    prior_loc: &Any<'py>,
    prior_log_var: &Any<'py>,
) -> PyResult<Any<'py>> {
    by_dtype!(loc, "loc", kl_to_diagonal(loc, scale_tril, prior_loc, prior_log_var))
}

fn kl_to_diagonal<'py, F: Element>(
    loc: &Any<'py>,
    tril: &Any<'py>,
    prior_loc: &Any<'py>,
    prior_log_var: &Any<'py>,
) -> PyResult<Any<'py>> {
    let py = loc.py();
    let q = Arguments::<F>::new(loc, tril, None)?;
    let (rows, width) = q.shape;
    let (prior_loc, prior_log_var) =
        (prior_row(prior_loc, "prior_loc", q.shape)?, prior_row(prior_log_var, "prior_log_var", q.shape)?);
    let mut out = Output::<F>::new(py, None, &[rows])?;
    let (l, t, m, v, o) = (q.loc.slice(), q.tril.tril(), prior_loc.slice(), prior_log_var.slice(), out.slice());
    enter(py, q.elements(), || mvn::kl_to_diagonal(l, t, m, v, width, o))?;
    Ok(out.done())
}

/// `entropy` of each triangle.
#[pyfunction]
#[pyo3(signature = (scale_tril, out=None))]
pub(crate) fn mvn_entropy<'py>(scale_tril: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    by_dtype!(scale_tril, "scale_tril", entropy(scale_tril, out))
}

fn entropy<'py, F: Element>(tril: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let py = tril.py();
    let view = View::<F>::new(tril, "scale_tril")?;
    let shape = match *view.shape() {
        [width, other] if width == other => (1, width),
        [rows, width, other] if width == other => (rows, width),
        ref shape => return Err(shape_error(py, "scale_tril", "an array (batch, latent, latent) or (latent, latent)", shape)),
    };
    let triangles = Triangles { view };
    let mut out = Output::<F>::new(py, out, &[shape.0])?;
    let (t, o) = (triangles.tril(), out.slice());
    enter(py, shape.0 * shape.1, || mvn::entropy(t, shape.1, o))?;
    Ok(out.done())
}

/// `rsample`: z.
#[pyfunction]
#[pyo3(signature = (loc, scale_tril, key, num_particles=None, first_row=0, out=None))]
pub(crate) fn mvn_rsample<'py>(
    loc: &Any<'py>,
    scale_tril: &Any<'py>,
    key: u64,
    num_particles: Option<usize>,
    first_row: u64,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    by_dtype!(loc, "loc", rsample(loc, scale_tril, Key(key), num_particles, first_row, out))
}

fn rsample<'py, F: Element>(
    loc: &Any<'py>,
    tril: &Any<'py>,
    key: Key,
    particles: Option<usize>,
    first_row: u64,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    let a = Arguments::<F>::new(loc, tril, None)?;
    let (rows, width) = a.shape;
    let mut z = Output::<F>::new(loc.py(), out, &draws(particles, &[rows, width]))?;
    let (l, t, o) = (a.loc.slice(), a.tril.tril(), z.slice());
    enter(loc.py(), o.len() * width, || mvn::rsample(l, t, key, first_row, width, o))?;
    Ok(z.done())
}

/// `rsample_and_log_prob`: z and log q(z | x).
#[pyfunction]
#[pyo3(signature = (loc, scale_tril, key, num_particles=None, first_row=0, first_particle=0))]
pub(crate) fn mvn_rsample_and_log_prob<'py>(
    loc: &Any<'py>,
    scale_tril: &Any<'py>,
    key: u64,
    num_particles: Option<usize>,
    first_row: u64,
    first_particle: u32,
) -> PyResult<(Any<'py>, Any<'py>)> {
    by_dtype!(loc, "loc", rsample_and_log_prob(loc, scale_tril, Key(key), num_particles, first_row, first_particle))
}

fn rsample_and_log_prob<'py, F: Element>(
    loc: &Any<'py>,
    tril: &Any<'py>,
    key: Key,
    particles: Option<usize>,
    first_row: u64,
    first_particle: u32,
) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = loc.py();
    let a = Arguments::<F>::new(loc, tril, None)?;
    let (rows, width) = a.shape;
    let mut z = Output::<F>::new(py, None, &draws(particles, &[rows, width]))?;
    let mut log_prob = Output::<F>::new(py, None, &draws(particles, &[rows]))?;
    let (l, t, o, p) = (a.loc.slice(), a.tril.tril(), z.slice(), log_prob.slice());
    enter(py, o.len() * width, || mvn::rsample_and_log_prob(l, t, key, first_particle, first_row, width, o, p))?;
    Ok((z.done(), log_prob.done()))
}
