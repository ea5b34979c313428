//! The one documented order in which a row's terms are added.
//!
//! Contract. Term j of a row goes to lane j mod 16 (float32) or j mod 8 (float64), in order of j. Float32 terms are widened and
//! added in float64; float64 terms are added with their rounding errors carried beside them (Knuth's two-sum), scaled by 2⁻⁶⁴ until the end, so that parts of a sum may leave the range. At the end,
//! float32's lanes l and l + 8 are added, then in both types lanes l and l + 4, l and l + 2, l and l + 1. Hence a row's sum depends on the
//! row alone: not on threads, batch, memory alignment or the hardware's width. Its error is at most 2 ε of the sum of the magnitudes
//! in the element's own type. A sum that leaves the range is ±∞.
//!
//! ```
//! use elbokit_core::reduce::ordered_sum;
//!
//! assert_eq!(ordered_sum(&[1e16, 1.0, -1e16]), 1.0);
//! ```

use crate::float::Float;
use crate::simd::{Fused, Kernel, Select, Simd, SimdBase, SimdFloat, SimdSplit, SimdWiden, dispatch, f32x16, f64x8, transposed};

/// Lane-striped accumulation of one row.
pub trait LaneSum<S: Simd, F: Float>: Copy {
    /// An empty sum.
    fn zero(simd: S) -> Self;
    /// Adds one vector of terms.
    #[must_use]
    fn add(self, terms: F::Lanes<S>) -> Self;
    /// [`add`](Self::add) of the first vector of a slice that is half a vector longer at least.
    #[must_use]
    #[inline(always)]
    fn add_first(self, simd: S, terms: &[F]) -> Self {
        self.add(F::Lanes::from_slice(simd, &terms[..F::LANES]))
    }
    /// Combines the lanes in the fixed order.
    fn finish(self) -> f64;
    /// Combines the lanes of eight sums, each in that order, at about the cost of two alone.
    fn finish_eight(sums: [Self; 8]) -> [f64; 8];
}

/// Float32 terms, accumulated in float64.
#[derive(Clone, Copy)]
pub struct Widened<S: Simd>(f64x8<S>, f64x8<S>);

impl<S: Simd> LaneSum<S, f32> for Widened<S> {
    #[inline(always)]
    fn zero(simd: S) -> Self {
        Self(f64x8::splat(simd, 0.0), f64x8::splat(simd, 0.0))
    }
    #[inline(always)]
    fn add(self, terms: f32x16<S>) -> Self {
        let (low, high) = terms.widen();
        Self(self.0 + low, self.1 + high)
    }
    #[inline(always)]
    fn add_first(self, simd: S, terms: &[f32]) -> Self {
        // The lower half of two vectors: each is widened as it is loaded, where the halves of one would be taken apart first.
        let (low, _) = f32x16::from_slice(simd, &terms[..16]).widen();
        let (high, _) = f32x16::from_slice(simd, &terms[8..24]).widen();
        Self(self.0 + low, self.1 + high)
    }
    #[inline(always)]
    fn finish(self) -> f64 {
        let (a, b) = (self.0 + self.1).split();
        let (a, b) = (a + b).split();
        let pair = a + b;
        pair[0] + pair[1]
    }
    #[inline(always)]
    fn finish_eight(sums: [Self; 8]) -> [f64; 8] {
        let mut lanes = [sums[0].0; 8];
        for (lanes, sum) in lanes.iter_mut().zip(sums) {
            *lanes = sum.0 + sum.1;
        }
        // A round of a transposition brings the lanes together that are added next: l and l + 4 of two rows, l and l + 2 of four, l and l + 1 of eight.
        for half in [4, 2, 1] {
            for r in 0..half {
                let (low, high) = lanes[r].interleave(lanes[r + half]);
                lanes[r] = low + high;
            }
        }
        lanes[0].into()
    }
}

/// Float64 terms, accumulated without loss in a sum and its error.
#[derive(Clone, Copy)]
pub struct Compensated<S: Simd>(f64x8<S>, f64x8<S>);

impl<S: Simd> LaneSum<S, f64> for Compensated<S> {
    #[inline(always)]
    fn zero(simd: S) -> Self {
        Self(f64x8::splat(simd, 0.0), f64x8::splat(simd, 0.0))
    }
    #[inline(always)]
    fn add(self, terms: f64x8<S>) -> Self {
        let terms = terms * SHRINK;
        let sum = self.0 + terms;
        let part = sum - self.0;
        let error = (self.0 - (sum - part)) + (terms - part);
        Self(sum, self.1 + error)
    }
    #[inline(always)]
    fn finish(self) -> f64 {
        joined(self.0.into(), self.1.into())
    }
    #[inline(always)]
    fn finish_eight(mut sums: [Self; 8]) -> [f64; 8] {
        let (mut sum, mut error) = ([sums[0].0; 8], [sums[0].1; 8]);
        for (r, row) in sums.iter().enumerate() {
            (sum[r], error[r]) = (row.0, row.1);
        }
        let (sum, error) = (transposed(sum), transposed(error));
        for (sums, (sum, error)) in sums.iter_mut().zip(sum.into_iter().zip(error)) {
            *sums = Self(sum, error);
        }
        Self::finish_lanes(sums).into()
    }
}

impl<S: Simd> Compensated<S> {
    /// Eight sums at once, where lane r of `lanes[l]` is lane l of sum r.
    #[inline(always)]
    pub(crate) fn finish_lanes(mut lanes: [Self; 8]) -> f64x8<S> {
        for half in [4, 2, 1] {
            for l in 0..half {
                let (Self(a, error_a), Self(b, error_b)) = (lanes[l], lanes[l + half]);
                let total = a + b;
                let part = total - a;
                lanes[l] = Self(total, error_a + error_b + ((a - (total - part)) + (b - part)));
            }
        }
        let Self(sum, error) = lanes[0];
        // Beside an infinite term the error is ∞ − ∞.
        let total = sum.is_finite().select(sum + error, sum);
        total * (1.0 / SHRINK)
    }
}

/// The scale at which float64 terms are added: exact, but for what lies below 10⁻²⁸⁸, and no row has 2⁶⁴ terms.
const SHRINK: f64 = 1.0 / 18_446_744_073_709_551_616.0;

/// A scaled sum and its error at their true size.
#[inline(always)]
fn grown(sum: f64, error: f64) -> f64 {
    // Beside an infinite term the error is ∞ − ∞.
    let total = if sum.is_finite() { sum + error } else { sum };
    total / SHRINK
}

/// Lanes and their errors, added in the contract's order.
#[inline(always)]
fn joined(mut sum: [f64; 8], mut error: [f64; 8]) -> f64 {
    for half in [4, 2, 1] {
        for l in 0..half {
            let (s, e) = two_sum(sum[l], sum[l + half]);
            sum[l] = s;
            error[l] = error[l] + error[l + half] + e;
        }
    }
    grown(sum[0], error[0])
}

/// `a + b` as the rounded sum and its exact error.
#[inline(always)]
#[must_use]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

/// The sum of float64 numbers in the contract's order: the scalar restatement that the lanes are tested against, and the sum
/// used where lanes do not pay.
#[must_use]
pub fn ordered_sum(terms: &[f64]) -> f64 {
    ordered_sum_of(terms.iter().copied())
}

/// [`ordered_sum`] of numbers that come one after another.
pub fn ordered_sum_of(terms: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut error) = ([0.0; 8], [0.0; 8]);
    for (j, term) in terms.into_iter().enumerate() {
        let (s, e) = two_sum(sum[j % 8], term * SHRINK);
        sum[j % 8] = s;
        error[j % 8] += e;
    }
    joined(sum, error)
}

/// The sum of the squares of many numbers, for a norm: widened to float64, number j to lane j mod 32 by a truly fused multiply-add, then lanes l and
/// l + 16, l + 8, l + 4, l + 2, l + 1 are added. A relative error of n/32 + 6 ε of float64 at most; not finite where a number is not, or a float64's square leaves the range.
#[must_use]
pub fn sum_of_squares<F: Float>(x: &[F]) -> f64 {
    dispatch(Squares(x))
}

struct Squares<'a, F>(&'a [F]);

impl<F: Float> Kernel for Squares<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let zero = f64x8::splat(simd, 0.0);
        // Four chains of sums hide the latency of each other's multiply-adds; eight lanes each.
        let mut sums = [zero; 4];
        let mut chunks = self.0.chunks_exact(32);
        for chunk in &mut chunks {
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = F::widened(simd, &chunk[8 * i..8 * i + 8]);
                *sum = x.fma(x, *sum);
            }
        }
        let rest = chunks.remainder();
        for (i, sum) in sums.iter_mut().enumerate() {
            let x = f64x8::from_fn(simd, |l| rest.get(8 * i + l).map_or(0.0, |x| x.to_f64()));
            *sum = x.fma(x, *sum);
        }
        let lanes: [f64; 8] = ((sums[0] + sums[2]) + (sums[1] + sums[3])).into();
        let four: [f64; 4] = std::array::from_fn(|l| lanes[l] + lanes[l + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
}
