//! Binds `elbokit_core::gaussian::Proposal`.

use elbokit_core::gaussian;
use pyo3::prelude::*;

use crate::arrays::{Element, Output, by_dtype};
use crate::enter::enter;
use crate::gaussian::{Arguments, Prior};
use crate::random::seed;

type Any<'py> = Bound<'py, PyAny>;

/// A diagonal Gaussian for each row, checked together with its prior and held from one block of particles to the next.
#[pyclass(frozen, module = "elbokit._core")]
pub(crate) struct Proposal {
    inner: Typed,
    shape: (usize, usize),
}

enum Typed {
    Single(gaussian::Proposal<f32>),
    Double(gaussian::Proposal<f64>),
}

/// The variant of an element type.
trait Held: Element {
    fn held(proposal: gaussian::Proposal<Self>) -> Typed;
}
impl Held for f32 {
    fn held(proposal: gaussian::Proposal<Self>) -> Typed {
        Typed::Single(proposal)
    }
}
impl Held for f64 {
    fn held(proposal: gaussian::Proposal<Self>) -> Typed {
        Typed::Double(proposal)
    }
}

fn new<'py, F: Held>(loc: &Any<'py>, log_var: &Any<'py>, prior: Prior<'_, 'py>) -> PyResult<Proposal> {
    let a = Arguments::<F>::new(loc, log_var, prior)?;
    let (l, v, p) = (a.loc.slice(), a.log_var.slice(), a.prior());
    let inner = enter(loc.py(), l.len(), || gaussian::Proposal::new(l, v, p, a.shape.1))?;
    Ok(Proposal { inner: F::held(inner), shape: a.shape })
}

#[pymethods]
impl Proposal {
    #[new]
    #[pyo3(signature = (loc, log_var, prior_loc=None, prior_log_var=None))]
    fn new(loc: &Any<'_>, log_var: &Any<'_>, prior_loc: Option<&Any<'_>>, prior_log_var: Option<&Any<'_>>) -> PyResult<Self> {
        by_dtype!(loc, "loc", new(loc, log_var, (prior_loc, prior_log_var)))
    }

    /// z of particles `first_particle` and on, (particles · batch, latent), and log q(z | x) − log p(z), (particles, batch).
    #[pyo3(signature = (key, num_particles, first_row=0, first_particle=0))]
    fn draw<'py>(
        &self,
        key: &Any<'py>,
        num_particles: usize,
        first_row: u64,
        first_particle: u32,
    ) -> PyResult<(Any<'py>, Any<'py>)> {
        match &self.inner {
            Typed::Single(inner) => self.drawn(inner, key, num_particles, first_row, first_particle),
            Typed::Double(inner) => self.drawn(inner, key, num_particles, first_row, first_particle),
        }
    }
}

impl Proposal {
    fn drawn<'py, F: Element>(
        &self,
        inner: &gaussian::Proposal<F>,
        key: &Any<'py>,
        particles: usize,
        first_row: u64,
        first_particle: u32,
    ) -> PyResult<(Any<'py>, Any<'py>)> {
        let (py, key, (rows, width)) = (key.py(), seed(key)?, self.shape);
        let mut z = Output::<F>::new(py, None, &[particles.saturating_mul(rows), width])?;
        let mut log_ratio = Output::<F>::new(py, None, &[particles, rows])?;
        let (o, r) = (z.slice(), log_ratio.slice());
        enter(py, o.len(), || inner.draw(key, first_particle, first_row, o, r))?;
        Ok((z.done(), log_ratio.done()))
    }
}
