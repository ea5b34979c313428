//! Reconstruction likelihoods.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod contract;
mod draws;
mod fisher;
mod gaussian;
mod log_prob;
