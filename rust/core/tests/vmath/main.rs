//! Elementary functions.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod elementary;
mod gamma;
