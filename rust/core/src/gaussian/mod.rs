//! The diagonal Gaussian q(z | x) = N(loc, diag exp(`log_var`)): draws, densities, entropy and divergence, one file each.
//!
//! Arrays are rows of `width` latents, one after another; results are one number a row, in nats. All sums follow [`reduce`](crate::reduce);
//! a NaN or infinity in an input is an [`Error::NonFinite`](crate::Error) that names it, and finite input never gives NaN: what leaves the range is ±∞.

mod kl;
mod log_prob;
mod sample;

pub use kl::{Prior, PriorGrad, kl, kl_grad, kl_per_dim};
pub use log_prob::{entropy, log_prob};
pub use sample::{rsample, rsample_and_log_prob};

use crate::float::Float;
use crate::simd::{Select, Simd, SimdBase};
use crate::vmath::{self, Lanes};

/// ln 2π.
pub(crate) const LN_2PI: f64 = 1.837_877_066_409_345_3;

/// The standard deviation exp(`log_var` / 2), or with `SIGN` −1 its inverse, capped at the largest finite number so that 0 times it is 0.
#[inline(always)]
pub(crate) fn scale<F: Float, S: Simd>(simd: S, log_var: Lanes<F, S>, sign: f64) -> Lanes<F, S> {
    let scale = vmath::exp::<F, S>(simd, log_var * F::from_f64(0.5 * sign));
    // A comparison rather than a minimum, so that NaN goes through.
    scale.simd_gt(F::MAX).select(F::Lanes::splat(simd, F::MAX), scale)
}

/// `(a − b) · scale` without overflow of the difference: half of each is subtracted and the product doubled.
#[inline(always)]
pub(crate) fn standardized<F: Float, S: Simd>(a: Lanes<F, S>, b: Lanes<F, S>, scale: Lanes<F, S>) -> Lanes<F, S> {
    let half = F::from_f64(0.5);
    let product = (a * half - b * half) * scale;
    product + product
}
