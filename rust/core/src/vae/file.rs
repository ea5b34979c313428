//! Models as bytes: safetensors, with the configuration in the header's metadata.
//!
//! The metadata holds one key, `elbokit`: JSON with `format` (1), `dtype`, `num_features`, `latent_dim`, `hidden`, `activation`, `prior` and `likelihood`,
//! `layer_norm` and `residual` where they are true, `condition_width` where it is not 0, and `prior_components` of a prior that is a mixture.
//! The tensors are the parameters by name, in the model's dtype, and `scaling.shift` and `scaling.scale` in float64; of a conditional model `condition.shift` and
//! `condition.scale` too. Scales `"shared"` and `"per_feature"` are parameters too: `decoder.log_var` of a
//! Gaussian, `decoder.log_scale` of other kinds, of member i of a table `decoder.members.i.log_var` or `.log_scale`, for rows as scaled. The same model gives the same bytes. On
//! the way in, shapes are those of the tensors and must match the configuration, whose numbers alone make nothing larger; an unknown version, key, tensor or dtype
//! is an [`Error::ModelFile`].
//!
//! ```
//! use elbokit_core::likelihood::Likelihood;
//! use elbokit_core::network::Activation;
//! use elbokit_core::random::Key;
//! use elbokit_core::vae::{AnyModel, Config, Model, Prior, Scaling, from_bytes, to_bytes};
//!
//! let likelihood = Likelihood::Bernoulli;
//! let config = Config { num_features: 4, latent_dim: 1, hidden: vec![8], likelihood, activation: Activation::Relu, layer_norm: false, residual: false, condition_width: 0, prior: Prior::Standard };
//! let model = Model::<f32>::new(config, Scaling::identity(4), Key(0))?;
//! let AnyModel::F32(again) = from_bytes(&to_bytes(&model)?)? else { unreachable!() };
//! assert_eq!(again.parameters(), model.parameters());
//! # Ok::<(), elbokit_core::Error>(())
//! ```

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value, json};

use super::config::{Config, Scaling};
use super::model::Model;
use super::prior::Prior;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::likelihood::{Likelihood, Scale};
use crate::network::Activation;

const FORMAT: u64 = 1;
const KEY: &str = "elbokit";
const LAYER_NORM: &str = "layer_norm";
const RESIDUAL: &str = "residual";
const PRIOR_COMPONENTS: &str = "prior_components";
const CONDITION_WIDTH: &str = "condition_width";
/// Shift and scale of the features, then of the condition.
const SCALINGS: [[&str; 2]; 2] = [["scaling.shift", "scaling.scale"], ["condition.shift", "condition.scale"]];
const CURE: &str = "give a file that elbokit saved, and has not been changed since";

/// A model of either element type.
#[derive(Clone, Debug)]
pub enum AnyModel {
    /// Of float32.
    F32(Model<f32>),
    /// Of float64.
    F64(Model<f64>),
}

/// The model as the bytes of a safetensors file.
///
/// # Errors
/// [`Error::Value`] for a parameter that is not finite, which no reader would take; [`Error::ModelFile`] where safetensors refuses, for which there
/// is no known case.
pub fn to_bytes<F: Float>(model: &Model<F>) -> Result<Vec<u8>> {
    let (config, scaling) = (model.config(), model.scaling());
    let mut header = json!({
        "format": FORMAT,
        "dtype": dtype_name::<F>(),
        "num_features": config.num_features,
        "latent_dim": config.latent_dim,
        "hidden": config.hidden,
        "activation": config.activation.name(),
        "prior": config.prior.name(),
        "likelihood": describe(&config.likelihood),
    });
    for (key, on) in [(LAYER_NORM, config.layer_norm), (RESIDUAL, config.residual)] {
        if on {
            header[key] = json!(true);
        }
    }
    if config.condition_width > 0 {
        header[CONDITION_WIDTH] = json!(config.condition_width);
    }
    if let Some(count) = config.prior.num_components() {
        header[PRIOR_COMPONENTS] = json!(count);
    }
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for named in model.named() {
        if let Some(bad) = named.values.iter().find(|x| !x.finite()) {
            let got = format!("{bad} in {}", named.name);
            return Err(Error::value("parameters", "finite numbers", got, "train again with a smaller learning_rate"));
        }
        tensors.push((named.name, dtype::<F>(), named.shape, bytes_of(named.values)));
    }
    for ([shift, scale], scaling) in scalings(config).iter().zip([scaling, model.condition_scaling()]) {
        for (name, values) in [(shift, &scaling.shift), (scale, &scaling.scale)] {
            tensors.push(((*name).into(), Dtype::F64, vec![values.len()], bytes_of(values)));
        }
    }
    let refused = |error: safetensors::SafeTensorError| Error::model_file("a model that can be written", error, "report this");
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(refused)?)));
    let views: Vec<(&str, TensorView)> = views.collect::<Result<_>>()?;
    let metadata = HashMap::from([(KEY.to_owned(), header.to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(refused)
}

/// The model in the bytes of a file that [`to_bytes`] made.
///
/// # Errors
/// [`Error::ModelFile`] for anything else.
pub fn from_bytes(bytes: &[u8]) -> Result<AnyModel> {
    let broken = |error| Error::model_file("a whole safetensors file", error, CURE);
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let Some(header) = header else {
        return Err(Error::model_file(format!("metadata under {KEY:?}"), "none", CURE));
    };
    let header = serde_json::from_str(header).map_err(|error| Error::model_file("metadata in JSON", error, CURE))?;
    let header = Header::read(header)?;
    if header.dtype == dtype_name::<f32>() {
        return Ok(AnyModel::F32(fill(header.config, &tensors)?));
    }
    if header.dtype == dtype_name::<f64>() {
        return Ok(AnyModel::F64(fill(header.config, &tensors)?));
    }
    Err(Error::model_file("dtype float32 or float64", header.dtype, CURE))
}

/// Makes a model from its tensors, once they are known to be those that the configuration asks for.
fn fill<F: Float>(config: Config, tensors: &SafeTensors) -> Result<Model<F>> {
    let unsound = |error: Error| Error::model_file("a configuration that holds together", error, CURE);
    config.check().map_err(unsound)?;
    let shapes = Model::<F>::shapes(&config);
    for name in tensors.names() {
        if !scalings(&config).as_flattened().contains(&name) && !shapes.iter().any(|(known, _)| known == name) {
            return Err(Error::model_file("the tensors of the configuration alone", format!("{name:?} besides"), CURE));
        }
    }
    let mut parameters = Vec::new();
    for (name, shape) in &shapes {
        parameters.extend(numbers::<F>(tensors, name, shape)?);
    }
    let scaling = |[shift, scale]: [&str; 2], width: usize| {
        Ok(Scaling { shift: numbers(tensors, shift, &[width])?, scale: numbers(tensors, scale, &[width])? })
    };
    let of_features = scaling(SCALINGS[0], config.num_features)?;
    let of_condition = scalings(&config).get(1).map(|names| scaling(*names, config.condition_width)).transpose()?;
    let mut model = Model::zeros(config, of_features).map_err(unsound)?;
    if let Some(scaling) = of_condition {
        model.scale_condition(scaling).map_err(unsound)?;
    }
    model.set_parameters(&parameters).map_err(|error| Error::model_file("finite parameters", error, CURE))?;
    Ok(model)
}

/// Names of the scalings that a configuration has.
fn scalings(config: &Config) -> &'static [[&'static str; 2]] {
    &SCALINGS[..if config.condition_width > 0 { 2 } else { 1 }]
}

fn numbers<F: Float>(tensors: &SafeTensors, name: &str, shape: &[usize]) -> Result<Vec<F>> {
    let wanted = || format!("tensor {name:?} of {} {shape:?}", dtype_name::<F>());
    let tensor = tensors.tensor(name).map_err(|_| Error::model_file(wanted(), "none", CURE))?;
    if tensor.dtype() != dtype::<F>() || tensor.shape() != shape {
        return Err(Error::model_file(wanted(), format!("{:?} {:?}", tensor.dtype(), tensor.shape()), CURE));
    }
    Ok(from_le_bytes(tensor.data()))
}

/// The header's fields, all of them known.
struct Header {
    dtype: String,
    config: Config,
}

impl Header {
    fn read(header: Value) -> Result<Self> {
        let mut fields = Fields::new("metadata", header)?;
        // The version comes first: a later format may have other keys.
        let format = fields.take("format", Value::as_u64)?;
        if format != FORMAT {
            return Err(Error::model_file(format!("format {FORMAT}"), format!("format {format}"), "update elbokit"));
        }
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let width = |v: &Value| usize::try_from(v.as_u64()?).ok();
        let widths = |v: &Value| v.as_array()?.iter().map(width).collect::<Option<Vec<_>>>();
        let dtype = fields.take("dtype", text)?;
        let num_features = fields.take("num_features", width)?;
        let latent_dim = fields.take("latent_dim", width)?;
        let hidden = fields.take("hidden", widths)?;
        let activation = fields.take("activation", |v| Activation::from_name(v.as_str()?))?;
        let count = if fields.has(PRIOR_COMPONENTS) { Some(fields.take(PRIOR_COMPONENTS, width)?) } else { None };
        let prior = fields.take("prior", |v| {
            // Components are told of a mixture, and of nothing else.
            Prior::from_name(v.as_str()?, count.unwrap_or_default()).filter(|prior| prior.num_components() == count)
        })?;
        let likelihood = understand(fields.take("likelihood", |v| Some(v.clone()))?)?;
        let layer_norm = fields.take_on(LAYER_NORM)?;
        let residual = fields.take_on(RESIDUAL)?;
        let condition_width =
            if fields.has(CONDITION_WIDTH) { fields.take(CONDITION_WIDTH, |v| width(v).filter(|w| *w > 0))? } else { 0 };
        fields.end()?;
        let config =
            Config { num_features, latent_dim, hidden, likelihood, activation, layer_norm, residual, condition_width, prior };
        Ok(Self { dtype, config })
    }
}

fn describe(likelihood: &Likelihood) -> Value {
    let name = likelihood.name();
    match likelihood {
        Likelihood::Gaussian(scale) | Likelihood::Laplace(scale) => json!({ "name": name, "scale": describe_scale(scale) }),
        Likelihood::StudentT(df, scale) => json!({ "name": name, "df": df, "scale": describe_scale(scale) }),
        Likelihood::Binomial(total) => json!({ "name": name, "total_count": total }),
        Likelihood::Categorical(classes) => json!({ "name": name, "num_classes": classes }),
        Likelihood::Columns(members) => {
            let member = |(columns, member): &_| json!({ "columns": columns, "likelihood": describe(member) });
            json!({ "name": name, "members": members.iter().map(member).collect::<Vec<_>>() })
        }
        Likelihood::Bernoulli
        | Likelihood::ContinuousBernoulli
        | Likelihood::Poisson
        | Likelihood::NegativeBinomial
        | Likelihood::ZeroInflatedNegativeBinomial => json!({ "name": name }),
    }
}

fn describe_scale(scale: &Scale) -> Value {
    match scale {
        Scale::Fixed(scale) => json!(scale),
        Scale::ByFeature(scales) => json!(scales),
        Scale::Shared => json!("shared"),
        Scale::PerFeature => json!("per_feature"),
        Scale::Predicted => json!("predicted"),
    }
}

fn understand(value: Value) -> Result<Likelihood> {
    let mut fields = Fields::new("likelihood", value)?;
    let name = fields.take("name", |v| v.as_str().map(str::to_owned))?;
    let scale = |v: &Value| match v {
        Value::Number(scale) => scale.as_f64().map(Scale::Fixed),
        Value::Array(scales) => scales.iter().map(Value::as_f64).collect::<Option<_>>().map(Scale::ByFeature),
        other => match other.as_str()? {
            "shared" => Some(Scale::Shared),
            "per_feature" => Some(Scale::PerFeature),
            "predicted" => Some(Scale::Predicted),
            _ => None,
        },
    };
    let count = |v: &Value| u32::try_from(v.as_u64()?).ok();
    let likelihood = match name.as_str() {
        "Gaussian" => Likelihood::Gaussian(fields.take("scale", scale)?),
        "Laplace" => Likelihood::Laplace(fields.take("scale", scale)?),
        "StudentT" => Likelihood::StudentT(fields.take("df", Value::as_f64)?, fields.take("scale", scale)?),
        "Bernoulli" => Likelihood::Bernoulli,
        "ContinuousBernoulli" => Likelihood::ContinuousBernoulli,
        "Binomial" => Likelihood::Binomial(fields.take("total_count", count)?),
        "Categorical" => Likelihood::Categorical(fields.take("num_classes", count)?),
        "Poisson" => Likelihood::Poisson,
        "NegativeBinomial" => Likelihood::NegativeBinomial,
        "ZeroInflatedNegativeBinomial" => Likelihood::ZeroInflatedNegativeBinomial,
        "Columns" => {
            let members = fields.take("members", |v| v.as_array().cloned())?;
            Likelihood::Columns(members.into_iter().map(understand_member).collect::<Result<_>>()?)
        }
        _ => return Err(Error::model_file("a known likelihood", format!("{name:?}"), "update elbokit")),
    };
    fields.end()?;
    Ok(likelihood)
}

fn understand_member(value: Value) -> Result<(Vec<usize>, Likelihood)> {
    let mut fields = Fields::new("member", value)?;
    let column = |v: &Value| usize::try_from(v.as_u64()?).ok();
    let columns = fields.take("columns", |v| v.as_array()?.iter().map(column).collect::<Option<Vec<_>>>())?;
    let likelihood = understand(fields.take("likelihood", |v| Some(v.clone()))?)?;
    fields.end()?;
    Ok((columns, likelihood))
}

/// The fields of a JSON object, each to be taken once.
struct Fields {
    of: &'static str,
    rest: Map<String, Value>,
}

impl Fields {
    fn new(of: &'static str, value: Value) -> Result<Self> {
        match value {
            Value::Object(rest) => Ok(Self { of, rest }),
            other => Err(Error::model_file(format!("{of} as a JSON object"), other, CURE)),
        }
    }

    fn take<T>(&mut self, key: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let wanted = format!("a known {key:?} in {}", self.of);
        match self.rest.remove(key) {
            Some(value) => read(&value).ok_or_else(|| Error::model_file(wanted, value, CURE)),
            None => Err(Error::model_file(wanted, "none", CURE)),
        }
    }

    fn has(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    /// Whether a key that stands only for true is there.
    fn take_on(&mut self, key: &str) -> Result<bool> {
        if !self.has(key) {
            return Ok(false);
        }
        self.take(key, |v| (v == &Value::Bool(true)).then_some(true))
    }

    fn end(self) -> Result<()> {
        match self.rest.keys().next() {
            Some(key) => Err(Error::model_file(format!("known keys alone in {}", self.of), format!("{key:?}"), "update elbokit")),
            None => Ok(()),
        }
    }
}

fn dtype<F: Float>() -> Dtype {
    if size_of::<F>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

fn dtype_name<F: Float>() -> &'static str {
    if size_of::<F>() == 4 { "float32" } else { "float64" }
}

fn bytes_of<F: Float>(values: &[F]) -> Vec<u8> {
    let values = values.iter().map(|x| x.to_f64());
    if size_of::<F>() == 4 {
        values.flat_map(|x| (x as f32).to_le_bytes()).collect()
    } else {
        values.flat_map(f64::to_le_bytes).collect()
    }
}

fn from_le_bytes<F: Float>(bytes: &[u8]) -> Vec<F> {
    if size_of::<F>() == 4 {
        bytes.as_chunks().0.iter().map(|b| F::from_f64(f64::from(f32::from_le_bytes(*b)))).collect()
    } else {
        bytes.as_chunks().0.iter().map(|b| F::from_f64(f64::from_le_bytes(*b))).collect()
    }
}
