//! The effective sample size of importance weights (Kong 1992): how many equal weights would do as well.

use super::check;
use super::columns::{COLUMNS, Columns};
use crate::error::Result;
use crate::float::Float;
use crate::simd::{Kernel, Select, Simd, SimdBase, dispatch, f64x8};
use crate::vmath::{exp, exp_excess};

/// (Σ w)² / Σ w² of each row, from 1 to the particles given, and 0 where every weight is 0; where asked for its standard error by the delta
/// method, +∞ for one particle.
///
/// With r = w / mean(w) − 1 and v = mean(r²) it is K / (1 + v), exactly K for equal weights; a particle's influence on it is
/// that times (v (1 + 2r) − r²) / (1 + v), whose mean is 0.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and, for NaN or +∞, [`Error::NonFinite`](crate::Error).
pub fn ess<F: Float>(log_weights: &[F], out: &mut [F], mut error: Option<&mut [F]>) -> Result<()> {
    let particles = check(log_weights, out.len())?;
    let k = particles as f64;
    for columns in Columns::groups(log_weights, out.len()) {
        let [mean, squares, influences] = dispatch(Spread { columns, k, influence: error.is_some() });
        for c in 0..columns.count {
            // No weight counts where even the largest is 0 over exp of the shift.
            let value = if mean[c] > 0.0 { k / (1.0 + squares[c] / k) } else { 0.0 };
            out[columns.first + c] = F::from_f64(value);
            if let Some(error) = error.as_deref_mut() {
                let e = value * (influences[c] / (k - 1.0) / k).sqrt();
                let known = particles > 1 && value > 0.0 && e.is_finite();
                error[columns.first + c] = F::from_f64(if known { e } else { f64::INFINITY });
            }
        }
    }
    Ok(())
}

struct Spread<'a, F> {
    columns: Columns<'a, F>,
    k: f64,
    /// Whether the particles' influences are wanted.
    influence: bool,
}

impl<F: Float> Kernel for Spread<'_, F> {
    /// The mean of each column's weights over exp of the largest, Σ r², and the sum of the squared influences.
    type Output = [[f64; COLUMNS]; 3];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { columns, k, influence } = self;
        let shift = columns.largest(simd);
        let weight = |w: f64x8<S>| exp::<f64, S>(simd, w - shift);
        let excess = |w: f64x8<S>| exp_excess::<f64, S>(simd, w - shift).1;
        let (zero, one, k) = (f64x8::splat(simd, 0.0), f64x8::splat(simd, 1.0), f64x8::splat(simd, k));
        let (mut sum, mut less_one) = (zero, zero);
        for w in columns.particles(simd) {
            sum += weight(w);
            less_one += excess(w);
        }
        let (mean, less_one) = (sum / k, less_one / k);
        // w − 1 keeps what nearly equal weights differ in; beside a mean near 0 it would lose what small ones differ in.
        let near = mean.simd_gt(0.5);
        let off = |w: f64x8<S>| near.select(excess(w) - less_one, weight(w) - mean) / mean;
        let mut squares = zero;
        for w in columns.particles(simd) {
            squares += off(w) * off(w);
        }
        let mut influences = zero;
        if influence {
            let v = squares / k;
            for w in columns.particles(simd) {
                let r = off(w);
                let change = (v * (r + r + one) - r * r) / (v + one);
                influences += change * change;
            }
        }
        [mean.into(), squares.into(), influences.into()]
    }
}
