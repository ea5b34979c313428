//! From a row as given to what the model scores (the target) and what its encoder sees (the view).
//!
//! The row, in the model's element type, is scaled in float64: x' = (x − shift) / scale. The target is x', a missing cell staying NaN. The view is, member after member of a
//! table: x'; x over its total for binomial counts; ln(1 + x) for counts without a largest one; one number a class for codes, 1 for the class seen and else 0. Of a missing cell it is
//! 0. A finite cell stays finite: what leaves the range becomes the largest number. A density of x' becomes one of x by −Σ ln scale over the observed cells: the row's offset.

use super::config::{Config, Scaling};
use super::members::{members, view_width};
use crate::float::Float;
use crate::likelihood::Likelihood;
use crate::network::lanewise;
use crate::reduce::{ordered_sum, ordered_sum_of};
use crate::simd::{Kernel, Simd, dispatch};
use crate::vmath::ln_1p;

#[derive(Clone, Debug)]
pub(crate) struct Intake<F> {
    width: usize,
    /// Numbers a row of the encoder's input: the view, and behind it the condition.
    pub(super) view_width: usize,
    condition_width: usize,
    /// `None` where rows stay as they are.
    scaling: Option<Scaling>,
    log_scale: Vec<f64>,
    whole: f64,
    parts: Vec<Part<F>>,
}

/// A member's part of the view.
#[derive(Clone, Debug)]
struct Part<F> {
    columns: Vec<usize>,
    /// Where it begins.
    first: usize,
    sight: Sight<F>,
}

/// What is seen of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sight<F> {
    /// The cell over a number.
    Over(F),
    /// ln(1 + x).
    Log,
    /// One number a class.
    Classes(usize),
}

impl<F: Float> Intake<F> {
    pub(crate) fn new(config: &Config, scaling: &Scaling) -> Self {
        let log_scale: Vec<f64> = scaling.scale.iter().map(|s| libm::log(*s)).collect();
        let mut first = 0;
        let parts = members(&config.likelihood, config.num_features).into_iter().map(|member| {
            let sight = match member.likelihood {
                Likelihood::Binomial(total) => Sight::Over(F::from_f64(f64::from(*total))),
                Likelihood::Categorical(classes) => Sight::Classes(*classes as usize),
                Likelihood::Poisson | Likelihood::NegativeBinomial | Likelihood::ZeroInflatedNegativeBinomial => Sight::Log,
                _ => Sight::Over(F::ONE),
            };
            let here = first;
            first += view_width(member.likelihood, member.width());
            Part { columns: member.columns, first: here, sight }
        });
        Self {
            width: config.num_features,
            parts: parts.collect(),
            view_width: view_width(&config.likelihood, config.num_features) + config.condition_width,
            condition_width: config.condition_width,
            scaling: (!scaling.is_identity()).then(|| scaling.clone()),
            whole: ordered_sum(&log_scale),
            log_scale,
        }
    }

    /// Turns rows as given into targets, in place, and writes their views, each with its row's condition (as scaled) behind it, and offsets.
    pub(crate) fn take(&self, x: &mut [F], condition: &[F], view: &mut [F], offsets: &mut [f64]) {
        dispatch(Take { intake: self, x, view: &mut *view });
        if self.condition_width > 0 {
            let seen = self.view_width - self.condition_width;
            for (view, condition) in view.chunks_exact_mut(self.view_width).zip(condition.chunks_exact(self.condition_width)) {
                view[seen..].copy_from_slice(condition);
            }
        }
        offsets.fill(0.0);
        if self.scaling.is_some() {
            for (offset, x) in offsets.iter_mut().zip(x.chunks_exact(self.width)) {
                *offset = -self.observed_log_scale(x);
            }
        }
    }

    fn observed_log_scale(&self, x: &[F]) -> f64 {
        if !x.iter().any(missing) {
            return self.whole;
        }
        ordered_sum_of(x.iter().zip(&self.log_scale).map(|(x, &s)| if missing(x) { 0.0 } else { s }))
    }

    /// What a log density of the scaled cells in column `column` lacks to one of cells as given.
    pub(super) fn offset(&self, column: usize) -> f64 {
        -self.log_scale[column]
    }

    /// A number of column `column` of scaled rows in the column's own units.
    pub(super) fn unscaled(&self, column: usize, x: f64) -> F {
        match &self.scaling {
            Some(Scaling { shift, scale }) => F::from_f64(x * scale[column] + shift[column]),
            None => F::from_f64(x),
        }
    }
}

fn missing<F: Float>(x: &F) -> bool {
    x.to_f64().is_nan()
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
    fn run<S: Simd>(self, simd: S) {
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
        if let [Part { sight, .. }] = intake.parts.as_slice()
            && !matches!(sight, Sight::Classes(_))
            && intake.condition_width == 0
        {
            return see(simd, *sight, x.iter(), view);
        }
        for (x, view) in x.chunks_exact(intake.width).zip(view.chunks_exact_mut(intake.view_width)) {
            for part in &intake.parts {
                let view = &mut view[part.first..];
                let cells = part.columns.iter().map(|&column| &x[column]);
                match part.sight {
                    Sight::Classes(classes) => {
                        for (x, view) in cells.zip(view.chunks_exact_mut(classes)) {
                            view.fill(F::ZERO);
                            // What is no class is refused by the likelihood.
                            if let Some(seen) = view.get_mut(x.to_f64() as usize)
                                && !missing(x)
                            {
                                *seen = F::ONE;
                            }
                        }
                    }
                    sight => see(simd, sight, cells, &mut view[..part.columns.len()]),
                }
            }
        }
    }
}

/// The view of cells that are one number each.
#[inline(always)]
fn see<'a, F: Float, S: Simd>(simd: S, sight: Sight<F>, x: impl Iterator<Item = &'a F>, view: &mut [F]) {
    let divisor = if let Sight::Over(divisor) = sight { divisor } else { F::ONE };
    for (view, x) in view.iter_mut().zip(x) {
        *view = if missing(x) { F::ZERO } else { *x / divisor };
    }
    if sight == Sight::Log {
        lanewise::<F, S, 0, 1>(
            simd,
            [],
            [view],
            #[inline(always)]
            |[], [x]| [ln_1p::<F, S>(simd, x)],
        );
    }
}
