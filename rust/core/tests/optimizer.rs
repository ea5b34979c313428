//! Adam against its formulas, a number at a time, and moments that fade.

#![allow(missing_docs)]

mod reference;

use elbokit_core::Float;
use elbokit_core::optimizer::Adam;
use elbokit_core::simd::{levels, with_level};
use reference::settings;

/// The formulas, a number at a time.
fn plainly<F: Float>(adam: Adam, step: i32, learning_rate: f64, x: F, m: F, v: F, g: F) -> [F; 3] {
    let f = F::from_f64;
    let normal = |x: F| if x.to_f64().abs() < F::MIN_POSITIVE.to_f64() { F::ZERO } else { x };
    let m = normal(f(1.0 - adam.beta1).fused(f(g.to_f64() - m.to_f64()), m));
    let v = normal(f(f(1.0 - adam.beta2).to_f64() * g.to_f64()).fused(g, f(f(adam.beta2).to_f64() * v.to_f64())));
    let root = f((1.0 / (1.0 - adam.beta2.powi(step))).sqrt());
    let divisor = f(v.to_f64().sqrt()).fused(root, f(adam.epsilon));
    let kept = f(-learning_rate * adam.weight_decay).fused(x, x);
    [f(-learning_rate / (1.0 - adam.beta1.powi(step))).fused(f(m.to_f64() / divisor.to_f64()), kept), m, v]
}

fn agrees_with_the_formulas<F: Float>() {
    let adam = Adam { weight_decay: 0.01, ..Adam::default() };
    let _alone = settings();
    let numbers = |seed: u64| (0..37).map(move |i| F::from_f64(((i * i + seed) % 61) as f64 / 30.0 - 1.0));
    for level in levels() {
        let [mut x, mut m, mut v]: [Vec<F>; 3] = [numbers(3).collect(), vec![F::ZERO; 37], vec![F::ZERO; 37]];
        let mut expected: Vec<[F; 3]> = x.iter().map(|&x| [x, F::ZERO, F::ZERO]).collect();
        for step in 1..=5 {
            let g: Vec<F> = numbers(step).collect();
            with_level(level, || adam.at(step, 0.1).update(&mut x, &mut m, &mut v, &g));
            for ([x, m, v], g) in expected.iter_mut().zip(g) {
                [*x, *m, *v] = plainly(adam, step as i32, 0.1, *x, *m, *v, g);
            }
        }
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!([x[i], m[i], v[i]], *expected, "{level:?}");
        }
    }
}

#[test]
fn updates_are_the_formulas_at_every_level() {
    agrees_with_the_formulas::<f32>();
    agrees_with_the_formulas::<f64>();
}

fn a_moment_without_gradient_ends_at_zero<F: Float>(steps: u64) {
    let adam = Adam { beta2: 0.9, ..Adam::default() };
    let first: Vec<F> = (0..20).map(|i| F::from_f64(if i % 2 == 0 { 1.0 } else { -1.0 })).collect();
    let normal = |x: &F| *x == F::ZERO || x.to_f64().abs() >= F::MIN_POSITIVE.to_f64();
    let _alone = settings();
    for level in levels() {
        let (mut x, mut m, mut v) = ([F::ONE; 20], [F::ZERO; 20], [F::ZERO; 20]);
        with_level(level, || {
            for step in 1..=steps {
                let g = if step == 1 { &first[..] } else { &[F::ZERO; 20] };
                adam.at(step, 1e-3).update(&mut x, &mut m, &mut v, g);
                assert!(m.iter().chain(&v).all(normal), "{level:?}, {step}");
            }
        });
        assert_eq!([m, v], [[F::ZERO; 20]; 2], "{level:?}");
    }
}

#[test]
fn no_moment_stays_subnormal() {
    a_moment_without_gradient_ends_at_zero::<f32>(900);
    a_moment_without_gradient_ends_at_zero::<f64>(7000);
}

fn a_square_below_the_normal_numbers_is_zero<F: Float>() {
    let g = F::from_f64(F::MIN_POSITIVE.to_f64().sqrt() / 16.0);
    let _alone = settings();
    for level in levels() {
        let (mut x, mut m, mut v) = ([F::ONE; 17], [F::ZERO; 17], [F::ZERO; 17]);
        with_level(level, || Adam::default().at(1, 1e-3).update(&mut x, &mut m, &mut v, &[g; 17]));
        let expected = F::from_f64(1.0 - Adam::default().beta1).fused(g, F::ZERO);
        assert_eq!((m, v), ([expected; 17], [F::ZERO; 17]), "{level:?}");
    }
}

#[test]
fn a_gradient_too_small_for_a_square_leaves_no_subnormal_moment() {
    a_square_below_the_normal_numbers_is_zero::<f32>();
    a_square_below_the_normal_numbers_is_zero::<f64>();
}
