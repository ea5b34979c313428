//! The effective sample size of importance weights (Kong 1992): how many equal weights would do as well.

use super::check;
use super::columns::{COLUMNS, Columns, for_columns};
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
pub fn ess<F: Float>(log_weights: &[F], out: &mut [F], error: Option<&mut [F]>) -> Result<()> {
    let particles = check(log_weights, out.len())?;
    let k = particles as f64;
    for_columns(log_weights, out, error, |columns, influence| {
        let [mean, squares, influences] = dispatch(Spread { columns, k, influence });
        let (mut value, mut error) = ([0.0; COLUMNS], [0.0; COLUMNS]);
        for c in 0..COLUMNS {
            // No weight counts where even the largest is 0 over exp of the shift.
            value[c] = if mean[c] > 0.0 { k / (1.0 + squares[c] / k) } else { 0.0 };
            let e = value[c] * (influences[c] / (k - 1.0) / k).sqrt();
            error[c] = if particles > 1 && value[c] > 0.0 && e.is_finite() { e } else { f64::INFINITY };
        }
        [value, error]
    });
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
        let (zero, one, k) = (f64x8::splat(simd, 0.0), f64x8::splat(simd, 1.0), f64x8::splat(simd, k));
        let (mut sum, mut less_one) = (zero, zero);
        for w in columns.particles(simd) {
            sum += exp::<f64, S>(simd, w - shift);
            less_one += exp_excess::<f64, S>(simd, w - shift).1;
        }
        let mean = (sum / k, less_one / k);
        let mut squares = zero;
        for w in columns.particles(simd) {
            let r = relative(simd, w - shift, mean);
            squares += r * r;
        }
        let mut influences = zero;
        if influence {
            let v = squares / k;
            for w in columns.particles(simd) {
                let r = relative(simd, w - shift, mean);
                let change = (v * (r + r + one) - r * r) / (v + one);
                influences += change * change;
            }
        }
        [mean.0.into(), squares.into(), influences.into()]
    }
}

/// r of weights exp(d), from their mean and what it is above 1.
#[inline(always)]
fn relative<S: Simd>(simd: S, d: f64x8<S>, (mean, less_one): (f64x8<S>, f64x8<S>)) -> f64x8<S> {
    // w − 1 keeps what nearly equal weights differ in; beside a mean near 0 it would lose what small ones differ in.
    let near = exp_excess::<f64, S>(simd, d).1 - less_one;
    mean.simd_gt(0.5).select(near, exp::<f64, S>(simd, d) - mean) / mean
}
