//! Models whose evidence is known in closed form.

#![allow(missing_docs)]

#[path = "../reference/mod.rs"]
mod reference;

mod linear_gaussian;
mod mixture;
mod mixture_fit;
