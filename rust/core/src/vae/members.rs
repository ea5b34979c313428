//! A likelihood as a model sees it: members with columns of their own, what the encoder sees of them, which numbers a model learns for all rows, and each
//! column's part alone.

use super::config::Scaling;
use crate::likelihood::{Likelihood, Scale};

/// A likelihood of some of the columns; one that is no table is its own only member.
pub(super) struct Member<'a> {
    pub(super) likelihood: &'a Likelihood,
    /// Its columns, in its own order.
    pub(super) columns: Vec<usize>,
    /// Where its params begin.
    pub(super) params: usize,
}

impl Member<'_> {
    /// Columns.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Its column `place` alone: the likelihood of that column, and the columns of the whole's params that it reads.
    pub(super) fn cell(&self, place: usize) -> (Likelihood, Vec<usize>) {
        let width = self.width();
        let blocks = |count: usize| (0..count).map(|block| self.params + block * width + place).collect();
        let scaled = |scale: &Scale, make: &dyn Fn(Scale) -> Likelihood| match scale {
            Scale::Fixed(scale) => (make(Scale::Fixed(*scale)), blocks(1)),
            Scale::ByFeature(scales) => (make(Scale::Fixed(scales[place])), blocks(1)),
            Scale::Shared => (make(Scale::Predicted), vec![self.params + place, self.params + width]),
            Scale::PerFeature | Scale::Predicted => (make(Scale::Predicted), blocks(2)),
        };
        match self.likelihood {
            Likelihood::Gaussian(scale) => scaled(scale, &Likelihood::Gaussian),
            Likelihood::Laplace(scale) => scaled(scale, &Likelihood::Laplace),
            Likelihood::StudentT(df, scale) => scaled(scale, &|scale| Likelihood::StudentT(*df, scale)),
            Likelihood::Categorical(classes) => {
                let first = self.params + place * *classes as usize;
                (self.likelihood.clone(), (first..first + *classes as usize).collect())
            }
            kind => (kind.clone(), blocks(kind.num_params(1))),
        }
    }
}

/// The members of a likelihood that has been checked, in list order.
pub(super) fn members(likelihood: &Likelihood, num_features: usize) -> Vec<Member<'_>> {
    let Likelihood::Columns(list) = likelihood else {
        return vec![Member { likelihood, columns: (0..num_features).collect(), params: 0 }];
    };
    let mut params = 0;
    let member = |(columns, likelihood): &'_ (Vec<usize>, Likelihood)| {
        let first = params;
        params += likelihood.num_params(columns.len());
        (columns.clone(), first)
    };
    let places: Vec<(Vec<usize>, usize)> = list.iter().map(member).collect();
    places.into_iter().zip(list).map(|((columns, params), (_, likelihood))| Member { likelihood, columns, params }).collect()
}

/// The likelihood of each column, in the order of the columns.
pub(super) fn kinds_of_columns(likelihood: &Likelihood, num_features: usize) -> Vec<&Likelihood> {
    let mut kinds = vec![likelihood; num_features];
    for member in members(likelihood, num_features) {
        for &column in &member.columns {
            kinds[column] = member.likelihood;
        }
    }
    kinds
}

/// Each member's number of columns and its likelihood, at no cost by the columns.
fn widths(likelihood: &Likelihood, num_features: usize) -> Vec<(usize, &Likelihood)> {
    match likelihood {
        Likelihood::Columns(list) => list.iter().map(|(columns, member)| (columns.len(), member)).collect(),
        _ => vec![(num_features, likelihood)],
    }
}

/// Whether cells are real numbers, which a model may standardise.
pub(super) fn is_real(likelihood: &Likelihood) -> bool {
    likelihood.scale().is_some()
}

/// Numbers that an encoder sees of a row.
pub(super) fn view_width(likelihood: &Likelihood, num_features: usize) -> usize {
    let seen = |(width, member): (usize, &Likelihood)| match member {
        Likelihood::Categorical(classes) => width.saturating_mul(*classes as usize),
        _ => width,
    };
    widths(likelihood, num_features).into_iter().map(seen).fold(0, usize::saturating_add)
}

/// Numbers that a member of `width` columns learns for all rows.
fn learned_of(likelihood: &Likelihood, width: usize) -> usize {
    match likelihood.scale() {
        Some(Scale::Shared) => 1,
        Some(Scale::PerFeature) => width,
        _ => 0,
    }
}

/// The learned vectors' names and lengths, in members' order.
pub(super) fn learned(likelihood: &Likelihood, num_features: usize) -> Vec<(String, usize)> {
    let table = matches!(likelihood, Likelihood::Columns(_));
    let named = widths(likelihood, num_features).into_iter().enumerate().filter_map(|(index, (width, member))| {
        let count = learned_of(member, width);
        let name = if matches!(member, Likelihood::Gaussian(_)) { "log_var" } else { "log_scale" };
        let name = if table { format!("decoder.members.{index}.{name}") } else { format!("decoder.{name}") };
        (count > 0).then_some((name, count))
    });
    named.collect()
}

/// What of ln scale a param of the scale's block is: twice of it a log-variance, once a log-scale.
pub(super) fn log_factor(likelihood: &Likelihood) -> f64 {
    if matches!(likelihood, Likelihood::Gaussian(_)) { 2.0 } else { 1.0 }
}

/// The likelihood of rows as given: scales known beforehand are in the columns' own units, and one scale for columns of different units is one for each.
pub(super) fn as_given(likelihood: &Likelihood, scaling: &Scaling) -> Likelihood {
    if scaling.is_identity() {
        return likelihood.clone();
    }
    let given = members(likelihood, scaling.scale.len()).into_iter().map(|member| {
        let units: Vec<f64> = member.columns.iter().map(|&column| scaling.scale[column]).collect();
        let scale = |scale: &Scale| match scale {
            _ if units.iter().all(|unit| *unit == 1.0) => scale.clone(),
            Scale::Fixed(scale) => Scale::ByFeature(units.iter().map(|unit| scale * unit).collect()),
            Scale::ByFeature(scales) => Scale::ByFeature(scales.iter().zip(&units).map(|(scale, unit)| scale * unit).collect()),
            Scale::Shared if !of_one_unit(&units) => Scale::PerFeature,
            other => other.clone(),
        };
        let given = match member.likelihood {
            Likelihood::Gaussian(s) => Likelihood::Gaussian(scale(s)),
            Likelihood::Laplace(s) => Likelihood::Laplace(scale(s)),
            Likelihood::StudentT(df, s) => Likelihood::StudentT(*df, scale(s)),
            other => other.clone(),
        };
        (member.columns, given)
    });
    let mut given: Vec<(Vec<usize>, Likelihood)> = given.collect();
    match likelihood {
        Likelihood::Columns(_) => Likelihood::Columns(given),
        _ => given.swap_remove(0).1,
    }
}

fn of_one_unit(units: &[f64]) -> bool {
    units.iter().all(|unit| *unit == units[0])
}
