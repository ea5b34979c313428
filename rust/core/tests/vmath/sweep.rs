//! A function of one number, on lanes, held to a reference over its whole domain.

use std::fmt::Debug;

use elbokit_core::Float;
use elbokit_core::simd::{Kernel, Simd, SimdBase, dispatch};
use elbokit_core::vmath::Lanes;

use crate::reference::{Double, Numbers, bits, same_at_every_level, ulps};

/// Functions, each in three forms.
pub(crate) trait Function: Copy + Debug {
    /// The one on trial; the implementation is `#[inline(always)]`.
    fn on_lanes<F: Float, S: Simd>(self, simd: S, x: Lanes<F, S>) -> Lanes<F, S>;
    /// y · 2ⁿ as (y, n), y to about 100 bits: the power apart, so that nothing is lost where the result is subnormal or past the range.
    fn exact(self, x: f64) -> (Double, i32);
    /// To a few float64 ulps: quick enough for millions of float32 arguments.
    fn quick(self, x: f64) -> f64;
    /// Whether x is not in the domain.
    fn outside(self, x: f64) -> bool;
    /// Where a function bends, ends or changes its formula.
    const SEAMS: &'static [f64];
    /// Intervals that deserve dense arguments.
    const RANGES: &'static [(f64, f64)];
}

/// A function with its largest errors in float32 and float64 ulps, rounded up: over every float32 and over five million random float64, by the
/// ignored tests. A change that loses accuracy shows long before the promise breaks.
pub(crate) type Measured<T> = (T, f64, f64);

struct Map<'a, T, F> {
    function: T,
    x: &'a [F],
    y: &'a mut [F],
}

impl<T: Function, F: Float> Kernel for Map<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (x, y) in self.x.chunks_exact(F::LANES).zip(self.y.chunks_exact_mut(F::LANES)) {
            self.function.on_lanes::<F, S>(simd, F::Lanes::from_slice(simd, x)).store_slice(y);
        }
    }
}

pub(crate) fn apply<T: Function, F: Float>(function: T, x: &[F]) -> Vec<F> {
    let mut padded = x.to_vec();
    padded.resize(x.len().next_multiple_of(F::LANES), F::ONE);
    let mut y = vec![F::ZERO; padded.len()];
    dispatch(Map { function, x: &padded, y: &mut y });
    y.truncate(x.len());
    y
}

/// [`ulps`] of float32 against a float64, quick enough for every 97th number.
fn ulps_f32(got: f32, reference: f64) -> f64 {
    const PAST: f64 = 2.0 * (1_u128 << 127) as f64;
    if got.is_infinite() && reference.abs() >= PAST {
        return if f64::from(got).signum() == reference.signum() { 0.0 } else { f64::INFINITY };
    }
    let got = if got.is_infinite() { PAST.copysign(f64::from(got)) } else { f64::from(got) };
    // The power of two at the reference's exponent, 23 places down, and no lower than a subnormal number's.
    let power = f64::from_bits(reference.to_bits() & 0x7FF0_0000_0000_0000);
    let error = (got - reference).abs() / (power * f64::from(f32::EPSILON)).max(f64::from(f32::from_bits(1)));
    if error.is_nan() { f64::INFINITY } else { error }
}

#[derive(Clone, Copy)]
struct Worst {
    ulps: f64,
    at: f64,
}

impl Worst {
    const NONE: Self = Self { ulps: 0.0, at: 0.0 };

    fn see(&mut self, ulps: f64, at: f64) {
        if ulps > self.ulps || ulps.is_nan() {
            *self = Self { ulps, at };
        }
    }
}

/// Random arguments of every size, and dense ones in the ranges and at the seams.
pub(crate) fn arguments<T: Function, F: Float>(len: usize) -> Vec<F> {
    let mut numbers = Numbers(1);
    let bits = |bits: u64| if F::LANES == 16 { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) };
    let mut x = Vec::with_capacity(len + 1000);
    while x.len() < len {
        let any = bits(numbers.bits());
        x.push(F::from_f64(if any.is_nan() { 0.0 } else { any }));
        for &(low, high) in T::RANGES {
            x.push(F::from_f64(numbers.uniform(low, high)));
        }
    }
    for near in T::SEAMS {
        for step in -20..=20 {
            let point = near * (1.0 + f64::from(step) * F::EPSILON.to_f64());
            x.extend([F::from_f64(point), F::from_f64(-point)]);
        }
    }
    x
}

fn within<T: Function, F: Float>(function: T, len: usize) -> Vec<F> {
    let mut x = arguments::<T, F>(len);
    x.retain(|x| x.finite() && !function.outside(x.to_f64()));
    x
}

pub(crate) fn the_quick_reference_is_right_to_fourteen_digits<T: Function>(functions: &[Measured<T>]) {
    for &(function, ..) in functions {
        for x in within::<T, f32>(function, 7000).iter().map(|&x| f64::from(x)) {
            let (quick, (exact, n)) = (function.quick(x), function.exact(x));
            let exact = exact.scaled(n);
            if (1e-300..1e300).contains(&exact.hi.abs()) {
                let error = (Double::from(quick) - exact).hi.abs();
                assert!(error <= 1e-14 * quick.abs(), "{function:?}({x:e}): {quick:e}, exactly {exact:?}");
            }
        }
    }
}

/// Every `step`th float32 and the arguments above.
pub(crate) fn float32_over_every<T: Function>(step: usize, functions: &[Measured<T>]) {
    for &(function, bound, _) in functions {
        let mut worst = Worst::NONE;
        let mut see = |x: &[f32]| {
            for (&y, &x) in apply(function, x).iter().zip(x) {
                worst.see(ulps_f32(y, function.quick(f64::from(x))), f64::from(x));
            }
        };
        let mut block = Vec::with_capacity(4096);
        for x in (0..=u32::MAX).step_by(step).map(f32::from_bits) {
            if x.is_finite() && !function.outside(f64::from(x)) {
                block.push(x);
            }
            if block.len() == 4096 {
                see(&block);
                block.clear();
            }
        }
        see(&block);
        see(&within(function, 7000));
        println!("{function:?}: float32 {:.3} ulp at {:e}", worst.ulps, worst.at);
        assert!(worst.ulps <= bound, "{function:?}: {} ulp at {:e}", worst.ulps, worst.at);
    }
}

/// About `len` arguments as above.
pub(crate) fn float64_over_random_numbers<T: Function>(len: usize, functions: &[Measured<T>]) {
    for &(function, _, bound) in functions {
        let mut worst = Worst::NONE;
        let x = within::<T, f64>(function, len);
        for (&y, &x) in apply(function, &x).iter().zip(&x) {
            let (reference, n) = function.exact(x);
            worst.see(ulps(y, reference, n), x);
        }
        println!("{function:?}: float64 {:.3} ulp at {:e}", worst.ulps, worst.at);
        assert!(worst.ulps <= bound, "{function:?}: {} ulp at {:e}", worst.ulps, worst.at);
    }
}

/// Values at the ends of the range, equal to the last bit (and zeros of either sign to each other); NaN goes through.
pub(crate) fn the_ends_of_the_range_are<T: Function, F: Float>(expected: &[(T, Vec<(f64, f64)>)]) {
    for (function, points) in expected {
        for &(x, y) in points {
            assert_eq!(apply(*function, &[F::from_f64(x)])[0].to_f64(), y, "{function:?}({x:e}) of {}", F::NAME);
        }
        assert!(apply(*function, &[F::NAN])[0].to_f64().is_nan(), "{function:?}(NaN)");
    }
}

/// Also outside the domain, at infinities, zeros and NaN.
pub(crate) fn every_level_gives_the_same_bits<T: Function>(functions: &[Measured<T>]) {
    fn of<T: Function, F: Float>(function: T) {
        let mut x = arguments::<T, F>(50_000);
        let lone = [F::NAN, F::INFINITY, F::ZERO - F::INFINITY, F::ZERO, F::from_f64(-0.0)];
        x.extend(lone);
        same_at_every_level(&format!("{function:?}"), || apply(function, &x));
        same_at_every_level(&format!("{function:?}"), || apply(function, &lone));
    }
    for &(function, ..) in functions {
        of::<T, f32>(function);
        of::<T, f64>(function);
    }
}

/// A number's result does not depend on its neighbours: each alone, among ones, gives what it gives in the crowd.
pub(crate) fn neighbours_do_not_matter<T: Function>(functions: &[Measured<T>]) {
    fn of<T: Function, F: Float>(function: T) {
        let x = arguments::<T, F>(3000);
        let alone: Vec<F> = x.iter().map(|&x| apply(function, &[x])[0]).collect();
        assert!(bits(&alone) == bits(&apply(function, &x)), "{function:?} ({})", F::NAME);
    }
    for &(function, ..) in functions {
        of::<T, f32>(function);
        of::<T, f64>(function);
    }
}
