//! From a row as given to what the model scores (the target) and what its encoder sees (the view).
//!
//! The row, in the model's element type, is scaled in float64: x' = (x − shift) / scale. The target is x', a missing cell staying NaN; the view is x', divided by the
//! total for counts, a missing cell being 0. A finite cell stays finite: what leaves the range becomes the largest number. A density of x' becomes one of x by −Σ ln scale over the observed cells: the row's offset.

use super::config::{Config, Scaling};
use crate::float::Float;
use crate::likelihood::Likelihood;
use crate::reduce::{ordered_sum, ordered_sum_of};
use crate::simd::{Kernel, Simd, dispatch};

#[derive(Clone, Debug)]
pub(crate) struct Intake<F> {
    width: usize,
    /// `None` where rows stay as they are.
    scaling: Option<Scaling>,
    log_scale: Vec<f64>,
    whole: f64,
    divisor: F,
}

impl<F: Float> Intake<F> {
    pub(crate) fn new(config: &Config, scaling: &Scaling) -> Self {
        let log_scale: Vec<f64> = scaling.scale.iter().map(|s| libm::log(*s)).collect();
        let divisor = match config.likelihood {
            Likelihood::Binomial(total) => F::from_f64(f64::from(total)),
            _ => F::ONE,
        };
        Self {
            width: config.num_features,
            scaling: (!scaling.is_identity()).then(|| scaling.clone()),
            whole: ordered_sum(&log_scale),
            log_scale,
            divisor,
        }
    }

    /// Turns rows as given into targets, in place, and writes their views and offsets.
    pub(crate) fn take(&self, x: &mut [F], view: &mut [F], offsets: &mut [f64]) {
        dispatch(Take { intake: self, x, view });
        offsets.fill(0.0);
        if self.scaling.is_some() {
            for (offset, x) in offsets.iter_mut().zip(x.chunks_exact(self.width)) {
                *offset = -self.observed_log_scale(x);
            }
        }
    }

    fn observed_log_scale(&self, x: &[F]) -> f64 {
        let missing = |x: &F| x.to_f64().is_nan();
        if !x.iter().any(missing) {
            return self.whole;
        }
        ordered_sum_of(x.iter().zip(&self.log_scale).map(|(x, &s)| if missing(x) { 0.0 } else { s }))
    }

    /// Turns params for scaled rows, in place, into params for rows as given: loc and, where it is predicted, the log-variance.
    pub(crate) fn give_back(&self, params: &mut [F], num_params: usize) {
        let Some(Scaling { shift, scale }) = &self.scaling else { return };
        for params in params.chunks_exact_mut(num_params) {
            let (loc, log_var) = params.split_at_mut(self.width);
            for (loc, (shift, scale)) in loc.iter_mut().zip(shift.iter().zip(scale)) {
                *loc = F::from_f64(loc.to_f64() * scale + shift);
            }
            for (log_var, log_scale) in log_var.iter_mut().zip(&self.log_scale) {
                *log_var = F::from_f64(log_var.to_f64() + 2.0 * log_scale);
            }
        }
    }
}

struct Take<'a, F> {
    intake: &'a Intake<F>,
    x: &'a mut [F],
    view: &'a mut [F],
}

impl<F: Float> Kernel for Take<'_, F> {
    type Output = ();
    /// Plain loops, which the compiler turns into vectors of the level.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let Self { intake, x, view } = self;
        let largest = F::MAX.to_f64();
        if let Some(Scaling { shift, scale }) = &intake.scaling {
            for x in x.chunks_exact_mut(intake.width) {
                for (x, (shift, scale)) in x.iter_mut().zip(shift.iter().zip(scale)) {
                    let scaled = (x.to_f64() - shift) / scale;
                    *x = F::from_f64(if x.finite() { scaled.clamp(-largest, largest) } else { scaled });
                }
            }
        }
        for (view, &x) in view.iter_mut().zip(&*x) {
            *view = if x.to_f64().is_nan() { F::ZERO } else { x / intake.divisor };
        }
    }
}
