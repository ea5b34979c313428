//! What a model is made of, and how its rows are scaled.

use super::members::{is_real, learned, members, view_width};
use super::prior::{self, Prior};
use crate::error::{Error, Result};
use crate::likelihood::{Likelihood, check_columns};
use crate::network::panels::strip;
use crate::network::{Activation, Hidden};

/// The shape of a variational autoencoder. The encoder goes from what it sees of the features (and of the condition) through `hidden` to loc and log-variance of the
/// latents, the decoder from the latents through `hidden` reversed to those of the likelihood's params that are not learned for all rows.
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
    /// Whether every hidden layer normalises its rows before the activation.
    pub layer_norm: bool,
    /// Whether a hidden layer whose input and output are of one width adds the former to the latter.
    pub residual: bool,
    /// Numbers of each row's condition, which both networks see beside their input; 0 for none.
    pub condition_width: usize,
    /// p(z).
    pub prior: Prior,
}

impl Config {
    /// More parameters than this are taken for a mistake. A layer's outputs count as the whole strips that training packs them in.
    const MAX_PARAMETERS: usize = 1 << 31;

    /// # Errors
    /// [`Error::Value`] for a width of 0, for more than 2³¹ parameters and for a table whose members have not each column once.
    pub fn check(&self) -> Result<()> {
        let cure = "give a width of at least 1";
        for (argument, width) in [("x", self.num_features), ("latent_dim", self.latent_dim)] {
            if width == 0 {
                return Err(Error::value(argument, "at least 1 column", width, cure));
            }
        }
        if self.hidden.contains(&0) {
            return Err(Error::value("hidden", "widths of at least 1", format!("{:?}", self.hidden), cure));
        }
        if self.prior.num_components() == Some(0) {
            return Err(Error::value("prior_components", "at least 1", 0, "give at least 1"));
        }
        let count = |widths: &[usize]| {
            widths.windows(2).try_fold(0_usize, |sum, w| {
                w[0].checked_add(if self.layer_norm { 3 } else { 1 })?
                    .checked_mul(w[1].checked_next_multiple_of(strip::<f32>())?)?
                    .checked_add(sum)
            })
        };
        let encoder = count(&self.encoder_widths());
        let decoder = count(&self.decoder_widths());
        match encoder
            .zip(decoder)
            .and_then(|(e, d)| e.checked_add(d)?.checked_add(self.num_learned())?.checked_add(prior::num_learned(self)?))
        {
            Some(n) if n <= Self::MAX_PARAMETERS => {}
            _ => {
                return Err(Error::value("hidden", "at most 2³¹ parameters", format!("{:?}", self.hidden), "make layers narrower"));
            }
        }
        if let Likelihood::Columns(members) = &self.likelihood {
            // Before anything of that size is made.
            let listed: usize = members.iter().map(|(columns, _)| columns.len()).sum();
            if listed != self.num_features {
                let got = format!("{listed} for rows of {}", self.num_features);
                return Err(Error::value("members", "each column from 0 on exactly once", got, "give each column to one member"));
            }
            check_columns(members, self.num_features)?;
        }
        Ok(())
    }

    /// Numbers that the model learns for all rows beside its networks: scales "shared" or "per feature".
    pub(super) fn num_learned(&self) -> usize {
        learned(&self.likelihood, self.num_features).iter().fold(0, |sum: usize, (_, count)| sum.saturating_add(*count))
    }

    /// What hidden layers have.
    pub(super) fn hidden_layers(&self) -> Hidden {
        Hidden { layer_norm: self.layer_norm, residual: self.residual }
    }

    pub(crate) fn encoder_widths(&self) -> Vec<usize> {
        let seen = view_width(&self.likelihood, self.num_features).saturating_add(self.condition_width);
        let ends = (seen, self.latent_dim.saturating_mul(2));
        std::iter::once(ends.0).chain(self.hidden.iter().copied()).chain([ends.1]).collect()
    }

    pub(crate) fn decoder_widths(&self) -> Vec<usize> {
        let outputs = self.likelihood.num_params(self.num_features).saturating_sub(self.num_learned());
        let inputs = self.latent_dim.saturating_add(self.condition_width);
        std::iter::once(inputs).chain(self.hidden.iter().rev().copied()).chain([outputs]).collect()
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
    /// finite, and for any scaling of a column whose cells are no real numbers.
    pub fn check(&self, config: &Config) -> Result<()> {
        self.check_numbers(config.num_features)?;
        if self.is_identity() {
            return Ok(());
        }
        for member in members(&config.likelihood, config.num_features).iter().filter(|member| !is_real(member.likelihood)) {
            if member.columns.iter().any(|&column| self.shift[column] != 0.0 || self.scale[column] != 1.0) {
                let expected = format!("columns as they are for {}", member.likelihood.name());
                return Err(Error::value("scaling", expected, "a scaling", "use standardize=False"));
            }
        }
        Ok(())
    }

    /// The same for columns of any real numbers.
    pub(super) fn check_numbers(&self, width: usize) -> Result<()> {
        for column in [&self.shift, &self.scale] {
            if column.len() != width {
                return Err(Error::shape("scaling", width, column.len(), "give one number for each column"));
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
        Ok(())
    }
}
