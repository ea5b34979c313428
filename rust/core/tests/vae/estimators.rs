//! The estimators of the encoder's gradient: against their formulas with the decoder run by hand, in expectation, at the exact posterior, and by bits.

use std::ops::Range;

use crate::fits::{at_rate, config, rows, trained_by, weight};
use crate::reference::{same_at_every_level, same_on_any_threads};
use elbokit_core::Error;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::{Key, fill_normals};
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{Batch, Config, Estimator, Matrix, Model, Objective, Options, Prior, Scaling, Trainer, encode};

const WIDTH: usize = 5;
const LATENTS: usize = 3;
const ALL: [(Estimator, bool); 5] = [
    (Estimator::Stl, false),
    (Estimator::Dreg, false),
    (Estimator::Score, false),
    (Estimator::Dreg, true),
    (Estimator::Score, true),
];

fn objective((estimator, importance_weighted): (Estimator, bool), kl_weight: f64) -> Objective {
    Objective { estimator, importance_weighted, ..weight(kl_weight) }
}

/// Where a parameter of this name lies.
fn place(model: &Model<f64>, name: &str) -> Range<usize> {
    let mut start = 0;
    for named in model.named() {
        if named.name == name {
            return start..start + named.values.len();
        }
        start += named.values.len();
    }
    panic!("no {name}");
}

fn values<'a>(model: &'a Model<f64>, name: &str) -> &'a [f64] {
    &model.parameters()[place(model, name)]
}

/// A model whose posteriors differ by row and from the prior.
fn model(prior: Prior) -> Model<f64> {
    let config = Config { prior, ..config(WIDTH, Likelihood::Gaussian(Scale::Predicted), Activation::Tanh) };
    let mut model = Model::<f64>::new(config, Scaling::identity(WIDTH), Key(3)).unwrap();
    let mut noise = vec![0.0; model.parameters().len()];
    fill_normals(Key(8), 0, 0, 1, &mut noise);
    let moved: Vec<f64> = model.parameters().iter().zip(noise).map(|(x, e)| x + 0.2 * e).collect();
    model.set_parameters(&moved).unwrap();
    model
}

/// The gradient of what is minimised by these rows.
fn gradient(model: &Model<f64>, x: &[f64], weights: &[f64], key: Key, particles: usize, objective: Objective) -> Vec<f64> {
    let order: Vec<u32> = (0..weights.len() as u32).collect();
    let source = Matrix::new(x, model.config().num_features);
    let batch = Batch { source: &source, rows: &order, weights: Some(weights), key, position: 11, objective };
    let mut trainer = Trainer::new(model, weights.len(), weights.len(), particles).unwrap();
    trainer.gradient(model, &batch).unwrap().unwrap();
    trainer.last_gradient().to_vec()
}

/// The decoder of two tanh layers at z, and its derivative by each latent.
fn decoder(model: &Model<f64>, z: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let (mut h, mut slopes) = (z.to_vec(), vec![vec![0.0; LATENTS]; LATENTS]);
    (0..LATENTS).for_each(|j| slopes[j][j] = 1.0);
    for layer in 0..3 {
        let [w, b] = ["weight", "bias"].map(|part| values(model, &format!("decoder.{layer}.{part}")));
        let times = |x: &[f64]| w.chunks_exact(x.len()).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect::<Vec<f64>>();
        let y: Vec<f64> = times(&h).iter().zip(b).map(|(y, b)| y + b).collect();
        slopes = slopes.iter().map(|slope| times(slope)).collect();
        if layer == 2 {
            return (y, slopes);
        }
        h = y.iter().map(|y| y.tanh()).collect();
        for slope in &mut slopes {
            slope.iter_mut().zip(&h).for_each(|(s, h)| *s *= 1.0 - h * h);
        }
    }
    unreachable!()
}

/// log p(z) but for d/2 ln 2π, and its gradient, by the density's own formula.
fn prior(model: &Model<f64>, z: &[f64]) -> (f64, Vec<f64>) {
    if model.config().prior == Prior::Standard {
        return (z.iter().map(|z| -0.5 * z * z).sum(), z.iter().map(|z| -z).collect());
    }
    let [weights, locs, variances] = model.prior_parts();
    let (mut density, mut slope) = (0.0, vec![0.0; LATENTS]);
    for (k, weight) in weights.iter().enumerate() {
        let part = |j: usize| (z[j] - locs[k * LATENTS + j], variances[k * LATENTS + j]);
        let of =
            weight * (0..LATENTS).map(|j| (-0.5 * part(j).0 * part(j).0 / part(j).1).exp() / part(j).1.sqrt()).product::<f64>();
        density += of;
        (0..LATENTS).for_each(|j| slope[j] -= of * part(j).0 / part(j).1);
    }
    (density.ln(), slope.iter().map(|s| s / density).collect())
}

/// ln (1/K Σ exp f).
fn bound(f: &[f64]) -> f64 {
    (f.iter().map(|f| f.exp()).sum::<f64>() / f.len() as f64).ln()
}

/// The gradient by (loc, log-variance) of what is maximised, of the batch's row `i`, as the definitions have it.
fn plain(model: &Model<f64>, x: &[f64], [loc, log_var]: [&[f64]; 2], i: usize, particles: u32, objective: Objective) -> Vec<f64> {
    let (beta, k) = (objective.kl_weight, f64::from(particles));
    let (mut f, mut slopes, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    for particle in 0..particles {
        let mut eps = vec![0.0; LATENTS];
        fill_normals(Key(5), particle, 11 + i as u64, LATENTS, &mut eps);
        let sigma = |j: usize| (0.5 * log_var[j]).exp();
        let z: Vec<f64> = (0..LATENTS).map(|j| loc[j] + sigma(j) * eps[j]).collect();
        let (params, jacobian) = decoder(model, &z);
        let (mut log_prob, mut d_params) = ([0.0], vec![0.0; params.len()]);
        model.likelihood().log_prob_grad(x, &params, &mut log_prob, &mut d_params).unwrap();
        let (log_prior, d_prior) = prior(model, &z);
        let log_q: f64 = (0..LATENTS).map(|j| -0.5 * (eps[j] * eps[j] + log_var[j])).sum();
        f.push(log_prob[0] + beta * (log_prior - log_q));
        let slope =
            |j: usize| jacobian[j].iter().zip(&d_params).map(|(a, b)| a * b).sum::<f64>() + beta * (d_prior[j] + eps[j] / sigma(j));
        slopes.push((0..LATENTS).map(slope).collect::<Vec<f64>>());
        noise.push(eps);
    }
    let all = bound(&f);
    let mut out = vec![0.0; 2 * LATENTS];
    for draw in 0..f.len() {
        let share = if objective.importance_weighted { (f[draw] - all).exp() / k } else { 1.0 / k };
        let others: Vec<f64> = (0..f.len()).filter(|at| *at != draw).map(|at| f[at]).collect();
        let mean = others.iter().sum::<f64>() / (k - 1.0);
        for j in 0..LATENTS {
            let (eps, sigma) = (noise[draw][j], (0.5 * log_var[j]).exp());
            let along = [1.0, 0.5 * eps * sigma];
            let score = [eps / sigma, 0.5 * (eps * eps - 1.0)];
            for half in 0..2 {
                out[half * LATENTS + j] += match (objective.estimator, objective.importance_weighted) {
                    (Estimator::Dreg, true) => share * (1.0 - beta + beta * share) * slopes[draw][j] * along[half],
                    (Estimator::Stl | Estimator::Dreg, _) => share * slopes[draw][j] * along[half],
                    (Estimator::Score, false) => (f[draw] - mean) / k * score[half],
                    (Estimator::Score, true) => (all - bound(&others) - beta * share) * score[half],
                    (Estimator::Pathwise, _) => unreachable!(),
                };
            }
        }
    }
    out
}

#[test]
fn every_estimator_is_its_formula_at_the_encoders_heads() {
    let likelihood = Likelihood::Gaussian(Scale::Predicted);
    for n in [1, 9, 70] {
        let x = rows(&likelihood, n, WIDTH);
        let weights: Vec<f64> = (0..n).map(|i| 0.5 + i as f64 / n as f64).collect();
        for prior in [Prior::Standard, Prior::Mixture(4)] {
            let model = model(prior);
            let (mut loc, mut log_var) = (vec![0.0; n * LATENTS], vec![0.0; n * LATENTS]);
            encode(&model, &Matrix::new(&x, WIDTH), &Interrupt::default(), &mut loc, &mut log_var).unwrap();
            for (of, beta) in ALL.into_iter().flat_map(|of| [1.0, 0.3, 0.0].map(|beta| (of, beta))) {
                let objective = objective(of, beta);
                let particles = 4;
                let mut expected = vec![0.0; 2 * LATENTS];
                for i in 0..n {
                    let at = i * LATENTS..(i + 1) * LATENTS;
                    let row = &x[i * WIDTH..][..WIDTH];
                    let part = plain(&model, row, [&loc[at.clone()], &log_var[at]], i, particles, objective);
                    expected.iter_mut().zip(part).for_each(|(sum, part)| *sum -= weights[i] * part / n as f64);
                }
                let got = gradient(&model, &x, &weights, Key(5), particles as usize, objective);
                let largest = expected.iter().fold(0.0_f64, |a, g| a.max(g.abs()));
                for (got, expected) in got[place(&model, "encoder.2.bias")].iter().zip(&expected) {
                    let error = (got - expected).abs() / largest;
                    assert!(error <= 2e-13, "{objective:?}, {prior:?}, {n} rows: {got} is not {expected}, off by {error:e}");
                }
            }
        }
    }
}

#[test]
fn decoder_and_prior_get_the_pathwise_bits_whatever_the_estimator() {
    let (n, likelihood) = (20, Likelihood::Gaussian(Scale::Predicted));
    let (x, weights) = (rows(&likelihood, n, WIDTH), vec![1.0; n]);
    for prior in [Prior::Standard, Prior::Mixture(4), Prior::Vamp(3)] {
        let model = model(prior);
        let encoder = place(&model, "decoder.0.weight").start;
        for of in ALL {
            let own = gradient(&model, &x, &weights, Key(5), 4, objective(of, 0.7));
            let pathwise = gradient(&model, &x, &weights, Key(5), 4, objective((Estimator::Pathwise, of.1), 0.7));
            assert_eq!(own[encoder..], pathwise[encoder..], "{of:?} {prior:?}");
            assert_ne!(own[..encoder], pathwise[..encoder], "{of:?} {prior:?}");
        }
    }
}

#[test]
fn expectations_are_the_pathwise_one() {
    const KEYS: u64 = 2400;
    let (n, likelihood) = (3, Likelihood::Gaussian(Scale::Predicted));
    let (x, weights) = (rows(&likelihood, n, WIDTH), vec![1.0; n]);
    for (prior, beta) in [(Prior::Standard, 1.0), (Prior::Standard, 0.4), (Prior::Vamp(3), 0.4)] {
        let model = model(prior);
        let heads = place(&model, "encoder.2.bias");
        let moments = |objective: Objective| {
            let all: Vec<Vec<f64>> =
                (0..KEYS).map(|key| gradient(&model, &x, &weights, Key(100 + key), 6, objective)[heads.clone()].to_vec()).collect();
            let mean = |f: &dyn Fn(&[f64], usize) -> f64, j| all.iter().map(|g| f(g, j)).sum::<f64>() / KEYS as f64;
            let means: Vec<f64> = (0..heads.len()).map(|j| mean(&|g, j| g[j], j)).collect();
            let errors: Vec<f64> = (0..heads.len()).map(|j| mean(&|g, j| (g[j] - means[j]).powi(2), j) / KEYS as f64).collect();
            (means, errors)
        };
        let pathwise = [false, true].map(|iwae| moments(objective((Estimator::Pathwise, iwae), beta)));
        for of in ALL {
            let ((own, own_error), (other, other_error)) = (moments(objective(of, beta)), &pathwise[usize::from(of.1)]);
            let size = other.iter().fold(0.0_f64, |a, g| a.max(g.abs()));
            for j in 0..own.len() {
                // Both are of the same draws: the difference's own error is at most the sum.
                let error = own_error[j].sqrt() + other_error[j].sqrt();
                assert!((own[j] - other[j]).abs() <= 4.0 * error, "{of:?} {prior:?} {beta} {j}: {} {} {error}", own[j], other[j]);
                assert!(of.0 == Estimator::Score || error <= 0.1 * size, "{of:?} {prior:?} {beta} {j}: {error} of {size}");
            }
        }
    }
}

#[test]
fn at_the_exact_posterior_no_draw_moves_the_encoder() {
    // Orthogonal columns: the posterior's precisions are 1 + |w|² / s².
    let (loading, scale) = ([[1.0, 1.0], [1.0, -1.0], [0.0, 2.0]], 0.5_f64);
    let offset = [0.3, -0.2, 0.1];
    let config = Config { latent_dim: 2, hidden: vec![], ..config(3, Likelihood::Gaussian(Scale::Fixed(scale)), Activation::Tanh) };
    let mut model = Model::<f64>::new(config, Scaling::identity(3), Key(0)).unwrap();
    let mut parameters = vec![0.0; model.parameters().len()];
    for j in 0..2 {
        let square: f64 = loading.iter().map(|w| w[j] * w[j]).sum();
        let precision = 1.0 + square / (scale * scale);
        for i in 0..3 {
            let slope = loading[i][j] / (scale * scale) / precision;
            parameters[place(&model, "encoder.0.weight").start + 3 * j + i] = slope;
            parameters[place(&model, "encoder.0.bias").start + j] -= slope * offset[i];
            parameters[place(&model, "decoder.0.weight").start + 2 * i + j] = loading[i][j];
            parameters[place(&model, "decoder.0.bias").start + i] = offset[i];
        }
        parameters[place(&model, "encoder.0.bias").start + 2 + j] = -precision.ln();
    }
    model.set_parameters(&parameters).unwrap();
    let mut x = vec![0.0; 3 * 10];
    fill_normals(Key(2), 0, 0, 3, &mut x);
    let encoder = 0..place(&model, "decoder.0.weight").start;
    for key in 0..5 {
        for of in [(Estimator::Stl, false), (Estimator::Dreg, false), (Estimator::Dreg, true), (Estimator::Score, true)] {
            let own = gradient(&model, &x, &[1.0; 10], Key(key), 3, objective(of, 1.0));
            let largest = own[encoder.clone()].iter().fold(0.0_f64, |a, g| a.max(g.abs()));
            // Equal weights: the score's contributions are 0 − 1/K, which is noise of mean 0.
            assert!(largest <= 1e-14 || of.0 == Estimator::Score, "{of:?}: {largest:e}");
            assert!(largest > 1e-3 || of.0 != Estimator::Score, "{of:?}: {largest:e}");
        }
        let pathwise = gradient(&model, &x, &[1.0; 10], Key(key), 3, objective((Estimator::Pathwise, false), 1.0));
        assert!(pathwise[encoder.clone()].iter().any(|g| g.abs() > 1e-3));
    }
}

#[test]
fn training_is_the_same_bits_on_any_threads_and_level() {
    for of in ALL {
        let options = Options { objective: objective(of, 0.8), max_grad_norm: Some(5.0), ..at_rate(1e-3) };
        same_on_any_threads(&format!("{of:?}"), || trained_by(options, 300, 128, 3));
        let pathwise = Options { objective: objective((Estimator::Pathwise, of.1), 0.8), ..options };
        assert_ne!(trained_by(options, 300, 128, 3), trained_by(pathwise, 300, 128, 3), "{of:?}");
        same_at_every_level(&format!("{of:?}"), || trained_by(options, 40, 16, 3));
    }
    let vamp = |of| {
        let model = model(Prior::Vamp(3));
        move || {
            gradient(&model, &rows(&Likelihood::Gaussian(Scale::Predicted), 150, WIDTH), &[1.0; 150], Key(1), 2, objective(of, 0.5))
        }
    };
    for of in ALL {
        same_on_any_threads("vamp", vamp(of));
        same_at_every_level("vamp", vamp(of));
    }
}

#[test]
fn a_row_of_weight_zero_does_not_count() {
    for prior in [Prior::Standard, Prior::Mixture(4)] {
        let model = model(prior);
        for of in ALL {
            let of_row = |cell: f64| {
                let x = [[0.1, 0.2, 0.3, 0.4, 0.5], [cell; 5]].concat();
                gradient(&model, &x, &[2.0, 0.0], Key(1), 3, objective(of, 0.5))
            };
            let got = of_row(f64::MAX);
            assert!(got.iter().all(|g| g.is_finite()) && got == of_row(0.0), "{of:?}");
        }
    }
}

#[test]
fn what_cannot_be_estimated_is_refused_by_name() {
    let (mut model, x) = (model(Prior::Standard), [0.1; 10]);
    let source = Matrix::new(&x, WIDTH);
    for (argument, cure, objective) in [
        ("estimator", "\"dreg\"", objective((Estimator::Stl, true), 1.0)),
        ("num_particles", "pathwise", objective((Estimator::Score, false), 1.0)),
        ("num_particles", "pathwise", objective((Estimator::Score, true), 1.0)),
        ("free_bits", "pathwise", Objective { free_bits: 0.1, ..objective((Estimator::Dreg, false), 1.0) }),
    ] {
        let mut trainer = Trainer::new(&model, 2, 2, 1).unwrap();
        let batch = Batch { source: &source, rows: &[0, 1], weights: None, key: Key(0), position: 0, objective };
        let of_batch = trainer.gradient(&model, &batch).map(|_| ());
        let options = Options { objective, ..Options::default() };
        let of_epoch = trainer.epoch(&mut model, &source, None, 0, Key(0), options, &Interrupt::default()).map(|_| ());
        for refused in [of_batch, of_epoch] {
            let error = refused.unwrap_err();
            assert!(matches!(&error, Error::Value { argument: named, .. } if *named == argument), "{error}");
            assert!(error.to_string().contains(cure), "{error}");
        }
    }
    for estimator in [Estimator::Pathwise, Estimator::Stl, Estimator::Dreg, Estimator::Score] {
        assert_eq!(Estimator::from_name(estimator.name()), Some(estimator));
    }
    assert_eq!(Estimator::from_name("reinforce"), None);
}

/// Rows without weights are scaled as one; with weights of 1, a row at a time.
#[test]
fn no_weights_are_weights_of_one() {
    const ROWS: usize = 70;
    let of = |likelihood: &Likelihood, (estimator, importance_weighted), particles| {
        let config = config(WIDTH, likelihood.clone(), Activation::Relu);
        let model = Model::<f32>::new(config, Scaling::identity(WIDTH), Key(3)).unwrap();
        let x: Vec<f32> = rows(likelihood, ROWS, WIDTH).iter().map(|x| *x as f32).collect();
        let (source, order): (_, Vec<u32>) = (Matrix::new(&x, WIDTH), (0..ROWS as u32).collect());
        [None, Some([1.0; ROWS])].map(|weights| {
            let objective = objective((estimator, importance_weighted), 0.7);
            let weights = weights.as_ref().map(<[f64; ROWS]>::as_slice);
            let batch = Batch { source: &source, rows: &order, weights, key: Key(5), position: 0, objective };
            let mut trainer = Trainer::new(&model, ROWS, ROWS, particles).unwrap();
            let terms = trainer.gradient(&model, &batch).unwrap().unwrap();
            let terms = [terms.reconstruction, terms.kl, terms.objective, terms.weight, terms.gradient_norm];
            (terms.map(f64::to_bits), trainer.last_gradient().iter().map(|g| g.to_bits()).collect::<Vec<_>>())
        })
    };
    for likelihood in [Likelihood::Gaussian(Scale::Predicted), Likelihood::Gaussian(Scale::PerFeature), Likelihood::Bernoulli] {
        for of_gradient in ALL.into_iter().chain([(Estimator::Pathwise, false), (Estimator::Pathwise, true)]) {
            // The score takes more than one.
            for particles in if of_gradient.0 == Estimator::Score { [2, 3] } else { [1, 3] } {
                let [without, ones] = of(&likelihood, of_gradient, particles);
                assert!(without == ones, "{likelihood:?}, {of_gradient:?}, {particles} particles");
            }
        }
    }
}
