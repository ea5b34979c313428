//! log p(x | z): the log probability of a row given the decoder's `params`, and its gradient.
//!
//! `params` holds a likelihood's blocks in order, each as wide as the features but where its kind says otherwise. A NaN in x is a missing cell: it adds exactly 0 to
//! value and gradient, whatever its params hold. Row r of `params` belongs to row r mod (rows of x), so one call serves all particles of a batch. Every density and
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
mod categorical;
mod cells;
mod columns;
mod continuous_bernoulli;
mod count;
mod double;
mod fisher;
mod gaussian;
mod kinds;
mod laplace;
mod negative_binomial;
mod poisson;
mod prepared;
mod sample;
mod scale;
mod shared;
mod student_t;
mod zero_inflated;

pub use binomial::ln_choose;
pub use kinds::Likelihood;
pub(crate) use kinds::{check_columns, fitting};
pub use prepared::Prepared;
pub use scale::Scale;
