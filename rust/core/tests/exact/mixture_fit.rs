//! A mixture's shares, bound, gap and EM against the printed formulas, and the same bits whatever the level, threads or batch.

use crate::reference::{Double, Numbers, property, row_bound, same_at_every_level, same_on_any_threads};
use elbokit_core::exact::{Covariance, EmOptions, Form, Mixture, MixtureFit, Start};
use elbokit_core::random::Key;
use elbokit_core::threads::Interrupt;
use elbokit_core::{Error, Float};
use proptest::prelude::*;

/// Full covariances D (I + u uᵀ) D for weights and locs of their own.
fn parts(numbers: &mut Numbers, components: usize, width: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let weights: Vec<f64> = numbers.vec(components, 0.5, 2.0);
    let total: f64 = weights.iter().sum();
    let mut covariances = Vec::new();
    for _ in 0..components {
        let (scale, u): (Vec<f64>, Vec<f64>) = (numbers.vec(width, 0.5, 1.5), numbers.vec(width, -1.0, 1.0));
        for i in 0..width {
            for j in 0..width {
                covariances.push(scale[i] * scale[j] * (f64::from(u8::from(i == j)) + u[i] * u[j]));
            }
        }
    }
    (weights.iter().map(|w| w / total).collect(), numbers.vec(components * width, -3.0, 3.0), covariances)
}

fn assignment<F: Float>(numbers: &mut Numbers, rows: usize, components: usize) -> Vec<F> {
    let mut shares = Vec::new();
    for row in 0..rows {
        let mut row: Vec<f64> = (0..components)
            .map(|k| if row % 3 == 0 { f64::from(u8::from(row % components == k)) } else { numbers.uniform(0.0, 1.0) })
            .collect();
        let total: f64 = row.iter().sum();
        for r in &mut row {
            *r /= total;
        }
        shares.extend(row.iter().map(|&r| F::from_f64(r)));
    }
    shares
}

/// The largest error of bound, gap and shares, in units of the scores' magnitudes, for variances by column.
fn judged_rightly<F: Float>(numbers: &mut Numbers, components: usize, width: usize, rows: usize) -> f64 {
    let (weights, locs, _) = parts(numbers, components, width);
    let variances: Vec<f64> = numbers.vec::<f64>(components * width, -1.0, 1.0).iter().map(|&v| libm::exp(v)).collect();
    let mixture = Mixture::new(&weights, &locs, width, Covariance::Diagonal(&variances)).unwrap();
    let x: Vec<F> = numbers.vec(rows * width, -4.0, 4.0);
    let r = assignment::<F>(numbers, rows, components);
    let (mut bound, mut gap, mut shares) = (vec![F::ZERO; rows], vec![F::ZERO; rows], vec![F::ZERO; rows * components]);
    mixture.elbo(&x, &r, &mut bound).unwrap();
    mixture.gap(&x, &r, &mut gap).unwrap();
    mixture.responsibilities(&x, &mut shares).unwrap();
    let mut worst = 0.0_f64;
    for (row, x) in x.chunks(width).enumerate() {
        let score = |k: usize| {
            let cells = x.iter().enumerate().map(|(j, x)| {
                let (off, v) = (Double::from(x.to_f64()) - locs[k * width + j], variances[k * width + j]);
                (off * off / v + Double::from(v).ln() + crate::reference::double::LN_2PI) * -0.5
            });
            cells.sum::<Double>() + Double::from(mixture.weights()[k]).ln()
        };
        let scores: Vec<Double> = (0..components).map(score).collect();
        let size = scores.iter().map(|s| s.hi.abs()).fold(0.0, f64::max) + 2.0 * width as f64;
        let best = scores.iter().map(|s| s.hi).fold(f64::NEG_INFINITY, f64::max);
        let evidence = scores.iter().map(|&s| (s - best).exp()).sum::<Double>().ln() + best;
        let given = &r[row * components..][..components];
        let total: Double = given.iter().map(|r| Double::from(r.to_f64())).sum();
        let share = |k: usize| Double::from(given[k].to_f64()) / total;
        let terms = (0..components).filter(|&k| given[k].to_f64() > 0.0);
        let value: Double = terms.map(|k| share(k) * (scores[k] - share(k).ln())).sum();
        worst = worst.max((value - bound[row].to_f64()).hi.abs() / size);
        worst = worst.max((evidence - value - gap[row].to_f64()).hi.abs() / size);
        for (k, &score) in scores.iter().enumerate() {
            let posterior = (score - evidence).exp();
            let got = shares[row * components + k].to_f64();
            if posterior.hi > f64::from(f32::MIN_POSITIVE) {
                worst = worst.max(((posterior - got) / posterior).hi.abs() / size);
            }
        }
    }
    worst
}

proptest! {
    #![proptest_config(property(60))]
    #[test]
    fn bound_gap_and_shares_agree_with_the_formula(seed in any::<u64>(), components in 1..6_usize, width in 1..12_usize, rows in 0..20_usize) {
        let single = judged_rightly::<f32>(&mut Numbers(seed), components, width, rows);
        let double = judged_rightly::<f64>(&mut Numbers(seed), components, width, rows);
        prop_assert!(single <= row_bound::<f32>() && double <= row_bound::<f64>(), "{single:e} {double:e}");
    }
}

/// One iteration by the printed formulas.
fn iterated(
    x: &[f64],
    width: usize,
    (weights, locs, covariances): &(Vec<f64>, Vec<f64>, Vec<f64>),
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (rows, components) = (x.len() / width, weights.len());
    let mixture = Mixture::new(weights, locs, width, Covariance::Full(covariances)).unwrap();
    let mut shares = vec![0.0; rows * components];
    mixture.responsibilities(x, &mut shares).unwrap();
    let (mut next, mut means, mut spreads) = (Vec::new(), Vec::new(), Vec::new());
    for k in 0..components {
        let share = |row: usize| Double::from(shares[row * components + k]);
        let total: Double = (0..rows).map(share).sum();
        let mean = |j: usize| (0..rows).map(|row| share(row) * x[row * width + j]).sum::<Double>() / total;
        let mean: Vec<Double> = (0..width).map(mean).collect();
        for i in 0..width {
            for j in 0..width {
                let term = |row: usize| {
                    share(row) * (Double::from(x[row * width + i]) - mean[i]) * (Double::from(x[row * width + j]) - mean[j])
                };
                spreads.push(((0..rows).map(term).sum::<Double>() / total).hi);
            }
        }
        next.push((total / rows as f64).hi);
        means.extend(mean.iter().map(|m| m.hi));
    }
    (next, means, spreads)
}

fn drawn(seed: u64, components: usize, width: usize, rows: usize) -> Vec<f64> {
    let (weights, locs, covariances) = parts(&mut Numbers(seed), components, width);
    let mut x = vec![0.0; rows * width];
    Mixture::new(&weights, &locs, width, Covariance::Full(&covariances)).unwrap().sample(Key(seed), 0, rows, &mut x).unwrap();
    x
}

fn fit<F: Float>(x: &[F], width: usize, form: Form, start: Start, iterations: usize, regularisation: f64) -> MixtureFit {
    let options = EmOptions { tolerance: -1.0, max_iter: iterations, regularisation };
    Mixture::fit(x, width, form, start, options, &Interrupt::default()).unwrap()
}

#[test]
fn an_iteration_is_that_of_the_printed_formulas() {
    for (width, rows) in [(1, 40), (3, 513), (4, 7), (6, 700)] {
        let x = drawn(3, 3, width, rows);
        let start = parts(&mut Numbers(4), 3, width);
        let expected = iterated(&x, width, &start);
        let one = fit(&x, width, Form::Full, Start::Given(&start.0, &start.1, &start.2), 1, 0.0);
        let close = |got: &[f64], expected: &[f64]| got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-13 * (1.0 + b.abs()));
        assert!(close(one.mixture.weights(), &expected.0), "{width}");
        assert!(close(&one.locs, &expected.1), "{width}");
        assert!(close(&one.variances, &expected.2), "{width}");
        // The history begins with the start's own mean log evidence.
        let mixture = Mixture::new(&start.0, &start.1, width, Covariance::Full(&start.2)).unwrap();
        let mut evidence = vec![0.0; rows];
        mixture.log_evidence(&x, &mut evidence).unwrap();
        let mean = evidence.iter().sum::<f64>() / rows as f64;
        assert!((one.history[0] - mean).abs() < 1e-13 * mean.abs());
    }
}

#[test]
fn the_mean_log_evidence_never_falls() {
    for (seed, form) in [(1, Form::Full), (2, Form::Diagonal), (3, Form::Spherical)] {
        let x = drawn(seed, 4, 3, 3000);
        let fitted = fit(&x, 3, form, Start::Drawn(4, Key(seed)), 80, 0.0);
        assert!(fitted.history.windows(2).all(|pair| pair[1] - pair[0] > -1e-12), "{form:?}: {:?}", fitted.history);
    }
}

#[test]
fn every_level_and_any_threads_give_the_same_bits() {
    for (components, width) in [(1, 1), (3, 4), (2, 9)] {
        for form in [Form::Full, Form::Diagonal, Form::Spherical] {
            let x = drawn(5, components, width, 1300);
            let single: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let everything = |iterations| {
                let fitted = fit(&x, width, form, Start::Drawn(components, Key(1)), iterations, 1e-6);
                let other = fit(&single, width, form, Start::Drawn(components, Key(1)), iterations, 1e-6);
                let rows = x.len() / width;
                let r = assignment::<f64>(&mut Numbers(1), rows, components);
                let (mut shares, mut bound, mut gap) = (vec![0.0; rows * components], vec![0.0; rows], vec![0.0; rows]);
                fitted.mixture.responsibilities(&x, &mut shares).unwrap();
                fitted.mixture.elbo(&x, &r, &mut bound).unwrap();
                fitted.mixture.gap(&x, &r, &mut gap).unwrap();
                [fitted.locs, fitted.variances, fitted.history, other.locs, other.variances, shares, bound, gap].concat()
            };
            same_at_every_level(&format!("{form:?} {components} {width}"), || everything(2));
        }
    }
    let x = drawn(6, 3, 4, 30_000);
    for form in [Form::Full, Form::Diagonal] {
        same_on_any_threads("fit", || {
            let fitted = fit(&x, 4, form, Start::Drawn(3, Key(2)), 5, 0.0);
            [fitted.locs, fitted.variances, fitted.history].concat()
        });
    }
}

#[test]
fn a_component_that_no_row_belongs_to_stays_where_it_is() {
    let x = drawn(1, 1, 2, 100);
    let start = Start::Given(&[0.5, 0.5], &[0.0, 0.0, 1e9, 1e9], &[1.0, 2.0]);
    let fitted = fit(&x, 2, Form::Spherical, start, 3, 0.0);
    assert_eq!(&fitted.locs[2..], &[1e9, 1e9]);
    assert!(fitted.mixture.weights()[1] < 1e-300 && fitted.locs.iter().all(|x| x.is_finite()));
}

#[test]
fn what_cannot_be_fitted_is_an_error() {
    let x = drawn(1, 2, 2, 30);
    let try_fit = |x: &[f64], start, regularisation| {
        let options = EmOptions { tolerance: 1e-6, max_iter: 200, regularisation };
        Mixture::fit(x, 2, Form::Full, start, options, &Interrupt::default()).map(|_| ())
    };
    assert_eq!(try_fit(&x, Start::Drawn(2, Key(0)), 1e-6), Ok(()));
    let argument = |result| match result {
        Err(Error::Value { argument, .. } | Error::Shape { argument, .. } | Error::NonFinite { argument, .. }) => argument,
        _ => "",
    };
    assert_eq!(argument(try_fit(&x, Start::Drawn(0, Key(0)), 0.0)), "n_components");
    assert_eq!(argument(try_fit(&x, Start::Drawn(31, Key(0)), 0.0)), "n_components");
    assert_eq!(argument(try_fit(&x, Start::Drawn(15, Key(0)), 0.0)), "regularisation");
    assert_eq!(argument(try_fit(&x, Start::Drawn(2, Key(0)), f64::NAN)), "regularisation");
    assert_eq!(argument(try_fit(&x[..59], Start::Drawn(2, Key(0)), 0.0)), "X");
    assert_eq!(argument(try_fit(&[f64::NAN; 8], Start::Drawn(2, Key(0)), 0.0)), "X");
    assert_eq!(argument(try_fit(&x, Start::Given(&[1.0], &[0.0], &[1.0]), 0.0)), "locs");
    let interrupt = Interrupt::default();
    interrupt.raise();
    let options = EmOptions { tolerance: 0.0, max_iter: 3, regularisation: 0.0 };
    let stopped = Mixture::fit(&x, 2, Form::Full, Start::Drawn(2, Key(0)), options, &interrupt);
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
