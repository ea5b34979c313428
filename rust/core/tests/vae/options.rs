//! What a training step can be told: decay, clipping, schedules and objectives against their formulas, and a trainer that goes on.

use crate::fits::{at_rate, check_gradient, config, rows, trained, trained_by, weight};
use crate::reference::{same_at_every_level, same_on_any_threads};
use elbokit_core::Error;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::optimizer::{Adam, Schedule};
use elbokit_core::random::{Key, fill_normals, permutation};
use elbokit_core::reduce::sum_of_squares;
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{
    Batch, Matrix, Model, Numbers, Objective, Options, Scaling, Trainer, checkpoint_from_bytes, checkpoint_to_bytes, decode,
    encode, to_bytes,
};

/// Parameters after four steps, one an epoch, by the formulas of `AdamW`, clipping and the schedule, each in its own line; and the mean norms.
fn plainly_trained(mut model: Model<f64>, x: &[f64], options: Options) -> (Vec<f64>, Vec<f64>) {
    let (n, source) = (x.len() / 5, Matrix::new(x, 5));
    let mut trainer = Trainer::new(&model, n, n, 1).unwrap();
    let mut theta = model.parameters().to_vec();
    let (mut m, mut v) = (vec![0.0; theta.len()], vec![0.0; theta.len()]);
    let mut norms = Vec::new();
    for t in 0..4 {
        let key = Key(9).fold_in(t);
        let mut order = vec![0; n];
        permutation(key, &mut order);
        let batch = Batch { source: &source, rows: &order, weights: None, key, position: 0, objective: options.objective };
        trainer.gradient(&model, &batch).unwrap().unwrap();
        let mut gradient = trainer.last_gradient().to_vec();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        norms.push(norm);
        if let Some(most) = options.max_grad_norm {
            for g in &mut gradient {
                *g *= (most / norm).min(1.0);
            }
        }
        let rate = options.learning_rate.at(t);
        for (((theta, m), v), g) in theta.iter_mut().zip(&mut m).zip(&mut v).zip(&gradient) {
            *theta -= rate * options.weight_decay * *theta;
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let step = t as i32 + 1;
            let (mean, square) = (*m / (1.0 - 0.9_f64.powi(step)), *v / (1.0 - 0.999_f64.powi(step)));
            *theta -= rate * mean / (square.sqrt() + 1e-8);
        }
        model.set_parameters(&theta).unwrap();
    }
    (theta, norms)
}

#[test]
fn decay_clipping_and_schedule_are_their_formulas() {
    let likelihood = Likelihood::Gaussian(Scale::Predicted);
    let x = rows(&likelihood, 20, 5);
    let model = Model::<f64>::new(config(5, likelihood, Activation::Tanh), Scaling::identity(5), Key(3)).unwrap();
    let schedule = Schedule { rate: 0.03, warmup: 2, cosine: Some(5) };
    let mut ends = Vec::new();
    for (weight_decay, max_grad_norm) in [(0.0, None), (0.3, None), (0.0, Some(0.5)), (0.3, Some(0.5)), (0.0, Some(1e9))] {
        let options = Options { learning_rate: schedule, weight_decay, max_grad_norm, objective: weight(0.6) };
        let (expected, norms) = plainly_trained(model.clone(), &x, options);
        let mut trained = model.clone();
        let mut trainer = Trainer::new(&trained, 20, 64, 1).unwrap();
        for epoch in 0..4 {
            let source = Matrix::new(&x, 5);
            let terms = trainer.epoch(&mut trained, &source, None, epoch, Key(9), options, &Interrupt::default()).unwrap();
            let off = (terms.gradient_norm - norms[epoch as usize]).abs();
            assert!(off <= 1e-13 * terms.gradient_norm, "{} {:?}", terms.gradient_norm, norms);
            assert_eq!(terms.learning_rate, schedule.at(epoch));
        }
        for (a, b) in trained.parameters().iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-12, "{weight_decay} {max_grad_norm:?}: {a} {b}");
        }
        ends.push(trained.parameters().to_vec());
    }
    // Each option does something, and a threshold that nothing meets does nothing, to the bit.
    assert_ne!(ends[0], ends[1]);
    assert_ne!(ends[0], ends[2]);
    assert_ne!(ends[1], ends[3]);
    assert_eq!(ends[0], ends[4]);
}

#[test]
fn a_schedule_is_its_closed_form_at_every_step() {
    let constant = Schedule::constant(0.2);
    assert_eq!([0, 1, 1_000_000].map(|t| constant.at(t)), [0.2; 3]);
    let schedule = Schedule { rate: 0.2, warmup: 10, cosine: Some(110) };
    for t in 0..130_u64 {
        let expected = match t {
            0..10 => 0.2 * (t + 1) as f64 / 10.0,
            10..110 => 0.1 * (1.0 + (std::f64::consts::PI * (t - 10) as f64 / 100.0).cos()),
            _ => 0.0,
        };
        assert!((schedule.at(t) - expected).abs() <= 1e-16, "{t}");
    }
    // Warm-up alone, and a cosine that the warm-up leaves no step.
    assert_eq!(Schedule { cosine: None, ..schedule }.at(10), 0.2);
    assert_eq!(Schedule { cosine: Some(10), ..schedule }.at(10), 0.0);
}

#[test]
fn the_squares_sum_to_the_norm_and_tell_a_gradient_that_cannot_be_taken() {
    for n in [0, 1, 7, 8, 31, 32, 33, 64, 1000] {
        let mut x = vec![0.0_f32; n];
        fill_normals(Key(4), 0, 0, 1, &mut x);
        let plain = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        let sum = sum_of_squares(&x);
        assert!((sum - plain).abs() <= 1e-14 * plain, "{n}: {sum} {plain}");
        assert!(Adam::accepts(&x, sum));
    }
    // A float32's square is held by float64, whatever becomes of it in float32.
    let large = [1e19_f32; 8];
    assert!(Adam::accepts(&large, sum_of_squares(&large)));
    for bad in [2e19_f32, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let x = [0.0, 1.0, bad];
        assert!(!Adam::accepts(&x, sum_of_squares(&x)), "{bad}");
    }
    for bad in [1e155_f64, f64::INFINITY, f64::NAN] {
        assert!(!Adam::accepts(&[0.0, bad], sum_of_squares(&[0.0, bad])), "{bad}");
    }
    assert!(Adam::accepts(&[1e154_f64; 9], sum_of_squares(&[1e154_f64; 9])));
}

#[test]
fn threads_do_not_change_a_bit_of_a_clipped_step() {
    let options = Options { weight_decay: 0.1, max_grad_norm: Some(0.3), ..at_rate(1e-2) };
    same_on_any_threads("a clipped step", || trained_by(options, 300, 128, 1));
    assert_ne!(trained_by(options, 300, 128, 1), trained(300, 128, 1));
}

#[test]
fn a_decay_that_takes_more_than_the_parameter_is_refused() {
    let mut model = Model::<f32>::new(config(2, Likelihood::Bernoulli, Activation::Relu), Scaling::identity(2), Key(0)).unwrap();
    let mut trainer = Trainer::new(&model, 2, 1, 1).unwrap();
    for weight_decay in [101.0, -0.1, f64::NAN, f64::INFINITY] {
        let (source, options) = (Matrix::new(&[0_u8, 1, 1, 0], 2), Options { weight_decay, ..at_rate(1e-2) });
        let refused = trainer.epoch(&mut model, &source, None, 0, Key(0), options, &Interrupt::default());
        assert!(matches!(refused, Err(Error::Value { argument: "weight_decay", .. })), "{weight_decay}: {refused:?}");
    }
}

#[test]
fn gradient_of_free_bits_and_of_importance_weights_agrees_with_differences() {
    for likelihood in [Likelihood::Gaussian(Scale::Predicted), Likelihood::Binomial(16)] {
        // Of the three latents' KLs one lies below this floor, as the next test asserts.
        check_gradient(&likelihood, Activation::Tanh, 2, Objective { free_bits: FLOOR, ..weight(0.7) });
        for (num_particles, kl_weight) in [(1, 1.0), (5, 1.0), (5, 0.3), (3, 0.0)] {
            let objective = Objective { importance_weighted: true, ..weight(kl_weight) };
            check_gradient(&likelihood, Activation::Silu, num_particles, objective);
        }
    }
}

/// Between the batch's KLs of two latents.
const FLOOR: f64 = 0.03;

/// Terms and objective of a batch of every row, by the public parts of the model, one row and one draw at a time.
fn plain_objective(
    model: &Model<f64>,
    x: &[f64],
    weights: &[f64],
    key: Key,
    particles: u32,
    objective: Objective,
) -> (f64, Vec<f64>) {
    let (n, latents) = (weights.len(), model.config().latent_dim);
    let width = model.config().num_features;
    let (mut loc, mut log_var) = (vec![0.0; n * latents], vec![0.0; n * latents]);
    encode(model, &Matrix::new(x, width), &Interrupt::default(), &mut loc, &mut log_var).unwrap();
    let (mut total, mut kl_means) = (0.0, vec![0.0; latents]);
    for i in 0..n {
        let (loc, log_var) = (&loc[i * latents..][..latents], &log_var[i * latents..][..latents]);
        for j in 0..latents {
            kl_means[j] += weights[i] * 0.5 * (loc[j] * loc[j] + log_var[j].exp_m1() - log_var[j]) / n as f64;
        }
        let draws: Vec<[f64; 2]> = (0..particles)
            .map(|particle| {
                let (mut eps, mut params) = (vec![0.0; latents], vec![0.0; model.likelihood().num_params()]);
                fill_normals(key, particle, i as u64, latents, &mut eps);
                let z: Vec<f64> = (0..latents).map(|j| loc[j] + (0.5 * log_var[j]).exp() * eps[j]).collect();
                decode(model, &z, None, &mut params).unwrap();
                let mut log_prob = [0.0];
                model.likelihood().log_prob(&x[i * width..][..width], &params, &mut log_prob).unwrap();
                let log_prior: f64 = z.iter().map(|z| -0.5 * z * z).sum();
                let log_posterior: f64 = (0..latents).map(|j| -0.5 * (eps[j] * eps[j] + log_var[j])).sum();
                [log_prob[0], log_prior - log_posterior]
            })
            .collect();
        let k = f64::from(particles);
        total += weights[i]
            * if objective.importance_weighted {
                (draws.iter().map(|[log_prob, ratio]| (log_prob + objective.kl_weight * ratio).exp()).sum::<f64>() / k).ln()
            } else {
                draws.iter().map(|[log_prob, _]| log_prob).sum::<f64>() / k
            };
    }
    if !objective.importance_weighted {
        let floored: f64 = kl_means.iter().map(|kl| kl.max(objective.free_bits)).sum();
        total -= objective.kl_weight * floored * n as f64;
    }
    (total, kl_means)
}

#[test]
fn every_objective_is_its_formula() {
    let (n, likelihood) = (37, Likelihood::Binomial(16));
    let x = rows(&likelihood, n, 5);
    let model = Model::<f64>::new(config(5, likelihood, Activation::Tanh), Scaling::identity(5), Key(3)).unwrap();
    let weights: Vec<f64> = (0..n).map(|i| 0.5 + i as f64 / (n - 1) as f64).collect();
    let order: Vec<u32> = (0..n as u32).collect();
    let source = Matrix::new(&x, 5);
    for particles in [1, 4] {
        let mut trainer = Trainer::new(&model, n, n, particles as usize).unwrap();
        let mut objectives = Vec::new();
        for objective in [
            weight(0.3),
            Objective { free_bits: FLOOR, ..weight(0.3) },
            Objective { free_bits: 1e6, ..weight(0.3) },
            Objective { importance_weighted: true, ..weight(1.0) },
            Objective { importance_weighted: true, ..weight(0.3) },
        ] {
            let batch = Batch { source: &source, rows: &order, weights: Some(&weights), key: Key(5), position: 0, objective };
            let terms = trainer.gradient(&model, &batch).unwrap().unwrap();
            let (expected, kl_means) = plain_objective(&model, &x, &weights, Key(5), particles, objective);
            assert!((terms.objective - expected).abs() <= 1e-12 * expected.abs(), "{objective:?}: {terms:?} {expected}");
            assert_eq!(kl_means.iter().filter(|kl| **kl < FLOOR).count(), 1, "{kl_means:?}");
            objectives.push(terms.objective);
        }
        // One importance-weighted draw is the Monte Carlo form of the ELBO; more are a higher bound.
        assert!(objectives[1] < objectives[0] && objectives[2] < objectives[1]);
    }
}

#[test]
fn threads_do_not_change_a_bit_of_any_objective() {
    let objectives = [Objective { free_bits: 0.05, ..weight(0.5) }, Objective { importance_weighted: true, ..weight(1.0) }];
    for objective in objectives {
        let options = Options { objective, max_grad_norm: Some(5.0), ..at_rate(1e-3) };
        same_on_any_threads(&format!("{objective:?}"), || trained_by(options, 300, 128, 3));
        assert_ne!(trained_by(options, 300, 128, 3), trained(300, 128, 3));
    }
}

#[test]
fn every_objective_trains_the_same_bits_at_every_level() {
    let objectives =
        [weight(1.0), Objective { free_bits: 0.05, ..weight(0.5) }, Objective { importance_weighted: true, ..weight(1.0) }];
    for objective in objectives {
        let options = Options { objective, weight_decay: 0.1, max_grad_norm: Some(1.0), ..at_rate(1e-2) };
        same_at_every_level(&format!("{objective:?}"), || trained_by(options, 40, 16, 3));
    }
    let mut x = vec![0.0_f32; 1000];
    fill_normals(Key(4), 0, 0, 1, &mut x);
    same_at_every_level("sum_of_squares", || vec![sum_of_squares(&x), sum_of_squares(&x[..77])]);
}

#[test]
fn a_floor_that_every_latent_is_below_leaves_the_encoder_to_the_reconstruction() {
    let likelihood = Likelihood::Binomial(16);
    let x = rows(&likelihood, 20, 5);
    let model = Model::<f64>::new(config(5, likelihood, Activation::Tanh), Scaling::identity(5), Key(3)).unwrap();
    let (order, source): (Vec<u32>, _) = ((0..20).collect(), Matrix::new(&x, 5));
    let mut trainer = Trainer::new(&model, 20, 20, 1).unwrap();
    let [floored, without, tiny, plain] =
        [Objective { free_bits: 1e6, ..weight(1.0) }, weight(0.0), Objective { free_bits: 1e-300, ..weight(1.0) }, weight(1.0)]
            .map(|objective| {
                let batch = Batch { source: &source, rows: &order, weights: None, key: Key(5), position: 0, objective };
                trainer.gradient(&model, &batch).unwrap().unwrap();
                trainer.last_gradient().to_vec()
            });
    assert_eq!(floored, without);
    // A floor that none is below changes no bit of the gradient.
    assert_eq!(tiny, plain);
    assert_ne!(plain, without);
}

#[test]
fn an_objective_out_of_its_range_is_refused() {
    for (argument, objective) in [
        ("kl_weight", weight(-1.0)),
        ("kl_weight", weight(f64::NAN)),
        ("free_bits", Objective { free_bits: f64::INFINITY, ..weight(1.0) }),
        ("free_bits", Objective { free_bits: 0.1, importance_weighted: true, ..weight(1.0) }),
    ] {
        let refused = objective.check();
        assert!(matches!(refused, Err(Error::Value { argument: named, .. }) if named == argument), "{refused:?}");
    }
}

#[test]
fn a_row_of_weight_zero_does_not_count_in_any_objective() {
    let config = config(2, Likelihood::Gaussian(Scale::Fixed(1.0)), Activation::Relu);
    for objective in [Objective { free_bits: 0.01, ..weight(1.0) }, Objective { importance_weighted: true, ..weight(1.0) }] {
        let run = |x: [f32; 8]| {
            let mut model = Model::<f32>::new(config.clone(), Scaling::identity(2), Key(0)).unwrap();
            let mut trainer = Trainer::new(&model, 4, 4, 2).unwrap();
            let (source, weights) = (Matrix::new(&x, 2), [2.0, 0.0, 1.0, 1.0]);
            let options = Options { objective, ..Options::default() };
            let terms = trainer.epoch(&mut model, &source, Some(&weights), 0, Key(0), options, &Interrupt::default()).unwrap();
            assert_eq!((terms.steps, terms.objective.is_finite()), (1, true));
            (terms, model.parameters().to_vec())
        };
        assert_eq!(run([1.0, 0.5, 3e38, -3e38, 0.0, 1.0, 2.0, -1.0]), run([1.0, 0.5, 0.0, 0.0, 0.0, 1.0, 2.0, -1.0]));
    }
}

#[test]
fn a_trainer_goes_on_from_its_moments_to_the_same_bits() {
    let likelihood = Likelihood::Binomial(16);
    let x = rows(&likelihood, 50, 5);
    let options = Options { weight_decay: 0.1, max_grad_norm: Some(1.0), ..at_rate(1e-2) };
    let source = Matrix::new(&x, 5);
    let run = |model: &mut Model<f32>, trainer: &mut Trainer<f32>, epochs: std::ops::Range<u64>| {
        for epoch in epochs {
            trainer.epoch(model, &source, None, epoch, Key(7), options, &Interrupt::default()).unwrap();
        }
    };
    let first = Model::<f32>::new(config(5, likelihood, Activation::Relu), Scaling::identity(5), Key(0)).unwrap();
    let (mut whole, mut trainer) = (first.clone(), Trainer::new(&first, 50, 16, 1).unwrap());
    run(&mut whole, &mut trainer, 0..6);
    let (mut part, mut trainer) = (first.clone(), Trainer::new(&first, 50, 16, 1).unwrap());
    run(&mut part, &mut trainer, 0..2);
    let (steps, [m, v]) = trainer.moments();
    let vectors = ["m", "v", "x"].map(str::to_owned).into_iter().zip([m, v, part.parameters()].map(|x| Numbers::F32(x.to_vec())));
    let bytes = checkpoint_to_bytes("text", &vectors.collect::<Vec<_>>()).unwrap();
    let (text, vectors) = checkpoint_from_bytes(&bytes).unwrap();
    assert_eq!((text.as_str(), steps), ("text", 8));
    let [(_, Numbers::F32(m)), (_, Numbers::F32(v)), (_, Numbers::F32(x))] = vectors.as_slice() else { panic!("{vectors:?}") };
    let (mut again, mut trainer) = (first.clone(), Trainer::new(&first, 50, 16, 1).unwrap());
    again.set_parameters(x).unwrap();
    trainer.resume(steps, [m, v]).unwrap();
    run(&mut again, &mut trainer, 2..6);
    assert_eq!(whole.parameters(), again.parameters());
    // Others are refused, and so are other bytes.
    assert!(matches!(trainer.resume(1, [&m[1..], v]), Err(Error::Shape { argument: "moments", .. })));
    let negative = vec![-1.0; v.len()];
    assert!(matches!(trainer.resume(1, [m, &negative]), Err(Error::Value { argument: "moments", .. })));
    let endless = vec![f32::INFINITY; v.len()];
    assert!(matches!(trainer.resume(1, [m, &endless]), Err(Error::NonFinite { argument: "moments", .. })));
    let model = to_bytes(&again).unwrap();
    for bad in [&bytes[..bytes.len() - 4], &bytes[..9], &[], &model] {
        assert!(matches!(checkpoint_from_bytes(bad), Err(Error::ModelFile { .. })));
    }
}
