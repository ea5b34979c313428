//! Binds `elbokit_core::likelihood`.

use std::sync::{Arc, Mutex, PoisonError};

use elbokit_core::likelihood::{self, Prepared, Scale};
use elbokit_core::random::Key;
use elbokit_core::{Error, Result};
use pyo3::prelude::*;

use crate::arrays::{Element, Output, View, by_dtype, shape_error};
use crate::enter::{enter, enter_long};
use crate::errors::exception;
use crate::random::seed;

type Any<'py> = Bound<'py, PyAny>;

/// Multiply-adds that take as long as the draw of a cell.
const DRAW: usize = 50;

/// A likelihood, with the tables of the last width it met in each element type.
#[pyclass(frozen, module = "elbokit._core")]
pub(crate) struct Likelihood {
    inner: likelihood::Likelihood,
    single: Cache<f32>,
    double: Cache<f64>,
}

/// x, params, the tables for x's width, and the rows of params.
type Arguments<'py, F> = (View<'py, F>, View<'py, F>, Arc<Prepared<F>>, usize);

type Cache<F> = Mutex<Option<(usize, Arc<Prepared<F>>)>>;

/// The cache of an element type.
trait Cached: Element {
    fn cache(likelihood: &Likelihood) -> &Cache<Self>;
}
impl Cached for f32 {
    fn cache(likelihood: &Likelihood) -> &Cache<Self> {
        &likelihood.single
    }
}
impl Cached for f64 {
    fn cache(likelihood: &Likelihood) -> &Cache<Self> {
        &likelihood.double
    }
}

impl From<likelihood::Likelihood> for Likelihood {
    fn from(likelihood: likelihood::Likelihood) -> Self {
        Self { inner: likelihood, single: Mutex::new(None), double: Mutex::new(None) }
    }
}

impl Likelihood {
    /// What the core knows it as.
    pub(crate) fn core(&self) -> &likelihood::Likelihood {
        &self.inner
    }

    fn prepared<F: Cached>(&self, num_features: usize) -> Result<Arc<Prepared<F>>> {
        let mut held = F::cache(self).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((width, prepared)) = &*held
            && *width == num_features
        {
            return Ok(prepared.clone());
        }
        let prepared = Arc::new(self.inner.prepare::<F>(num_features)?);
        *held = Some((num_features, prepared.clone()));
        Ok(prepared)
    }

    /// x, params and the tables for x's width, with the shapes checked: x (batch, features), params (a multiple of batch, `num_params`).
    fn arguments<'py, F: Cached>(&self, x: &Any<'py>, params: &Any<'py>, mask: Option<&Any<'py>>) -> PyResult<Arguments<'py, F>> {
        let py = x.py();
        let (x, params) = (View::<F>::observed(x, mask)?, View::<F>::new(params, "params")?);
        let (x_rows, width) = self.rows_of(py, &x)?;
        let (rows, columns) = params.matrix(py, "params", "an array (batch, num_params)")?;
        let wanted = self.inner.num_params(width);
        if columns != wanted || !rows.is_multiple_of(x_rows) {
            return Err(shape_error(py, "params", &format!("({x_rows}, {wanted}) for x of ({x_rows}, {width})"), params.shape()));
        }
        let prepared = self.prepared(width).map_err(|error| exception(py, error))?;
        Ok((x, params, prepared, rows))
    }

    /// x's rows and features, which are as many as a table's members have columns.
    fn rows_of<F: Element>(&self, py: Python<'_>, x: &View<'_, F>) -> PyResult<(usize, usize)> {
        let (rows, width) = x.matrix(py, "x", "an array (batch, features)")?;
        match self.inner.own_columns() {
            Some(own) if own != width => {
                Err(shape_error(py, "x", &format!("({rows}, {own}), the columns of all members"), x.shape()))
            }
            _ => Ok((rows, width)),
        }
    }

    /// Rows, features and the tables that params of this shape belong to.
    fn features_of<F: Cached>(&self, py: Python<'_>, params: &View<'_, F>) -> PyResult<(usize, usize, Arc<Prepared<F>>)> {
        let (rows, columns) = params.matrix(py, "params", "an array (batch, num_params)")?;
        let Some(width) = self.inner.num_features(columns) else {
            let expected = format!("(batch, num_params) of {}", self.inner.name());
            return Err(shape_error(py, "params", &expected, params.shape()));
        };
        let prepared = self.prepared(width).map_err(|error| exception(py, error))?;
        Ok((rows, width, prepared))
    }
}

fn log_prob<'py, F: Cached>(
    me: &Likelihood,
    x: &Any<'py>,
    params: &Any<'py>,
    mask: Option<&Any<'py>>,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    let py = x.py();
    let (x, params, prepared, rows) = me.arguments::<F>(x, params, mask)?;
    let mut out = Output::<F>::new(py, out, &[rows])?;
    let (x, p, o) = (x.slice(), params.slice(), out.slice());
    enter(py, p.len(), || prepared.log_prob(x, p, o))?;
    Ok(out.done())
}

fn log_prob_grad<'py, F: Cached>(
    me: &Likelihood,
    x: &Any<'py>,
    params: &Any<'py>,
    mask: Option<&Any<'py>>,
) -> PyResult<(Any<'py>, Any<'py>)> {
    let py = x.py();
    let (x, params, prepared, rows) = me.arguments::<F>(x, params, mask)?;
    let mut out = Output::<F>::new(py, None, &[rows])?;
    let mut d_params = Output::<F>::new(py, None, params.shape())?;
    let (x, p, o, d) = (x.slice(), params.slice(), out.slice(), d_params.slice());
    enter(py, p.len(), || prepared.log_prob_grad(x, p, o, d))?;
    Ok((out.done(), d_params.done()))
}

fn mean<'py, F: Cached>(me: &Likelihood, params: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
    let py = params.py();
    let params = View::<F>::new(params, "params")?;
    let (rows, _, prepared) = me.features_of(py, &params)?;
    let mut out = Output::<F>::new(py, out, &[rows, prepared.num_means()])?;
    let (p, o) = (params.slice(), out.slice());
    enter(py, p.len(), || prepared.mean(p, o))?;
    Ok(out.done())
}

fn sample<'py, F: Cached>(
    me: &Likelihood,
    params: &Any<'py>,
    key: Key,
    first_row: u64,
    out: Option<&Any<'py>>,
) -> PyResult<Any<'py>> {
    let py = params.py();
    let params = View::<F>::new(params, "params")?;
    let (rows, width, prepared) = me.features_of(py, &params)?;
    let mut out = Output::<F>::new(py, out, &[rows, width])?;
    let (p, o) = (params.slice(), out.slice());
    enter_long(py, o.len().saturating_mul(DRAW), |interrupt| prepared.sample(p, key, first_row, interrupt, o))?;
    Ok(out.done())
}

#[pymethods]
impl Likelihood {
    /// `Gaussian` of a scale in one of the forms of [`scale_of`].
    #[staticmethod]
    fn gaussian(scale: Vec<f64>, form: &str) -> PyResult<Self> {
        Self::checked(likelihood::Likelihood::Gaussian(scale_of(scale, form)?))
    }

    /// `Laplace` likewise.
    #[staticmethod]
    fn laplace(scale: Vec<f64>, form: &str) -> PyResult<Self> {
        Self::checked(likelihood::Likelihood::Laplace(scale_of(scale, form)?))
    }

    /// `StudentT` likewise.
    #[staticmethod]
    fn student_t(df: f64, scale: Vec<f64>, form: &str) -> PyResult<Self> {
        Self::checked(likelihood::Likelihood::StudentT(df, scale_of(scale, form)?))
    }

    /// `Bernoulli`.
    #[staticmethod]
    fn bernoulli() -> Self {
        likelihood::Likelihood::Bernoulli.into()
    }

    /// `ContinuousBernoulli`.
    #[staticmethod]
    fn continuous_bernoulli() -> Self {
        likelihood::Likelihood::ContinuousBernoulli.into()
    }

    /// `Binomial`.
    #[staticmethod]
    fn binomial(total_count: u32) -> PyResult<Self> {
        Self::checked(likelihood::Likelihood::Binomial(total_count))
    }

    /// `Categorical`.
    #[staticmethod]
    fn categorical(num_classes: u32) -> PyResult<Self> {
        Self::checked(likelihood::Likelihood::Categorical(num_classes))
    }

    /// `Poisson`.
    #[staticmethod]
    fn poisson() -> Self {
        likelihood::Likelihood::Poisson.into()
    }

    /// `NegativeBinomial`.
    #[staticmethod]
    fn negative_binomial() -> Self {
        likelihood::Likelihood::NegativeBinomial.into()
    }

    /// `ZeroInflatedNegativeBinomial`.
    #[staticmethod]
    fn zero_inflated_negative_binomial() -> Self {
        likelihood::Likelihood::ZeroInflatedNegativeBinomial.into()
    }

    /// `Columns` of members, each with its columns.
    #[staticmethod]
    fn columns(members: Vec<(Vec<usize>, PyRef<'_, Likelihood>)>) -> PyResult<Self> {
        let members = members.into_iter().map(|(columns, member)| (columns, member.inner.clone())).collect();
        Self::checked(likelihood::Likelihood::Columns(members))
    }

    /// Numbers a row of params.
    fn num_params(&self, num_features: usize) -> usize {
        self.inner.num_params(num_features)
    }

    /// Refuses a cell that has no probability.
    fn check_support(&self, x: &Any<'_>) -> PyResult<()> {
        let py = x.py();
        let view = View::<f64>::new(x, "x")?;
        let (_, width) = self.rows_of(py, &view)?;
        let x = view.slice();
        enter(py, x.len(), || self.inner.check_support("x", x, width))
    }

    /// log p(x | params) of each row.
    #[pyo3(signature = (x, params, mask=None, out=None))]
    fn log_prob<'py>(
        &self,
        x: &Any<'py>,
        params: &Any<'py>,
        mask: Option<&Any<'py>>,
        out: Option<&Any<'py>>,
    ) -> PyResult<Any<'py>> {
        by_dtype!(params, "params", log_prob(self, x, params, mask, out))
    }

    /// The same with its gradient.
    #[pyo3(signature = (x, params, mask=None))]
    fn log_prob_grad<'py>(&self, x: &Any<'py>, params: &Any<'py>, mask: Option<&Any<'py>>) -> PyResult<(Any<'py>, Any<'py>)> {
        by_dtype!(params, "params", log_prob_grad(self, x, params, mask))
    }

    /// The mean of each cell.
    #[pyo3(signature = (params, out=None))]
    fn mean<'py>(&self, params: &Any<'py>, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
        by_dtype!(params, "params", mean(self, params, out))
    }

    /// A draw of each row.
    #[pyo3(signature = (params, key, first_row=0, out=None))]
    fn sample<'py>(&self, params: &Any<'py>, key: &Any<'py>, first_row: u64, out: Option<&Any<'py>>) -> PyResult<Any<'py>> {
        by_dtype!(params, "params", sample(self, params, seed(key)?, first_row, out))
    }
}

impl Likelihood {
    /// Refuses bad constants when the likelihood is made rather than when it is first used.
    fn checked(likelihood: likelihood::Likelihood) -> PyResult<Self> {
        let width = match (&likelihood, likelihood.scale()) {
            (_, Some(Scale::ByFeature(scale))) => scale.len(),
            (likelihood, _) => likelihood.own_columns().unwrap_or(1),
        };
        match likelihood.prepare::<f64>(width) {
            Ok(_) => Ok(likelihood.into()),
            Err(error) => Err(Python::attach(|py| exception(py, error))),
        }
    }
}

/// The scale in one of the forms `fixed`, `by_feature`, `shared`, `per_feature` and `predicted`; the first two have numbers.
fn scale_of(scale: Vec<f64>, form: &str) -> PyResult<Scale> {
    match (form, scale.as_slice()) {
        ("fixed", &[one]) => Ok(Scale::Fixed(one)),
        ("by_feature", _) => Ok(Scale::ByFeature(scale)),
        ("shared", []) => Ok(Scale::Shared),
        ("per_feature", []) => Ok(Scale::PerFeature),
        ("predicted", []) => Ok(Scale::Predicted),
        _ => {
            let error = Error::value("scale", "a known form", form, "make the likelihood in Python");
            Err(Python::attach(|py| exception(py, error)))
        }
    }
}

/// (name, arguments) of a likelihood, as Python makes it; of a table, the arguments are one list of (columns, (name, arguments)).
pub(crate) fn likelihood_parts<'py>(py: Python<'py>, likelihood: &likelihood::Likelihood) -> PyResult<Any<'py>> {
    use likelihood::Likelihood as Core;
    let scale = |scale: &Scale| -> PyResult<Any<'py>> {
        Ok(match scale {
            Scale::Fixed(scale) => scale.into_pyobject(py)?.into_any(),
            Scale::ByFeature(scales) => scales.into_pyobject(py)?.into_any(),
            Scale::Shared => "shared".into_pyobject(py)?.into_any(),
            Scale::PerFeature => "per_feature".into_pyobject(py)?.into_any(),
            Scale::Predicted => "predicted".into_pyobject(py)?.into_any(),
        })
    };
    let arguments = match likelihood {
        Core::Gaussian(s) | Core::Laplace(s) => vec![scale(s)?],
        Core::StudentT(df, s) => vec![df.into_pyobject(py)?.into_any(), scale(s)?],
        Core::Binomial(count) | Core::Categorical(count) => vec![count.into_pyobject(py)?.into_any()],
        Core::Columns(members) => {
            let member = |(columns, member): &(Vec<usize>, Core)| (columns, likelihood_parts(py, member)?).into_pyobject(py);
            let members = members.iter().map(member).collect::<PyResult<Vec<_>>>()?;
            vec![members.into_pyobject(py)?.into_any()]
        }
        _ => Vec::new(),
    };
    Ok((likelihood.name(), arguments).into_pyobject(py)?.into_any())
}
