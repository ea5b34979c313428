//! Every elementary function against a reference that knows its last bit: every 97th float32 there is, and dense random float64; the
//! ends of the range; the same bits at every level.

use crate::reference::Double;
use crate::reference::double::quarter;
use crate::sweep::{self, Measured, apply, arguments};
use elbokit_core::Float;
use elbokit_core::simd::Simd;
use elbokit_core::vmath::{self, Lanes};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Exp,
    Excess,
    Expm1,
    ExcessExpm1,
    Ln,
    Ln1p,
    Softplus,
    Sigmoid,
    SoftplusOfBoth,
    SigmoidOfBoth,
    Tanh,
    CosTurn,
    SinTurn,
    Gelu,
}
use Function::{
    CosTurn, Excess, ExcessExpm1, Exp, Expm1, Gelu, Ln, Ln1p, Sigmoid, SigmoidOfBoth, SinTurn, Softplus, SoftplusOfBoth, Tanh,
};

const MEASURED: [Measured<Function>; 11] = [
    (Exp, 0.99, 0.97),
    (Excess, 1.51, 1.49),
    (Expm1, 1.44, 1.15),
    (Ln, 0.83, 0.82),
    (Ln1p, 0.92, 0.85),
    (Softplus, 1.98, 1.72),
    (Sigmoid, 1.49, 1.45),
    (Tanh, 1.42, 1.42),
    (CosTurn, 1.70, 1.58),
    (SinTurn, 1.70, 1.58),
    (Gelu, 1.40, 1.50),
];

/// 1/√2 less its float64.
const ROOT_REST: f64 = -4.833_646_656_726_457e-17;

impl sweep::Function for Function {
    #[inline(always)]
    fn on_lanes<F: Float, S: Simd>(self, simd: S, x: Lanes<F, S>) -> Lanes<F, S> {
        match self {
            Exp => vmath::exp::<F, S>(simd, x),
            Excess => vmath::exp_excess::<F, S>(simd, x).0,
            Expm1 => vmath::expm1::<F, S>(simd, x),
            ExcessExpm1 => vmath::exp_excess::<F, S>(simd, x).1,
            Ln => vmath::ln::<F, S>(simd, x),
            Ln1p => vmath::ln_1p::<F, S>(simd, x),
            Softplus => vmath::softplus_sigmoid::<F, S>(simd, x).0,
            Sigmoid => vmath::softplus_sigmoid::<F, S>(simd, x).1,
            SoftplusOfBoth => vmath::softplus_sigmoids::<F, S>(simd, -x)[1].0,
            SigmoidOfBoth => vmath::softplus_sigmoids::<F, S>(simd, -x)[1].1,
            Tanh => vmath::tanh::<F, S>(simd, x),
            CosTurn => vmath::sin_cos_turn::<F, S>(simd, x).0,
            SinTurn => vmath::sin_cos_turn::<F, S>(simd, x).1,
            Gelu => vmath::gelu::<F, S>(simd, x).0,
        }
    }

    fn exact(self, x: f64) -> (Double, i32) {
        let v = Double::from(if matches!(self, Ln | Ln1p | CosTurn | SinTurn) { x } else { x.clamp(-5000.0, 5000.0) });
        let value = match self {
            // Where e^x is below 2⁻¹⁰⁰⁰ or above 2¹⁰⁰⁰, nothing that is added to it reaches its 100 bits.
            Exp => return v.exp_parts(),
            Softplus | SoftplusOfBoth | Sigmoid | SigmoidOfBoth if x < -700.0 => return v.exp_parts(),
            Excess | Expm1 | ExcessExpm1 if x > 700.0 => return v.exp_parts(),
            Excess if x.abs() < 1e-100 => return (v.scaled(600) * v.scaled(600) * 0.5, -1200),
            Expm1 | ExcessExpm1 | Ln1p | Tanh if x.abs() < 1e-100 => x.into(),
            Softplus | SoftplusOfBoth | Gelu if x > 700.0 => x.into(),
            Excess if x < -700.0 => Double::from(-1.0) - x,
            Excess => v.exp_excess(),
            Expm1 | ExcessExpm1 => v.exp_m1(),
            Ln => v.ln(),
            Ln1p if x.abs() < 0.25 => v.ln_1p(),
            Ln1p => (v + 1.0).ln(),
            Softplus | SoftplusOfBoth => v.softplus(),
            Sigmoid | SigmoidOfBoth => v.sigmoid(),
            Tanh => v.tanh(),
            // In units that keep the products of the smallest numbers in range.
            SinTurn if x.abs() < 1e-100 => return (v.scaled(600) * Double::TWO_PI, -600),
            Gelu if x.abs() < 1e-100 => return (v, -1),
            // The tail's two factors, of which the first may be subnormal.
            Gelu if x < 0.0 => {
                let (power, n) = (-(v * v) * 0.5).exp_parts();
                return (v * v.abs().normal_tail() * power, n);
            }
            Gelu => v - v * v.normal_tail() * (-(v * v) * 0.5).exp(),
            CosTurn => v.cos_sin_turn()[0],
            SinTurn => v.cos_sin_turn()[1],
        };
        (value, 0)
    }

    /// From the standard library.
    fn quick(self, x: f64) -> f64 {
        match self {
            Exp => x.exp(),
            // Near 0 the difference cancels; ten terms of the series reach 1e-16 where |x| ≤ 1/8.
            Excess if x.abs() <= 0.125 => x * x / 2.0 * (3..12).rev().fold(1.0, |sum, k| sum * x / f64::from(k) + 1.0),
            Excess => x.exp_m1() - x,
            Expm1 | ExcessExpm1 => x.exp_m1(),
            Ln => x.ln(),
            Ln1p => x.ln_1p(),
            Softplus | SoftplusOfBoth => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Sigmoid | SigmoidOfBoth => 1.0 / (1.0 + (-x).exp()),
            Tanh => x.tanh(),
            Gelu => {
                // The square halved in two parts, as its rounding is t²/2 times as large in the tail.
                let (t, square) = (x.abs().min(100.0), 0.5 * x * x);
                let root = std::f64::consts::FRAC_1_SQRT_2;
                let near = t * root;
                let rest = t.mul_add(root, -near) + t * ROOT_REST;
                let tail = 0.5 * libm::erfc(near) - (-square).exp() * rest / std::f64::consts::PI.sqrt();
                x.max(0.0) - t * tail
            }
            CosTurn | SinTurn => {
                let (rest, turned) = quarter(x);
                let (sin, cos) = (std::f64::consts::TAU * rest).sin_cos();
                turned([cos, sin])[usize::from(self == SinTurn)]
            }
        }
    }

    fn outside(self, x: f64) -> bool {
        match self {
            Ln => x <= 0.0,
            Ln1p => x <= -1.0,
            _ => false,
        }
    }

    const SEAMS: &'static [f64] = &[
        0.125,
        0.25,
        std::f64::consts::SQRT_2 - 1.0,
        1.0 - std::f64::consts::FRAC_1_SQRT_2,
        0.5,
        std::f64::consts::FRAC_1_SQRT_2,
        0.75,
        1.0,
        2.0,
        2.125,
        88.722_84,
        -103.972_08,
        709.782_712_893_384,
        -745.133_219_101_941_2,
        8_388_608.0,
        9_007_199_254_740_992.0,
    ];
    const RANGES: &'static [(f64, f64)] =
        &[(-0.8, 0.8), (-2.1, 2.1), (-20.0, 20.0), (-110.0, 90.0), (-746.0, 710.0), (0.5, 2.0), (-1.0, -0.9)];
}

fn the_ends_of_the_range_are_exact<F: Float>() {
    const INFINITY: f64 = f64::INFINITY;
    let max = F::MAX.to_f64();
    let turns: Vec<(f64, [f64; 2])> = [0.0, -0.0, 1.0, -3.0, max, -max, 0.25, -0.75, 0.5, -0.5, -2.5, 0.75, -0.25, 5.75]
        .into_iter()
        .zip([[1.0, 0.0]; 6].into_iter().chain([[0.0, 1.0]; 2]).chain([[-1.0, 0.0]; 3]).chain([[0.0, -1.0]; 3]))
        .collect();
    sweep::the_ends_of_the_range_are::<Function, F>(&[
        (Exp, vec![(0.0, 1.0), (-0.0, 1.0), (INFINITY, INFINITY), (-INFINITY, 0.0), (max, INFINITY), (-max, 0.0)]),
        (Excess, vec![(0.0, 0.0), (-0.0, 0.0), (max, INFINITY), (-max, max)]),
        (Expm1, vec![(0.0, 0.0), (-0.0, 0.0), (INFINITY, INFINITY), (-INFINITY, -1.0), (max, INFINITY), (-max, -1.0)]),
        (Ln, vec![(1.0, 0.0), (0.0, -INFINITY), (-0.0, -INFINITY), (INFINITY, INFINITY)]),
        (Ln1p, vec![(0.0, 0.0), (-0.0, 0.0), (-1.0, -INFINITY), (INFINITY, INFINITY)]),
        (Softplus, vec![(INFINITY, INFINITY), (-INFINITY, 0.0), (max, max), (-max, 0.0)]),
        (Sigmoid, vec![(0.0, 0.5), (-0.0, 0.5), (INFINITY, 1.0), (-INFINITY, 0.0), (max, 1.0), (-max, 0.0)]),
        (Tanh, vec![(0.0, 0.0), (INFINITY, 1.0), (-INFINITY, -1.0), (max, 1.0), (-max, -1.0)]),
        (CosTurn, turns.iter().map(|&(u, [cos, _])| (u, cos)).collect()),
        (SinTurn, turns.iter().map(|&(u, [_, sin])| (u, sin)).collect()),
        (Gelu, vec![(0.0, 0.0), (-0.0, 0.0), (INFINITY, INFINITY), (-INFINITY, 0.0), (max, max), (-max, 0.0)]),
    ]);
    let least = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let nan = |function, x| assert!(apply(function, &[F::from_f64(x)])[0].to_f64().is_nan(), "{function:?}({x:e})");
    for x in [-1.0, -max, -INFINITY, -least] {
        nan(Ln, x);
    }
    for x in [-1.0 - F::EPSILON.to_f64(), -2.0, -max, -INFINITY] {
        nan(Ln1p, x);
    }
    for x in [INFINITY, -INFINITY] {
        nan(Excess, x);
        nan(CosTurn, x);
        nan(SinTurn, x);
    }
    for function in [Expm1, Ln1p, Tanh, SinTurn] {
        for x in [0.0, -0.0, least, -least] {
            let y = apply(function, &[F::from_f64(x)])[0].to_f64();
            assert!(y.is_sign_negative() == x.is_sign_negative(), "{function:?}({x:e}) is {y:e}");
        }
    }
}

#[test]
fn the_ends_of_the_range_are_exact_in_both_types() {
    the_ends_of_the_range_are_exact::<f32>();
    the_ends_of_the_range_are_exact::<f64>();
}

#[test]
fn expm1_alone_is_that_of_the_pair() {
    assert_eq!(apply(Expm1, &arguments::<Function, f32>(50_000)), apply(ExcessExpm1, &arguments::<Function, f32>(50_000)));
    assert_eq!(apply(Expm1, &arguments::<Function, f64>(50_000)), apply(ExcessExpm1, &arguments::<Function, f64>(50_000)));
}

#[test]
fn softplus_and_sigmoid_of_both_signs_are_those_of_each() {
    for (each, both) in [(Softplus, SoftplusOfBoth), (Sigmoid, SigmoidOfBoth)] {
        let (single, double) = (arguments::<Function, f32>(50_000), arguments::<Function, f64>(50_000));
        assert_eq!(apply(each, &single), apply(both, &single));
        assert_eq!(apply(each, &double), apply(both, &double));
    }
}

sweeps!(MEASURED);
