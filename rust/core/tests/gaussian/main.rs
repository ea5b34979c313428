//! Diagonal Gaussians.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod draws;
mod proposal;
mod rules;
mod terms;
