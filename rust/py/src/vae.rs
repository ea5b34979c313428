//! Binds `elbokit_core::vae`: one class for a model of either element type, and data sets of any.

use elbokit_core::likelihood;
use elbokit_core::network::Activation;
use elbokit_core::optimizer::Schedule;
use elbokit_core::random::Key;
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{
    self, AnyModel, Config, ElboTerms, EpochTerms, Evidence, Model, Numbers, Objective, Options, Proposal, Scaling, Source, Trainer,
};
use elbokit_core::{Error, Result};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::arrays::{Dtype, Element, Output, View, dtype, filled};
use crate::enter::enter_long;
use crate::errors::exception;
use crate::likelihood::Likelihood;
use crate::rows::{Rows, vector};

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
        shift: Vec<f64>,
        scale: Vec<f64>,
        spread: Vec<f64>,
        double: bool,
        key: u64,
    ) -> PyResult<Self> {
        let make = || -> Result<Typed> {
            let activation = parsed(activation)?;
            let likelihood = likelihood.core().clone();
            let config = Config { num_features, latent_dim, hidden, likelihood, activation, layer_norm, residual };
            let scaling = Scaling { shift, scale };
            let mut typed = if double {
                Typed::Double(State::new(Model::new(config, scaling, Key(key))?))
            } else {
                Typed::Single(State::new(Model::new(config, scaling, Key(key))?))
            };
            typed!(&mut typed, state => state.model.start_scales(&spread))?;
            Ok(typed)
        };
        make().map(|typed| Self { typed }).map_err(|error| exception(py, error))
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
    ) -> PyResult<([f64; 6], [u64; 2])> {
        let rows = Rows::new(x)?;
        let (subset, weights) = (
            subset.as_ref().map(|s| vector(s, "subset")).transpose()?,
            weights.as_ref().map(|w| vector(w, "sample_weight")).transpose()?,
        );
        let options = Options {
            learning_rate: Schedule { rate: learning_rate, warmup, cosine },
            weight_decay,
            max_grad_norm,
            objective: Objective { kl_weight, free_bits, importance_weighted },
        };
        let terms = typed!(&mut self.typed, state => {
            let State { model, trainer, num_particles } = state;
            let Some(trainer) = trainer.as_mut() else {
                return Err(not_started());
            };
            rows.with(subset, |source| {
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
    fn check<'py>(&self, py: Python<'py>, x: &Any<'py>) -> PyResult<()> {
        let rows = Rows::new(x)?;
        typed!(&self.typed, state => {
            rows.with(None, |source| enter_long(py, work(&state.model, source.rows(), 1), |interrupt| vae::check(&state.model, source, interrupt)))
        })
    }

    /// loc and `log_var` of each row.
    fn encode<'py>(&self, py: Python<'py>, x: &Any<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
        let rows = Rows::new(x)?;
        typed!(&self.typed, state => encode(py, state, &rows))
    }

    /// params of each row of z, for rows as given.
    fn decode<'py>(&self, z: &Any<'py>) -> PyResult<Any<'py>> {
        typed!(&self.typed, state => decode(state, z))
    }

    /// The likelihood's mean at each row of z, for rows as given.
    fn mean<'py>(&self, z: &Any<'py>) -> PyResult<Any<'py>> {
        typed!(&self.typed, state => mean(state, z))
    }

    /// elbo, reconstruction, kl and standard error of each row.
    fn elbo<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        subset: Option<PyReadonlyArray1<'py, u32>>,
        key: u64,
        num_particles: usize,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let rows = Rows::new(x)?;
        let subset = subset.as_ref().map(|s| vector(s, "subset")).transpose()?;
        typed!(&self.typed, state => elbo(py, state, &rows, subset, Key(key), num_particles))
    }

    /// Each column's part of the reconstruction.
    fn elbo_per_column<'py>(&self, py: Python<'py>, x: &Any<'py>, key: u64, num_particles: usize) -> PyResult<Any<'py>> {
        let rows = Rows::new(x)?;
        typed!(&self.typed, state => elbo_per_column(py, state, &rows, Key(key), num_particles))
    }

    /// Rows with their missing cells filled.
    fn impute<'py>(&self, py: Python<'py>, x: &Any<'py>, key: u64, num_particles: usize) -> PyResult<Any<'py>> {
        let rows = Rows::new(x)?;
        typed!(&self.typed, state => impute(py, state, &rows, Key(key), num_particles))
    }

    /// (draws, rows, columns): rows with their missing cells drawn.
    fn impute_draws<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        key: u64,
        num_particles: usize,
        num_draws: usize,
    ) -> PyResult<Any<'py>> {
        let rows = Rows::new(x)?;
        typed!(&self.typed, state => impute_draws(py, state, &rows, Key(key), num_particles, num_draws))
    }

    /// lower, estimate, upper, standard error, k-hat, effective sample size and observed cells of each row, and for how many rows no mode was found.
    fn log_evidence<'py>(
        &self,
        py: Python<'py>,
        x: &Any<'py>,
        key: u64,
        num_particles: usize,
        laplace: bool,
    ) -> PyResult<(Bound<'py, PyTuple>, usize)> {
        let rows = Rows::new(x)?;
        let proposal = if laplace { Proposal::Laplace } else { Proposal::Posterior };
        typed!(&self.typed, state => log_evidence(py, state, &rows, Key(key), num_particles, proposal))
    }

    /// The log weight of one z a row, and for how many rows no mode was found.
    fn weigh<'py>(&self, py: Python<'py>, x: &Any<'py>, z: &Any<'py>, laplace: bool) -> PyResult<(Any<'py>, usize)> {
        let rows = Rows::new(x)?;
        let proposal = if laplace { Proposal::Laplace } else { Proposal::Posterior };
        typed!(&self.typed, state => weigh(py, state, &rows, z, proposal))
    }

    /// Each row's hash.
    fn hashes<'py>(&self, py: Python<'py>, x: &Any<'py>) -> PyResult<Any<'py>> {
        let rows = Rows::new(x)?;
        typed!(&self.typed, state => hashes(py, state, &rows))
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
        described(py, typed!(&self.typed, state => state.likelihood()))
    }

    /// The likelihood of rows as given, likewise.
    #[getter]
    fn likelihood_as_given<'py>(&self, py: Python<'py>) -> PyResult<Any<'py>> {
        described(py, &typed!(&self.typed, state => state.model.likelihood_as_given()))
    }

    /// What rows are scaled by: x' = (x − shift) / scale.
    #[getter]
    fn scaling(&self) -> (Vec<f64>, Vec<f64>) {
        let scaling = typed!(&self.typed, state => state.model.scaling());
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

fn not_started() -> PyErr {
    PyRuntimeError::new_err("call start first")
}

type Named<'py> = Vec<(String, Any<'py>)>;

/// A text and named vectors of float32 or float64 as a checkpoint's bytes.
#[pyfunction]
pub(crate) fn checkpoint_to_bytes<'py>(py: Python<'py>, text: &str, vectors: Named<'py>) -> PyResult<Bound<'py, PyBytes>> {
    let numbers = |x: &Any<'py>| {
        Ok::<_, PyErr>(match dtype(x, "vectors")? {
            Dtype::F32 => Numbers::F32(View::new(x, "vectors")?.slice().to_vec()),
            Dtype::F64 => Numbers::F64(View::new(x, "vectors")?.slice().to_vec()),
        })
    };
    let vectors = vectors.iter().map(|(name, x)| Ok((name.clone(), numbers(x)?))).collect::<PyResult<Vec<_>>>()?;
    let bytes = py.detach(|| vae::checkpoint_to_bytes(text, &vectors)).map_err(|error| exception(py, error))?;
    Ok(PyBytes::new(py, &bytes))
}

/// What `checkpoint_to_bytes` was given.
#[pyfunction]
pub(crate) fn checkpoint_from_bytes<'py>(py: Python<'py>, data: &[u8]) -> PyResult<(String, Named<'py>)> {
    let (text, vectors) = vae::checkpoint_from_bytes(data).map_err(|error| exception(py, error))?;
    let arrays = vectors.into_iter().map(|(name, numbers)| {
        let array = match numbers {
            Numbers::F32(x) => filled(py, &[x.len()], x)?,
            Numbers::F64(x) => filled(py, &[x.len()], x)?,
        };
        Ok((name, array))
    });
    Ok((text, arrays.collect::<PyResult<_>>()?))
}

/// About how many multiply-adds a call costs that runs the whole network `times` for each row.
fn work<F: Element>(model: &Model<F>, rows: usize, times: usize) -> usize {
    rows.saturating_mul(times).saturating_mul(model.parameters().len())
}

fn encode<'py, F: Element>(py: Python<'py>, state: &State<F>, rows: &Rows<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
    rows.with(None, |source: &dyn Source<F>| {
        let shape = [source.rows(), state.model.config().latent_dim];
        let (mut loc, mut log_var) = (Output::<F>::new(py, None, &shape)?, Output::<F>::new(py, None, &shape)?);
        let (l, v) = (loc.slice(), log_var.slice());
        enter_long(py, work(&state.model, source.rows(), 1), |interrupt| vae::encode(&state.model, source, interrupt, l, v))?;
        Ok((loc.done(), log_var.done()))
    })
}

fn decode<'py, F: Element>(state: &State<F>, z: &Any<'py>) -> PyResult<Any<'py>> {
    from_latents(state, z, state.model.num_params_as_given(), vae::decode)
}

fn mean<'py, F: Element>(state: &State<F>, z: &Any<'py>) -> PyResult<Any<'py>> {
    from_latents(state, z, state.model.likelihood().num_means(), vae::mean)
}

fn from_latents<'py, F: Element>(
    state: &State<F>,
    z: &Any<'py>,
    width: usize,
    f: impl FnOnce(&Model<F>, &[F], &mut [F]) -> Result<()> + Send,
) -> PyResult<Any<'py>> {
    let py = z.py();
    let z = View::<F>::new(z, "z")?;
    let (rows, latents) = z.matrix(py, "z", "an array (rows, latent)")?;
    let expected = state.model.config().latent_dim;
    if latents != expected {
        let error = Error::shape("z", format!("{expected} columns"), latents, "give the model's latents");
        return Err(exception(py, error));
    }
    let mut out = Output::<F>::new(py, None, &[rows, width])?;
    let (z, o) = (z.slice(), out.slice());
    enter_long(py, work(&state.model, rows, 1), |_: &Interrupt| f(&state.model, z, o))?;
    Ok(out.done())
}

fn elbo<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    rows: &Rows<'py>,
    subset: Option<&[u32]>,
    key: Key,
    num_particles: usize,
) -> PyResult<Bound<'py, PyTuple>> {
    rows.with(subset, |source: &dyn Source<F>| {
        let make = || Output::<F>::new(py, None, &[source.rows()]);
        let mut out = [make()?, make()?, make()?, make()?];
        let [elbo, reconstruction, kl, standard_error] = out.each_mut().map(Output::slice);
        let terms = ElboTerms { elbo, reconstruction, kl, standard_error };
        enter_long(py, work(&state.model, source.rows(), num_particles), |interrupt| {
            vae::elbo(&state.model, source, key, num_particles, interrupt, terms)
        })?;
        PyTuple::new(py, out.map(Output::done))
    })
}

fn elbo_per_column<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    rows: &Rows<'py>,
    key: Key,
    num_particles: usize,
) -> PyResult<Any<'py>> {
    by_cell(py, state, rows, num_particles, None, |source, interrupt, out| {
        vae::elbo_per_column(&state.model, source, key, num_particles, interrupt, out)
    })
}

fn impute<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    rows: &Rows<'py>,
    key: Key,
    num_particles: usize,
) -> PyResult<Any<'py>> {
    by_cell(py, state, rows, num_particles, None, |source, interrupt, out| {
        vae::impute(&state.model, source, key, num_particles, interrupt, out)
    })
}

fn impute_draws<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    rows: &Rows<'py>,
    key: Key,
    num_particles: usize,
    num_draws: usize,
) -> PyResult<Any<'py>> {
    by_cell(py, state, rows, num_particles.saturating_add(num_draws), Some(num_draws), |source, interrupt, out| {
        vae::impute_draws(&state.model, source, key, num_particles, num_draws, interrupt, out)
    })
}

/// What `f` writes for each cell of the rows, `times` over where that is given.
fn by_cell<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    rows: &Rows<'py>,
    passes: usize,
    times: Option<usize>,
    f: impl FnOnce(&dyn Source<F>, &Interrupt, &mut [F]) -> elbokit_core::Result<()> + Send,
) -> PyResult<Any<'py>> {
    rows.with(None, |source: &dyn Source<F>| {
        let shape: Vec<usize> = times.into_iter().chain([source.rows(), source.width()]).collect();
        let mut out = Output::<F>::new(py, None, &shape)?;
        let o = out.slice();
        enter_long(py, work(&state.model, source.rows(), passes), |interrupt| f(source, interrupt, o))?;
        Ok(out.done())
    })
}

/// (name, arguments) of a likelihood, as Python makes it; of a table, the arguments are one list of (columns, (name, arguments)).
fn described<'py>(py: Python<'py>, likelihood: &likelihood::Likelihood) -> PyResult<Any<'py>> {
    use likelihood::{Likelihood as Core, Scale};
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
            let member = |(columns, member): &(Vec<usize>, Core)| (columns, described(py, member)?).into_pyobject(py);
            let members = members.iter().map(member).collect::<PyResult<Vec<_>>>()?;
            vec![members.into_pyobject(py)?.into_any()]
        }
        _ => Vec::new(),
    };
    Ok((likelihood.name(), arguments).into_pyobject(py)?.into_any())
}

fn log_evidence<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    rows: &Rows<'py>,
    key: Key,
    num_particles: usize,
    proposal: Proposal,
) -> PyResult<(Bound<'py, PyTuple>, usize)> {
    rows.with(None, |source: &dyn Source<F>| {
        let make = || Output::<F>::new(py, None, &[source.rows()]);
        let mut out = [make()?, make()?, make()?, make()?, make()?, make()?];
        let mut observed = vec![0; source.rows()];
        let [lower, estimate, upper, standard_error, khat, ess] = out.each_mut().map(Output::slice);
        let terms = Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut observed };
        let without = enter_long(py, work(&state.model, source.rows(), num_particles), |interrupt| {
            vae::log_evidence(&state.model, source, key, num_particles, proposal, interrupt, terms)
        })?;
        let observed = numpy::PyArray1::from_iter(py, observed.into_iter().map(u64::cast_signed)).into_any();
        let [a, b, c, d, e, f] = out.map(Output::done);
        Ok((PyTuple::new(py, [a, b, c, d, e, f, observed])?, without))
    })
}

fn weigh<'py, F: Element>(
    py: Python<'py>,
    state: &State<F>,
    rows: &Rows<'py>,
    z: &Any<'py>,
    proposal: Proposal,
) -> PyResult<(Any<'py>, usize)> {
    let z = View::<F>::new(z, "z")?;
    rows.with(None, |source: &dyn Source<F>| {
        let mut out = Output::<F>::new(py, None, &[source.rows()])?;
        let (z, o) = (z.slice(), out.slice());
        let without = enter_long(py, work(&state.model, source.rows(), 1), |interrupt| {
            vae::weigh(&state.model, source, z, proposal, interrupt, o)
        })?;
        Ok((out.done(), without))
    })
}

fn hashes<'py, F: Element>(py: Python<'py>, state: &State<F>, rows: &Rows<'py>) -> PyResult<Any<'py>> {
    rows.with(None, |source: &dyn Source<F>| {
        let mut out = vec![0; source.rows()];
        enter_long(py, source.rows(), |interrupt| vae::hashes(&state.model, source, interrupt, &mut out))?;
        Ok(numpy::PyArray1::from_vec(py, out).into_any())
    })
}
