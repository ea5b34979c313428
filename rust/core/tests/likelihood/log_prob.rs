//! Likelihoods against the formulas in double-double: values, gradients, means and missing cells.

use crate::reference::likelihood::{Case, PAST_F32, Rows, exact_ln_choose, random_rows};
use crate::reference::{Double, Numbers, bits, property};
use elbokit_core::Float;
use elbokit_core::likelihood::{Likelihood, Scale, ln_choose};
use proptest::prelude::*;

const WIDTHS: [usize; 9] = [1, 7, 8, 15, 16, 17, 30, 64, 100];

proptest! {
    #![proptest_config(property(60))]
    #[test]
    fn rows_agree_with_the_formulas(seed: u64, width in 1..40_usize, rows in 0..4_usize, missing in prop_oneof![Just(0.0), Just(0.3), Just(1.0)]) {
        for case in Case::all(width, false) {
            let (x, params) = random_rows::<f32>(&case, seed, rows, width, missing);
            Rows::<f32>::new(&case, width, &x, &params).check(&case, width);
        }
        for case in Case::all(width, true) {
            let (x, params) = random_rows::<f64>(&case, seed, rows, width, missing);
            Rows::<f64>::new(&case, width, &x, &params).check(&case, width);
        }
    }
}

fn single_cells_are_right<F: Float>() {
    for case in Case::all(1, F::LANES == 8) {
        let (x, params) = random_rows::<F>(&case, 3, 5000, 1, 0.0);
        let [value, gradient] = Rows::<F>::new(&case, 1, &x, &params).check(&case, 1);
        println!("{:?}, {}: value {value:.2e}, gradient {gradient:.2e} of the terms' magnitudes", case.likelihood, F::NAME);
    }
}

#[test]
fn single_cells_are_within_the_bound() {
    single_cells_are_right::<f32>();
    single_cells_are_right::<f64>();
}

/// A sum of so many exponentials, added one by one in float32, would be past the bound.
#[test]
fn many_classes_are_within_the_bound() {
    fn holds<F: Float>() {
        let case = Case::new(Likelihood::Categorical(3000), 1);
        let (x, params) = random_rows::<F>(&case, 9, 12, 1, 0.0);
        Rows::<F>::new(&case, 1, &x, &params).check(&case, 1);
    }
    holds::<f32>();
    holds::<f64>();
}

#[test]
fn coefficients_equal_exact_products() {
    let mut worst = 0.0_f64;
    for n in 1..=120_u32 {
        let mut product = 1_u128;
        for k in 0..=n / 2 {
            if k > 0 {
                product = product * u128::from(n - k + 1) / u128::from(k);
            }
            let high = (product >> 64) as f64 * 18_446_744_073_709_551_616.0;
            let exact = (Double::from(high) + f64::from((product >> 32) as u32) * 4_294_967_296.0 + f64::from(product as u32)).ln();
            for k in [k, n - k] {
                let error = (exact - ln_choose(n, k)).hi.abs() / exact.hi.max(f64::MIN_POSITIVE);
                worst = worst.max(error);
                assert!(error <= 1e-14, "ln C({n}, {k}) is off by {error:e}");
            }
        }
    }
    println!("ln_choose to n = 120: {worst:.2e}");
}

#[test]
fn coefficients_equal_differences_of_log_factorials() {
    let mut worst = 0.0_f64;
    for n in [60, 61, 100, 999, 4096, 4097, 5000, 1 << 20, PAST_F32, u32::MAX] {
        for k in [0, 1, 2, 15, 16, 17, 59, n / 100, n / 3, n / 2, n - 17, n - 1, n] {
            let exact = exact_ln_choose(n, k);
            // The reference's own rounding: 10⁻³⁰ of ln n!.
            let error = (exact - ln_choose(n, k)).hi.abs() - 1e-29 * f64::from(n) * f64::from(n).ln();
            worst = worst.max(error / exact.hi.max(1.0));
            assert!(error <= 1e-14 * exact.hi.abs(), "ln C({n}, {k}) is off by {error:e} of {exact:?}");
        }
    }
    println!("ln_choose to n = 2³² − 1: {worst:.2e}");
}

#[test]
fn probabilities_of_all_counts_sum_to_one() {
    for total in [1, 16, 60, 4096, 5000] {
        for logit in [-8.0, -0.3, 0.0, 2.0] {
            let x: Vec<f64> = (0..=total).map(f64::from).collect();
            let mut out = vec![0.0; x.len()];
            let prepared = Likelihood::Binomial(total).prepare::<f64>(1).unwrap();
            prepared.log_prob(&x, &vec![logit; x.len()], &mut out).unwrap();
            let sum: f64 = out.iter().map(|p| p.exp()).sum();
            // A log probability of size 10⁴ is rounded by 10⁻¹².
            assert!((sum - 1.0).abs() < 1e-12, "Binomial({total}) at {logit}: {sum}");
        }
    }
}

#[test]
fn a_single_trial_is_bernoulli() {
    let (x, logits) = ([0.0, 1.0, 1.0, 0.0], [-3.0, 0.2, 40.0, 800.0]);
    let (mut coin, mut trial) = ([0.0; 4], [0.0; 4]);
    Likelihood::Bernoulli.prepare::<f64>(1).unwrap().log_prob(&x, &logits, &mut coin).unwrap();
    Likelihood::Binomial(1).prepare::<f64>(1).unwrap().log_prob(&x, &logits, &mut trial).unwrap();
    assert_eq!(coin, trial);
    // −800 nats, where 1 − sigmoid would be 0.
    assert_eq!(coin[3], -800.0);
}

#[test]
fn gradients_agree_with_central_differences() {
    for case in Case::all(1, true) {
        let num_params = case.likelihood.num_params(1);
        let prepared = case.likelihood.prepare::<f64>(1).unwrap();
        let value = |x: f64, params: &[f64]| {
            let mut out = [0.0];
            prepared.log_prob(&[x], params, &mut out).unwrap();
            out[0]
        };
        let mut numbers = Numbers(5);
        for _ in 0..100 {
            let params: Vec<f64> = (0..num_params).map(|_| numbers.uniform(-2.0, 2.0)).collect();
            let x = case.cell::<f64>(0, 1, numbers.uniform(0.0, 1.0), numbers.uniform(-2.0, 2.0));
            let (mut out, mut gradient) = ([0.0], vec![0.0; num_params]);
            prepared.log_prob_grad(&[x], &params, &mut out, &mut gradient).unwrap();
            for (i, gradient) in gradient.iter().enumerate() {
                // Of fourth order: a Student's curvature changes within a fraction of its scale.
                let h = 1e-3;
                let nudged = |h: f64| {
                    let mut params = params.clone();
                    params[i] += h;
                    value(x, &params)
                };
                let difference = (8.0 * (nudged(h) - nudged(-h)) - (nudged(2.0 * h) - nudged(-2.0 * h))) / (12.0 * h);
                // The terms that are differenced are as large as the total.
                let size = case.terms(0, 1, x, &params).0.iter().map(|term| term.hi.abs()).sum::<f64>();
                assert!(
                    (gradient - difference).abs() < 1e-8 * (1.0 + size),
                    "{:?}, {i}: {gradient}, {difference}",
                    case.likelihood
                );
            }
        }
    }
}

fn missing_cells_add_nothing<F: Float>(width: usize) {
    for case in Case::all(width, false) {
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let (rows, columns) = (3, case.likelihood.num_params(width));
        let (x, params) = random_rows::<F>(&case, 7, rows, width, 0.5);
        let x: Vec<F> = x.iter().map(|&x| F::from_f64(x)).collect();
        let run = |hidden: F| {
            let mut params: Vec<F> = params.iter().map(|&p| F::from_f64(p)).collect();
            let missing = |i: usize| {
                // A number that several cells read is missing with the last of them.
                let mut readers = (0..width).filter(|&j| case.indices(j, width).contains(&(i % columns)));
                readers.all(|j| x[i / columns * width + j].to_f64().is_nan())
            };
            (0..params.len()).filter(|&i| missing(i)).for_each(|i| params[i] = hidden);
            let (mut value, mut with_gradient, mut gradient) =
                (vec![F::NAN; rows], vec![F::NAN; rows], vec![F::NAN; rows * columns]);
            prepared.log_prob(&x, &params, &mut value).unwrap();
            prepared.log_prob_grad(&x, &params, &mut with_gradient, &mut gradient).unwrap();
            assert!((0..gradient.len()).filter(|&i| missing(i)).all(|i| gradient[i] == F::ZERO), "{:?}", case.likelihood);
            (bits(&value), bits(&with_gradient), gradient)
        };
        let expected = run(F::ZERO);
        for hidden in [F::NAN, F::INFINITY, F::ZERO - F::INFINITY, F::MAX, F::ZERO - F::MAX] {
            assert_eq!(run(hidden), expected, "{:?} of width {width} with {hidden} hidden", case.likelihood);
        }
        // A row with nothing observed.
        let mut out = [F::NAN];
        prepared.log_prob(&vec![F::NAN; width], &vec![F::NAN; columns], &mut out).unwrap();
        assert_eq!(out, [F::ZERO]);
    }
}

#[test]
fn missing_cells_add_exactly_nothing() {
    for width in WIDTHS {
        missing_cells_add_nothing::<f32>(width);
        missing_cells_add_nothing::<f64>(width);
    }
}

#[test]
fn a_hidden_number_is_not_blamed_for_another_cells_overflow() {
    let prepared = Likelihood::Gaussian(Scale::Predicted).prepare::<f32>(2).unwrap();
    // Two particles; the first column is missing and its params hold nothing.
    let one = [f32::NAN, f32::MAX, f32::INFINITY, -1e4];
    let (mut value, mut gradient) = ([0.0; 2], [f32::NAN; 8]);
    prepared.log_prob_grad(&[f32::NAN, 1.0], &[one, one].concat(), &mut value, &mut gradient).unwrap();
    assert_eq!(value, [-f32::INFINITY; 2]);
    assert_eq!(gradient, [[0.0, -f32::INFINITY, 0.0, f32::INFINITY]; 2].concat()[..]);
}
