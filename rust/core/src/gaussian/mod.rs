//! The diagonal Gaussian q(z | x) = N(loc, diag exp(`log_var`)): draws, densities, entropy and divergence, one file each.
//!
//! Arrays are rows of `width` latents, one after another; results are one number a row, in nats. All sums follow [`reduce`](crate::reduce);
//! a NaN or infinity in an input is an [`Error::NonFinite`](crate::Error) that names it, and finite input never gives NaN: what leaves the range is ±∞.

pub(crate) mod ends;
mod kl;
mod log_prob;
mod log_prob_grad;
mod proposal;
mod sample;
mod sample_grad;

pub use kl::{Prior, PriorGrad, kl, kl_grad, kl_per_dim};
pub use log_prob::{entropy, log_prob};
pub use log_prob_grad::{entropy_grad, log_prob_grad};
pub use proposal::Proposal;
pub use sample::{rsample, rsample_and_log_prob};
pub use sample_grad::rsample_grad;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::rows::check_len;
use crate::simd::{Fused, Select, Simd, SimdBase};
use crate::vmath::{self, Lanes};

/// ln 2π.
pub(crate) const LN_2PI: f64 = 1.837_877_066_409_345_3;

/// The rows of loc and `log_var`, of which `rows` draws are a multiple: one for each particle and row.
pub(crate) fn check_posterior<F: Float>(
    argument: &'static str,
    rows: usize,
    loc: &[F],
    log_var: &[F],
    width: usize,
) -> Result<usize> {
    let batch = loc.len().checked_div(width).unwrap_or(rows);
    check_len("loc", loc, batch, width)?;
    check_len("log_var", log_var, batch, width)?;
    if !rows.is_multiple_of(batch) {
        let expected = format!("a multiple of the {batch} rows of loc");
        return Err(Error::shape(argument, expected, format!("{rows} rows"), "give each draw its loc and log_var"));
    }
    Ok(batch)
}

/// The standard deviation exp(`log_var` / 2), or with `SIGN` −1 its inverse, capped at the largest finite number so that 0 times it is 0.
#[inline(always)]
pub(crate) fn scale<F: Float, S: Simd>(simd: S, log_var: Lanes<F, S>, sign: f64) -> Lanes<F, S> {
    let scale = vmath::exp::<F, S>(simd, log_var * F::from_f64(0.5 * sign));
    // A comparison rather than a minimum, so that NaN goes through.
    scale.simd_gt(F::MAX).select(F::Lanes::splat(simd, F::MAX), scale)
}

/// δ = (a − b) · scale and −½ δ² + c of each c. In float32 the square has the digits that δ lost to its last rounding, since the bound has no room for twice that; float64's
/// has. For rows that are computed again where they are not finite: at the range's end it may be ∞ − ∞.
#[inline(always)]
pub(crate) fn minus_half_squares<F: Float, S: Simd, const N: usize>(
    [a, b, scale]: [Lanes<F, S>; 3],
    c: [Lanes<F, S>; N],
) -> (Lanes<F, S>, [Lanes<F, S>; N]) {
    let difference = a - b;
    let delta = difference * scale;
    let minus_half = delta * F::from_f64(-0.5);
    let mut sums = c;
    if F::EPSILON.to_f64() < 1e-10 {
        for sum in &mut sums {
            *sum = minus_half.fma(delta, *sum);
        }
        return (delta, sums);
    }
    let lost = difference.fma(scale, -delta);
    for sum in &mut sums {
        *sum = minus_half.fma(delta, (-delta).fma(lost, *sum));
    }
    (delta, sums)
}

/// δ = (a − b) · scale, and how much its square lacks for the last rounding of δ, which counts in float32 alone. For rows that are computed again where they are not finite: the
/// difference may overflow, and loses nothing where halves would.
#[inline(always)]
fn deviation<F: Float, S: Simd>(simd: S, a: Lanes<F, S>, b: Lanes<F, S>, scale: Lanes<F, S>) -> [Lanes<F, S>; 2] {
    let difference = a - b;
    let delta = difference * scale;
    let zero = F::Lanes::splat(simd, F::ZERO);
    if F::EPSILON.to_f64() < 1e-10 {
        return [delta, zero];
    }
    let lost = difference.fma(scale, -delta);
    [delta, (delta + delta) * lost]
}

/// δ² + c, rounded about once.
#[inline(always)]
pub(crate) fn square_plus<F: Float, S: Simd>([delta, cross]: [Lanes<F, S>; 2], c: Lanes<F, S>) -> Lanes<F, S> {
    delta.fma(delta, cross + c)
}
