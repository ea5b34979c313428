//! x Φ(x), Φ the normal distribution function, and its derivative.

use super::{Lanes, at_most, exp_below, polynomial};
use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase};

/// (x Φ(x), Φ(x) + x φ(x)), with Φ the distribution function of N(0, 1) and φ its density: the exact form, not the one by a hyperbolic tangent.
///
/// With t = |x|: Q(t) = 1 − Φ(t) = e^(−t²/2) R(t), R(t) = P(y) / (t + 4), y = (t − 4)/(t + 4), and x Φ(x) = max(x, 0) − t Q(t). The rounding errors of the square, of y
/// and of the quotient are put back, that of y by R′ = t R − φ(0). Accuracy: `tests/vmath.rs` and, of the derivative, which has a zero near −0.75, `tests/activation.rs`.
#[inline(always)]
pub fn gelu<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    let constant = |c: f64| F::Lanes::splat(simd, F::from_f64(c));
    let (zero, one, four) = (constant(0.0), constant(1.0), constant(4.0));
    // Past 40 the tail is 0 in either type.
    let t = at_most::<F, S>(simd, x.abs(), F::from_f64(40.0));
    let half = t * F::from_f64(0.5);
    let square = half * t;
    let square_error = half.fma(t, -square);
    let power = exp_below::<F, S>(simd, -square);

    // t ± 4 with their rounding errors.
    let (above, below) = (t + four, t - four);
    let (up, down) = (above - t, below - t);
    let above_error = (t - (above - up)) + (four - up);
    let below_error = (t - (below - down)) - (four + down);
    let inverse = one / above;
    let inverse_error = ((-inverse).fma(above, one) - inverse * above_error) * inverse;
    let y = below * inverse;
    let y_error = (-y).fma(above, below) + (-y).fma(above_error, below_error);

    // P as a sum and its rounding error.
    let first = constant(F::NORMAL_TAIL[0].to_f64());
    let rest = polynomial::<F, S>(simd, y, &F::NORMAL_TAIL[1..]);
    let product = rest * y;
    let sum = first + product;
    let part = sum - first;
    let mut error = (first - (sum - part)) + (product - part) + rest.fma(y, -product);
    // dP/dy dy = [P (t + 1/(t + 4)) − (t + 4) φ(0)] (t + 4)²/8 dy.
    let bend = sum * (t + inverse) - above * F::from_f64(FRAC_1_SQRT_TAU);
    error = (bend * above).fma(y_error * F::from_f64(0.125), error);

    let ratio = sum * inverse;
    let ratio_error = sum.fma(inverse, -ratio) + sum.fma(inverse_error, error * inverse);
    let scaled = t * ratio;
    let scaled_error = t.fma(ratio, -scaled) + t.fma(ratio_error, -(scaled * square_error));
    // The factor that may be subnormal comes last.
    let tail = power * scaled;
    let tail_error = power.fma(scaled, -tail) + power * scaled_error;
    let positive = x.simd_gt(F::ZERO);
    let value = (positive.select(x, zero) - tail) - tail_error;
    let slope = (power * (one - square_error)) * t.fma(F::from_f64(-FRAC_1_SQRT_TAU), ratio);
    (value, positive.select(one - slope, slope))
}

/// φ(0) = 1 / √(2π).
const FRAC_1_SQRT_TAU: f64 = 0.398_942_280_401_432_7;
