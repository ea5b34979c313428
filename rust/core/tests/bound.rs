//! Bounds, effective sample sizes and Pareto fits against their formulas in double-double, and the same bits whatever the level, threads or batch.

#![allow(missing_docs)]

mod reference;

use elbokit_core::bound::{self, Pareto};
use elbokit_core::{Error, Float};
use proptest::prelude::*;
use reference::{Double, Numbers, bits, property, same_at_every_level, same_on_any_threads};

const BOUNDS: [&str; 6] = ["renyi", "cubo", "iwae", "ess", "khat", "evidence"];

/// Value and standard error of a bound, one after the other; of k-hat the smoothed weights.
fn all<F: Float>(which: &str, log_weights: &[F], batch: usize) -> Vec<F> {
    let (mut out, mut error) = (vec![F::ZERO; batch], vec![F::ZERO; batch]);
    match which {
        "renyi" => bound::renyi(log_weights, 0.3, &mut out, Some(&mut error)).unwrap(),
        "cubo" => bound::cubo(log_weights, 2.5, &mut out, Some(&mut error)).unwrap(),
        "iwae" => bound::iwae(log_weights, &mut out, Some(&mut error)).unwrap(),
        "ess" => bound::ess(log_weights, &mut out, Some(&mut error)).unwrap(),
        "evidence" => return evidence(log_weights, batch).concat(),
        _ => {
            error = vec![F::ZERO; log_weights.len()];
            bound::psis(log_weights, Some(&mut error), &mut out).unwrap();
        }
    }
    out.extend(error);
    out
}

/// lower, estimate, upper, standard error, k-hat, ess.
fn evidence<F: Float>(log_weights: &[F], batch: usize) -> [Vec<F>; 6] {
    let mut out: [Vec<F>; 6] = std::array::from_fn(|_| vec![F::ZERO; batch]);
    let [lower, estimate, upper, standard_error, khat, ess] = &mut out;
    bound::evidence(log_weights, bound::Evidence { lower, estimate, upper, standard_error, khat, ess }).unwrap();
    out
}

fn column(log_weights: &[f64], batch: usize, row: usize) -> Vec<Double> {
    log_weights.iter().skip(row).step_by(batch).map(|&w| Double::from(w)).collect()
}

fn mean(terms: &[Double]) -> Double {
    terms.iter().copied().sum::<Double>() / terms.len() as f64
}

/// (1/s) ln of the mean of exp(s w), and sd(exp(s w)) / (|s| mean √K).
fn power_mean(w: &[Double], power: f64) -> [f64; 2] {
    let top = w.iter().map(|w| w.hi * power).fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<Double> = w.iter().map(|&w| (w * power - top).exp()).collect();
    let mean = mean(&powers);
    let k = w.len() as f64;
    let squares: Double = powers.iter().map(|&p| (p - mean) * (p - mean)).sum();
    let error = (squares.hi / (k - 1.0) / k).sqrt() / mean.hi / power.abs();
    [((mean.ln() + top) / power).hi, error]
}

/// (Σ w)² / Σ w², and its standard error by the jackknife's limit, the influences.
fn ess(w: &[Double]) -> [f64; 2] {
    let top = w.iter().map(|w| w.hi).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<Double> = w.iter().map(|&w| (w - top).exp()).collect();
    let squares: Vec<Double> = weights.iter().map(|&w| w * w).collect();
    let (first, second, k) = (mean(&weights), mean(&squares), w.len() as f64);
    let value = first * first / second * k;
    let influences = weights.iter().zip(&squares).map(|(&a, &b)| value * (a / first * 2.0 - b / second - 1.0));
    let spread: Double = influences.map(|i| i * i).sum();
    [value.hi, (spread.hi / (k - 1.0) / k).sqrt()]
}

fn close(got: f64, expected: f64, tolerance: f64) -> bool {
    (got - expected).abs() <= tolerance * (1.0 + expected.abs())
}

proptest! {
    #![proptest_config(property(150))]
    #[test]
    fn values_and_errors_agree_with_the_formulas(seed in any::<u64>(), batch in 1..20_usize, particles in 2..60_usize, spread in 0.0..30.0_f64, power in -4.0..4.0_f64) {
        let mut numbers = Numbers(seed);
        let log_weights: Vec<f64> = numbers.vec(particles * batch, -40.0 - spread, -40.0);
        let power = if power.abs() < 1e-3 { power / 1e9 + 1e-13 } else { power };
        let (mut out, mut error) = (vec![0.0; batch], vec![0.0; batch]);
        bound::renyi(&log_weights, 1.0 - power, &mut out, Some(&mut error)).unwrap();
        // What 1 − α rounds to.
        let power = 1.0 - (1.0 - power);
        for row in 0..batch {
            let w = column(&log_weights, batch, row);
            let [value, e] = if power == 0.0 { [mean(&w).hi, f64::NAN] } else { power_mean(&w, power) };
            // ln of the mean is a difference of numbers of size s w, of which 1/s is taken: double-double has 30 digits for it.
            prop_assert!(close(out[row], value, 1e-13), "{power}: {} {value}", out[row]);
            prop_assert!(power.abs() < 1e-9 || close(error[row], e, 1e-12), "{power}: {} {e}", error[row]);
        }
        bound::ess(&log_weights, &mut out, Some(&mut error)).unwrap();
        for row in 0..batch {
            let [value, e] = ess(&column(&log_weights, batch, row));
            prop_assert!(close(out[row], value, 1e-13) && close(error[row], e, 1e-11), "{} {value}, {} {e}", out[row], error[row]);
        }
    }

    #[test]
    fn a_fit_is_that_of_the_formula(seed in any::<u64>(), n in 1..200_usize, k in -1.0..2.0_f64, unit in -600.0..600.0_f64) {
        let mut numbers = Numbers(seed);
        let mut y: Vec<f64> = numbers.vec::<f64>(n, 0.0, 1.0).iter().map(|p| libm::expm1(-k * libm::log1p(-p)) / k * libm::exp(unit)).collect();
        y.sort_by(f64::total_cmp);
        prop_assume!(y[n - 1] > 0.0 && y[((n as f64 / 4.0 + 0.5) as usize).max(1) - 1] > 1e-280 * y[n - 1]);
        let (got, [shape, scale]) = (Pareto::fit(&y), zhang_and_stephens(&y));
        prop_assert!(close(got.shape, shape, 1e-11), "{} {shape}", got.shape);
        prop_assert!((got.scale / scale - 1.0).abs() < 1e-10, "{} {scale}", got.scale);
    }
}

/// The fit as its paper prints it, each exceedance in its own unit, with double-double logarithms.
fn zhang_and_stephens(y: &[f64]) -> [f64; 2] {
    let n = y.len();
    let m = 30 + (n as f64).sqrt() as usize;
    let quartile = y[((n as f64 / 4.0 + 0.5).floor() as usize).max(1) - 1];
    let shape = |theta: f64| {
        let logs: Vec<Double> = y.iter().map(|&y| (Double::from(1.0) - Double::from(theta) * y).ln()).collect();
        mean(&logs).hi
    };
    let theta: Vec<f64> = (1..=m).map(|j| 1.0 / y[n - 1] + (1.0 - (m as f64 / (j as f64 - 0.5)).sqrt()) / 3.0 / quartile).collect();
    let likelihood: Vec<f64> = theta.iter().map(|&t| n as f64 * (libm::log(-t / shape(t)) - shape(t) - 1.0)).collect();
    let shares: Vec<f64> =
        likelihood.iter().map(|l| 1.0 / likelihood.iter().map(|other| libm::exp(other - l)).sum::<f64>()).collect();
    let best: f64 = theta.iter().zip(&shares).map(|(t, s)| t * s).sum();
    let k = shape(best);
    [(n as f64 * k + 5.0) / (n as f64 + 10.0), -k / best]
}

fn sample<F: Float>(particles: usize, batch: usize) -> Vec<F> {
    let mut log_weights: Vec<F> = Numbers(7).vec(particles * batch, -9.0, 9.0);
    for w in log_weights.iter_mut().step_by(13) {
        *w = F::ZERO - F::INFINITY;
    }
    log_weights
}

fn the_same_bits<F: Float>() {
    let (particles, batch) = (300, 83);
    let log_weights = sample::<F>(particles, batch);
    for which in BOUNDS {
        same_at_every_level(which, || all(which, &log_weights, batch));
        same_on_any_threads(which, || all(which, &log_weights, batch));
        let whole = all(which, &log_weights, batch);
        for row in [0, 7, 8, 82] {
            let alone: Vec<F> = log_weights.iter().skip(row).step_by(batch).copied().collect();
            let expected: Vec<F> = whole.iter().skip(row).step_by(batch).copied().collect();
            assert_eq!(bits(&all(which, &alone, 1)), bits(&expected), "{which}, row {row}");
        }
    }
}

#[test]
fn results_are_the_same_bits() {
    the_same_bits::<f32>();
    the_same_bits::<f64>();
}

#[test]
fn no_finite_input_gives_nan() {
    for top in [f64::MAX, 1e308, 1e300, 5e-324, 0.0] {
        for kind in 0..6 {
            let log_weights: Vec<f64> = (0..40)
                .map(|i| match (kind, i % 5) {
                    (1, 0) | (2, 1..) | (3, _) => f64::NEG_INFINITY,
                    (4, 2) => -top,
                    (5, _) => f64::from(i) * (top / 40.0),
                    _ => top,
                })
                .collect();
            for which in BOUNDS {
                for k in [1, 2, 25, 40] {
                    let got = all(which, &log_weights[..k], 1);
                    assert!(!got.iter().any(|x| x.is_nan()), "{which}, {top}, kind {kind}, {k} particles: {got:?}");
                }
            }
            for alpha in [-1e308, -2.0, 0.999_999_999, 1.0, 1.5, 1e308] {
                let (mut out, mut error) = ([0.0], [0.0]);
                bound::renyi(&log_weights, alpha, &mut out, Some(&mut error)).unwrap();
                assert!(!out[0].is_nan() && !error[0].is_nan(), "{alpha}, {top}, kind {kind}: {out:?} {error:?}");
                if alpha != 1.0 {
                    bound::khat(&log_weights, 1.0 - alpha, &mut out).unwrap();
                    assert!(!out[0].is_nan(), "k-hat, {alpha}, {top}, kind {kind}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_log_weight_is_named() {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut log_weights = [0.0; 60];
        log_weights[31] = bad;
        let (mut out, mut smoothed) = ([0.0; 2], [0.0; 60]);
        let errors = [
            bound::renyi(&log_weights, 0.5, &mut out, None),
            bound::cubo(&log_weights, 2.0, &mut out, None),
            bound::ess(&log_weights, &mut out, None),
            bound::khat(&log_weights, 2.0, &mut out),
            bound::psis(&log_weights, Some(&mut smoothed), &mut out),
        ];
        for error in errors {
            assert!(matches!(error, Err(Error::NonFinite { argument: "log_weights", row: 15, column: 1, .. })), "{error:?}");
        }
    }
    assert!(matches!(bound::renyi(&[0.0], f64::NAN, &mut [0.0], None), Err(Error::Value { argument: "alpha", .. })));
    assert!(matches!(bound::cubo(&[0.0], 0.5, &mut [0.0], None), Err(Error::Value { argument: "order", .. })));
}

/// w̃ and ℓ − ℓ₋ₖ − w̃ of one row, each logarithm's sum over exp of its own largest weight.
fn leaving_out(w: &[Double], k: usize) -> [f64; 2] {
    let log_sum = |w: &[Double]| {
        let top = w.iter().map(|w| w.hi).fold(f64::NEG_INFINITY, f64::max);
        w.iter().map(|&w| (w - top).exp()).sum::<Double>().ln() + top
    };
    let mut others = w.to_vec();
    let out = others.remove(k);
    let (all, count) = (log_sum(w), w.len() as f64);
    let share = (out - all).exp();
    let fewer = (Double::from(count - 1.0) / count).ln();
    [share.hi, (all - log_sum(&others) + fewer - share).hi]
}

proptest! {
    #![proptest_config(property(100))]
    #[test]
    fn shares_and_contributions_agree_with_the_formulas(seed in any::<u64>(), batch in 1..12_usize, particles in 2..30_usize, spread in 0.0..300.0_f64) {
        let mut numbers = Numbers(seed);
        let log_weights: Vec<f64> = numbers.vec(particles * batch, -40.0 - spread, -40.0);
        let mut shares = bound::Shares::new(batch);
        let cut = particles / 2 * batch;
        shares.push(&log_weights[..cut]);
        shares.push(&log_weights[cut..]);
        let (mut share, mut contribution) = (vec![0.0; log_weights.len()], vec![0.0; log_weights.len()]);
        shares.shares(&log_weights, &mut share);
        shares.contributions(&log_weights, &mut contribution);
        for row in 0..batch {
            let w = column(&log_weights, batch, row);
            for k in 0..particles {
                let at = k * batch + row;
                let [expected, beyond] = leaving_out(&w, k);
                // The error of a log weight of this size, in an exponent.
                let tolerance = 1e-14 * (1.0 + spread);
                prop_assert!((share[at] - expected).abs() <= tolerance * expected + 1e-300, "{} {expected}", share[at]);
                prop_assert!((contribution[at] - beyond).abs() <= tolerance, "{} {beyond}", contribution[at]);
            }
        }
    }
}

#[test]
fn shares_at_the_ends_of_the_range_and_at_every_level() {
    let none = f64::NEG_INFINITY;
    let log_weights = [none, none, 1e308, 0.0, none, 3.0, -1e308, 0.0, none, none, 1e308, 0.0];
    let mut shares = bound::Shares::new(4);
    shares.push(&log_weights);
    let (mut share, mut contribution) = ([0.0; 12], [0.0; 12]);
    shares.shares(&log_weights, &mut share);
    shares.contributions(&log_weights, &mut contribution);
    let third = 1.0 / 3.0;
    assert_eq!(share, [third, 0.0, 0.5, third, third, 1.0, 0.0, third, third, 0.0, 0.5, third]);
    // Equal weights, all of them 0 among them, add −1/K each; the only weight there is adds without end.
    for at in [0, 4, 8, 3, 7, 11] {
        assert!((contribution[at] + third).abs() < 1e-15, "{contribution:?}");
    }
    assert_eq!(contribution[5], f64::INFINITY);
    assert!(!contribution.iter().any(|c| c.is_nan()), "{contribution:?}");
    // What leaves the range on the way to a weight.
    let (log_weights, mut shares) = ([f64::INFINITY, f64::NAN, f64::INFINITY, 0.0, 0.0, f64::INFINITY], bound::Shares::new(2));
    shares.push(&log_weights);
    let (mut share, mut contribution) = ([0.0; 6], [0.0; 6]);
    shares.shares(&log_weights, &mut share);
    shares.contributions(&log_weights, &mut contribution);
    assert_eq!(share, [0.5, 0.0, 0.5, 0.0, 0.0, 1.0]);
    assert!(!contribution.iter().any(|c| c.is_nan()), "{contribution:?}");
    let log_weights = sample::<f64>(300, 83);
    same_at_every_level("shares", || {
        let (mut shares, mut out) = (bound::Shares::new(83), [vec![0.0; 300 * 83], vec![0.0; 300 * 83]]);
        shares.push(&log_weights);
        shares.shares(&log_weights, &mut out[0]);
        shares.contributions(&log_weights, &mut out[1]);
        out.concat()
    });
}

#[test]
fn both_sides_of_the_evidence_agree_with_the_bounds_one_by_one() {
    for particles in [1, 2, 24, 25, 160, 161, 1000] {
        let batch = 9;
        let log_weights = sample::<f64>(particles, batch);
        let [lower, estimate, upper, error, khat, ess] = evidence(&log_weights, batch);
        let (mut iwae, mut size, mut tail) = (vec![0.0; batch], vec![0.0; batch], vec![0.0; batch]);
        bound::iwae(&log_weights, &mut iwae, None).unwrap();
        bound::ess(&log_weights, &mut size, None).unwrap();
        bound::khat(&log_weights, 1.0, &mut tail).unwrap();
        assert_eq!(bits(&khat), bits(&tail));
        let limit = (1.0 - 1.0 / libm::log10(particles as f64)).min(0.7);
        for row in 0..batch {
            assert!(lower[row] == iwae[row] || (lower[row] - iwae[row]).abs() < 1e-13, "{particles}, {row}");
            assert!((ess[row] - size[row]).abs() <= 1e-12 * size[row], "{particles}, {row}");
            assert!(lower[row] <= estimate[row] && estimate[row] <= upper[row], "{particles}, {row}");
            assert_eq!(upper[row].is_infinite(), khat[row] > limit || particles == 1, "{particles}, {row}");
            assert!(error[row] >= 0.0);
        }
    }
    let none: [Vec<f64>; 6] = evidence(&[], 0);
    assert!(none.iter().all(Vec::is_empty));
    let mut out = [[0.0]; 6];
    let [lower, estimate, upper, standard_error, khat, ess] = &mut out;
    let refused = bound::evidence(&[0.0, f64::NAN], bound::Evidence { lower, estimate, upper, standard_error, khat, ess });
    assert!(matches!(refused, Err(Error::NonFinite { row: 1, column: 0, .. })), "{refused:?}");
}
