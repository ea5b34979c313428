//! What the tests judge by: slow, obvious formulas in double-double, distances in units of the last place, and what makes a run repeatable.

// Each test file uses a part of it.
#![allow(dead_code)]

pub(crate) mod cell;
pub(crate) mod double;
pub(crate) mod gamma;
pub(crate) mod gamma_values;
pub(crate) mod likelihood;

use std::sync::{Mutex, MutexGuard, PoisonError};

use elbokit_core::Float;
use elbokit_core::simd::{levels, with_level};
use elbokit_core::threads::set_num_threads;
use proptest::test_runner::{Config as ProptestConfig, FileFailurePersistence};

pub(crate) use double::Double;

/// |got − reference · 2ⁿ| in units of the last place of the reference as a number of type F; subnormal numbers share one unit, ∞ stands for
/// the first power of two past the range, and NaN is infinitely far.
pub(crate) fn ulps<F: Float>(got: F, reference: impl Into<Double>, n: i32) -> f64 {
    let (bits, least, past) = if F::LANES == 16 { (24, -126, 128) } else { (53, -1022, 1024) };
    let reference = reference.into();
    let got = got.to_f64();
    let exponent = if reference.hi == 0.0 { least } else { libm::ilogb(reference.hi).saturating_add(n) };
    if exponent >= past {
        return if got == f64::INFINITY.copysign(reference.hi) { 0.0 } else { f64::INFINITY };
    }
    let got = if got.is_infinite() { libm::scalbn(got.signum(), past - n) } else { libm::scalbn(got, -n) };
    let unit = exponent.max(least) + 1 - bits;
    let error = libm::scalbn((Double::from(got) - reference).hi.abs(), n - unit);
    if error.is_nan() { f64::INFINITY } else { error }
}

/// The bits of numbers, every NaN as one: what "the same bits" compares.
pub(crate) fn bits<F: Float>(x: &[F]) -> Vec<u64> {
    x.iter().map(|x| if x.to_f64().is_nan() { f64::NAN } else { x.to_f64() }.to_bits()).collect()
}

static SETTINGS: Mutex<()> = Mutex::new(());

/// Keeps other tests of this process from changing level or threads meanwhile.
pub(crate) fn settings() -> MutexGuard<'static, ()> {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f` at every level of the processor; its results must agree bit for bit.
pub(crate) fn same_at_every_level<F: Float>(what: &str, f: impl Fn() -> Vec<F>) {
    let _alone = settings();
    let best = levels()[0];
    let expected = with_level(best, &f);
    for level in levels() {
        assert!(bits(&with_level(level, &f)) == bits(&expected), "{what} ({}): {} is not {}", F::NAME, level.name(), best.name());
    }
}

/// Runs `f` on 1, 2 and 3 threads; its results must agree bit for bit.
pub(crate) fn same_on_any_threads<F: Float>(what: &str, f: impl Fn() -> Vec<F>) {
    let _alone = settings();
    let [one, two, three] = [1, 2, 3].map(|n| {
        set_num_threads(n).expect("a valid number");
        bits(&f())
    });
    assert!(one == two && one == three, "{what} ({}) depends on threads", F::NAME);
}

/// `cases` of a property; what fails is kept beside the test, to be committed with the cure.
pub(crate) fn property(cases: u32) -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(beside)), ..ProptestConfig::default() }
}

/// Numbers that no library made: Steele, Lea and Flood's splitmix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [low, high).
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.bits() >> 11) as f64 / 9_007_199_254_740_992.0)
    }

    /// `len` numbers in [low, high), rounded to F.
    pub(crate) fn vec<F: Float>(&mut self, len: usize, low: f64, high: f64) -> Vec<F> {
        (0..len).map(|_| F::from_f64(self.uniform(low, high))).collect()
    }
}

/// A sum and the sum of its terms' magnitudes, which is what a row's error is measured in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) value: Double,
    pub(crate) magnitude: f64,
}

impl Terms {
    pub(crate) fn of(terms: impl IntoIterator<Item = Double>) -> Self {
        let zero = Self { value: 0.0.into(), magnitude: 0.0 };
        terms.into_iter().fold(zero, |sum, term| Self { value: sum.value + term, magnitude: sum.magnitude + term.hi.abs() })
    }

    /// |got − value| over the magnitude; what is below the smallest normal number counts as nothing.
    pub(crate) fn error<F: Float>(&self, got: F) -> f64 {
        let smallest = if F::LANES == 16 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
        let error = (self.value - got.to_f64()).hi.abs() - smallest;
        if error <= 0.0 { 0.0 } else { error / self.magnitude }
    }
}

/// What a row may be off by, relative to the magnitudes of its terms.
pub(crate) fn row_bound<F: Float>() -> f64 {
    if F::LANES == 16 { 4e-7 } else { 4e-15 }
}

/// Every result of `got` within `bound` of its terms; returns the largest error.
pub(crate) fn assert_rows<F: Float>(what: &str, got: &[F], expected: &[Terms], bound: f64) -> f64 {
    assert_eq!(got.len(), expected.len(), "{what}");
    let mut worst = 0.0_f64;
    for (row, (&got, expected)) in got.iter().zip(expected).enumerate() {
        let error = expected.error(got);
        assert!(error <= bound, "{what} ({}), row {row}: {got} for {expected:?}, off by {error:e}", F::NAME);
        worst = worst.max(error);
    }
    worst
}
