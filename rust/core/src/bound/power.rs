//! ln of a power mean of the weights, (1/s) ln (1/K Σ wˢ): what the importance-weighted bound, Rényi's and CUBO are made of.

use super::columns::{COLUMNS, Columns, for_columns};
use crate::float::Float;
use crate::simd::{Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::vmath::{exp, exp_excess};

/// Powers below which the mean of wˢ is so near 1 that its distance from 1 is what is summed.
const SMALL: f64 = 0.25;

/// (1/s) ln (1/K Σ exp(s · `log_weight`)) of each row for a finite power s ≠ 0, and its standard error by the delta method:
/// sd(wˢ) / (|s| mean(wˢ) √K), +∞ for one particle.
///
/// With d = w − shift, shift the log weight at which wˢ is largest: shift + ln(1/K Σ exp(s d)) / s, and for small s
/// shift + ln(1 + 1/K Σ (exp(s d) − 1)) / s, which does not lose the digits that 1/s would ask for.
pub(super) fn log_power_mean<F: Float>(log_weights: &[F], power: f64, particles: usize, out: &mut [F], error: Option<&mut [F]>) {
    let k = particles as f64;
    for_columns(log_weights, out, error, |columns, spread| {
        let [shift, sum, excess, squares] = dispatch(Powers { columns, power, k, spread });
        let (mut value, mut error) = ([0.0; COLUMNS], [0.0; COLUMNS]);
        for c in 0..COLUMNS {
            let (mean, less_one) = (sum[c] / k, excess[c] / k);
            let log_mean = if power.abs() < SMALL && less_one > -0.5 { libm::log1p(less_one) } else { libm::log(mean) };
            value[c] = shift[c] + log_mean / power;
            let e = (squares[c] / (k - 1.0) / k).sqrt() / mean / power.abs();
            error[c] = if particles > 1 && e.is_finite() { e } else { f64::INFINITY };
        }
        [value, error]
    });
}

struct Powers<'a, F> {
    columns: Columns<'a, F>,
    power: f64,
    k: f64,
    /// Whether the powers' spread is wanted.
    spread: bool,
}

impl<F: Float> Kernel for Powers<'_, F> {
    /// The shift of each column, then of exp(s (w − shift)) the sum, the sum of what it is above 1, and the sum of squares about the mean.
    type Output = [[f64; COLUMNS]; 4];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { columns, power, k, spread } = self;
        let shift = if power > 0.0 { columns.largest(simd) } else { columns.smallest(simd) };
        let scaled = |w: f64x8<S>| (w - shift) * power;
        let zero = f64x8::splat(simd, 0.0);
        let mut sum = zero;
        for w in columns.particles(simd) {
            sum += exp::<f64, S>(simd, scaled(w));
        }
        let (mut total, mut squares) = (zero, zero);
        if spread || power.abs() < SMALL {
            // Weights that are nearly equal differ in wˢ − 1, which keeps what wˢ would round away.
            for w in columns.particles(simd) {
                total += exp_excess::<f64, S>(simd, scaled(w)).1;
            }
            if spread {
                let mean = total / f64x8::splat(simd, k);
                for w in columns.particles(simd) {
                    let off = exp_excess::<f64, S>(simd, scaled(w)).1 - mean;
                    squares += off * off;
                }
            }
        }
        [shift.into(), sum.into(), total.into(), squares.into()]
    }
}
