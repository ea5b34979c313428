//! Variational autoencoders.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod condition;
mod estimators;
mod file;
mod fits;
mod kinds;
mod laplace;
mod layers;
mod options;
mod prior;
mod score;
mod training;
