//! Binds `elbokit_core::vae`: one class for a model of either element type, and data sets of any.

pub(crate) mod checkpoint;
mod scores;

use elbokit_core::likelihood;
use elbokit_core::network::Activation;
use elbokit_core::optimizer::Schedule;
use elbokit_core::random::Key;
use elbokit_core::vae::{
    self, AnyModel, Config, EpochTerms, Estimator, Model, Objective, Options, Prior, Proposal, Scaling, Trainer,
};
use elbokit_core::{Error, Result};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::arrays::{Element, View, filled};
use crate::enter::enter_long;
use crate::errors::exception;
use crate::likelihood::{Likelihood, likelihood_parts};
use crate::rows::{Data, vector};

type Any<'py> = Bound<'py, PyAny>;

/// A model of one element type, and what its training needs while it lasts.
struct State<F: Element> {
    model: Model<F>,
    trainer: Option<Trainer<F>>,
    /// Draws a row in each step.
    num_particles: usize,
}

impl<F: Element> State<F> {
    fn new(model: Model<F>) -> Self {
        Self { model, trainer: None, num_particles: 1 }
    }

    fn likelihood(&self) -> &likelihood::Likelihood {
        &self.model.config().likelihood
    }
}

enum Typed {
    Single(State<f32>),
    Double(State<f64>),
}

/// Runs the same code on the model of either element type.
macro_rules! typed {
    ($typed:expr, $state:ident => $body:expr) => {
        match $typed {
            Typed::Single($state) => $body,
            Typed::Double($state) => $body,
        }
    };
}

/// A variational autoencoder.
#[pyclass(module = "elbokit._core")]
pub(crate) struct Vae {
    typed: Typed,
}

fn parsed(activation: &str) -> Result<Activation> {
    Activation::from_name(activation).ok_or_else(|| {
        let names = Activation::ALL.map(Activation::name).join(", ");
        Error::value("activation", format!("one of {names}"), activation, "use one of them")
    })
}

#[pymethods]
impl Vae {
    #[new]
    fn new(
        py: Python<'_>,
        num_features: usize,
        latent_dim: usize,
        hidden: Vec<usize>,
        likelihood: &Likelihood,
        activation: &str,
        layer_norm: bool,
        residual: bool,
        prior: &str,
        prior_components: usize,
        shift: Vec<f64>,
        scale: Vec<f64>,
        spread: Vec<f64>,
        condition_shift: Vec<f64>,
        condition_scale: Vec<f64>,
        double: bool,
        key: u64,
    ) -> PyResult<Self> {
        let make = || -> Result<Typed> {
            let activation = parsed(activation)?;
            let likelihood = likelihood.core().clone();
            let prior = Prior::from_name(prior, prior_components)
                .ok_or_else(|| Error::value("prior", "standard, mixture or vamp", prior, "use one of them"))?;
            let condition_width = condition_shift.len();
            let config =
                Config { num_features, latent_dim, hidden, likelihood, activation, layer_norm, residual, condition_width, prior };
            let scaling = Scaling { shift, scale };
            let mut typed = if double {
                Typed::Double(State::new(Model::new(config, scaling, Key(key))?))
            } else {
                Typed::Single(State::new(Model::new(config, scaling, Key(key))?))
            };
            let condition = Scaling { shift: condition_shift, scale: condition_scale };
            typed!(&mut typed, state => {
                state.model.scale_condition(condition)?;
                state.model.start_scales(&spread)
            })?;
            Ok(typed)
        };
        make().map(|typed| Self { typed }).map_err(|error| exception(py, error))
    }

    /// Starts the prior's pseudo-inputs, where it has any, at these rows.
    #[pyo3(signature = (x, rows, condition=None))]
    fn start_prior<'py>(
        &mut self,
        py: Python<'py>,
        x: &Any<'py>,
        rows: PyReadonlyArray1<'py, u32>,
        condition: Option<&Any<'py>>,
    ) -> PyResult<()> {
        let (data, rows) = (Data::new(x, condition)?, vector(&rows, "rows")?.to_vec());
        typed!(&mut self.typed, state => {
            let model = &mut state.model;
            data.with(py, None, |source| model.start_prior(source, &rows).map_err(|error| exception(py, error)))
        })
    }

    /// Makes the buffers for training on `rows` rows.
    fn start(&mut self, py: Python<'_>, rows: usize, batch_size: usize, num_particles: usize) -> PyResult<()> {
        let started = typed!(&mut self.typed, state => {
            Trainer::new(&state.model, rows, batch_size, num_particles).map(|trainer| {
                state.trainer = Some(trainer);
                state.num_particles = num_particles;
            })
        });
        started.map_err(|error| exception(py, error))
    }

    /// Frees the buffers.
    fn finish(&mut self) {
        typed!(&mut self.typed, state => state.trainer = None);
    }

    /// One epoch: the means (elbo, reconstruction, kl, objective, gradient norm), the last learning rate, and the numbers of steps taken and skipped.
    #[pyo3(signature = (x, subset, weights, epoch, key, learning_rate, warmup, cosine, weight_decay, max_grad_norm, kl_weight, free_bits, importance_weighted, estimator, condition=None))]
    fn epoch<'py>(
        &mut self,
        py: Python<'py>,
        x: &Any<'py>,
        subset: Option<PyReadonlyArray1<'py, u32>>,
        weights: Option<PyReadonlyArray1<'py, f64>>,
        epoch: u64,
        key: u64,
        learning_rate: f64,
        warmup: u64,
        cosine: Option<u64>,
        weight_decay: f64,
        max_grad_norm: Option<f64>,
        kl_weight: f64,
        free_bits: f64,
        importance_weighted: bool,
        estimator: &str,
        condition: Option<&Any<'py>>,
    ) -> PyResult<([f64; 6], [u64; 2])> {
        let data = Data::new(x, condition)?;
        let (subset, weights) = (
            subset.as_ref().map(|s| vector(s, "subset")).transpose()?,
            weights.as_ref().map(|w| vector(w, "sample_weight")).transpose()?,
        );
        let estimator = Estimator::from_name(estimator)
            .ok_or_else(|| Error::value("estimator", "pathwise, stl, dreg or score", estimator, "use one of them"))
            .map_err(|error| exception(py, error))?;
        let options = Options {
            learning_rate: Schedule { rate: learning_rate, warmup, cosine },
            weight_decay,
            max_grad_norm,
            objective: Objective { kl_weight, free_bits, importance_weighted, estimator },
        };
        let terms = typed!(&mut self.typed, state => {
            let State { model, trainer, num_particles } = state;
            let Some(trainer) = trainer.as_mut() else {
                return Err(not_started());
            };
            data.with(py, subset, |source| {
                enter_long(py, work(model, source.rows(), num_particles.saturating_mul(3)), |interrupt| trainer.epoch(model, source, weights, epoch, Key(key), options, interrupt))
            })
        })?;
        let EpochTerms { elbo, reconstruction, kl, objective, gradient_norm, learning_rate, steps, skipped_steps } = terms;
        Ok(([elbo, reconstruction, kl, objective, gradient_norm, learning_rate], [steps, skipped_steps]))
    }

    /// Steps taken, and copies of the optimiser's two moments.
    fn moments<'py>(&self, py: Python<'py>) -> PyResult<(u64, Any<'py>, Any<'py>)> {
        typed!(&self.typed, state => {
            let Some(trainer) = &state.trainer else { return Err(not_started()) };
            let (steps, [m, v]) = trainer.moments();
            let copy = |x: &[_]| filled(py, &[x.len()], x.iter().copied());
            Ok((steps, copy(m)?, copy(v)?))
        })
    }

    /// Goes on from what `moments` told.
    fn resume(&mut self, py: Python<'_>, steps: u64, m: &Any<'_>, v: &Any<'_>) -> PyResult<()> {
        let resumed = typed!(&mut self.typed, state => {
            let Some(trainer) = &mut state.trainer else { return Err(not_started()) };
            let (m, v) = (View::new(m, "moments")?, View::new(v, "moments")?);
            trainer.resume(steps, [m.slice(), v.slice()])
        });
        resumed.map_err(|error| exception(py, error))
    }

    /// Checks that the likelihood gives every observed cell a probability.
    #[pyo3(signature = (x, condition=None))]
    fn check<'py>(&self, py: Python<'py>, x: &Any<'py>, condition: Option<&Any<'py>>) -> PyResult<()> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => {
            data.with(py, None, |source| enter_long(py, work(&state.model, source.rows(), 1), |interrupt| vae::check(&state.model, source, interrupt)))
        })
    }

    /// loc and `log_var` of each row.
    #[pyo3(signature = (x, condition=None))]
    fn encode<'py>(&self, py: Python<'py>, x: &Any<'py>, condition: Option<&Any<'py>>) -> PyResult<(Any<'py>, Any<'py>)> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => scores::encode(py, state, &data))
    }

    /// params of each row of z, for rows as given; those out of the range too unless they must be `finite`.
    #[pyo3(signature = (z, condition=None, finite=true))]
    fn decode<'py>(&self, z: &Any<'py>, condition: Option<&Any<'py>>, finite: bool) -> PyResult<Any<'py>> {
        typed!(&self.typed, state => scores::decode(state, z, condition, finite))
    }

    /// The likelihood's mean at each row of z, for rows as given.
    #[pyo3(signature = (z, condition=None))]
    fn mean<'py>(&self, z: &Any<'py>, condition: Option<&Any<'py>>) -> PyResult<Any<'py>> {
        typed!(&self.typed, state => scores::mean(state, z, condition))
    }

    /// n rows of z drawn from the prior.
    #[pyo3(signature = (n, key, first_row=0))]
    fn sample_prior<'py>(&self, py: Python<'py>, n: usize, key: u64, first_row: u64) -> PyResult<Any<'py>> {
        typed!(&self.typed, state => scores::sample_prior(py, state, n, Key(key), first_row))
    }

    /// elbo, reconstruction, kl and standard error of each row.
    #[pyo3(signature = (x, subset, key, num_particles, condition=None))]
    fn elbo<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        subset: Option<PyReadonlyArray1<'py, u32>>,
        key: u64,
        num_particles: usize,
        condition: Option<&Any<'py>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let data = Data::new(x, condition)?;
        let subset = subset.as_ref().map(|s| vector(s, "subset")).transpose()?;
        typed!(&self.typed, state => scores::elbo(py, state, &data, subset, Key(key), num_particles))
    }

    /// Each column's part of the reconstruction.
    #[pyo3(signature = (x, key, num_particles, condition=None))]
    fn elbo_per_column<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        key: u64,
        num_particles: usize,
        condition: Option<&Any<'py>>,
    ) -> PyResult<Any<'py>> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => scores::elbo_per_column(py, state, &data, Key(key), num_particles))
    }

    /// Rows with their missing cells filled.
    #[pyo3(signature = (x, key, num_particles, laplace, condition=None))]
    fn impute<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        key: u64,
        num_particles: usize,
        laplace: bool,
        condition: Option<&Any<'py>>,
    ) -> PyResult<(Any<'py>, usize)> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => scores::impute(py, state, &data, Key(key), num_particles, proposal(laplace)))
    }

    /// (draws, rows, columns): rows with their missing cells drawn.
    #[pyo3(signature = (x, key, num_particles, num_draws, laplace, condition=None))]
    fn impute_draws<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        key: u64,
        num_particles: usize,
        num_draws: usize,
        laplace: bool,
        condition: Option<&Any<'py>>,
    ) -> PyResult<(Any<'py>, usize)> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => scores::impute_draws(py, state, &data, Key(key), num_particles, num_draws, proposal(laplace)))
    }

    /// lower, estimate, upper, standard error, k-hat, effective sample size and observed cells of each row, and for how many rows no mode was found.
    #[pyo3(signature = (x, key, num_particles, laplace, condition=None))]
    fn log_evidence<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        key: u64,
        num_particles: usize,
        laplace: bool,
        condition: Option<&Any<'py>>,
    ) -> PyResult<(Bound<'py, PyTuple>, usize)> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => scores::log_evidence(py, state, &data, Key(key), num_particles, proposal(laplace)))
    }

    /// The log weight of one z a row, and for how many rows no mode was found.
    #[pyo3(signature = (x, z, laplace, condition=None))]
    fn weigh<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        z: &Any<'py>,
        laplace: bool,
        condition: Option<&Any<'py>>,
    ) -> PyResult<(Any<'py>, usize)> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => scores::weigh(py, state, &data, z, proposal(laplace)))
    }

    /// Each row's hash.
    #[pyo3(signature = (x, condition=None))]
    fn hashes<'py>(&self, py: Python<'py>, x: &Any<'py>, condition: Option<&Any<'py>>) -> PyResult<Any<'py>> {
        let data = Data::new(x, condition)?;
        typed!(&self.typed, state => scores::hashes(py, state, &data))
    }

    /// Copies of all parameters with their names.
    fn named<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Any<'py>)>> {
        typed!(&self.typed, state => {
            let named = state.model.named().into_iter();
            named.map(|p| Ok((p.name, filled(py, &p.shape, p.values.iter().copied())?))).collect()
        })
    }

    /// A copy of all parameters in one array.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        typed!(&self.typed, state => {
            let flat = state.model.parameters();
            filled(py, &[flat.len()], flat.iter().copied())
        })
    }

    /// Puts a copy made by `snapshot` back.
    fn restore(&mut self, py: Python<'_>, parameters: &Any<'_>) -> PyResult<()> {
        let restored = typed!(&mut self.typed, state => {
            let view = View::new(parameters, "parameters")?;
            state.model.set_parameters(view.slice())
        });
        restored.map_err(|error| exception(py, error))
    }

    /// Whether the model is of float64.
    #[getter]
    fn double(&self) -> bool {
        matches!(self.typed, Typed::Double(_))
    }

    /// Columns of a row.
    #[getter]
    fn num_features(&self) -> usize {
        typed!(&self.typed, state => state.model.config().num_features)
    }

    /// Latents a row.
    #[getter]
    fn latent_dim(&self) -> usize {
        typed!(&self.typed, state => state.model.config().latent_dim)
    }

    /// Widths of the hidden layers.
    #[getter]
    fn hidden(&self) -> Vec<usize> {
        typed!(&self.typed, state => state.model.config().hidden.clone())
    }

    /// The activation's name.
    #[getter]
    fn activation(&self) -> &'static str {
        typed!(&self.typed, state => state.model.config().activation.name())
    }

    /// Whether hidden layers normalise their rows.
    #[getter]
    fn layer_norm(&self) -> bool {
        typed!(&self.typed, state => state.model.config().layer_norm)
    }

    /// Whether hidden layers of one width add their input.
    #[getter]
    fn residual(&self) -> bool {
        typed!(&self.typed, state => state.model.config().residual)
    }

    /// The likelihood's kind and what it is made with.
    #[getter]
    fn likelihood<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        likelihood_parts(py, typed!(&self.typed, state => state.likelihood()))
    }

    /// The likelihood of rows as given, likewise.
    #[getter]
    fn likelihood_as_given<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        likelihood_parts(py, &typed!(&self.typed, state => state.model.likelihood_as_given()))
    }

    /// What rows are scaled by: x' = (x − shift) / scale.
    #[getter]
    fn scaling(&self) -> (Vec<f64>, Vec<f64>) {
        let scaling = typed!(&self.typed, state => state.model.scaling());
        (scaling.shift.clone(), scaling.scale.clone())
    }

    /// Columns of a row's condition; 0 for none.
    #[getter]
    fn condition_width(&self) -> usize {
        typed!(&self.typed, state => state.model.config().condition_width)
    }

    /// The prior's name, and its components where it is a mixture.
    #[getter]
    fn prior(&self) -> (&'static str, Option<usize>) {
        let prior = typed!(&self.typed, state => state.model.config().prior);
        (prior.name(), prior.num_components())
    }

    /// Weights, locs and variances of the prior, row-major.
    #[getter]
    fn prior_parts(&self) -> [Vec<f64>; 3] {
        typed!(&self.typed, state => state.model.prior_parts())
    }

    /// What conditions are scaled by, likewise.
    #[getter]
    fn condition_scaling(&self) -> (Vec<f64>, Vec<f64>) {
        let scaling = typed!(&self.typed, state => state.model.condition_scaling());
        (scaling.shift.clone(), scaling.scale.clone())
    }

    /// The model as a file's bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = typed!(&self.typed, state => vae::to_bytes(&state.model));
        bytes.map(|bytes| PyBytes::new(py, &bytes)).map_err(|error| exception(py, error))
    }

    /// The model that a file's bytes hold.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let typed = vae::from_bytes(data).map(|model| match model {
            AnyModel::F32(model) => Typed::Single(State::new(model)),
            AnyModel::F64(model) => Typed::Double(State::new(model)),
        });
        typed.map(|typed| Self { typed }).map_err(|error| exception(py, error))
    }
}

fn proposal(laplace: bool) -> Proposal {
    if laplace { Proposal::Laplace } else { Proposal::Posterior }
}

fn not_started() -> PyErr {
    PyRuntimeError::new_err("call start first")
}

/// About how many multiply-adds a call costs that runs the whole network `times` for each row.
fn work<F: Element>(model: &Model<F>, rows: usize, times: usize) -> usize {
    rows.saturating_mul(times).saturating_mul(model.parameters().len())
}
