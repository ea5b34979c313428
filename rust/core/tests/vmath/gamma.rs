//! Binet's function, lgamma and digamma against references that know their last bits: every 97th float32 there is, and dense random
//! float64; values to 32 digits that mpmath computed; the ends of the range; the same bits at every level.

use crate::reference::gamma::{self, quick_binet, quick_binet_slope, quick_digamma};
use crate::reference::gamma_values::VALUES;
use crate::reference::{Double, ulps};
use crate::sweep::{self, Measured, apply};
use elbokit_core::Float;
use elbokit_core::simd::Simd;
use elbokit_core::vmath::{self, Lanes};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Binet,
    Slope,
    Lgamma,
    Digamma,
}
use Function::{Binet, Digamma, Lgamma, Slope};

const MEASURED: [Measured<Function>; 4] = [(Binet, 1.68, 1.60), (Slope, 2.94, 2.71), (Lgamma, 2.32, 2.31), (Digamma, 2.49, 2.14)];

impl sweep::Function for Function {
    #[inline(always)]
    fn on_lanes<F: Float, S: Simd>(self, simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
        match self {
            Binet => vmath::stirling::<F, S>(simd, x).0,
            Slope => vmath::stirling::<F, S>(simd, x).1,
            Lgamma => vmath::lgamma::<F, S>(simd, x),
            Digamma => vmath::digamma::<F, S>(simd, x),
        }
    }

    fn exact(self, x: f64) -> (Double, i32) {
        match self {
            Binet => gamma::binet(x),
            Slope => gamma::binet_slope(x),
            Lgamma => gamma::lgamma(x),
            Digamma => gamma::digamma(x),
        }
    }

    fn quick(self, x: f64) -> f64 {
        match self {
            Binet => quick_binet(x),
            Slope => quick_binet_slope(x),
            Lgamma => libm::lgamma(x),
            Digamma => quick_digamma(x),
        }
    }

    fn outside(self, x: f64) -> bool {
        x <= 0.0
    }

    const SEAMS: &'static [f64] = &[0.5, 1.0, 1.461_632_144_968_362_3, 1.5, 2.0, 2.5, 3.0, 4.0, 8.0, 1e10, 1e20];
    const RANGES: &'static [(f64, f64)] = &[
        (0.0, 0.01),
        (0.0, 0.5),
        (0.5, 1.0),
        (1.0, 1.5),
        (1.4, 1.5),
        (1.5, 2.5),
        (2.5, 4.0),
        (4.0, 8.0),
        (8.0, 40.0),
        (40.0, 1e5),
    ];
}

#[test]
fn the_slow_reference_agrees_with_mpmath_to_27_digits() {
    for (x, values) in VALUES {
        for ((function, ..), expected) in MEASURED.into_iter().zip(values) {
            let (value, n) = sweep::Function::exact(function, x);
            let error = (value.scaled(n) - expected).hi.abs();
            // What is below float64's normal numbers cannot be told apart.
            assert!(error <= 1e-27 * expected.hi.abs() + 1e-320, "{function:?}({x:e}): {value:?}, mpmath {expected:?}");
        }
    }
}

fn within_four_ulps_of_mpmath<F: Float>() {
    for (x, values) in VALUES {
        if F::from_f64(x).to_f64() != x {
            continue;
        }
        for ((function, ..), expected) in MEASURED.into_iter().zip(values) {
            let error = ulps(apply(function, &[F::from_f64(x)])[0], expected, 0);
            assert!(error <= 4.0, "{function:?}({x:e}): {error} ulp");
        }
    }
}

#[test]
fn values_are_within_four_ulps_of_mpmath_in_both_types() {
    within_four_ulps_of_mpmath::<f32>();
    within_four_ulps_of_mpmath::<f64>();
}

fn the_ends_of_the_range_are_exact<F: Float>() {
    const INFINITY: f64 = f64::INFINITY;
    let least = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let max = F::MAX.to_f64();
    sweep::the_ends_of_the_range_are::<Function, F>(&[
        (Binet, vec![(0.0, INFINITY), (-0.0, INFINITY), (INFINITY, 0.0)]),
        (Slope, vec![(0.0, -INFINITY), (-0.0, -INFINITY), (least, -INFINITY), (max, 0.0), (INFINITY, 0.0)]),
        (Lgamma, vec![(0.0, INFINITY), (-0.0, INFINITY), (1.0, 0.0), (2.0, 0.0), (max, INFINITY), (INFINITY, INFINITY)]),
        (Digamma, vec![(0.0, -INFINITY), (-0.0, -INFINITY), (least, -INFINITY), (INFINITY, INFINITY)]),
    ]);
    for (function, ..) in MEASURED {
        for x in [-least, -0.5, -1.0, -3.5, -max, -INFINITY] {
            let y = apply(function, &[F::from_f64(x)])[0];
            assert!(y.to_f64().is_nan(), "{function:?}({x:e}) is {y}");
        }
    }
}

#[test]
fn the_ends_of_the_range_are_exact_in_both_types() {
    the_ends_of_the_range_are_exact::<f32>();
    the_ends_of_the_range_are_exact::<f64>();
}

sweeps!(MEASURED);
