//! Optimisers: how a step follows from a gradient.

pub mod adam;

pub use adam::Adam;
