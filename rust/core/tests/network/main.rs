//! Layers and the matrix products below them.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod activation;
mod around;
mod layers;
mod matmul;
