//! The Fisher information in params beside its definition, the mean square of the slope of log p.

use elbokit_core::likelihood::{Likelihood, Scale};

/// p and the gradient of ln p of one cell.
fn cell(likelihood: &Likelihood, x: f64, params: &[f64]) -> (f64, Vec<f64>) {
    let (mut log_prob, mut gradient) = ([0.0], vec![0.0; params.len()]);
    likelihood.prepare::<f64>(1).unwrap().log_prob_grad(&[x], params, &mut log_prob, &mut gradient).unwrap();
    (log_prob[0].exp(), gradient)
}

/// Σ weight · p · slope² over the cells.
fn by_definition(likelihood: &Likelihood, params: &[f64], cells: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
    let mut sums = vec![0.0; params.len()];
    for (x, weight) in cells {
        let (p, gradient) = cell(likelihood, x, params);
        sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += weight * p * g * g);
    }
    sums
}

fn squares(likelihood: &Likelihood, params: &[f64]) -> Vec<f64> {
    let mut roots = vec![f64::NAN; params.len()];
    likelihood.prepare::<f64>(1).unwrap().fisher_roots(&[0.0], params, &mut roots);
    roots.iter().map(|root| root * root).collect()
}

/// The midpoints of a fine grid from a to b.
fn grid(a: f64, b: f64, steps: usize) -> impl Iterator<Item = (f64, f64)> {
    let step = (b - a) / steps as f64;
    (0..steps).map(move |i| (a + (i as f64 + 0.5) * step, step))
}

fn agree(likelihood: &Likelihood, got: &[f64], expected: &[f64], tolerance: f64) {
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= tolerance * expected.abs().max(1e-12), "{likelihood:?}: {got} {expected}");
    }
}

#[test]
fn bits_counts_and_shares_have_the_mean_square_of_their_slope() {
    for logit in [-6.0, -0.9, -0.02, 0.0, 0.7, 4.0] {
        let bits = by_definition(&Likelihood::Bernoulli, &[logit], [(0.0, 1.0), (1.0, 1.0)].into_iter());
        agree(&Likelihood::Bernoulli, &squares(&Likelihood::Bernoulli, &[logit]), &bits, 1e-12);
        let binomial = Likelihood::Binomial(16);
        let counts = by_definition(&binomial, &[logit], (0..=16).map(|x| (f64::from(x), 1.0)));
        agree(&binomial, &squares(&binomial, &[logit]), &counts, 1e-11);
        let shares = by_definition(&Likelihood::ContinuousBernoulli, &[logit], grid(0.0, 1.0, 20_000));
        agree(&Likelihood::ContinuousBernoulli, &squares(&Likelihood::ContinuousBernoulli, &[logit]), &shares, 1e-7);
        let counts = by_definition(&Likelihood::Poisson, &[logit], (0..400).map(|x| (f64::from(x), 1.0)));
        agree(&Likelihood::Poisson, &squares(&Likelihood::Poisson, &[logit]), &counts, 1e-11);
    }
    // The two formulas of the variance meet, and far out it is 1/η².
    let [below, above] = [0.5 - 1e-12, 0.5 + 1e-12].map(|logit| squares(&Likelihood::ContinuousBernoulli, &[logit])[0]);
    assert!((below - above).abs() < 1e-13, "{below} {above}");
    assert!((squares(&Likelihood::ContinuousBernoulli, &[-1e4])[0] - 1e-8).abs() < 1e-20);
}

#[test]
fn the_largest_root_is_reached_and_not_exceeded() {
    let largest = |likelihood: &Likelihood| likelihood.prepare::<f64>(1).unwrap().largest_fisher_root();
    let (gaussian, shares) = (Likelihood::Gaussian(Scale::Fixed(0.1)), Likelihood::Categorical(2));
    for (likelihood, there) in
        [(Likelihood::Bernoulli, &[0.0][..]), (Likelihood::Binomial(16), &[0.0]), (gaussian, &[0.3]), (shares, &[0.0, -800.0])]
    {
        let most = largest(&likelihood).powi(2);
        agree(&likelihood, &[squares(&likelihood, there)[0]], &[most], 1e-15);
        for elsewhere in [-6.0, -0.02, 0.7, 4.0] {
            let moved: Vec<f64> = there.iter().map(|param| param * 0.5 + elsewhere).collect();
            assert!(squares(&likelihood, &moved).iter().all(|square| *square <= most * (1.0 + 1e-15)), "{likelihood:?}");
        }
    }
    assert_eq!(largest(&Likelihood::Poisson), f64::INFINITY);
}

#[test]
fn real_cells_have_the_mean_square_of_their_slope() {
    for log_scale in [-1.3, 0.4] {
        let scale = f64::exp(log_scale);
        let (loc, reach) = (0.3, 60.0 * scale);
        let log_var = 2.0 * log_scale;
        let kinds = [
            (Likelihood::Gaussian(Scale::Predicted), vec![loc, log_var], 1e-9),
            (Likelihood::Gaussian(Scale::Fixed(scale)), vec![loc], 1e-9),
            (Likelihood::Laplace(Scale::Predicted), vec![loc, log_scale], 1e-4),
            (Likelihood::StudentT(9.0, Scale::Predicted), vec![loc, log_scale], 1e-6),
            (Likelihood::StudentT(9.0, Scale::Shared), vec![loc, log_scale], 1e-6),
            (Likelihood::StudentT(9.0, Scale::ByFeature(vec![scale])), vec![loc], 1e-6),
        ];
        for (likelihood, params, tolerance) in kinds {
            let expected = by_definition(&likelihood, &params, grid(loc - reach, loc + reach, 100_000));
            agree(&likelihood, &squares(&likelihood, &params), &expected, tolerance);
        }
    }
}

#[test]
fn classes_have_roots_whose_centred_square_is_the_information() {
    let (likelihood, params) = (Likelihood::Categorical(4), [0.3, -1.0, 2.0, 0.0]);
    let p = squares(&likelihood, &params);
    for (class, p) in p.iter().enumerate() {
        assert!((p - cell(&likelihood, class as f64, &params).0).abs() < 1e-15);
    }
    // diag(p) − p pᵀ: of its diagonal the slopes tell.
    let expected = by_definition(&likelihood, &params, (0..4).map(|x| (f64::from(x), 1.0)));
    let diagonal: Vec<f64> = p.iter().map(|p| p - p * p).collect();
    agree(&likelihood, &diagonal, &expected, 1e-13);
}

#[test]
fn overdispersed_counts_are_exact_but_for_the_concentration() {
    for (log_mean, log_concentration) in [(0.5, 0.2), (-2.0, 1.0), (2.5, -1.0), (3.0, 4.0), (-1.0, -2.0)] {
        let params = [log_mean, log_concentration];
        let cells = || (0..6000).map(|x| (f64::from(x), 1.0));
        let expected = by_definition(&Likelihood::NegativeBinomial, &params, cells());
        let got = squares(&Likelihood::NegativeBinomial, &params);
        agree(&Likelihood::NegativeBinomial, &got[..1], &expected[..1], 1e-9);
        assert!(got[1] > 0.0 && got[1] <= 0.5 && got[1] < 3.0 * expected[1], "{params:?}: {got:?} {expected:?}");
        for gate in [-3.0, 0.5] {
            let params = [log_mean, log_concentration, gate];
            let expected = by_definition(&Likelihood::ZeroInflatedNegativeBinomial, &params, cells());
            let got = squares(&Likelihood::ZeroInflatedNegativeBinomial, &params);
            agree(&Likelihood::ZeroInflatedNegativeBinomial, &[got[0], got[2]], &[expected[0], expected[2]], 1e-9);
            assert!(got[1] >= 0.0 && got[1] <= 0.5, "{params:?}: {got:?} {expected:?}");
        }
    }
    // Large counts of little spread: to first order exact.
    let params = [7.0, 5.5];
    let expected = by_definition(&Likelihood::NegativeBinomial, &params, (0..5000).map(|x| (f64::from(x), 1.0)));
    agree(&Likelihood::NegativeBinomial, &squares(&Likelihood::NegativeBinomial, &params), &expected, 0.02);
}

#[test]
fn missing_cells_have_none_and_tables_have_their_members() {
    let members = vec![
        (vec![2, 0], Likelihood::Gaussian(Scale::Predicted)),
        (vec![1], Likelihood::Categorical(3)),
        (vec![3], Likelihood::Poisson),
    ];
    let table = Likelihood::Columns(members).prepare::<f32>(4).unwrap();
    let params = [0.1, 0.2, -0.4, 0.6, 1.0, 2.0, 3.0, f32::INFINITY];
    let mut roots = [f64::NAN; 8];
    table.fisher_roots(&[1.0, 2.0, f32::NAN, f32::NAN], &params, &mut roots);
    assert_eq!([roots[0], roots[2], roots[7]], [0.0; 3]);
    assert!((roots[1] - f64::exp(-0.3)).abs() < 1e-7 && (roots[3] * roots[3] - 0.5).abs() < 1e-15);
    assert!((roots[4..7].iter().map(|r| r * r).sum::<f64>() - 1.0).abs() < 1e-14);
}
