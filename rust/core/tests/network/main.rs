//! Layers and the matrix products below them.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod activation;
mod layers;
mod matmul;
