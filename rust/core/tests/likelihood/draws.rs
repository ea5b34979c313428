//! Draws from likelihoods: their moments and distribution functions, and that a row is addressed by its number.

use crate::reference::bits;
use crate::reference::likelihood::{Case, random_rows};
use elbokit_core::Float;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::random::{Draw, Key};
use elbokit_core::threads::Interrupt;

/// Means and variances of draws within 5 standard errors of the stated ones: by chance once in 10⁶.
fn draws_have_their_moments<F: Float + Draw>() {
    let (rows, width) = (40_000, 3);
    for likelihood in [
        Likelihood::Gaussian(Scale::Fixed(0.3)),
        Likelihood::Gaussian(Scale::ByFeature(vec![0.3, 1.0, 7.0])),
        Likelihood::Gaussian(Scale::Predicted),
        Likelihood::Gaussian(Scale::Shared),
        Likelihood::Bernoulli,
        Likelihood::Binomial(1),
        Likelihood::Binomial(16),
        Likelihood::Binomial(300),
        Likelihood::Poisson,
    ] {
        let row = [-2.0, 0.1, 1.5, 1.0, -1.0, 0.0];
        let row: Vec<F> = row[..likelihood.num_params(width)].iter().map(|&p| F::from_f64(p)).collect();
        let out = draws_of(&likelihood, &row, rows);
        for j in 0..width {
            let p = row[j].to_f64();
            let gaussian = |scale: f64| (p, scale * scale, 3.0 * scale.powi(4));
            let binomial = |n: f64| {
                let q = 1.0 / (1.0 + (-p).exp());
                let v = q * (1.0 - q);
                (n * q, n * v, n * v * (1.0 + 3.0 * v * (n - 2.0)))
            };
            let (mean, variance, fourth) = match &likelihood {
                Likelihood::Gaussian(Scale::Fixed(scale)) => gaussian(*scale),
                Likelihood::Gaussian(Scale::ByFeature(scales)) => gaussian(scales[j]),
                Likelihood::Gaussian(Scale::Predicted) => gaussian((0.5 * row[width + j].to_f64()).exp()),
                Likelihood::Gaussian(Scale::Shared) => gaussian((0.5 * row[width].to_f64()).exp()),
                Likelihood::Binomial(total) => binomial(f64::from(*total)),
                Likelihood::Poisson => (p.exp(), p.exp(), p.exp() * (1.0 + 3.0 * p.exp())),
                _ => binomial(1.0),
            };
            let n = rows as f64;
            let draws = || out[j..].iter().step_by(width).map(|x| x.to_f64() - mean);
            let error = draws().sum::<f64>() / (variance * n).sqrt();
            assert!(error.abs() < 5.0, "mean of {likelihood:?} ({}), column {j}: {error} standard errors", F::NAME);
            let error = draws().map(|d| d * d - variance).sum::<f64>() / ((fourth - variance * variance) * n).sqrt();
            assert!(error.abs() < 5.0, "variance of {likelihood:?} ({}), column {j}: {error} standard errors", F::NAME);
        }
    }
}

/// Draws for `rows` rows of the same params, each inside the support.
fn draws_of<F: Float + Draw>(likelihood: &Likelihood, row: &[F], rows: usize) -> Vec<F> {
    let width = likelihood.num_features(row.len()).unwrap();
    let mut out = vec![F::NAN; rows * width];
    let prepared = likelihood.prepare::<F>(width).unwrap();
    prepared.sample(&row.repeat(rows), Key(5), 0, &Interrupt::default(), &mut out).unwrap();
    likelihood.check_support("draws", &out, width).unwrap();
    out
}

#[test]
fn draws_have_the_likelihoods_moments() {
    draws_have_their_moments::<f32>();
    draws_have_their_moments::<f64>();
}

fn draws_are_addressed<F: Float + Draw>(width: usize) {
    for case in Case::all(width, false) {
        let (rows, skip) = (20, 13);
        let columns = case.likelihood.num_params(width);
        let (_, params) = random_rows::<F>(&case, 31, rows, width, 0.0);
        let params: Vec<F> = params.iter().map(|&p| F::from_f64(p)).collect();
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let draw = |params: &[F], first| {
            let mut out = vec![F::NAN; params.len() / columns * width];
            prepared.sample(params, Key(6), first, &Interrupt::default(), &mut out).unwrap();
            bits(&out)
        };
        let all = draw(&params, 1000);
        assert_eq!(draw(&params[skip * columns..], 1000 + skip as u64), all[skip * width..], "{:?}", case.likelihood);
        assert_eq!(draw(&params[skip * columns..][..columns], 1000 + skip as u64), all[skip * width..][..width]);
        // One class has one code.
        if case.likelihood != Likelihood::Categorical(1) {
            assert_ne!(draw(&params, 1001), all);
        }
    }
}

#[test]
fn draws_are_addressed_by_row() {
    for width in [1, 7, 16, 30] {
        draws_are_addressed::<f32>(width);
        draws_are_addressed::<f64>(width);
    }
}

/// The largest distance of the draws' distribution function from the one that the likelihood's own densities or masses add up to, √n times:
/// above 2.5 by chance once in 10⁵.
fn distance(likelihood: &Likelihood, params: &[f64], rows: usize) -> f64 {
    let mut draws = draws_of(likelihood, params, rows);
    draws.sort_by(f64::total_cmp);
    let prepared = likelihood.prepare::<f64>(1).unwrap();
    let probability = |x: f64| {
        let mut out = [0.0];
        prepared.log_prob(&[x], params, &mut out).unwrap();
        out[0].exp()
    };
    let (low, high) = (draws[0], draws[rows - 1]);
    let whole = low.fract() == 0.0 && high.fract() == 0.0;
    let share = |x: f64| draws.partition_point(|d| *d <= x) as f64 / rows as f64;
    let (mut below, mut worst) = (0.0, 0.0_f64);
    if whole {
        for k in 0..=high as u32 {
            below += probability(f64::from(k));
            worst = worst.max((share(f64::from(k)) - below).abs());
        }
    } else {
        // From the smallest draw on, by Simpson's rule; what lies below it is the share of one draw, about.
        let steps = 20_000;
        let h = (high - low) / f64::from(steps);
        let mut left = probability(low);
        for i in 0..steps {
            let x = low + h * f64::from(i);
            let right = probability(x + h);
            below += h / 6.0 * (left + 4.0 * probability(x + 0.5 * h) + right);
            left = right;
            worst = worst.max((share(x + h) - below).abs());
        }
    }
    worst * (rows as f64).sqrt()
}

#[test]
fn draws_are_distributed_as_the_likelihood_says() {
    let cases: [(Likelihood, &[f64]); 15] = [
        (Likelihood::Laplace(Scale::Fixed(0.7)), &[1.0]),
        (Likelihood::Laplace(Scale::Predicted), &[-1.0, 0.5]),
        (Likelihood::StudentT(3.0, Scale::Fixed(2.0)), &[0.5]),
        (Likelihood::StudentT(30.0, Scale::Shared), &[0.5, -1.0]),
        (Likelihood::ContinuousBernoulli, &[3.0]),
        (Likelihood::ContinuousBernoulli, &[-0.2]),
        (Likelihood::ContinuousBernoulli, &[0.0]),
        (Likelihood::Categorical(4), &[0.0, 2.0, -1.0, 0.5]),
        (Likelihood::Poisson, &[0.3]),
        (Likelihood::Poisson, &[4.0]),
        (Likelihood::Binomial(5000), &[-3.0]),
        (Likelihood::NegativeBinomial, &[1.0, 0.5]),
        (Likelihood::NegativeBinomial, &[2.0, -1.0]),
        (Likelihood::NegativeBinomial, &[4.0, 3.0]),
        (Likelihood::ZeroInflatedNegativeBinomial, &[1.0, 1.0, -0.5]),
    ];
    for (likelihood, params) in cases {
        let far = distance(&likelihood, params, 20_000);
        println!("{likelihood:?} {params:?}: {far:.2}");
        assert!(far < 2.5, "{likelihood:?} of {params:?}: {far}");
    }
}

#[test]
fn a_table_draws_each_column_by_its_own_kind() {
    let table = Likelihood::Columns(vec![
        (vec![2], Likelihood::Binomial(3)),
        (vec![0], Likelihood::Laplace(Scale::Predicted)),
        (vec![1], Likelihood::Gaussian(Scale::Shared)),
    ]);
    let row = [0.0, 10.0, -2.0, -30.0, 2.0];
    let out = draws_of(&table, &row, 4000);
    let mean = |j: usize| out[j..].iter().step_by(3).sum::<f64>() / 4000.0;
    assert!((mean(0) - 10.0).abs() < 5.0 * 0.2 / 63.0, "{}", mean(0));
    assert!((mean(1) + 30.0).abs() < 5.0 * 2.72 / 63.0, "{}", mean(1));
    assert!((mean(2) - 1.5).abs() < 5.0 * 0.87 / 63.0, "{}", mean(2));
}

#[test]
fn gaussian_draws_are_loc_plus_the_scale_itself_times_the_normals() {
    let scales = [0.3, 1.7, 2.0];
    let (params, mut out, mut normals) = ([0.5, -1.0, 4.0, 0.0, 1.0, 2.0], [0.0_f64; 6], [0.0_f64; 6]);
    let prepared = Likelihood::Gaussian(Scale::ByFeature(scales.to_vec())).prepare::<f64>(3).unwrap();
    prepared.sample(&params, Key(4), 9, &Interrupt::default(), &mut out).unwrap();
    elbokit_core::random::fill_normals(Key(4), 0, 9, 3, &mut normals);
    for (i, x) in out.iter().enumerate() {
        assert_eq!(*x, scales[i % 3].mul_add(normals[i], params[i]));
    }
}
