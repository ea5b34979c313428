//! Models whose evidence is known, one file each: what bounds and samplers are checked against, and priors of their own.

mod eigen;
mod linear_gaussian;
mod linear_gaussian_fit;
mod linear_gaussian_rows;
mod mixture;
mod mixture_fit;
mod mixture_rows;
mod mixture_shares;
mod mixture_start;
mod moments;

pub use linear_gaussian::LinearGaussian;
pub use linear_gaussian_fit::LinearFit;
pub use linear_gaussian_rows::Approximation;
pub use mixture::{Covariance, Mixture};
pub use mixture_fit::{EmOptions, Form, MixtureFit, Start};
