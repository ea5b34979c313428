//! Reconstruction likelihoods p(x | z): the log probability of a row given the decoder's `params`, and its gradient.
//!
//! `params` holds a likelihood's blocks in order, each as wide as the features. A NaN in x is a missing cell: it adds exactly 0 to value and gradient,
//! whatever its params hold. Row r of `params` belongs to row r mod (rows of x), so one call serves all particles of a batch. Every density and
//! mass carries all its constants. A [`Likelihood`] says what is meant; [`Likelihood::prepare`] makes its tables for one element type and
//! width, once.
//!
//! ```
//! use elbokit_core::likelihood::Likelihood;
//!
//! let coin = Likelihood::Bernoulli.prepare::<f64>(2)?;
//! let mut log_prob = [0.0];
//! coin.log_prob(&[1.0, f64::NAN], &[0.0, 3.0], &mut log_prob)?;
//! assert_eq!(log_prob[0], -std::f64::consts::LN_2); // the missing cell adds nothing
//! # Ok::<(), elbokit_core::Error>(())
//! ```

mod bernoulli;
mod binomial;
mod gaussian;
mod sample;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::{Blocks, Input, LaneOp, SumOnly, check_len, map_rows, no_outputs};
use crate::threads::RowsMut;

pub use binomial::ln_choose;

/// How a Gaussian's standard deviation is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// One number for all features.
    Fixed(f64),
    /// A number for each feature.
    PerFeature(Vec<f64>),
    /// A second block of `params`: the log-variance of each cell.
    Predicted,
}

/// A likelihood of one kind for every feature.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Likelihood {
    /// Real numbers; params are loc, and `log_var` where the scale is predicted.
    Gaussian(Scale),
    /// 0 or 1; params are logits.
    Bernoulli,
    /// Counts of 0 to the total; params are logits.
    Binomial(u32),
}

impl Likelihood {
    /// Blocks in `params`.
    #[must_use]
    pub fn blocks(&self) -> usize {
        if *self == Self::Gaussian(Scale::Predicted) { 2 } else { 1 }
    }

    /// Numbers a row of `params` holds for rows of `num_features`.
    #[must_use]
    pub fn num_params(&self, num_features: usize) -> usize {
        self.blocks().saturating_mul(num_features)
    }

    /// The name, as messages and files spell it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gaussian(_) => "Gaussian",
            Self::Bernoulli => "Bernoulli",
            Self::Binomial(_) => "Binomial",
        }
    }

    /// What x may hold, in words.
    #[must_use]
    pub fn support(&self) -> String {
        match self {
            Self::Gaussian(_) => "finite numbers".into(),
            Self::Bernoulli => "0 or 1 for Bernoulli()".into(),
            Self::Binomial(total) => format!("whole numbers from 0 to {total} for Binomial({total})"),
        }
    }

    fn holds(&self, x: f64) -> bool {
        match self {
            Self::Gaussian(_) => x.is_finite(),
            Self::Bernoulli => x == 0.0 || x == 1.0,
            Self::Binomial(total) => x >= 0.0 && x <= f64::from(*total) && x.fract() == 0.0,
        }
    }

    /// Tables for one element type and width.
    ///
    /// # Errors
    /// [`Error::Value`] for a scale that is not positive and finite or a total of 0, [`Error::Shape`] for scales of another width.
    pub fn prepare<F: Float>(&self, num_features: usize) -> Result<Prepared<F>> {
        let kernel = match self {
            Self::Gaussian(Scale::Fixed(scale)) => KernelOf::Fixed(gaussian::Fixed::new(&vec![*scale; num_features])?),
            Self::Gaussian(Scale::PerFeature(scales)) if scales.len() != num_features => {
                let cure = "give one scale for each feature, or one number";
                return Err(Error::shape("scale", format!("{num_features} scales"), scales.len(), cure));
            }
            Self::Gaussian(Scale::PerFeature(scales)) => KernelOf::Fixed(gaussian::Fixed::new(scales)?),
            Self::Gaussian(Scale::Predicted) => KernelOf::Predicted(gaussian::Predicted),
            Self::Bernoulli => KernelOf::Bernoulli(bernoulli::Bernoulli),
            Self::Binomial(total) => KernelOf::Binomial(binomial::Binomial::new(*total)?),
        };
        Ok(Prepared { likelihood: self.clone(), num_features, kernel })
    }

    /// Checks that every observed cell has a probability.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for an infinity; [`Error::Support`] with the first bad cell and a likelihood that fits its column.
    pub fn check_support<F: Float>(&self, argument: &'static str, x: &[F], num_features: usize) -> Result<()> {
        let bad = x.iter().map(|x| x.to_f64()).position(|x| !x.is_nan() && !self.holds(x));
        let Some(at) = bad else { return Ok(()) };
        let (row, column, value) = (at / num_features, at % num_features, x[at].to_f64());
        if value.is_infinite() {
            return Err(Error::NonFinite { argument, row, column, value });
        }
        let cure = fitting(column, x.iter().skip(column).step_by(num_features).map(|x| x.to_f64()));
        Err(Error::Support { argument, expected: self.support(), row, column, value, cure })
    }
}

/// Which likelihood fits column `column`, in words, by all of its cells.
pub(crate) fn fitting(column: usize, cells: impl Iterator<Item = f64>) -> String {
    let (mut counts, mut largest) = (true, 0.0_f64);
    for cell in cells.filter(|x| !x.is_nan()) {
        counts &= cell >= 0.0 && cell.fract() == 0.0 && cell <= f64::from(u32::MAX);
        largest = largest.max(cell);
    }
    let fits = if counts { format!("Binomial({largest})") } else { "Gaussian()".into() };
    format!("column {column} fits {fits}")
}

/// A likelihood with its tables, ready for calls that allocate nothing.
#[derive(Debug, Clone)]
pub struct Prepared<F: Float> {
    likelihood: Likelihood,
    num_features: usize,
    kernel: KernelOf<F>,
}

#[derive(Debug, Clone)]
enum KernelOf<F: Float> {
    Fixed(gaussian::Fixed<F>),
    Predicted(gaussian::Predicted),
    Bernoulli(bernoulli::Bernoulli),
    Binomial(binomial::Binomial<F>),
}

/// About the cost of a cell, in nanoseconds on one core.
const WORK: usize = 1;

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

    /// log p(x | params) of each row of `params` into `out`, in nats.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`] for params (or an infinite x) and [`Error::Support`].
    pub fn log_prob(&self, x: &[F], params: &[F], out: &mut [F]) -> Result<()> {
        let width = self.num_features;
        let rows = self.check(x, params, out.len())?;
        if width == 0 {
            // Without features x has no length to count its rows by; a row of no cells has log probability 0.
            out.fill(F::ZERO);
            return Ok(());
        }
        let (cells, block) = (Input::rows(x, width), |i| Input::block(params, width, i, self.likelihood.blocks()));
        let bad = match &self.kernel {
            KernelOf::Fixed(op) => {
                let inputs = [cells, block(0), Input::rows(&op.inverse, width), Input::rows(&op.constant, width)];
                map_rows(&SumOnly::<_, 1>(op), inputs, rows, width, WORK, Some(out), no_outputs())
            }
            KernelOf::Predicted(op) => {
                let inputs = [cells, block(0), block(1)];
                map_rows(&SumOnly::<_, 2>(op), inputs, rows, width, WORK, Some(out), no_outputs())
            }
            KernelOf::Bernoulli(op) => self.logits(&SumOnly::<_, 1>(op), cells, block(0), rows, out, no_outputs()),
            KernelOf::Binomial(op) => self.logits(&SumOnly::<_, 1>(op), cells, block(0), rows, out, no_outputs()),
        };
        if bad { self.diagnose(x, params) } else { Ok(()) }
    }

    /// [`log_prob`](Self::log_prob) and its gradient with respect to `params`, in one pass.
    ///
    /// # Errors
    /// As [`log_prob`](Self::log_prob).
    pub fn log_prob_grad(&self, x: &[F], params: &[F], out: &mut [F], d_params: &mut [F]) -> Result<()> {
        let width = self.num_features;
        let rows = self.check(x, params, out.len())?;
        if width == 0 {
            // Without features x has no length to count its rows by; a row of no cells has log probability 0.
            out.fill(F::ZERO);
            return Ok(());
        }
        check_len("d_params", d_params, rows, self.num_params())?;
        let (cells, block) = (Input::rows(x, width), |i| Input::block(params, width, i, self.likelihood.blocks()));
        let d_params = RowsMut::new(d_params, self.num_params());
        let bad = match &self.kernel {
            KernelOf::Fixed(op) => {
                let inputs = [cells, block(0), Input::rows(&op.inverse, width), Input::rows(&op.constant, width)];
                map_rows(op, inputs, rows, width, WORK, Some(out), [d_params])
            }
            KernelOf::Predicted(op) => map_rows(op, [cells, block(0), block(1)], rows, width, WORK, Some(out), Blocks(d_params)),
            KernelOf::Bernoulli(op) => self.logits(op, cells, block(0), rows, out, [d_params]),
            KernelOf::Binomial(op) => self.logits(op, cells, block(0), rows, out, [d_params]),
        };
        if bad { self.diagnose(x, params) } else { Ok(()) }
    }

    fn logits<Op: LaneOp<F, 2, O>, const O: usize>(
        &self,
        op: &Op,
        x: Input<F>,
        logits: Input<F>,
        rows: usize,
        out: &mut [F],
        d: [RowsMut<F>; O],
    ) -> bool {
        map_rows(op, [x, logits], rows, self.num_features, WORK, Some(out), d)
    }

    /// The mean of p(x | params), one number a cell: an expected count for [`Likelihood::Binomial`].
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`].
    pub fn mean(&self, params: &[F], out: &mut [F]) -> Result<()> {
        let width = self.num_features;
        let rows = out.len().checked_div(width).unwrap_or(0);
        check_len("params", params, rows, self.num_params())?;
        let loc = Input::block(params, width, 0, self.likelihood.blocks());
        let out = [RowsMut::new(out, width)];
        let bad = match &self.kernel {
            KernelOf::Fixed(_) | KernelOf::Predicted(_) => map_rows(&gaussian::Mean, [loc], rows, width, WORK, None, out),
            KernelOf::Bernoulli(_) => map_rows(&bernoulli::Mean(F::ONE), [loc], rows, width, WORK, None, out),
            KernelOf::Binomial(op) => map_rows(&bernoulli::Mean(op.total), [loc], rows, width, WORK, None, out),
        };
        if bad { crate::rows::check_finite("params", params, self.num_params()) } else { Ok(()) }
    }

    fn check(&self, x: &[F], params: &[F], rows: usize) -> Result<usize> {
        check_len("params", params, rows, self.num_params())?;
        let x_rows = x.len().checked_div(self.num_features).unwrap_or(0);
        check_len("x", x, x_rows, self.num_features)?;
        if self.num_features > 0 && !rows.is_multiple_of(x_rows) {
            let expected = format!("a multiple of the {x_rows} rows of x");
            return Err(Error::shape("params", expected, format!("{rows} rows"), "give each row of x its params"));
        }
        Ok(rows)
    }

    /// A kernel saw something bad: a cell without probability, a bad parameter of an observed cell, or (neither) the range's end.
    fn diagnose(&self, x: &[F], params: &[F]) -> Result<()> {
        self.likelihood.check_support("x", x, self.num_features)?;
        let (width, columns) = (self.num_features, self.num_params());
        let missing = |i: usize| {
            let (row, column) = (i / columns, i % columns % width);
            let x_row = row % (x.len() / width).max(1);
            x[x_row * width + column].to_f64().is_nan()
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
