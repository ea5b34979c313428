//! Models whose evidence is known, one file each: what bounds and samplers are checked against, and priors of their own.

mod mixture;
mod mixture_rows;

pub use mixture::{Covariance, Mixture};
