//! What a model is made of, and how its rows are scaled.

use crate::error::{Error, Result};
use crate::likelihood::{Likelihood, Scale};
use crate::network::Activation;
use crate::network::matmul::panel;

/// The shape of a variational autoencoder. The encoder goes from the features through `hidden` to loc and log-variance of the
/// latents, the decoder from the latents through `hidden` reversed to the likelihood's params.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Columns of a row.
    pub num_features: usize,
    /// Latents a row.
    pub latent_dim: usize,
    /// Widths of the encoder's hidden layers; none gives a linear model.
    pub hidden: Vec<usize>,
    /// p(x | z).
    pub likelihood: Likelihood,
    /// Between layers.
    pub activation: Activation,
}

impl Config {
    /// More parameters than this are taken for a mistake. A layer's outputs count as the whole panels that its packed weights fill.
    const MAX_PARAMETERS: usize = 1 << 31;

    /// # Errors
    /// [`Error::Value`] for a width of 0, for more than 2³¹ parameters and for a likelihood that no model is trained with.
    pub fn check(&self) -> Result<()> {
        if !self.is_trained() {
            let got = match self.likelihood.scale() {
                Some(scale) => format!("{} of {scale:?} scale", self.likelihood.name()),
                None => self.likelihood.name().into(),
            };
            let expected = "Gaussian (of given or predicted scale), Bernoulli or Binomial";
            return Err(Error::value("likelihood", expected, got, "use one of them, or elbo with a decoder of your own"));
        }
        let cure = "give a width of at least 1";
        for (argument, width) in [("x", self.num_features), ("latent_dim", self.latent_dim)] {
            if width == 0 {
                return Err(Error::value(argument, "at least 1 column", width, cure));
            }
        }
        if self.hidden.contains(&0) {
            return Err(Error::value("hidden", "widths of at least 1", format!("{:?}", self.hidden), cure));
        }
        let count = |widths: &[usize]| {
            widths.windows(2).try_fold(0_usize, |sum, w| {
                w[0].checked_add(1)?.checked_mul(w[1].checked_next_multiple_of(panel::<f32>())?)?.checked_add(sum)
            })
        };
        let params = self.likelihood.num_params(self.num_features);
        let encoder = count(&self.encoder_widths());
        let decoder = count(&self.decoder_widths(params));
        match encoder.zip(decoder).and_then(|(e, d)| e.checked_add(d)) {
            Some(n) if n <= Self::MAX_PARAMETERS => Ok(()),
            _ => Err(Error::value("hidden", "at most 2³¹ parameters", format!("{:?}", self.hidden), "make layers narrower")),
        }
    }

    /// Whether the encoder has a view of the likelihood's rows, and the decoder makes all of its params.
    fn is_trained(&self) -> bool {
        matches!(
            self.likelihood,
            Likelihood::Gaussian(Scale::Fixed(_) | Scale::ByFeature(_) | Scale::Predicted)
                | Likelihood::Bernoulli
                | Likelihood::Binomial(_)
        )
    }

    pub(crate) fn encoder_widths(&self) -> Vec<usize> {
        let ends = (self.num_features, self.latent_dim.saturating_mul(2));
        std::iter::once(ends.0).chain(self.hidden.iter().copied()).chain([ends.1]).collect()
    }

    pub(crate) fn decoder_widths(&self, num_params: usize) -> Vec<usize> {
        std::iter::once(self.latent_dim).chain(self.hidden.iter().rev().copied()).chain([num_params]).collect()
    }
}

/// How a row is scaled before the model sees it: x' = (x − shift) / scale, column by column.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// What is subtracted.
    pub shift: Vec<f64>,
    /// What it is then divided by.
    pub scale: Vec<f64>,
}

impl Scaling {
    /// Rows as they are.
    #[must_use]
    pub fn identity(num_features: usize) -> Self {
        Self { shift: vec![0.0; num_features], scale: vec![1.0; num_features] }
    }

    /// Whether rows stay as they are.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.shift.iter().all(|&s| s == 0.0) && self.scale.iter().all(|&s| s == 1.0)
    }

    /// # Errors
    /// [`Error::Shape`] for another number of columns; [`Error::Value`] for a shift that is not finite, a scale that is not positive and
    /// finite, and for any scaling of a likelihood of bits or counts.
    pub fn check(&self, config: &Config) -> Result<()> {
        for column in [&self.shift, &self.scale] {
            if column.len() != config.num_features {
                let cure = "give one number for each column";
                return Err(Error::shape("scaling", config.num_features, column.len(), cure));
            }
        }
        let good = |s: f64| s.is_finite() && s > 0.0;
        if let Some(bad) = self.scale.iter().position(|&s| !good(s)) {
            let got = format!("{} for column {bad}", self.scale[bad]);
            return Err(Error::value("scaling", "positive finite scales", got, "leave a constant column unscaled"));
        }
        if let Some(bad) = self.shift.iter().position(|s| !s.is_finite()) {
            let got = format!("{} for column {bad}", self.shift[bad]);
            return Err(Error::value("scaling", "finite shifts", got, "remove what is not finite"));
        }
        if !matches!(config.likelihood, Likelihood::Gaussian(_)) && !self.is_identity() {
            let expected = format!("rows as they are for {}", config.likelihood.name());
            return Err(Error::value("scaling", expected, "a scaling", "use standardize=False"));
        }
        Ok(())
    }
}
