//! A likelihood made ready for one element type and width: the calls that every kind has.

use std::sync::Arc;

use super::bernoulli::Bernoulli;
use super::binomial::{self, Large, TABLE, Tabled};
use super::categorical::Categorical;
use super::cells::{CellOp, Cells, Family, Params, ParamsMut};
use super::columns::{Columns, Member};
use super::continuous_bernoulli::ContinuousBernoulli;
use super::double::in_double;
use super::kinds::{Likelihood, check_columns};
use super::negative_binomial::NegativeBinomial;
use super::poisson::Poisson;
use super::scale::{Known, Scale};
use super::shared::Shared;
use super::zero_inflated::ZeroInflatedNegativeBinomial;
use super::{gaussian, laplace, student_t};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::gaussian::LN_2PI;
use crate::rows::{Input, Totals, check_finite, check_len};
use crate::threads::RowsMut;

/// A likelihood with its tables, ready for calls that allocate little or nothing.
#[derive(Debug, Clone)]
pub struct Prepared<F: Float> {
    pub(super) likelihood: Likelihood,
    pub(super) num_features: usize,
    pub(super) family: Arc<dyn Family<F>>,
}

impl Likelihood {
    /// Tables for one element type and width.
    ///
    /// # Errors
    /// [`Error::Value`] for constants that no likelihood of the kind has, [`Error::Shape`] for scales of another width.
    pub fn prepare<F: Float>(&self, num_features: usize) -> Result<Prepared<F>> {
        Ok(Prepared { likelihood: self.clone(), num_features, family: family(self, num_features)? })
    }
}

/// The kinds that are computed in the rows' own element type, and the others in float64.
fn family<F: Float>(likelihood: &Likelihood, width: usize) -> Result<Arc<dyn Family<F>>> {
    Ok(match likelihood {
        Likelihood::Gaussian(scale) => match scale.known(width)? {
            Some(known) => {
                let known = Known::<F>::new(&known)?;
                let tables = known.tables(-1.0, -0.5 * LN_2PI);
                Arc::new(Cells { op: gaussian::Fixed { scale: known.scale }, tables, width })
            }
            None => predicted(gaussian::Predicted, scale, width),
        },
        Likelihood::Bernoulli => Arc::new(Cells::new(Bernoulli, width)),
        Likelihood::ContinuousBernoulli => Arc::new(Cells::new(ContinuousBernoulli, width)),
        Likelihood::Categorical(classes) => Arc::new(Categorical::new(*classes, width)?),
        Likelihood::Binomial(total) if *total <= TABLE => Arc::new(Tabled::new(*total, width)?),
        Likelihood::Columns(members) => Arc::new(columns(members, width)?),
        Likelihood::Laplace(scale) => match scale.known(width)? {
            Some(scale) => {
                let tables = Known::<F>::new(&scale)?.tables(1.0, laplace::LN_2);
                Arc::new(Cells { op: laplace::Fixed { scale }, tables, width })
            }
            None => predicted(laplace::Predicted, scale, width),
        },
        Likelihood::StudentT(df, scale) if student_t::holds::<F>(*df) => student_t(*df, scale, width)?,
        Likelihood::Poisson => Arc::new(Cells::new(Poisson, width)),
        _ => {
            checked::<F>(likelihood, width)?;
            in_double(likelihood, width, double(likelihood, width)?)
        }
    })
}

/// What float64 could compute, but the element type cannot hold.
fn checked<F: Float>(likelihood: &Likelihood, width: usize) -> Result<()> {
    if let Likelihood::Binomial(total) = likelihood {
        binomial::checked::<F>(*total)?;
    }
    if let Some(scale) = likelihood.scale()
        && let Some(known) = scale.known(width)?
    {
        Known::<F>::new(&known)?;
    }
    Ok(())
}

fn double(likelihood: &Likelihood, width: usize) -> Result<Arc<dyn Family<f64>>> {
    Ok(match likelihood {
        Likelihood::Binomial(total) => Arc::new(Cells::new(Large::new(*total), width)),
        Likelihood::NegativeBinomial => Arc::new(Cells::new(NegativeBinomial, width)),
        Likelihood::ZeroInflatedNegativeBinomial => Arc::new(Cells::new(ZeroInflatedNegativeBinomial, width)),
        _ => return family(likelihood, width),
    })
}

fn student_t<F: Float>(df: f64, scale: &Scale, width: usize) -> Result<Arc<dyn Family<F>>> {
    let freedom = student_t::Freedom::new(df)?;
    Ok(match scale.known(width)? {
        Some(scale) => {
            let tables = student_t::tables(&scale)?;
            Arc::new(Cells { op: student_t::Fixed { freedom, scale }, tables, width })
        }
        None => predicted(student_t::Predicted { freedom }, scale, width),
    })
}

fn predicted<F: Float, Op: CellOp<F, 3, 2> + std::fmt::Debug + Send + 'static>(
    op: Op,
    scale: &Scale,
    width: usize,
) -> Arc<dyn Family<F>> {
    let cells = Cells::new(op, width);
    if *scale == Scale::Shared { Arc::new(Shared(cells)) } else { Arc::new(cells) }
}

fn columns<F: Float>(members: &[(Vec<usize>, Likelihood)], width: usize) -> Result<Columns<F>> {
    check_columns(members, width)?;
    let (mut places, mut widths) = (vec![(0, 0); width], vec![0; width]);
    for (index, (columns, member)) in members.iter().enumerate() {
        for (place, &column) in columns.iter().enumerate() {
            places[column] = (index, place);
            widths[column] = member.num_means(1);
        }
    }
    let means: Vec<usize> = widths.iter().scan(0, |next, width| Some(std::mem::replace(next, *next + width))).collect();
    let mut first = 0;
    let members = members.iter().map(|(columns, member)| {
        let here = first;
        first += member.num_params(columns.len());
        let means = columns.iter().map(|&column| means[column]).collect();
        let family = family(member, columns.len())?;
        Ok(Member { family, columns: columns.clone(), first: here, means, mean_width: member.num_means(1) })
    });
    Ok(Columns { members: members.collect::<Result<_>>()?, places })
}

impl<F: Float> Prepared<F> {
    /// What was prepared.
    #[must_use]
    pub fn likelihood(&self) -> &Likelihood {
        &self.likelihood
    }

    /// Numbers a row of `params`.
    #[must_use]
    pub fn num_params(&self) -> usize {
        self.likelihood.num_params(self.num_features)
    }

    /// Numbers a row of [`mean`](Self::mean).
    #[must_use]
    pub fn num_means(&self) -> usize {
        self.likelihood.num_means(self.num_features)
    }

    fn params<'a>(&self, data: &'a [F]) -> Params<'a, F> {
        Params { data, stride: self.num_params(), first: 0 }
    }

    /// log p(x | params) of each row of `params` into `out`, in nats.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`] for params (or an infinite x) and [`Error::Support`].
    pub fn log_prob(&self, x: &[F], params: &[F], out: &mut [F]) -> Result<()> {
        let rows = self.check(x, params, out.len())?;
        if self.num_features == 0 {
            // Without features x has no length to count its rows by; a row of no cells has log probability 0.
            out.fill(F::ZERO);
            return Ok(());
        }
        let cells = Input::rows(x, self.num_features);
        let bad = self.family.log_prob(cells, self.params(params), rows, Totals::Each(out));
        if bad { self.diagnose(x, params) } else { Ok(()) }
    }

    /// [`log_prob`](Self::log_prob) and its gradient with respect to `params`, in one pass.
    ///
    /// # Errors
    /// As [`log_prob`](Self::log_prob).
    pub fn log_prob_grad(&self, x: &[F], params: &[F], out: &mut [F], d_params: &mut [F]) -> Result<()> {
        let rows = self.check(x, params, out.len())?;
        check_len("d_params", d_params, rows, self.num_params())?;
        if self.num_features == 0 {
            out.fill(F::ZERO);
            d_params.fill(F::ZERO);
            return Ok(());
        }
        let cells = Input::rows(x, self.num_features);
        let d_params = ParamsMut { rows: RowsMut::new(d_params, self.num_params()), first: 0 };
        let bad = self.family.log_prob_grad(cells, self.params(params), rows, Totals::Each(out), d_params);
        if bad { self.diagnose(x, params) } else { Ok(()) }
    }

    /// The mean of p(x | params), one number a cell (an expected count for counts), or the classes' probabilities for codes.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`].
    pub fn mean(&self, params: &[F], out: &mut [F]) -> Result<()> {
        let width = self.num_means();
        let rows = out.len().checked_div(width).unwrap_or(0);
        check_len("params", params, rows, self.num_params())?;
        if rows == 0 {
            return Ok(());
        }
        let out = ParamsMut { rows: RowsMut::new(out, width), first: 0 };
        let bad = self.family.mean(self.params(params), rows, out);
        if bad { check_finite("params", params, self.num_params()) } else { Ok(()) }
    }

    fn check(&self, x: &[F], params: &[F], rows: usize) -> Result<usize> {
        check_len("params", params, rows, self.num_params())?;
        let x_rows = x.len().checked_div(self.num_features).unwrap_or(0);
        check_len("x", x, x_rows, self.num_features)?;
        if self.num_features > 0 && rows > 0 && !rows.is_multiple_of(x_rows) {
            let expected = format!("a multiple of the {x_rows} rows of x");
            return Err(Error::shape("params", expected, format!("{rows} rows"), "give each row of x its params"));
        }
        Ok(rows)
    }

    /// A kernel saw something bad: a cell without probability, a bad parameter of an observed cell, or (neither) the range's end.
    fn diagnose(&self, x: &[F], params: &[F]) -> Result<()> {
        self.likelihood.check_support("x", x, self.num_features)?;
        let (width, columns) = (self.num_features, self.num_params());
        let x_rows = (x.len() / width).max(1);
        let missing = |i: usize| {
            let row = &x[i / columns % x_rows * width..][..width];
            match self.likelihood.feature(i % columns, width) {
                Some(feature) => row[feature].to_f64().is_nan(),
                None => row.iter().all(|x| x.to_f64().is_nan()),
            }
        };
        match params.iter().enumerate().position(|(i, p)| !p.finite() && !missing(i)) {
            Some(i) => {
                let value = params[i].to_f64();
                Err(Error::NonFinite { argument: "params", row: i / columns, column: i % columns, value })
            }
            None => Ok(()),
        }
    }
}
