//! The mathematics of elbokit: kernels of the evidence lower bound, and variational autoencoders whose whole training step
//! runs here. It knows neither Python nor `NumPy`: rows come in as slices, results go out as slices.
//!
//! Layers, top to bottom, each using only what is below it: [`vae`]; [`exact`]; [`network`] and [`optimizer`]; [`bound`];
//! [`likelihood`], [`gaussian`], [`mvn`]; [`rows`] (the one loop driver); [`random`], [`vmath`], [`reduce`]; [`simd`], [`threads`],
//! [`float`], [`error`].
//!
//! ```
//! use elbokit_core::gaussian;
//!
//! let (loc, log_var) = ([0.5_f64, -1.0], [0.0, 0.0]);
//! let mut kl = [0.0];
//! gaussian::kl(&loc, &log_var, None, 2, &mut kl)?;
//! assert_eq!(kl, [0.625]); // (0.5² + 1²) / 2 nats
//! # Ok::<(), elbokit_core::Error>(())
//! ```

pub mod bound;
pub mod error;
pub mod exact;
pub mod float;
pub mod gaussian;
pub mod likelihood;
pub mod mvn;
pub mod network;
pub mod optimizer;
pub mod random;
pub mod reduce;
pub mod rows;
pub mod simd;
pub mod threads;
pub mod vae;
pub mod vmath;

pub use error::{Error, Result};
pub use float::Float;
