//! A model: its configuration, its scaling and its parameters.

use super::config::{Config, Scaling};
use super::intake::Intake;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::likelihood::Prepared;
use crate::network::mlp::Extent;
use crate::network::{Mlp, Parameters};
use crate::random::{Draw, Key, fill_uniforms};

/// A variational autoencoder with prior N(0, I).
#[derive(Clone, Debug)]
pub struct Model<F: Float> {
    config: Config,
    scaling: Scaling,
    pub(super) likelihood: Prepared<F>,
    pub(super) intake: Intake<F>,
    pub(super) encoder: Mlp,
    pub(super) decoder: Mlp,
    pub(super) parameters: Parameters<F>,
}

/// A named parameter: a layer's weights (outputs × inputs) or its biases (outputs).
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
    /// A model as it stands before training: weights and biases uniform within ±1/√inputs, as `PyTorch`'s `Linear` has them.
    ///
    /// Layer l (the encoder's first) is drawn by `key.fold_in(l)`, weights as particle 0 and biases as particle 1, by output.
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
        }
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
        let encoder = Mlp::new::<F>(&config.encoder_widths(), config.activation, &mut extent);
        let decoder = Mlp::new::<F>(&config.decoder_widths(likelihood.num_params()), config.activation, &mut extent);
        let intake = Intake::new(&config, &scaling);
        Ok(Self { config, scaling, likelihood, intake, encoder, decoder, parameters: Parameters::zeros(extent) })
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

    /// Its likelihood, with tables.
    #[must_use]
    pub fn likelihood(&self) -> &Prepared<F> {
        &self.likelihood
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
            layers.into_iter().flat_map(move |(l, [inputs, outputs])| {
                let weight = (format!("{name}.{l}.weight"), vec![outputs, inputs]);
                [weight, (format!("{name}.{l}.bias"), vec![outputs])]
            })
        };
        let num_params = config.likelihood.num_params(config.num_features);
        network("encoder", config.encoder_widths()).chain(network("decoder", config.decoder_widths(num_params))).collect()
    }

    fn pack(&mut self) {
        self.parameters.pack(&[&self.encoder, &self.decoder]);
    }
}
