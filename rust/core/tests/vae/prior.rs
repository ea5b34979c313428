//! Learned priors: gradients, values against the definition and against exact evidence, draws, bits and files.

use crate::fits::{at_rate, check_gradient_of, conditions, config, rows, scaled, weight};
use crate::reference::{bits, same_at_every_level, same_on_any_threads};
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::{Key, fill_normals};
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{
    self, AnyModel, Batch, Conditioned, Config, ElboTerms, Evidence, Matrix, Model, Objective, Options, Prior, Proposal, Scaling,
    Source, Trainer, from_bytes, to_bytes,
};
use elbokit_core::{Error, Float, Result};

const WIDTH: usize = 5;
const LATENTS: usize = 3;

fn with(prior: Prior, likelihood: Likelihood) -> Config {
    Config { prior, ..config(WIDTH, likelihood, Activation::Tanh) }
}

fn gaussian() -> Likelihood {
    Likelihood::Gaussian(Scale::Shared)
}

fn iwae(kl_weight: f64) -> Objective {
    Objective { importance_weighted: true, ..weight(kl_weight) }
}

#[test]
fn gradients_agree_with_differences() {
    for prior in [Prior::Mixture(2), Prior::Mixture(9), Prior::Vamp(4)] {
        check_gradient_of(with(prior, gaussian()), 1, weight(0.7));
        check_gradient_of(with(prior, Likelihood::Binomial(4)), 3, iwae(0.8));
    }
    check_gradient_of(Config { hidden: vec![], ..with(Prior::Mixture(2), gaussian()) }, 3, weight(0.7));
    // More pseudo-inputs than go through the encoder together.
    check_gradient_of(Config { hidden: vec![4], ..with(Prior::Vamp(35), gaussian()) }, 2, weight(1.0));
    let deep =
        Config { hidden: vec![7, 7], layer_norm: true, residual: true, condition_width: 2, ..with(Prior::Vamp(3), gaussian()) };
    check_gradient_of(deep, 1, weight(0.7));
}

fn model<F: Float + elbokit_core::random::Draw>(prior: Prior, likelihood: Likelihood) -> Model<F> {
    let scaling = scaled(&likelihood);
    let mut model = Model::<F>::new(with(prior, likelihood), scaling, Key(9)).unwrap();
    // Components of their own weights and sizes, encoders that tell rows apart.
    let own = model.named().iter().filter(|n| n.name.starts_with("prior.")).map(|n| n.values.len()).sum::<usize>();
    let mut parameters = model.parameters().to_vec();
    let (networks, prior) = {
        let at = parameters.len() - own;
        parameters.split_at_mut(at)
    };
    let mut noise = vec![0.0_f64; prior.len()];
    fill_normals(Key(33), 0, 0, 1, &mut noise);
    prior.iter_mut().zip(noise).for_each(|(x, n)| *x = F::from_f64(x.to_f64() + 0.6 * n));
    for x in networks {
        *x = F::from_f64(1.7 * x.to_f64());
    }
    model.set_parameters(&parameters).unwrap();
    model
}

fn encoded(model: &Model<f64>, source: &dyn Source<f64>) -> [Vec<f64>; 2] {
    let mut out = [(); 2].map(|()| vec![0.0; source.rows() * model.config().latent_dim]);
    let [loc, log_var] = &mut out;
    vae::encode(model, source, &Interrupt::default(), loc, log_var).unwrap();
    out
}

/// elbo, reconstruction, kl, standard error.
fn elbo<F: Float + elbokit_core::random::Draw>(model: &Model<F>, source: &dyn Source<F>, num_particles: usize) -> Vec<Vec<F>> {
    let mut out = vec![vec![F::ZERO; source.rows()]; 4];
    let [elbo, reconstruction, kl, standard_error] = out.as_mut_slice() else { unreachable!() };
    let terms = ElboTerms { elbo, reconstruction, kl, standard_error };
    vae::elbo(model, source, Key(3), num_particles, &Interrupt::default(), terms).unwrap();
    out
}

/// lower, estimate, upper, standard error, k-hat, ess.
fn evidence<F: Float + elbokit_core::random::Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    num_particles: usize,
    proposal: Proposal,
) -> Vec<Vec<F>> {
    let mut out = vec![vec![F::ZERO; source.rows()]; 6];
    let mut num_observed = vec![0; source.rows()];
    let [lower, estimate, upper, standard_error, khat, ess] = out.as_mut_slice() else { unreachable!() };
    let bounds = Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut num_observed };
    vae::log_evidence(model, source, Key(3), num_particles, proposal, &Interrupt::default(), bounds).unwrap();
    out
}

/// log p(z) as it is defined, and its constant ln 2π.
fn log_prior([weights, locs, variances]: &[Vec<f64>; 3], z: &[f64]) -> f64 {
    let d = z.len();
    let component = |k: usize| {
        let at = k * d..(k + 1) * d;
        let parts = z.iter().zip(&locs[at.clone()]).zip(&variances[at]);
        weights[k].ln() - 0.5 * parts.map(|((z, m), v)| (z - m).powi(2) / v + (2.0 * std::f64::consts::PI * v).ln()).sum::<f64>()
    };
    let scores: Vec<f64> = (0..weights.len()).map(component).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + scores.iter().map(|s| (s - largest).exp()).sum::<f64>().ln()
}

#[test]
fn the_divergence_is_that_of_the_definition_in_training_and_in_scores() {
    for prior in [Prior::Mixture(1), Prior::Mixture(11), Prior::Vamp(7)] {
        let model = model::<f64>(prior, gaussian());
        let (n, particles) = (21, 3);
        let x = rows(&gaussian(), n, WIDTH);
        let source = Matrix::new(&x, WIDTH);
        let [loc, log_var] = encoded(&model, &source);
        let parts = model.prior_parts();
        let divergence = |row: usize, eps: &[f64]| {
            let at = row * LATENTS..(row + 1) * LATENTS;
            let (mut z, mut log_q) = (Vec::new(), 0.0);
            for ((m, v), e) in loc[at.clone()].iter().zip(&log_var[at]).zip(eps) {
                z.push(m + (0.5 * v).exp() * e);
                log_q -= 0.5 * (e * e + v + (2.0 * std::f64::consts::PI).ln());
            }
            log_q - log_prior(&parts, &z)
        };
        let order: Vec<u32> = (0..n as u32).collect();
        let batch = Batch { source: &source, rows: &order, weights: None, key: Key(5), position: 0, objective: weight(0.5) };
        let terms = Trainer::new(&model, n, n, particles).unwrap().gradient(&model, &batch).unwrap().unwrap();
        let mut expected = 0.0;
        for particle in 0..particles {
            let mut eps = vec![0.0; n * LATENTS];
            fill_normals(Key(5), particle as u32, 0, LATENTS, &mut eps);
            expected += (0..n).map(|row| divergence(row, &eps[row * LATENTS..][..LATENTS])).sum::<f64>() / particles as f64;
        }
        assert!((terms.kl - expected).abs() < 1e-12 * (n as f64 + expected.abs()), "{prior:?}: {} {expected}", terms.kl);
        assert_eq!(terms.objective, terms.reconstruction - 0.5 * terms.kl);

        // In scores: bound = reconstruction − divergence, the error that of both, and many draws near the mean of few.
        let [bound, reconstruction, kl, standard_error]: [Vec<f64>; 4] = elbo(&model, &source, 1000).try_into().unwrap();
        for ((bound, reconstruction), kl) in bound.iter().zip(&reconstruction).zip(&kl) {
            assert!((bound - (reconstruction - kl)).abs() < 1e-12 * (1.0 + bound.abs()));
        }
        assert!(standard_error.iter().all(|error| *error > 0.0 && error.is_finite()));
        let mut eps = vec![0.0; 4000 * LATENTS];
        fill_normals(Key(77), 0, 0, LATENTS, &mut eps);
        for (row, kl) in kl.iter().enumerate() {
            let draws: Vec<f64> = eps.chunks_exact(LATENTS).map(|eps| divergence(row, eps)).collect();
            let mean = draws.iter().sum::<f64>() / 4000.0;
            let spread = (draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 3999.0).sqrt();
            let error = spread * (1.0 / 1000.0 + 1.0 / 4000.0_f64).sqrt();
            assert!((kl - mean).abs() < 5.0 * error, "{prior:?} {row}: {kl} {mean} ± {error}");
        }
    }
}

#[test]
fn a_single_component_that_is_standard_scores_like_the_standard_prior() {
    let standard = model::<f64>(Prior::Standard, gaussian());
    let mut one = Model::<f64>::zeros(with(Prior::Mixture(1), gaussian()), scaled(&gaussian())).unwrap();
    let parameters: Vec<f64> = standard.parameters().iter().copied().chain([0.0; 2 * LATENTS + 1]).collect();
    one.set_parameters(&parameters).unwrap();
    assert_eq!(one.prior_parts(), standard.prior_parts());
    let x = rows(&gaussian(), 40, WIDTH);
    let source = Matrix::new(&x, WIDTH);
    for proposal in [Proposal::Posterior, Proposal::Laplace] {
        let [a, b] = [&standard, &one].map(|model| evidence(model, &source, 50, proposal));
        for (a, b) in a.concat().iter().zip(b.concat()) {
            assert!(a == &b || (a - b).abs() < 1e-9 * (1.0 + b.abs()), "{proposal:?}: {a} {b}");
        }
    }
    let [a, b] = [&standard, &one].map(|model| elbo(model, &source, 4000));
    assert_eq!(a[1], b[1], "the same draws");
    for row in 0..40 {
        assert!((a[2][row] - b[2][row]).abs() < 0.2, "{} {}", a[2][row], b[2][row]);
    }
}

#[test]
fn pseudo_inputs_that_are_rows_make_the_mixture_of_their_posteriors() {
    // More than go through the encoder together.
    let (n, count) = (60, 41);
    let (x, c) = (rows(&gaussian(), n, WIDTH), conditions(n, 2));
    let (matrix, condition) = (Matrix::new(&x, WIDTH), Matrix::new(&c, 2));
    let source = Conditioned::new(&matrix, &condition).unwrap();
    let beside = |prior: Prior| Config { condition_width: 2, ..with(prior, gaussian()) };
    let mut vamp = Model::<f64>::new(beside(Prior::Vamp(count)), scaled(&gaussian()), Key(4)).unwrap();
    vamp.scale_condition(crate::fits::condition_scaling(2)).unwrap();
    let chosen: Vec<u32> = (0..count as u32).map(|i| (i * 7 + 3) % n as u32).collect();
    vamp.start_prior(&source, &chosen).unwrap();
    let [loc, log_var] = encoded(&vamp, &source);
    let [weights, locs, variances] = vamp.prior_parts();
    assert!(weights.iter().all(|w| *w == 1.0 / count as f64));
    for (k, &row) in chosen.iter().enumerate() {
        for j in 0..LATENTS {
            let (here, there) = (k * LATENTS + j, row as usize * LATENTS + j);
            assert_eq!(locs[here], loc[there]);
            assert!((variances[here] / log_var[there].exp() - 1.0).abs() < 1e-14);
        }
    }
    let mut mixture = Model::<f64>::zeros(beside(Prior::Mixture(count)), scaled(&gaussian())).unwrap();
    mixture.scale_condition(crate::fits::condition_scaling(2)).unwrap();
    let networks = vamp.parameters().len() - count * (WIDTH + 2);
    let of = |from: &[f64]| chosen.iter().flat_map(|&row| from[row as usize * LATENTS..][..LATENTS].to_vec()).collect::<Vec<f64>>();
    mixture.set_parameters(&[&vamp.parameters()[..networks], &of(&loc), &of(&log_var), &vec![0.5; count]].concat()).unwrap();
    let [a, b] = [&vamp, &mixture].map(|model| [elbo(model, &source, 9), evidence(model, &source, 60, Proposal::Laplace)].concat());
    for (a, b) in a.concat().iter().zip(b.concat()) {
        assert!(a == &b || (a - b).abs() < 1e-8 * (1.0 + b.abs()), "{a} {b}");
    }
}

#[test]
fn evidence_of_a_linear_model_is_that_of_the_mixture_it_makes() {
    // x = w z + b + noise makes N(m, v) of z an N(w m + b, w² v + noise).
    let config = Config {
        num_features: 1,
        latent_dim: 1,
        hidden: vec![],
        likelihood: Likelihood::Gaussian(Scale::Fixed(0.5)),
        prior: Prior::Mixture(3),
        ..with(Prior::Mixture(3), gaussian())
    };
    let mut model = Model::<f64>::zeros(config, Scaling::identity(1)).unwrap();
    let (w, b, noise) = (0.8, 0.3, 0.25);
    let (gain, log_var) = (w / (w * w + noise), f64::ln(noise / (w * w + noise)));
    let (locs, variances) = ([-1.2, 0.3, 1.5], [0.3_f64, 0.2, 0.6]);
    let networks = [gain, 0.0, -gain * b, log_var, w, b];
    let prior = [&locs[..], &variances.map(f64::ln), &[0.1, -0.4, 0.9]].concat();
    model.set_parameters(&[&networks[..], &prior].concat()).unwrap();
    let [weights, ..] = model.prior_parts();
    let x: Vec<f64> = (0..81).map(|i| f64::from(i) * 0.1 - 4.0).collect();
    for proposal in [Proposal::Posterior, Proposal::Laplace] {
        let out = evidence(&model, &Matrix::new(&x, 1), 20_000, proposal);
        let mut off = 0.0;
        for (row, x) in x.iter().enumerate() {
            let spread = variances.map(|v| w * w * v + noise).to_vec();
            let exact = log_prior(&[weights.clone(), locs.map(|m| w * m + b).to_vec(), spread], &[*x]);
            let error = out[3][row];
            assert!((out[1][row] - exact).abs() < 5.0 * error + 1e-9, "{proposal:?} {x}: {} {exact} ± {error}", out[1][row]);
            assert!(out[0][row] < exact + 5.0 * error && out[2][row] > exact - 5.0 * error);
            off += (out[1][row] - exact) / 81.0;
        }
        assert!(off.abs() < 0.01, "{proposal:?} {off}");
    }
}

#[test]
fn draws_are_of_the_prior_and_addressed_by_row() {
    let model = model::<f64>(Prior::Mixture(4), gaussian());
    let n = 40_000;
    let mut z = vec![0.0; n * LATENTS];
    vae::sample_prior(&model, Key(8), 0, &mut z).unwrap();
    let mut part = vec![0.0; 9 * LATENTS];
    vae::sample_prior(&model, Key(8), 17, &mut part).unwrap();
    assert_eq!(part, z[17 * LATENTS..26 * LATENTS]);
    let [weights, locs, variances] = model.prior_parts();
    for j in 0..LATENTS {
        let moment = |power: i32| z.iter().skip(j).step_by(LATENTS).map(|z| z.powi(power)).sum::<f64>() / n as f64;
        let at = |k: usize| (locs[k * LATENTS + j], variances[k * LATENTS + j]);
        let mean: f64 = (0..4).map(|k| weights[k] * at(k).0).sum();
        let square: f64 = (0..4).map(|k| weights[k] * (at(k).0.powi(2) + at(k).1)).sum();
        let fourth: f64 =
            (0..4).map(|k| weights[k] * (at(k).0.powi(4) + 6.0 * at(k).0.powi(2) * at(k).1 + 3.0 * at(k).1.powi(2))).sum();
        assert!((moment(1) - mean).abs() < 5.0 * (square / n as f64).sqrt(), "{j}: {} {mean}", moment(1));
        assert!((moment(2) - square).abs() < 5.0 * (fourth / n as f64).sqrt(), "{j}: {} {square}", moment(2));
    }
    let standard = self::model::<f64>(Prior::Standard, gaussian());
    let (mut z, mut normals) = (vec![0.0; 60], vec![0.0; 60]);
    vae::sample_prior(&standard, Key(8), 5, &mut z).unwrap();
    fill_normals(Key(8), 0, 5, LATENTS, &mut normals);
    assert_eq!(z, normals);
}

fn scores<F: Float + elbokit_core::random::Draw>(model: &Model<F>, x: &[f64]) -> Vec<F> {
    let source = Matrix::new(x, WIDTH);
    let out = [
        elbo(model, &source, 7),
        evidence(model, &source, 30, Proposal::Laplace),
        evidence(model, &source, 30, Proposal::Posterior),
    ];
    let out = out.concat();
    let cells = [Proposal::Laplace, Proposal::Posterior].map(|proposal| {
        let mut cells = vec![F::ZERO; x.len()];
        vae::impute(model, &source, Key(4), 30, proposal, &Interrupt::default(), &mut cells).unwrap();
        cells
    });
    // One line a row.
    let lines = cells[0].chunks_exact(WIDTH).zip(cells[1].chunks_exact(WIDTH)).enumerate();
    lines.flat_map(|(row, (a, b))| out.iter().map(move |s| s[row]).chain(a.iter().chain(b).copied())).collect()
}

#[test]
fn a_row_scores_the_same_alone_shuffled_in_chunks_on_any_threads_and_at_every_level() {
    for prior in [Prior::Mixture(5), Prior::Vamp(37)] {
        let x = rows(&gaussian(), 45, WIDTH);
        let (single, double) = (model::<f32>(prior, gaussian()), model::<f64>(prior, gaussian()));
        same_on_any_threads(prior.name(), || scores(&single, &x));
        same_on_any_threads(prior.name(), || scores(&double, &x));
        // A level's own model: what it is made of must agree too.
        same_at_every_level(prior.name(), || scores(&model::<f32>(prior, gaussian()), &x));
        same_at_every_level(prior.name(), || scores(&model::<f64>(prior, gaussian()), &x));
        let all = scores(&single, &x);
        for size in [1, 7] {
            let chunked: Vec<f32> = x.chunks(size * WIDTH).flat_map(|x| scores(&single, x)).collect();
            assert_eq!(bits(&all), bits(&chunked), "in chunks of {size}");
        }
        let reversed: Vec<f64> = x.chunks(WIDTH).rev().flatten().copied().collect();
        let backward: Vec<f32> = scores(&single, &reversed).chunks(all.len() / 45).rev().flatten().copied().collect();
        assert_eq!(bits(&all), bits(&backward), "reversed");
    }
}

fn trained(prior: Prior, objective: Objective, num_particles: usize) -> Vec<f32> {
    let n = 150;
    let x = rows(&Likelihood::Binomial(4), n, WIDTH);
    let config = Config { hidden: vec![250, 120], ..with(prior, Likelihood::Binomial(4)) };
    let mut model = Model::<f32>::new(config, Scaling::identity(WIDTH), Key(0)).unwrap();
    let source = Matrix::new(&x, WIDTH);
    let chosen: Vec<u32> = (0..prior.num_components().unwrap() as u32).collect();
    model.start_prior(&source, &chosen).unwrap();
    let mut trainer = Trainer::new(&model, n, 64, num_particles).unwrap();
    let options = Options { objective, weight_decay: 0.1, ..at_rate(1e-2) };
    for epoch in 0..3 {
        let terms = trainer.epoch(&mut model, &source, None, epoch, Key(7), options, &Interrupt::default()).unwrap();
        assert!(terms.elbo.is_finite() && terms.steps == 3, "{terms:?}");
    }
    // Scores see the prior as it was left.
    let mut again = Model::zeros(model.config().clone(), model.scaling().clone()).unwrap();
    again.set_parameters(model.parameters()).unwrap();
    assert_eq!(model.prior_parts(), again.prior_parts());
    model.parameters().to_vec()
}

#[test]
fn training_is_the_same_bits_on_any_threads_and_level() {
    for (prior, objective, particles) in
        [(Prior::Mixture(5), weight(1.0), 1), (Prior::Vamp(37), weight(0.5), 2), (Prior::Vamp(3), iwae(1.0), 5)]
    {
        same_on_any_threads(prior.name(), || trained(prior, objective, particles));
        same_at_every_level(prior.name(), || trained(prior, objective, particles));
    }
}

#[test]
fn files_keep_the_prior_and_refuse_what_does_not_hold_together() {
    for prior in [Prior::Mixture(4), Prior::Vamp(6)] {
        let model = model::<f64>(prior, gaussian());
        let bytes = to_bytes(&model).unwrap();
        let AnyModel::F64(again) = from_bytes(&bytes).unwrap() else { panic!("another dtype") };
        assert_eq!((again.config(), again.parameters()), (model.config(), model.parameters()));
        assert_eq!(again.prior_parts(), model.prior_parts());
        assert_eq!(to_bytes(&again).unwrap(), bytes);
        let count = prior.num_components().unwrap();
        let told = format!("prior_components\\\":{count}");
        for to in ["prior_components\\\":0", "prior_components\\\":9", "prior_componentz\\\":4"] {
            let mut bad = bytes.clone();
            let at = bytes.windows(told.len()).position(|w| w == told.as_bytes()).unwrap();
            bad[at..at + to.len()].copy_from_slice(to.as_bytes());
            assert!(matches!(from_bytes(&bad), Err(Error::ModelFile { .. })), "{to}");
        }
    }
    let standard = to_bytes(&model::<f64>(Prior::Standard, gaussian())).unwrap();
    assert!(!String::from_utf8_lossy(&standard).contains("prior_components"));
}

#[test]
fn what_a_mixture_cannot_have_is_refused() {
    let refused = |config: Config| Model::<f32>::new(config, Scaling::identity(WIDTH), Key(0)).err();
    for prior in [Prior::Mixture(0), Prior::Vamp(0)] {
        let error = refused(with(prior, Likelihood::Bernoulli));
        assert!(matches!(error, Some(Error::Value { argument: "prior_components", .. })), "{error:?}");
    }
    for prior in [Prior::Mixture(usize::MAX / 2), Prior::Vamp(1 << 31)] {
        assert!(matches!(refused(with(prior, Likelihood::Bernoulli)), Some(Error::Value { argument: "hidden", .. })));
    }
    let mut model = Model::<f32>::new(with(Prior::Vamp(2), Likelihood::Bernoulli), Scaling::identity(WIDTH), Key(0)).unwrap();
    let x = [1_u8; 2 * WIDTH];
    let source = Matrix::new(&x, WIDTH);
    let mut trainer = Trainer::new(&model, 2, 2, 1).unwrap();
    let objective = Objective { free_bits: 0.1, ..weight(1.0) };
    let options = Options { objective, ..Options::default() };
    let error = trainer.epoch(&mut model, &source, None, 0, Key(0), options, &Interrupt::default());
    assert!(matches!(error, Err(Error::Value { argument: "free_bits", .. })), "{error:?}");
    assert!(matches!(model.start_prior(&source, &[0]), Err(Error::Shape { argument: "rows", .. })));
    assert!(matches!(model.start_prior(&Matrix::new(&x, 2), &[0, 1]), Err(Error::Shape { argument: "x", .. })));
    let far = [f32::INFINITY; 2 * WIDTH];
    assert!(matches!(model.start_prior(&Matrix::new(&far, WIDTH), &[0, 1]), Err(Error::NonFinite { argument: "x", row: 0, .. })));
}

#[test]
fn parameters_past_the_range_give_infinities_and_never_nan() {
    let x = rows(&gaussian(), 9, WIDTH);
    let source = Matrix::new(&x, WIDTH);
    for prior in [Prior::Mixture(3), Prior::Vamp(3)] {
        for factor in [1e37, 1e3] {
            let mut model = model::<f32>(prior, gaussian());
            let huge: Vec<f32> = model.parameters().iter().map(|p| p * factor).collect();
            model.set_parameters(&huge).unwrap();
            let out = [elbo(&model, &source, 7), evidence(&model, &source, 30, Proposal::Posterior)].concat();
            assert!(out.iter().flatten().all(|x| !x.is_nan()), "{prior:?} {factor}: {out:?}");
            let out = evidence(&model, &source, 30, Proposal::Laplace);
            assert!(out.iter().flatten().all(|x| !x.is_nan()), "{prior:?} {factor}: {out:?}");
            let mut z = vec![0.0; 30];
            vae::sample_prior(&model, Key(0), 0, &mut z).unwrap();
            assert!(z.iter().all(|z| !z.is_nan()), "{z:?}");
            let order: Vec<u32> = (0..9).collect();
            let batch = Batch { source: &source, rows: &order, weights: None, key: Key(5), position: 0, objective: weight(1.0) };
            // A step by such a gradient is taken or not, and never an error.
            Trainer::new(&model, 9, 9, 1).unwrap().gradient(&model, &batch).unwrap();
        }
    }
}

#[test]
fn a_learned_prior_raises_the_bound_where_rows_are_of_kinds() -> Result<()> {
    // Three kinds of rows, far apart beside what one kind varies by.
    let n = 300;
    let mut x = vec![0.0; n * WIDTH];
    fill_normals(Key(40), 0, 0, WIDTH, &mut x);
    for (row, x) in x.chunks_exact_mut(WIDTH).enumerate() {
        x.iter_mut().enumerate().for_each(|(j, x)| *x = 0.2 * *x + if j % 3 == row % 3 { 3.0 } else { -1.0 });
    }
    let source = Matrix::new(&x, WIDTH);
    let bound = |prior: Prior| -> Result<f64> {
        let config = Config { hidden: vec![16], latent_dim: 2, ..with(prior, Likelihood::Gaussian(Scale::Fixed(0.2))) };
        let mut model = Model::<f64>::new(config, Scaling::identity(WIDTH), Key(0))?;
        let chosen: Vec<u32> = (0..prior.num_components().unwrap_or(0) as u32).collect();
        model.start_prior(&source, &chosen)?;
        let mut trainer = Trainer::new(&model, n, 50, 1)?;
        for epoch in 0..200 {
            trainer.epoch(&mut model, &source, None, epoch, Key(7), at_rate(5e-3), &Interrupt::default())?;
        }
        Ok(elbo(&model, &source, 16)[0].iter().sum::<f64>() / n as f64)
    };
    let standard = bound(Prior::Standard)?;
    for prior in [Prior::Mixture(6), Prior::Vamp(6)] {
        let learned = bound(prior)?;
        assert!(learned > standard + 0.5, "{prior:?}: {learned} beside {standard}");
    }
    Ok(())
}
