//! Every activation and its slope against their formulas in double-double arithmetic; the same bits at every level.

use crate::reference::{Double, Numbers, same_at_every_level};
use elbokit_core::Float;
use elbokit_core::network::{Activation, Slope};

/// (value, slope).
fn exact(activation: Activation, x: f64) -> [Double; 2] {
    let (v, zero, one) = (Double::from(x), Double::from(0.0), Double::from(1.0));
    match activation {
        Activation::Relu if x > 0.0 => [v, one],
        Activation::Relu => [zero, zero],
        Activation::Tanh => [v.tanh(), one - v.tanh() * v.tanh()],
        Activation::Silu => [v * v.sigmoid(), v.sigmoid() + v * v.sigmoid() * (-v).sigmoid()],
        Activation::Softplus => [v.softplus(), v.sigmoid()],
        Activation::Gelu => {
            let power = (-(v * v) * 0.5).exp();
            let tail = v.abs().normal_tail() * power;
            let below = if x > 0.0 { one - tail } else { tail };
            [v * below, below + v * power * Double::FRAC_1_SQRT_TAU]
        }
    }
}

/// Dense where activations bend, and far out.
fn arguments<F: Float>() -> Vec<F> {
    let mut numbers = Numbers(7);
    let mut x = numbers.vec(20_000, -8.0, 8.0);
    x.extend(numbers.vec::<F>(5000, -0.1, 0.1));
    x.extend(numbers.vec::<F>(5000, -0.8, -0.7));
    x.extend(numbers.vec::<F>(5000, -45.0, 45.0));
    x.extend([0.0, -0.0, 40.0, -40.0, 1e-30, -1e-30].map(F::from_f64));
    x
}

/// The largest errors over ε · max(|y|, 1): of the value, and of the slope.
fn errors<F: Float>(activation: Activation) -> [f64; 2] {
    let x = arguments::<F>();
    let (mut y, mut slope) = (x.clone(), vec![F::ZERO; x.len()]);
    activation.apply_with_slope(&mut y, &mut slope);
    let mut alone = x.clone();
    activation.apply(&mut alone);
    assert_eq!(alone, y);
    let mut worst = [0.0_f64; 2];
    for ((x, y), slope) in x.iter().zip(y).zip(slope) {
        for ((worst, exact), got) in worst.iter_mut().zip(exact(activation, x.to_f64())).zip([y, slope]) {
            let error = (Double::from(got.to_f64()) - exact).hi.abs();
            *worst = worst.max(error / (F::EPSILON.to_f64() * exact.hi.abs().max(1.0)));
        }
    }
    worst
}

fn relu_tells_its_slope<F: Float>() {
    let mut y = arguments::<F>();
    y.extend([F::NAN, F::INFINITY, F::ZERO - F::INFINITY]);
    let mut slope = vec![F::NAN; y.len()];
    Activation::Relu.apply_with_slope(&mut y, &mut slope);
    let x: Vec<F> = Numbers(8).vec(y.len() - 8, -2.0, 2.0);
    let [mut written, mut told] = [x.clone(), x];
    Slope::Written(&slope).after(5).times(&mut written);
    Slope::OfRelu(&y).after(5).times(&mut told);
    // By bits, as a negative number times 0 is −0.
    let bits = |x: &[F]| x.iter().map(|x| x.to_f64().to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&told), bits(&written));
}

#[test]
fn relu_tells_the_slope_that_it_would_have_written() {
    relu_tells_its_slope::<f32>();
    relu_tells_its_slope::<f64>();
}

#[test]
fn values_and_slopes_are_those_of_the_formulas() {
    for activation in Activation::ALL {
        for [value, slope] in [errors::<f32>(activation), errors::<f64>(activation)] {
            println!("{}: {value:.3}, {slope:.3}", activation.name());
            assert!(value <= 2.0 && slope <= 2.0, "{activation:?}: {value} ε, slope {slope} ε");
        }
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    fn of<F: Float>(activation: Activation) {
        same_at_every_level(activation.name(), || {
            let mut y = arguments::<F>();
            let mut slope = vec![F::ZERO; y.len()];
            activation.apply_with_slope(&mut y, &mut slope);
            y.extend(slope);
            y
        });
    }
    for activation in Activation::ALL {
        of::<f32>(activation);
        of::<f64>(activation);
    }
}

#[test]
fn the_ends_of_the_range_make_no_nan_and_nan_goes_through() {
    fn of<F: Float>(activation: Activation) {
        let ends = [F::INFINITY, F::ZERO - F::INFINITY, F::MAX, F::ZERO - F::MAX];
        let (mut y, mut slope) = (ends, [F::ZERO; 4]);
        activation.apply_with_slope(&mut y, &mut slope);
        if activation == Activation::Gelu {
            assert_eq!((y, slope), ([F::INFINITY, F::ZERO, F::MAX, F::ZERO], [F::ONE, F::ZERO, F::ONE, F::ZERO]));
        }
        // Finite arguments, that is: silu and its slope are products with the infinite ones.
        assert!(y[2..].iter().chain(&slope[2..]).all(|y| y.finite()), "{activation:?}: {y:?} {slope:?}");
        let (mut y, mut slope) = ([F::NAN], [F::ZERO]);
        activation.apply_with_slope(&mut y, &mut slope);
        assert!(y[0].to_f64().is_nan(), "{activation:?}");
    }
    for activation in Activation::ALL {
        assert_eq!(Activation::from_name(activation.name()), Some(activation));
        of::<f32>(activation);
        of::<f64>(activation);
    }
}
