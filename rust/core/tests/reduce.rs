//! The order of sums, restated one number at a time: lanes must give its bits for every length, at every level.

#![allow(missing_docs)]

mod reference;

use elbokit_core::Float;
use elbokit_core::reduce::{LaneSum, ordered_sum, two_sum};
use elbokit_core::simd::{Kernel, Simd, SimdBase, dispatch};
use reference::{Double, Numbers, same_at_every_level};

/// The sum of a row whose last vector is filled up with zeros, as the loop over rows does it.
struct Sum<'a, F>(&'a [F]);

impl<F: Float> Kernel for Sum<'_, F> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        summed(simd, self.0).finish()
    }
}

#[inline(always)]
fn summed<F: Float, S: Simd>(simd: S, row: &[F]) -> F::Sum<S> {
    let mut sum = F::Sum::<S>::zero(simd);
    for terms in row.chunks(F::LANES) {
        sum = sum.add(F::Lanes::from_fn(simd, |l| terms.get(l).copied().unwrap_or(F::ZERO)));
    }
    sum
}

/// Eight rows' sums, finished together.
struct Eight<'a, F>(&'a [Vec<F>; 8]);

impl<F: Float> Kernel for Eight<'_, F> {
    type Output = [f64; 8];
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f64; 8] {
        let mut sums = [F::Sum::<S>::zero(simd); 8];
        for (sum, row) in sums.iter_mut().zip(self.0) {
            *sum = summed(simd, row);
        }
        F::Sum::<S>::finish_eight(sums)
    }
}

/// The order of float32's sums as `reduce` documents it, in float64 throughout.
fn widened(terms: &[f32]) -> f64 {
    let mut lanes = [0.0; 16];
    for (j, &term) in terms.iter().enumerate() {
        lanes[j % 16] += f64::from(term);
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// Terms of every size and both signs, so that rounding differs for any other order.
fn terms<F: Float>(len: usize) -> Vec<F> {
    let mut numbers = Numbers(len as u64);
    (0..len).map(|_| F::from_f64(numbers.uniform(-1.0, 1.0) * numbers.uniform(-30.0, 30.0).exp())).collect()
}

#[test]
fn float32_lanes_follow_the_documented_order() {
    for len in 0..200 {
        let terms = terms::<f32>(len);
        assert_eq!(dispatch(Sum(&terms)).to_bits(), widened(&terms).to_bits(), "{len} terms");
    }
}

fn eight_sums_are_each_alone<F: Float>() {
    // Rows of many lengths, one with a sum past the range and one with an infinite term.
    for first in 0..40 {
        let mut rows: [Vec<F>; 8] = std::array::from_fn(|r| terms(first + 5 * r));
        rows[3].extend([F::MAX, F::MAX, F::MAX]);
        rows[6].push(F::INFINITY);
        let alone = rows.each_ref().map(|row| dispatch(Sum(row)).to_bits());
        assert_eq!(dispatch(Eight(&rows)).map(f64::to_bits), alone);
        same_at_every_level("eight sums", || dispatch(Eight(&rows)).to_vec());
    }
}

#[test]
fn sums_finished_together_have_the_bits_of_each_alone() {
    eight_sums_are_each_alone::<f32>();
    eight_sums_are_each_alone::<f64>();
}

#[test]
fn float64_lanes_follow_the_documented_order() {
    for len in 0..200 {
        let terms = terms::<f64>(len);
        assert_eq!(dispatch(Sum(&terms)).to_bits(), ordered_sum(&terms).to_bits(), "{len} terms");
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    same_at_every_level("sum", || (0..100).map(|len| dispatch(Sum(&terms::<f64>(len)))).collect::<Vec<f64>>());
    same_at_every_level("sum", || (0..100).map(|len| dispatch(Sum(&terms::<f32>(len)))).collect::<Vec<f64>>());
}

#[test]
fn sums_are_exact_to_two_epsilon_of_the_magnitudes() {
    for len in [1, 10, 100, 10_000] {
        let terms = terms::<f64>(len);
        let exact: Double = terms.iter().map(|&x| Double::from(x)).sum();
        let magnitude: f64 = terms.iter().map(|x| x.abs()).sum();
        let error = (exact - ordered_sum(&terms)).hi.abs();
        // The sum itself is rounded; the carried errors lose a square of ε.
        assert!(error <= f64::EPSILON * exact.hi.abs() + 1e-25 * magnitude, "{len} terms: {error:e}");

        let terms: Vec<f32> = terms.iter().map(|&x| x as f32).collect();
        let exact: Double = terms.iter().map(|&x| Double::from(f64::from(x))).sum();
        let error = (exact - dispatch(Sum(&terms))).hi.abs();
        assert!(error <= 2.0 * f64::from(f32::EPSILON) * magnitude, "{len} float32 terms: {error:e}");
    }
}

#[test]
fn what_cancels_leaves_the_rest() {
    assert_eq!(ordered_sum(&[1e16, 1.0, -1e16]), 1.0);
    let mut row = vec![1.0; 1000];
    (row[3], row[900]) = (1e30, -1e30);
    assert_eq!(dispatch(Sum(&row)), 998.0);
    assert_eq!(two_sum(1e16, 1.0), (1e16, 1.0));
}

#[test]
fn sums_that_leave_the_range_are_infinite_and_never_nan() {
    for (value, expected) in [(f64::MAX, f64::INFINITY), (-f64::MAX, -f64::INFINITY), (f64::INFINITY, f64::INFINITY)] {
        let row = [value; 100];
        assert_eq!(ordered_sum(&row), expected);
        assert_eq!(dispatch(Sum(&row)), expected);
    }
    // Parts that overflow with opposite signs, in one lane and across lanes: the sum itself is within the range.
    let row: Vec<f64> = (0..64).map(|j| if j % 8 < 4 { f64::MAX } else { -f64::MAX }).collect();
    assert_eq!(ordered_sum(&row), 0.0);
    assert_eq!(dispatch(Sum(&row)), 0.0);
    assert_eq!(ordered_sum(&[f64::MAX, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f64::MAX, -f64::MAX]), f64::MAX);
    assert!(ordered_sum(&[1.0, f64::NAN]).is_nan());
    assert!(dispatch(Sum(&[f32::NAN; 3])).is_nan());
    assert_eq!(dispatch(Sum(&[f32::MAX; 100])), 100.0 * f64::from(f32::MAX));
}
