//! Rows at the ends of the range, where a lane's term overflows although the row's result does not: computed again, one latent after another in
//! float64, from factors that are halved before they are multiplied.
//!
//! The lanes find them for nothing: such a row's sum is not finite, which is looked at anyway. Of a row's elementwise results only those that are
//! not finite are replaced.

use crate::float::Float;
use crate::reduce::ordered_sum_of;

/// Calls `row` with the number of each row whose result is not finite.
pub(super) fn for_lost_rows<F: Float>(sums: &mut [F], mut row: impl FnMut(usize) -> f64) {
    for (r, sum) in sums.iter_mut().enumerate() {
        if !sum.finite() {
            *sum = F::from_f64(row(r));
        }
    }
}

/// Puts `value` where the lanes found no finite one.
pub(crate) fn mend<F: Float>(slot: &mut F, value: f64) {
    if !slot.finite() {
        *slot = F::from_f64(value);
    }
}

/// Row `row` of an array whose rows repeat.
pub(super) fn repeated<F>(data: &[F], row: usize, width: usize) -> &[F] {
    &data[row % (data.len() / width) * width..][..width]
}

/// A sum in the order of [`reduce`](crate::reduce), whose parts may leave the range.
pub(super) fn sum(terms: impl IntoIterator<Item = f64>) -> f64 {
    ordered_sum_of(terms)
}

/// (a − b) · the factors: a product that leaves the range only if the result does, where no factor does.
pub(crate) fn scaled<const N: usize>(a: f64, b: f64, factors: [f64; N]) -> f64 {
    // Halves only where they must be: half of a subnormal number may be none.
    let difference = a - b;
    let (difference, unit) = if difference.is_finite() { (difference, 1.0) } else { (0.5 * a - 0.5 * b, 2.0) };
    // 0 · ∞ is 0 here: an infinite scale is a finite one that float64 does not hold.
    if difference == 0.0 {
        return 0.0;
    }
    factors.into_iter().fold(difference, |product, factor| product * factor) * unit
}

/// (a − b) · exp(`log_scale` / 4)ⁿ.
fn stretched<const N: usize>(a: f64, b: f64, log_scale: f64) -> f64 {
    scaled(a, b, [libm::exp(0.25 * log_scale); N])
}

/// δ = (a − b) exp(−`log_var` / 2).
pub(crate) fn delta(a: f64, b: f64, log_var: f64) -> f64 {
    stretched::<2>(a, b, -log_var)
}

/// (a − b) exp(−`log_var`).
pub(crate) fn pull(a: f64, b: f64, log_var: f64) -> f64 {
    stretched::<4>(a, b, -log_var)
}

/// ½ (eᵛ − 1 − v) and ½ (eᵛ − 1) for v = a − b.
pub(super) fn half_excess(a: f64, b: f64) -> (f64, f64) {
    // Half of v and what its rounding lost: v itself may overflow.
    let (x, y) = (0.5 * a, -0.5 * b);
    let half = x + y;
    let part = half - x;
    let lost = (x - (half - part)) + (y - part);
    if half.abs() < 0.5 {
        let v = 2.0 * half;
        // eᵛ − 1 − v = v²/2 (1 + v/3 (1 + v/4 (…))).
        let series = |from: u32| (from..from + 18).rev().fold(1.0, |tail, k| 1.0 + v / f64::from(k) * tail);
        let half_expm1 = half * series(2);
        return (half * half * series(3) + 2.0 * lost * half_expm1, half_expm1 + lost * (1.0 + 2.0 * half_expm1));
    }
    let root = libm::exp(half);
    let half_exp = 0.5 * root * root;
    // Past the range it changes nothing, and may be ∞ · 0.
    let half_exp = if half_exp.is_finite() { half_exp + half_exp * (2.0 * lost) } else { half_exp };
    let half_expm1 = half_exp - 0.5;
    (half_expm1 - half, half_expm1)
}
