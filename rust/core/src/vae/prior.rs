//! Which p(z) a model has, and what of it is learned.
//!
//! A mixture of K Gaussians with diagonal covariances has loc, log-variance and the logits of its weights as parameters. `VampPrior` (Tomczak and Welling 2018, eq. 9) is the mixture
//! 1/K Σ q(z | uₖ) of the encoder's posteriors at K learned pseudo-inputs uₖ, each as wide as what the encoder sees of a row (its condition included).

use super::config::Config;
use super::model::Model;
use super::source::Source;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::{Draw, Key, fill_normals, fill_uniforms};
use crate::rows::check_len;

/// p(z).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prior {
    /// N(0, I).
    #[default]
    Standard,
    /// A learned mixture of so many Gaussians.
    Mixture(usize),
    /// The mixture of the posteriors at so many learned pseudo-inputs.
    Vamp(usize),
}

impl Prior {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Mixture(_) => "mixture",
            Self::Vamp(_) => "vamp",
        }
    }

    /// Components of a mixture; `None` of N(0, I).
    #[must_use]
    pub fn num_components(self) -> Option<usize> {
        match self {
            Self::Standard => None,
            Self::Mixture(count) | Self::Vamp(count) => Some(count),
        }
    }

    /// The prior of a name, with so many components where it has any.
    #[must_use]
    pub fn from_name(name: &str, num_components: usize) -> Option<Self> {
        [Self::Standard, Self::Mixture(num_components), Self::Vamp(num_components)].into_iter().find(|prior| prior.name() == name)
    }
}

/// Names and shapes of what a prior learns.
pub(super) fn shapes(config: &Config) -> Vec<(String, Vec<usize>)> {
    let named = |name: &str, shape: &[usize]| (format!("prior.{name}"), shape.to_vec());
    let latent_dim = config.latent_dim;
    match config.prior {
        Prior::Standard => Vec::new(),
        Prior::Mixture(k) => vec![named("loc", &[k, latent_dim]), named("log_var", &[k, latent_dim]), named("logits", &[k])],
        Prior::Vamp(k) => vec![named("pseudo_inputs", &[k, config.encoder_widths()[0]])],
    }
}

/// How many numbers that is; `None` past counting.
pub(super) fn num_learned(config: &Config) -> Option<usize> {
    match config.prior {
        Prior::Standard => Some(0),
        Prior::Mixture(k) => k.checked_mul(config.latent_dim.checked_mul(2)?.checked_add(1)?),
        Prior::Vamp(k) => k.checked_mul(config.encoder_widths()[0]),
    }
}

/// How far a mixture's components lie apart at the start, a standard deviation: with variances 1 − 0.5² the whole has mean 0 and covariance I, near the first posteriors, and no
/// component is so far from them that it gets no share.
const APART: f64 = 0.5;

/// Fills in the start: a mixture's components around 0, or pseudo-inputs drawn from N(0, I), which [`Model::start_prior`] replaces by rows.
pub(super) fn start<F: Float + Draw>(config: &Config, key: Key, out: &mut [F]) {
    match config.prior {
        Prior::Standard => {}
        Prior::Mixture(k) => {
            let (loc, rest) = out.split_at_mut(k * config.latent_dim);
            let (log_var, logits) = rest.split_at_mut(loc.len());
            fill_normals(key, 0, 0, config.latent_dim, loc);
            for x in loc {
                *x *= F::from_f64(APART);
            }
            log_var.fill(F::from_f64(libm::log(1.0 - APART * APART)));
            logits.fill(F::ZERO);
        }
        Prior::Vamp(_) => fill_normals(key, 0, 0, config.encoder_widths()[0], out),
    }
}

impl<F: Float + Draw> Model<F> {
    /// Starts the pseudo-inputs of a [`Prior::Vamp`] at these rows of `source` as the encoder sees them, one each; other priors stay as they are.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of rows than of pseudo-inputs and for rows of another width; [`Error::NonFinite`] for a condition that is not finite and a row whose view
    /// is not.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn start_prior(&mut self, source: &dyn Source<F>, rows: &[u32]) -> Result<()> {
        let Prior::Vamp(count) = self.config().prior else { return Ok(()) };
        super::condition::check_widths(self.config(), source)?;
        if rows.len() != count {
            return Err(Error::shape("rows", format!("{count} pseudo-inputs"), rows.len(), "give one row for each"));
        }
        let mut x = vec![F::ZERO; count * source.width()];
        let mut conditions = vec![F::ZERO; count * source.condition_width()];
        for (i, &row) in rows.iter().enumerate() {
            source.copy_row(row as usize, &mut x[i * source.width()..][..source.width()]);
            let beside = source.condition_width();
            source.copy_condition(row as usize, &mut conditions[i * beside..][..beside]);
        }
        self.condition.take(&mut conditions)?;
        let mut views = vec![F::ZERO; count * self.intake.view_width];
        self.intake.take(&mut x, &conditions, &mut views, &mut vec![0.0; count]);
        crate::rows::check_finite("x", &views, self.intake.view_width)?;
        let at = self.prior_at();
        self.parameters.parts_mut().0[at..].copy_from_slice(&views);
        self.refresh_prior();
        Ok(())
    }
}

/// Rows drawn from the prior, row i a function of the key and of `first_row` + i: of a mixture, uniform i of the key chooses the component, and row i of its normals is ε.
///
/// # Errors
/// [`Error::Shape`].
pub fn sample_prior<F: Float + Draw>(model: &Model<F>, key: Key, first_row: u64, z: &mut [F]) -> Result<()> {
    let width = model.config().latent_dim;
    let rows = z.len() / width;
    check_len("z", z, rows, width)?;
    fill_normals(key, 0, first_row, width, z);
    let Some(components) = &model.components else { return Ok(()) };
    let mut uniforms = vec![0.0_f64; rows];
    fill_uniforms(key, 0, first_row, 1, &mut uniforms);
    for (z, uniform) in z.chunks_exact_mut(width).zip(uniforms) {
        components.place(uniform, z);
    }
    Ok(())
}
