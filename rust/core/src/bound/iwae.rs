//! The importance-weighted bound of Burda, Grosse and Salakhutdinov (2016, eq. 8): ln of the mean weight.

use super::check;
use crate::error::Result;
use crate::float::Float;
use crate::simd::{Kernel, Select, Simd, SimdBase, SimdFloat, dispatch, f64x8};
use crate::vmath::{exp, exp_excess};

/// ln (1/K Σ exp `log_weight`) of each row, K the particles given, and where asked for its standard error by the delta method:
/// sd(weight) / (mean(weight) √K), +∞ for one particle.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and, for NaN or +∞, [`Error::NonFinite`](crate::Error).
pub fn iwae<F: Float>(log_weights: &[F], out: &mut [F], error: Option<&mut [F]>) -> Result<()> {
    let particles = check(log_weights, out.len())?;
    let batch = out.len();
    let mut error = error;
    for first in (0..batch).step_by(COLUMNS) {
        let count = COLUMNS.min(batch - first);
        let [shift, sum, squares] = dispatch(Columns { log_weights, batch, first, count, spread: error.is_some() });
        let k = particles as f64;
        for c in 0..count {
            let mean = sum[c] / k;
            out[first + c] = F::from_f64(shift[c] + libm::log(mean));
            if let Some(error) = error.as_deref_mut() {
                let e = (squares[c] / (k - 1.0) / k).sqrt() / mean;
                error[first + c] = F::from_f64(if particles > 1 && e.is_finite() { e } else { f64::INFINITY });
            }
        }
    }
    Ok(())
}

/// Batch rows that run side by side.
const COLUMNS: usize = 8;

struct Columns<'a, F> {
    log_weights: &'a [F],
    batch: usize,
    first: usize,
    count: usize,
    /// Whether the weights' spread is wanted.
    spread: bool,
}

impl<F: Float> Kernel for Columns<'_, F> {
    /// The largest log weight of each column, then of the weights over exp of it the sum and the sum of squares about their mean.
    type Output = [[f64; COLUMNS]; 3];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let particles = || {
            self.log_weights.chunks_exact(self.batch).map(|row| {
                let row = &row[self.first..self.first + self.count];
                f64x8::from_fn(simd, |l| row.get(l).map_or(0.0, |w| w.to_f64()))
            })
        };
        let mut largest = f64x8::splat(simd, f64::NEG_INFINITY);
        for w in particles() {
            largest = w.simd_gt(largest).select(w, largest);
        }
        // Where every weight is 0, or one is infinite, the shift itself is the result: w − shift is then 0 at the largest weight.
        let shift = largest.is_finite().select(largest, f64x8::splat(simd, 0.0));
        let zero = f64x8::splat(simd, 0.0);
        let mut sum = zero;
        for w in particles() {
            sum += exp::<f64, S>(simd, w - shift);
        }
        let mut squares = zero;
        if self.spread {
            // Weights that are nearly equal differ in w − 1, which keeps what w would round away.
            let excess = |w: f64x8<S>| exp_excess::<f64, S>(simd, w - shift).1;
            let count = f64x8::splat(simd, (self.log_weights.len() / self.batch) as f64);
            let mean = particles().fold(zero, |sum, w| sum + excess(w)) / count;
            for w in particles() {
                let off = excess(w) - mean;
                squares += off * off;
            }
        }
        [shift.into(), sum.into(), squares.into()]
    }
}
