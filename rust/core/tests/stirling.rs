//! The remainder of Stirling's formula, its derivative, and ln(1 + x), against double-double: every octave, the ends, the same bits at every level.

#![allow(missing_docs)]

mod reference;

use elbokit_core::Float;
use elbokit_core::simd::{Kernel, Simd, SimdBase, dispatch};
use elbokit_core::vmath;
use reference::{Double, Numbers, same_at_every_level, ulps};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Remainder,
    Slope,
    Ln1p,
}
use Function::{Ln1p, Remainder, Slope};

/// The functions with their largest errors in float32 and float64 ulps, rounded up.
const MEASURED: [(Function, f64, f64); 3] = [(Remainder, 2.0, 2.0), (Slope, 2.0, 2.0), (Ln1p, 2.0, 2.0)];

struct Map<'a, F> {
    function: Function,
    x: &'a [F],
    y: &'a mut [F],
}

impl<F: Float> Kernel for Map<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (x, y) in self.x.chunks_exact(F::LANES).zip(self.y.chunks_exact_mut(F::LANES)) {
            let x = F::Lanes::from_slice(simd, x);
            let lanes = match self.function {
                Remainder => vmath::stirling::<F, S>(simd, x).0,
                Slope => vmath::stirling::<F, S>(simd, x).1,
                Ln1p => vmath::ln_1p::<F, S>(simd, x),
            };
            lanes.store_slice(y);
        }
    }
}

fn apply<F: Float>(function: Function, x: &[F]) -> Vec<F> {
    let mut padded = x.to_vec();
    padded.resize(x.len().next_multiple_of(F::LANES), F::ONE);
    let mut y = vec![F::ZERO; padded.len()];
    dispatch(Map { function, x: &padded, y: &mut y });
    y.truncate(x.len());
    y
}

fn exact(function: Function, x: f64) -> Double {
    let x = Double::from(x);
    match function {
        Remainder => x.stirling(),
        Slope => x.stirling_slope(),
        Ln1p if x.hi.abs() < 0.25 => x.ln_1p(),
        Ln1p => (x + 1.0).ln(),
    }
}

/// Of every size, dense where the pieces meet; below 10⁻¹⁵⁰ and above 10¹⁵⁰ the double-double squares leave the range.
fn arguments<F: Float>(function: Function, len: usize) -> Vec<F> {
    let mut numbers = Numbers(7);
    let (low, high) = if F::LANES == 16 { (-80.0, 80.0) } else { (-300.0, 300.0) };
    let mut x = Vec::with_capacity(len);
    while x.len() < len {
        x.push(F::from_f64(libm::exp(numbers.uniform(low, high))));
        for (low, high) in [(1e-3, 0.3), (0.2, 1.1), (0.9, 4.2), (3.9, 20.0)] {
            x.push(F::from_f64(numbers.uniform(low, high)));
        }
        if function == Ln1p {
            x.push(F::from_f64(numbers.uniform(-0.999, 0.0)));
            x.push(F::from_f64(-libm::exp(numbers.uniform(low, -0.01))));
        }
    }
    x
}

fn worst<F: Float>(function: Function, len: usize) -> f64 {
    let x = arguments::<F>(function, len);
    let mut worst = (0.0, 0.0);
    for (&y, &x) in apply(function, &x).iter().zip(&x) {
        let off = ulps(y, exact(function, x.to_f64()), 0);
        if off > worst.0 || off.is_nan() {
            worst = (off, x.to_f64());
        }
    }
    println!("{function:?}: {} {:.3} ulp at {:e}", F::NAME, worst.0, worst.1);
    worst.0
}

#[test]
fn errors_stay_within_what_was_measured() {
    for (function, single, double) in MEASURED {
        let (a, b) = (worst::<f32>(function, 200_000), worst::<f64>(function, 200_000));
        assert!(a <= single && b <= double, "{function:?}: {a} and {b} ulp");
    }
}

#[test]
fn the_ends_of_the_range_are_right() {
    let ends = |function, x: f64| apply(function, &[x])[0];
    assert_eq!(ends(Ln1p, -1.0), f64::NEG_INFINITY);
    assert_eq!(ends(Ln1p, f64::INFINITY), f64::INFINITY);
    assert_eq!(ends(Ln1p, f64::from_bits(1)), f64::from_bits(1));
    assert!(ends(Ln1p, -0.0).is_sign_negative());
    assert!(ends(Ln1p, -1.5).is_nan() && ends(Ln1p, f64::NAN).is_nan());
    // J(x) → −½ ln x − ½ ln 2π and 1/12x.
    let least = f64::from_bits(1);
    assert!((ends(Remainder, least) - (-0.5 * least.ln() - 0.918_938_533_204_672_7)).abs() < 1e-12);
    assert_eq!(ends(Remainder, 1e300) * 1.2e301, 1.0);
    assert_eq!(ends(Slope, f64::MAX), 0.0);
}

#[test]
fn every_level_gives_the_same_bits() {
    for (function, ..) in MEASURED {
        same_at_every_level(&format!("{function:?}"), || apply(function, &arguments::<f32>(function, 20_000)));
        same_at_every_level(&format!("{function:?}"), || apply(function, &arguments::<f64>(function, 20_000)));
    }
}
