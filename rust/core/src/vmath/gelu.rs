//! x Φ(x), Φ the normal distribution function, and its derivative.

use super::{Lanes, at_least, at_most, constant, polynomial, reduced, two_sum};
use crate::float::Float;
use crate::simd::{Fused, Select, Simd, SimdBase, apart};

/// (x Φ(x), Φ(x) + x φ(x)), with Φ the distribution function of N(0, 1) and φ its density: the exact form, not the one by a hyperbolic tangent.
///
/// With t = |x|: Q(t) = 1 − Φ(t) = e^(−t²/2) R(t), R(t) = P(y) / (t + 4), y = (t − 4)/(t + 4), and x Φ(x) = max(x, 0) − t Q(t). The rounding errors of the square, of y
/// and of the quotient are put back, that of y by R′ = t R − φ(0). Accuracy: `tests/vmath/elementary.rs` and, of the derivative, which has a zero near −0.75, `tests/network/activation.rs`.
#[inline(always)]
pub fn gelu<F: Float, S: Simd>(simd: S, x: Lanes<F, S>) -> (Lanes<F, S>, Lanes<F, S>) {
    apart(
        simd,
        x,
        #[inline(always)]
        |simd, x: Lanes<F, S>| {
            let (one, four) = (constant::<F, S>(simd, 1.0), constant::<F, S>(simd, 4.0));
            // Past 40 the tail is 0 in either type.
            let t = at_most::<F, S>(simd, x.abs(), F::from_f64(40.0));
            let half = t * F::from_f64(0.5);
            let square = half * t;
            let square_error = half.fma(t, -square);

            // e^(−t²/2) as a sum and its rounding error, times two powers of two.
            let v = at_least::<F, S>(simd, -square, F::EXP_ENDS.0);
            let (n, [first, second]) = F::exponent_below(simd, v);
            let r = reduced::<F, S>(v, n);
            let curve = r * r * polynomial::<F, S>(simd, r, F::EXP_NEAR);
            let grown = r + curve;
            let power = grown + one;
            let power_error = ((one - power) + grown) + (curve - (grown - r));

            // t ± 4 with their rounding errors.
            let (above, above_error) = two_sum::<F, S>(t, four);
            let (below, below_error) = two_sum::<F, S>(t, -four);
            let inverse = one / above;
            let inverse_error = ((-inverse).fma(above, one) - inverse * above_error) * inverse;
            let y = below * inverse;
            let y_error = (-y).fma(above, below) + (-y).fma(above_error, below_error);

            // P = c₀ + y (c₁ + y …) as a sum and its rounding error, its two largest steps with theirs.
            let rest = polynomial::<F, S>(simd, y, &F::NORMAL_TAIL[2..]);
            let product = rest * y;
            let (inner, inner_error) = two_sum::<F, S>(constant::<F, S>(simd, F::NORMAL_TAIL[1].to_f64()), product);
            let inner_error = inner_error + (rest.fma(y, -product) + F::NORMAL_TAIL_REST[1]);
            let product = inner * y;
            let (sum, error) = two_sum::<F, S>(constant::<F, S>(simd, F::NORMAL_TAIL[0].to_f64()), product);
            let error = error + inner_error.fma(y, inner.fma(y, -product) + F::NORMAL_TAIL_REST[0]);
            // dP/dy dy = [P (t + 1/(t + 4)) − (t + 4) φ(0)] (t + 4)²/8 dy.
            let bend = sum * (t + inverse) - above * F::from_f64(FRAC_1_SQRT_TAU);
            let error = (bend * above).fma(y_error * F::from_f64(0.125), error);

            let ratio = sum * inverse;
            let ratio_error = sum.fma(inverse, -ratio) + sum.fma(inverse_error, error * inverse);
            let scaled = t * ratio;
            let scaled_error = t.fma(ratio, -scaled) + t.fma(ratio_error, -(scaled * square_error));
            // The factor that may make the product subnormal comes last.
            let tail = power * scaled;
            let tail_error = power.fma(scaled, -tail) + power.fma(scaled_error, power_error * scaled);
            let (tail, tail_error) = (tail * first, tail_error * first);
            let positive = x.simd_gt(F::ZERO);
            let below_zero = -(tail + tail_error) * second;
            let value = positive.select((x - tail * second) - tail_error * second, below_zero);
            let slope = (power * first * second * (one - square_error)) * t.fma(F::from_f64(-FRAC_1_SQRT_TAU), ratio);
            (value, positive.select(one - slope, slope))
        },
    )
}

/// φ(0) = 1 / √(2π).
const FRAC_1_SQRT_TAU: f64 = 0.398_942_280_401_432_7;
