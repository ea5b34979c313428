//! The kinds of likelihood: their params, their support, and how a table of mixed kinds is put together.

use super::scale::Scale;
use crate::error::{Error, Result};
use crate::float::Float;

/// What a model says of x given z.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Likelihood {
    /// Real numbers; params are loc, then the scale's block as log-variances.
    Gaussian(Scale),
    /// Real numbers; params are loc, then the scale's block as log-scales.
    Laplace(Scale),
    /// Real numbers with so many degrees of freedom; params are loc, then the scale's block as log-scales.
    StudentT(f64, Scale),
    /// 0 or 1; params are logits.
    Bernoulli,
    /// From 0 to 1; params are logits.
    ContinuousBernoulli,
    /// Counts of 0 to the total; params are logits.
    Binomial(u32),
    /// Codes from 0 to below the number of classes; params are so many logits a feature, feature by feature.
    Categorical(u32),
    /// Counts; params are log-rates.
    Poisson,
    /// Counts; params are log-means, then log-concentrations.
    NegativeBinomial,
    /// Counts; params are log-means, log-concentrations, then logits of an extra zero.
    ZeroInflatedNegativeBinomial,
    /// Columns of their own for each member, whose params follow each other.
    Columns(Vec<(Vec<usize>, Likelihood)>),
}

impl Likelihood {
    /// Numbers a row of `params` holds for rows of `num_features`.
    #[must_use]
    pub fn num_params(&self, num_features: usize) -> usize {
        match self {
            Self::Categorical(classes) => num_features.saturating_mul(*classes as usize),
            Self::NegativeBinomial => num_features.saturating_mul(2),
            Self::ZeroInflatedNegativeBinomial => num_features.saturating_mul(3),
            Self::Columns(members) => {
                members.iter().fold(0, |sum: usize, (columns, member)| sum.saturating_add(member.num_params(columns.len())))
            }
            _ => num_features.saturating_add(self.scale().map_or(0, |scale| scale.columns(num_features))),
        }
    }

    /// How the scale is given, of a kind that has one.
    #[must_use]
    pub fn scale(&self) -> Option<&Scale> {
        match self {
            Self::Gaussian(scale) | Self::Laplace(scale) | Self::StudentT(_, scale) => Some(scale),
            _ => None,
        }
    }

    /// The columns that a table's members have, where it is one.
    #[must_use]
    pub fn own_columns(&self) -> Option<usize> {
        match self {
            Self::Columns(members) => Some(members.iter().map(|(columns, _)| columns.len()).sum()),
            _ => None,
        }
    }

    /// Features of rows whose params are `num_params` numbers, if there are such rows.
    #[must_use]
    pub fn num_features(&self, num_params: usize) -> Option<usize> {
        let features = match self {
            Self::Columns(_) => self.own_columns()?,
            _ if self.scale() == Some(&Scale::Shared) => num_params.checked_sub(1)?,
            _ => num_params / self.num_params(1).max(1),
        };
        (self.num_params(features) == num_params).then_some(features)
    }

    /// Numbers a row of means holds: one a feature, or one a class.
    #[must_use]
    pub fn num_means(&self, num_features: usize) -> usize {
        match self {
            Self::Categorical(classes) => num_features.saturating_mul(*classes as usize),
            Self::Columns(members) => members.iter().map(|(columns, member)| member.num_means(columns.len())).sum(),
            _ => num_features,
        }
    }

    /// The feature that column `column` of params is of; `None` where it is of all.
    pub(super) fn feature(&self, column: usize, num_features: usize) -> Option<usize> {
        match self {
            Self::Categorical(classes) => Some(column / *classes as usize),
            Self::Columns(members) => {
                let mut first = 0;
                members.iter().find_map(|(columns, member)| {
                    let within = column.checked_sub(first)?;
                    let width = member.num_params(columns.len());
                    first += width;
                    // A member's common scale is of its own features; any of them stands for it.
                    (within < width).then(|| columns[member.feature(within, columns.len()).unwrap_or(0)])
                })
            }
            _ if self.scale() == Some(&Scale::Shared) && column == num_features => None,
            _ => Some(column % num_features),
        }
    }

    /// The name, as messages and files spell it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gaussian(_) => "Gaussian",
            Self::Laplace(_) => "Laplace",
            Self::StudentT(..) => "StudentT",
            Self::Bernoulli => "Bernoulli",
            Self::ContinuousBernoulli => "ContinuousBernoulli",
            Self::Binomial(_) => "Binomial",
            Self::Categorical(_) => "Categorical",
            Self::Poisson => "Poisson",
            Self::NegativeBinomial => "NegativeBinomial",
            Self::ZeroInflatedNegativeBinomial => "ZeroInflatedNegativeBinomial",
            Self::Columns(_) => "Columns",
        }
    }

    /// What a cell may hold, in words.
    #[must_use]
    pub fn support(&self) -> String {
        match self {
            Self::Gaussian(_) | Self::Laplace(_) | Self::StudentT(..) => "finite numbers".into(),
            Self::Bernoulli => "0 or 1 for Bernoulli()".into(),
            Self::ContinuousBernoulli => "numbers from 0 to 1 for ContinuousBernoulli()".into(),
            Self::Binomial(total) => format!("whole numbers from 0 to {total} for Binomial({total})"),
            Self::Categorical(classes) => format!("whole numbers from 0 to {} for Categorical({classes})", classes - 1),
            Self::Poisson | Self::NegativeBinomial | Self::ZeroInflatedNegativeBinomial => {
                format!("whole numbers from 0 on for {}()", self.name())
            }
            Self::Columns(_) => "what each column's likelihood takes".into(),
        }
    }

    pub(super) fn holds(&self, x: f64) -> bool {
        let whole = |x: f64| x >= 0.0 && x.is_finite() && x.fract() == 0.0;
        match self {
            Self::Gaussian(_) | Self::Laplace(_) | Self::StudentT(..) | Self::Columns(_) => x.is_finite(),
            Self::Bernoulli => x == 0.0 || x == 1.0,
            Self::ContinuousBernoulli => (0.0..=1.0).contains(&x),
            Self::Binomial(total) => whole(x) && x <= f64::from(*total),
            Self::Categorical(classes) => whole(x) && x < f64::from(*classes),
            Self::Poisson | Self::NegativeBinomial | Self::ZeroInflatedNegativeBinomial => whole(x),
        }
    }

    /// Checks that every observed cell has a probability.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for an infinity; [`Error::Support`] with the first bad cell and a likelihood that fits its column; [`Error::Shape`] where the
    /// columns are not those of [`Likelihood::Columns`].
    pub fn check_support<F: Float>(&self, argument: &'static str, x: &[F], num_features: usize) -> Result<()> {
        if num_features == 0 {
            return Ok(());
        }
        let mut of_columns = vec![self; num_features];
        if let Self::Columns(members) = self {
            check_columns(members, num_features)?;
            for (columns, member) in members {
                for &column in columns {
                    of_columns[column] = member;
                }
            }
        }
        let bad = x.iter().zip(of_columns.iter().cycle()).position(|(x, kind)| !x.to_f64().is_nan() && !kind.holds(x.to_f64()));
        let Some(at) = bad else { return Ok(()) };
        let (row, column, value) = (at / num_features, at % num_features, x[at].to_f64());
        if value.is_infinite() {
            return Err(Error::NonFinite { argument, row, column, value });
        }
        let cure = fitting(column, x.iter().skip(column).step_by(num_features).map(|x| x.to_f64()));
        Err(Error::Support { argument, expected: of_columns[column].support(), row, column, value, cure })
    }
}

/// Checks that the members have each of `num_features` columns once, and are no tables themselves.
pub(crate) fn check_columns(members: &[(Vec<usize>, Likelihood)], num_features: usize) -> Result<()> {
    let cure = "give each column to one member";
    if members.is_empty() {
        return Err(Error::value("members", "at least one member", "none", "list the columns' likelihoods"));
    }
    let mut owned = vec![false; num_features];
    for (columns, member) in members {
        if matches!(member, Likelihood::Columns(_)) {
            return Err(Error::value(
                "members",
                "likelihoods of one kind",
                "Columns inside Columns",
                "list its members themselves",
            ));
        }
        if columns.is_empty() {
            return Err(Error::value("members", "at least one column each", format!("none for {}", member.name()), cure));
        }
        for &column in columns {
            match owned.get_mut(column) {
                None => {
                    let got = format!("column {column} with {num_features} columns in all");
                    return Err(Error::value("members", "each column from 0 on exactly once", got, cure));
                }
                Some(true) => {
                    let got = format!("column {column} twice");
                    return Err(Error::value("members", "each column from 0 on exactly once", got, cure));
                }
                Some(owned) => *owned = true,
            }
        }
    }
    match owned.iter().position(|owned| !owned) {
        Some(column) => {
            let got = format!("none for column {column}");
            Err(Error::value("members", "each column from 0 on exactly once", got, cure))
        }
        None => Ok(()),
    }
}

/// Which likelihood fits column `column`, in words, by all of its cells.
pub(crate) fn fitting(column: usize, cells: impl Iterator<Item = f64>) -> String {
    let (mut counts, mut shares, mut largest) = (true, true, 0.0_f64);
    for cell in cells.filter(|x| !x.is_nan()) {
        counts &= cell >= 0.0 && cell.fract() == 0.0 && cell <= f64::from(u32::MAX);
        shares &= (0.0..=1.0).contains(&cell);
        largest = largest.max(cell);
    }
    let fits = match (counts, shares) {
        (true, true) => "Bernoulli()".into(),
        (true, false) => format!("Binomial({largest}), or Poisson() for counts without a largest one"),
        (false, true) => "ContinuousBernoulli()".into(),
        (false, false) => "Gaussian()".into(),
    };
    format!("column {column} fits {fits}")
}
