//! The condition c of a conditional model p(x | z, c) p(z): numbers beside a row that both networks see (Sohn, Lee and Yan 2015).
//!
//! Scaled as real columns are, c' = (c − shift) / scale, it stands behind a row's view in the encoder's input and behind z in the decoder's. The prior does not depend on it, and
//! nothing has a density in it: it must be finite, and no offset comes of its scaling.

use super::config::{Config, Scaling};
use super::source::Source;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::check_finite;

/// How a model takes its rows' conditions.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// Numbers a row.
    pub(super) width: usize,
    scaling: Scaling,
}

impl Condition {
    /// Conditions as they are.
    pub(super) fn new(width: usize) -> Self {
        Self { width, scaling: Scaling::identity(width) }
    }

    pub(super) fn scaled(scaling: Scaling) -> Self {
        Self { width: scaling.scale.len(), scaling }
    }

    pub(super) fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    /// Scales conditions as given, in place; a finite number stays finite.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the first number that is not finite.
    pub(super) fn take<F: Float>(&self, c: &mut [F]) -> Result<()> {
        if self.width == 0 {
            return Ok(());
        }
        check_finite("condition", c, self.width)?;
        let largest = F::MAX.to_f64();
        for c in c.chunks_exact_mut(self.width) {
            for (c, (shift, scale)) in c.iter_mut().zip(self.scaling.shift.iter().zip(&self.scaling.scale)) {
                *c = F::from_f64(((c.to_f64() - shift) / scale).clamp(-largest, largest));
            }
        }
        Ok(())
    }
}

/// Writes lines of a network's input: a line of `front`, which has `width` numbers, then the line's condition.
pub(super) fn append<'c, F: Float>(front: &[F], width: usize, conditions: impl Iterator<Item = &'c [F]>, out: &mut [F]) {
    let mut rest = out;
    for (front, condition) in front.chunks_exact(width).zip(conditions) {
        let (line, after) = rest.split_at_mut(width + condition.len());
        line[..width].copy_from_slice(front);
        line[width..].copy_from_slice(condition);
        rest = after;
    }
}

/// Refuses rows of another width than the model's, or with another condition.
pub(super) fn check_widths<F>(config: &Config, source: &dyn Source<F>) -> Result<()> {
    let (width, got) = (config.num_features, source.width());
    if got != width {
        return Err(Error::shape("x", format!("{width} columns"), got, "give the columns of the model"));
    }
    check_condition(config, source.condition_width())
}

/// Refuses a condition of `got` columns where the model has another one, or none.
pub(super) fn check_condition(config: &Config, got: usize) -> Result<()> {
    let columns = |count: usize| if count == 0 { "none".to_owned() } else { format!("{count} columns") };
    let wanted = config.condition_width;
    if wanted == got {
        return Ok(());
    }
    let cure = match (wanted, got) {
        (0, _) => "leave it out: the model was made without one",
        (_, 0) => "give each row's condition, as in the fit",
        _ => "give the columns of the fit",
    };
    Err(Error::shape("condition", columns(wanted), columns(got), cure))
}
