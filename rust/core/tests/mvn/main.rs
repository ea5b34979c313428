//! Full-covariance Gaussians.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod batch;
mod bits;
mod draws;
mod matrix;
mod mixed;
mod range;
mod values;
