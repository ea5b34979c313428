//! A model: its configuration, its scaling and its parameters.

use super::components::Components;
use super::condition::Condition;
use super::config::{Config, Scaling};
use super::intake::Intake;
use super::members::{as_given, learned, log_factor, members};
use super::params::Assembly;
use super::prior;
use super::prior_path::components;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::likelihood::{Likelihood, Prepared, Scale};
use crate::network::mlp::Extent;
use crate::network::{Mlp, Parameters};
use crate::random::{Draw, Key, fill_uniforms};

/// A variational autoencoder.
#[derive(Clone, Debug)]
pub struct Model<F: Float> {
    config: Config,
    scaling: Scaling,
    pub(super) likelihood: Prepared<F>,
    pub(super) intake: Intake<F>,
    pub(super) condition: Condition,
    pub(super) assembly: Assembly,
    pub(super) encoder: Mlp,
    pub(super) decoder: Mlp,
    pub(super) parameters: Parameters<F>,
    /// Where training holds what is learned for all rows.
    pub(super) least: Vec<F>,
    /// Of a mixture prior, made of the parameters.
    pub(super) components: Option<Components>,
}

/// How far below its start a scale learned for all rows may fall: a millionth of the variance.
const LEAST_SCALE: f64 = 1e-3;

/// A named parameter: a layer's weights (outputs × inputs), its biases (outputs), its norm's gains and shifts (outputs), the scales that a member of the likelihood has for all rows, or the prior's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<'a, F> {
    /// "encoder.0.weight" and so on.
    pub name: String,
    /// One or two dimensions.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: &'a [F],
}

impl<F: Float + Draw> Model<F> {
    /// A model as it stands before training: weights and biases uniform within ±1/√inputs, as `PyTorch`'s `Linear` has them, norms' gains and scales learned for
    /// all rows at 1, norms' shifts at 0.
    ///
    /// Layer l (the encoder's first) is drawn by `key.fold_in(l)`, weights as particle 0 and biases as particle 1, by output. A mixture's locs are N(0, ½²), row k that of component k,
    /// and pseudo-inputs N(0, I), by `fold_in` of the number of layers; variances are ¾ and weights equal.
    ///
    /// # Errors
    /// [`Error::Value`] and [`Error::Shape`] for a configuration or scaling that does not hold together.
    pub fn new(config: Config, scaling: Scaling, key: Key) -> Result<Self> {
        let mut model = Self::zeros(config, scaling)?;
        let (flat, _) = model.parameters.parts_mut();
        for (l, layer) in model.encoder.layers.iter().chain(&model.decoder.layers).enumerate() {
            let bound = F::from_f64(1.0 / (layer.inputs as f64).sqrt());
            let key = key.fold_in(l as u64);
            let (weights, biases) =
                flat[layer.weight..][..(layer.inputs + 1) * layer.outputs].split_at_mut(layer.bias - layer.weight);
            fill_uniforms(key, 0, 0, layer.inputs, weights);
            fill_uniforms(key, 1, 0, 1, biases);
            for x in weights.iter_mut().chain(biases) {
                *x = (*x + *x - F::ONE) * bound;
            }
            if let Some(gain) = layer.norm {
                flat[gain..][..layer.outputs].fill(F::ONE);
            }
        }
        let (at, layers) = (model.prior_at(), model.encoder.layers.len() + model.decoder.layers.len());
        let config = model.config.clone();
        prior::start(&config, key.fold_in(layers as u64), &mut model.parameters.parts_mut().0[at..]);
        model.pack();
        Ok(model)
    }
}

impl<F: Float> Model<F> {
    /// A model whose parameters are all 0.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn zeros(config: Config, scaling: Scaling) -> Result<Self> {
        config.check()?;
        scaling.check(&config)?;
        let likelihood = config.likelihood.prepare::<F>(config.num_features)?;
        let mut extent = Extent::default();
        let mut network = |widths: &[usize]| Mlp::new::<F>(widths, config.activation, config.hidden_layers(), &mut extent);
        let (encoder, decoder) = (network(&config.encoder_widths()), network(&config.decoder_widths()));
        let assembly = Assembly::new(&config, &scaling);
        extent.parameters += assembly.num_learned + prior::num_learned(&config).unwrap_or_default();
        let (intake, parameters) = (Intake::new(&config, &scaling), Parameters::zeros(extent));
        let condition = Condition::new(config.condition_width);
        let mut model = Self {
            config,
            scaling,
            likelihood,
            intake,
            condition,
            assembly,
            encoder,
            decoder,
            parameters,
            least: Vec::new(),
            components: None,
        };
        model.hold_scales();
        model.refresh_prior();
        Ok(model)
    }

    /// What the model is made of.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How its rows are scaled.
    #[must_use]
    pub fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    /// How its rows' conditions are scaled.
    #[must_use]
    pub fn condition_scaling(&self) -> &Scaling {
        self.condition.scaling()
    }

    /// Scales conditions by these numbers from here on; a new model takes them as they are.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of columns; [`Error::Value`] for a shift that is not finite, and for a scale that is not positive and finite.
    pub fn scale_condition(&mut self, scaling: Scaling) -> Result<()> {
        scaling.check_numbers(self.config.condition_width)?;
        self.condition = Condition::scaled(scaling);
        Ok(())
    }

    /// Its likelihood, with tables.
    #[must_use]
    pub fn likelihood(&self) -> &Prepared<F> {
        &self.likelihood
    }

    /// The likelihood of rows as given, for the params of [`decode`](super::decode): scales are in the columns' own units.
    #[must_use]
    pub fn likelihood_as_given(&self) -> Likelihood {
        as_given(&self.config.likelihood, &self.scaling)
    }

    /// Numbers a row of [`decode`](super::decode): those of [`likelihood_as_given`](Self::likelihood_as_given).
    #[must_use]
    pub fn num_params_as_given(&self) -> usize {
        self.assembly.num_given()
    }

    /// Where what is learned for all rows begins in [`parameters`](Self::parameters).
    pub(super) fn learned_at(&self) -> usize {
        self.prior_at() - self.assembly.num_learned
    }

    /// Where the prior's own parameters begin.
    pub(super) fn prior_at(&self) -> usize {
        self.parameters.flat().len() - prior::num_learned(&self.config).unwrap_or_default()
    }

    /// The prior's own parameters.
    pub(super) fn prior_parameters(&self) -> &[F] {
        &self.parameters.flat()[self.prior_at()..]
    }

    /// Makes the prior's components anew, after parameters were changed.
    pub(super) fn refresh_prior(&mut self) {
        self.components = components(self);
    }

    /// Weights, locs (components, latents) and variances, likewise, of the prior; one component of N(0, I).
    #[must_use]
    pub fn prior_parts(&self) -> [Vec<f64>; 3] {
        let standard = || [vec![1.0], vec![0.0; self.config.latent_dim], vec![1.0; self.config.latent_dim]];
        self.components.as_ref().map_or_else(standard, Components::parts)
    }

    /// What is learned for all rows.
    pub(super) fn learned(&self) -> &[F] {
        &self.parameters.flat()[self.learned_at()..self.prior_at()]
    }

    /// Starts the scales that are learned for all rows at `spread`, the standard deviations of the scaled columns; 0 of a column that is constant counts as 1, and
    /// one scale for several columns starts at the root of their mean square. Training then holds each scale at a thousandth of its start or above.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of columns, [`Error::Value`] for a deviation that is negative or not finite.
    pub fn start_scales(&mut self, spread: &[f64]) -> Result<()> {
        let width = self.config.num_features;
        if spread.len() != width {
            return Err(Error::shape("spread", width, spread.len(), "give one number for each column"));
        }
        if let Some(bad) = spread.iter().find(|s| !(s.is_finite() && **s >= 0.0)) {
            return Err(Error::value("spread", "finite deviations not below 0", bad, "give the columns' standard deviations"));
        }
        let ln = |deviation: f64| if deviation == 0.0 { 0.0 } else { libm::log(deviation) };
        let mut starts = Vec::with_capacity(self.assembly.num_learned);
        for member in members(&self.config.likelihood, width) {
            let of = |&column: &usize| spread[column];
            let factor = log_factor(member.likelihood);
            match member.likelihood.scale() {
                Some(Scale::Shared) => {
                    // Over the largest, so that no square leaves the range.
                    let largest = member.columns.iter().map(of).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
                    let squares: f64 = member.columns.iter().map(|c| (of(c) / largest) * (of(c) / largest)).sum();
                    starts.push(factor * ln(largest * (squares / member.width() as f64).sqrt()));
                }
                Some(Scale::PerFeature) => starts.extend(member.columns.iter().map(|c| factor * ln(of(c)))),
                _ => {}
            }
        }
        let at = self.learned_at();
        let (flat, _) = self.parameters.parts_mut();
        for (slot, start) in flat[at..].iter_mut().zip(starts) {
            *slot = F::from_f64(start);
        }
        self.hold_scales();
        Ok(())
    }

    /// Holds the learned scales at a thousandth of what they are: where a column is constant, or the latents tell it without error, the likelihood has no largest
    /// value in the scale.
    fn hold_scales(&mut self) {
        let width = self.config.num_features;
        let factors = members(&self.config.likelihood, width).into_iter().flat_map(|member| {
            let count: usize = learned(member.likelihood, member.width()).iter().map(|(_, count)| count).sum();
            std::iter::repeat_n(log_factor(member.likelihood), count)
        });
        let least = factors.zip(self.learned()).map(|(factor, x)| F::from_f64(x.to_f64() + factor * libm::log(LEAST_SCALE)));
        self.least = least.collect();
    }

    /// All parameters in the order of [`named`](Self::named).
    #[must_use]
    pub fn parameters(&self) -> &[F] {
        self.parameters.flat()
    }

    /// Replaces all parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of them, [`Error::NonFinite`] for one that is not finite.
    pub fn set_parameters(&mut self, values: &[F]) -> Result<()> {
        let (flat, _) = self.parameters.parts_mut();
        if values.len() != flat.len() {
            return Err(Error::shape("parameters", flat.len(), values.len(), "take them from a model of this configuration"));
        }
        crate::rows::check_finite("parameters", values, values.len())?;
        flat.copy_from_slice(values);
        let at = self.learned_at();
        // A scale that is below its least already stays where it is.
        for (least, x) in self.least.iter_mut().zip(&values[at..]) {
            *least = if *x < *least { *x } else { *least };
        }
        self.pack();
        Ok(())
    }

    /// Every parameter with its name, in the order in which they lie in [`parameters`](Self::parameters).
    #[must_use]
    pub fn named(&self) -> Vec<Named<'_, F>> {
        let mut rest = self.parameters.flat();
        let named = Self::shapes(&self.config).into_iter().map(|(name, shape)| {
            let (values, after) = rest.split_at(shape.iter().product());
            rest = after;
            Named { name, shape, values }
        });
        named.collect()
    }

    /// Names and shapes of [`named`](Self::named) for a configuration that has been checked, before any memory is taken.
    pub(super) fn shapes(config: &Config) -> Vec<(String, Vec<usize>)> {
        let network = |name: &'static str, widths: Vec<usize>| {
            let layers = widths.windows(2).map(|w| [w[0], w[1]]).enumerate().collect::<Vec<_>>();
            let last = layers.len() - 1;
            layers.into_iter().flat_map(move |(l, [inputs, outputs])| {
                let weight = (format!("{name}.{l}.weight"), vec![outputs, inputs]);
                let norm = if config.layer_norm && l < last { &["norm.weight", "norm.bias"][..] } else { &[] };
                let vectors = ["bias"].iter().chain(norm).map(move |kind| (format!("{name}.{l}.{kind}"), vec![outputs]));
                std::iter::once(weight).chain(vectors)
            })
        };
        let learned = learned(&config.likelihood, config.num_features).into_iter().map(|(name, count)| (name, vec![count]));
        network("encoder", config.encoder_widths())
            .chain(network("decoder", config.decoder_widths()))
            .chain(learned)
            .chain(prior::shapes(config))
            .collect()
    }

    fn pack(&mut self) {
        self.parameters.pack(&[&self.encoder, &self.decoder]);
        self.refresh_prior();
    }
}
