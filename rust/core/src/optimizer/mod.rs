//! Optimisers: how a step follows from a gradient, and how large it is.

pub mod adam;
pub mod schedule;

pub use adam::Adam;
pub use schedule::Schedule;
