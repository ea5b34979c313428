//! Random numbers.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod generator;
mod samplers;
