//! The training step: its gradient against differences, its bits against threads, and its edges.

use elbokit_core::Error;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::optimizer::{Adam, Schedule};
use elbokit_core::random::{Key, fill_normals, fill_uniforms, permutation};
use elbokit_core::reduce::sum_of_squares;
use elbokit_core::threads::{Interrupt, set_num_threads};
use elbokit_core::vae::{
    Batch, Config, Matrix, Model, Numbers, Objective, Options, Scaling, Source, Subset, Trainer, checkpoint_from_bytes,
    checkpoint_to_bytes, decode, encode, to_bytes,
};

fn weight(kl_weight: f64) -> Objective {
    Objective { kl_weight, ..Objective::default() }
}

fn at_rate(learning_rate: f64) -> Options {
    Options { learning_rate: Schedule::constant(learning_rate), ..Options::default() }
}

fn config(num_features: usize, likelihood: Likelihood, activation: Activation) -> Config {
    Config { num_features, latent_dim: 3, hidden: vec![7, 6], likelihood, activation }
}

/// Rows in the support of a likelihood, about one cell in nine missing.
fn rows(likelihood: &Likelihood, rows: usize, width: usize) -> Vec<f64> {
    let mut x = vec![0.0; rows * width];
    fill_uniforms(Key(1), 0, 0, width, &mut x);
    match likelihood {
        Likelihood::Bernoulli => x.iter_mut().for_each(|x| *x = f64::from(*x < 0.4)),
        Likelihood::Binomial(total) => x.iter_mut().for_each(|x| *x = (*x * f64::from(*total + 1)).floor()),
        _ => fill_normals(Key(1), 0, 0, width, &mut x),
    }
    x.iter_mut().step_by(9).for_each(|x| *x = f64::NAN);
    x
}

/// |g − fd| ≤ 1e-6 · max |g| of the tensor, for every parameter.
fn check_gradient(likelihood: &Likelihood, activation: Activation, num_particles: usize, objective: Objective) {
    const H: f64 = 1e-5;
    let (n, width) = (37, 5);
    let mut scaling = Scaling::identity(width);
    if let Likelihood::Gaussian(_) = likelihood {
        scaling = Scaling { shift: vec![0.1, -0.2, 0.0, 1.0, 0.3], scale: vec![1.5, 0.7, 1.0, 2.0, 0.4] };
    }
    let mut model = Model::<f64>::new(config(width, likelihood.clone(), activation), scaling, Key(3)).unwrap();
    let x = rows(likelihood, n, width);
    let source = Matrix::new(&x, width);
    let order: Vec<u32> = (0..n as u32).rev().collect();
    let weights: Vec<f64> = (0..n).map(|i| 0.5 + i as f64 / (n - 1) as f64).collect();
    let batch = Batch { source: &source, rows: &order, weights: Some(&weights), key: Key(5), position: 11, objective };
    let mut trainer = Trainer::new(&model, n, n, num_particles).unwrap();
    let mut loss = |model: &Model<f64>, gradient: Option<&mut Vec<f64>>| {
        let terms = trainer.gradient(model, &batch).unwrap().unwrap();
        if let Some(gradient) = gradient {
            *gradient = trainer.last_gradient().to_vec();
        }
        if objective == weight(0.7) {
            assert_eq!(terms.objective, terms.reconstruction - 0.7 * terms.kl);
        }
        -terms.objective / n as f64
    };
    let mut gradient = Vec::new();
    loss(&model, Some(&mut gradient));
    let mut parameters = model.parameters().to_vec();
    let tensors: Vec<_> = model.named().into_iter().map(|named| (named.name, named.values.len())).collect();
    let mut start = 0;
    for (name, len) in tensors {
        let range = start..start + len;
        start += len;
        let largest = gradient[range.clone()].iter().fold(0.0_f64, |a, g| a.max(g.abs()));
        assert!(largest > 0.0, "{name} has no gradient");
        for i in range {
            let centre = parameters[i];
            let mut at = |x: f64| {
                parameters[i] = x;
                model.set_parameters(&parameters).unwrap();
                loss(&model, None)
            };
            let difference = (at(centre + H) - at(centre - H)) / (2.0 * H);
            parameters[i] = centre;
            let error = (gradient[i] - difference).abs() / largest;
            assert!(error <= 1e-6, "{likelihood:?} {activation:?} {num_particles}: {name}[{i}] is off by {error:e}");
        }
    }
}

#[test]
fn gradient_agrees_with_differences_for_every_likelihood_and_activation() {
    let likelihoods = [
        Likelihood::Gaussian(Scale::Fixed(0.8)),
        Likelihood::Gaussian(Scale::ByFeature(vec![0.5, 1.0, 2.0, 0.7, 1.3])),
        Likelihood::Gaussian(Scale::Predicted),
        Likelihood::Bernoulli,
        Likelihood::Binomial(16),
    ];
    for likelihood in &likelihoods {
        for activation in Activation::ALL {
            check_gradient(likelihood, activation, 1, weight(0.7));
        }
    }
    check_gradient(&likelihoods[2], Activation::Tanh, 5, weight(0.7));
}

fn trained(threads: usize, n: usize, batch_size: usize, num_particles: usize) -> Vec<f32> {
    trained_by(Options::default(), threads, n, batch_size, num_particles)
}

fn trained_by(options: Options, threads: usize, n: usize, batch_size: usize, num_particles: usize) -> Vec<f32> {
    set_num_threads(threads).unwrap();
    let likelihood = Likelihood::Binomial(16);
    let x: Vec<u8> = rows(&likelihood, n, 40).iter().map(|x| if x.is_nan() { 3 } else { *x as u8 }).collect();
    let config = Config { hidden: vec![200, 90], ..config(40, likelihood, Activation::Relu) };
    let mut model = Model::<f32>::new(config, Scaling::identity(40), Key(0)).unwrap();
    let mut trainer = Trainer::new(&model, n, batch_size, num_particles).unwrap();
    for epoch in 0..2 {
        let source = Matrix::new(&x, 40);
        let terms = trainer.epoch(&mut model, &source, None, epoch, Key(7), options, &Interrupt::default()).unwrap();
        assert_eq!(terms.steps, n.div_ceil(batch_size) as u64);
        assert!(n == 0 || (terms.elbo.is_finite() && terms.elbo == terms.reconstruction - terms.kl));
    }
    model.parameters().to_vec()
}

#[test]
fn threads_do_not_change_a_bit_of_the_parameters() {
    for num_particles in [1, 3] {
        let [one, two, three] = [1, 2, 3].map(|threads| trained(threads, 300, 128, num_particles));
        assert_eq!(one, two);
        assert_eq!(one, three);
    }
}

#[test]
fn batches_of_every_size_work() {
    for (n, batch_size) in [(0, 4), (1, 4), (4, 4), (5, 4), (33, 32), (65, 1000), (3, 1)] {
        trained(2, n, batch_size, 1);
    }
}

#[test]
fn training_improves_the_bound_and_is_the_same_through_a_subset() {
    let run = |shuffled: bool| {
        let x = rows(&Likelihood::Gaussian(Scale::Predicted), 500, 6);
        let config = config(6, Likelihood::Gaussian(Scale::Predicted), Activation::Silu);
        let mut model = Model::<f32>::new(config, Scaling::identity(6), Key(0)).unwrap();
        let mut trainer = Trainer::new(&model, 500, 50, 1).unwrap();
        let matrix = Matrix::new(&x, 6);
        // The same rows in the same order, by way of a shuffled copy.
        let back: Vec<u32> = (0..500).map(|i| if shuffled { 499 - i } else { i }).collect();
        let reversed: Vec<f64> = x.chunks(6).rev().flatten().copied().collect();
        let reversed = Matrix::new(&reversed, 6);
        let source: &dyn Source<f32> = if shuffled { &reversed } else { &matrix };
        let subset = Subset::new(source, &back);
        let options = at_rate(5e-3);
        (0..20)
            .map(|epoch| trainer.epoch(&mut model, &subset, None, epoch, Key(2), options, &Interrupt::default()).unwrap().elbo)
            .collect::<Vec<_>>()
    };
    let history = run(false);
    assert!(history[19] > history[0] + 0.2, "{history:?}");
    assert_eq!(history, run(true));
}

#[test]
fn a_step_without_a_finite_gradient_is_not_taken() {
    let config = config(2, Likelihood::Gaussian(Scale::Fixed(1.0)), Activation::Relu);
    let mut model = Model::<f32>::new(config, Scaling::identity(2), Key(0)).unwrap();
    let before = model.parameters().to_vec();
    let x = [1.0_f32, 3e38, 0.0, 1.0];
    let mut trainer = Trainer::new(&model, 2, 2, 1).unwrap();
    let terms = trainer.epoch(&mut model, &Matrix::new(&x, 2), None, 0, Key(0), Options::default(), &Interrupt::default()).unwrap();
    assert_eq!((terms.steps, terms.skipped_steps), (0, 1));
    assert_eq!(model.parameters(), before);
}

#[test]
fn an_interrupted_epoch_and_a_bad_cell_leave_the_model_as_it_was() {
    let mut model = Model::<f32>::new(config(2, Likelihood::Bernoulli, Activation::Relu), Scaling::identity(2), Key(0)).unwrap();
    let before = model.parameters().to_vec();
    let mut trainer = Trainer::new(&model, 2, 2, 1).unwrap();
    let interrupt = Interrupt::default();
    let bad = trainer.epoch(&mut model, &Matrix::new(&[0_u8, 1, 2, 0], 2), None, 0, Key(0), Options::default(), &interrupt);
    assert!(matches!(bad, Err(Error::Support { value: 2.0, .. })), "{bad:?}");
    interrupt.raise();
    let stopped = trainer.epoch(&mut model, &Matrix::new(&[0_u8, 1], 2), None, 0, Key(0), Options::default(), &interrupt);
    assert_eq!(stopped, Err(Error::Interrupted));
    assert_eq!(model.parameters(), before);
}

#[test]
fn a_row_of_weight_zero_neither_blocks_a_step_nor_shows_in_the_history() {
    let config = config(2, Likelihood::Gaussian(Scale::Fixed(1.0)), Activation::Relu);
    let run = |x: [f32; 8]| {
        let mut model = Model::<f32>::new(config.clone(), Scaling::identity(2), Key(0)).unwrap();
        let mut trainer = Trainer::new(&model, 4, 4, 2).unwrap();
        let (source, weights) = (Matrix::new(&x, 2), [2.0, 0.0, 1.0, 1.0]);
        let terms =
            trainer.epoch(&mut model, &source, Some(&weights), 0, Key(0), Options::default(), &Interrupt::default()).unwrap();
        (terms, model.parameters().to_vec())
    };
    let (terms, parameters) = run([1.0, 0.5, 3e38, -3e38, 0.0, 1.0, 2.0, -1.0]);
    assert_eq!((terms.steps, terms.skipped_steps), (1, 0));
    assert!(terms.elbo.is_finite() && terms.objective.is_finite(), "{terms:?}");
    assert_eq!((terms, parameters), run([1.0, 0.5, 0.0, 0.0, 0.0, 1.0, 2.0, -1.0]));
}

#[test]
fn an_endless_kl_that_counts_nothing_shows_in_no_objective() {
    let config = Config { hidden: vec![], ..config(1, Likelihood::Gaussian(Scale::Fixed(1.0)), Activation::Relu) };
    let mut model = Model::<f32>::zeros(config, Scaling::identity(1)).unwrap();
    // σ² = e²⁰⁰ leaves float32, and the decoder ignores z.
    let mut parameters = model.parameters().to_vec();
    parameters[6..12].copy_from_slice(&[0.0, 0.0, 0.0, 200.0, 200.0, 200.0]);
    model.set_parameters(&parameters).unwrap();
    let mut trainer = Trainer::new(&model, 1, 1, 1).unwrap();
    // x is loc, so that no gradient of the likelihood's stops the step.
    let source = Matrix::new(&[0.0_f32], 1);
    let options = Options { objective: weight(0.0), ..at_rate(0.0) };
    let terms = trainer.epoch(&mut model, &source, None, 0, Key(0), options, &Interrupt::default()).unwrap();
    assert_eq!((terms.steps, terms.kl), (1, f64::INFINITY));
    assert!(terms.objective.is_finite() && terms.objective == terms.reconstruction, "{terms:?}");
}

#[test]
fn a_learning_rate_that_leads_out_of_the_range_is_refused_before_any_step() {
    let config = config(2, Likelihood::Bernoulli, Activation::Relu);
    let mut model = Model::<f32>::new(config, Scaling::identity(2), Key(0)).unwrap();
    let mut trainer = Trainer::new(&model, 2, 1, 1).unwrap();
    let mut epoch = |model: &mut Model<f32>, learning_rate: f64| {
        let source = Matrix::new(&[0_u8, 1, 1, 0], 2);
        trainer.epoch(model, &source, None, 0, Key(0), at_rate(learning_rate), &Interrupt::default())
    };
    let before = model.parameters().to_vec();
    for rate in [1e39, 3e38, f64::NAN, f64::INFINITY, 1e308] {
        let refused = epoch(&mut model, rate);
        assert!(matches!(refused, Err(Error::Value { argument: "learning_rate", .. })), "{rate}: {refused:?}");
        assert_eq!(model.parameters(), before);
    }
    epoch(&mut model, 1e35).unwrap();
    assert!(model.parameters().iter().all(|x| x.is_finite()));
}

#[test]
fn a_bad_cell_is_named_by_its_row_in_the_source() {
    let likelihoods = [Likelihood::Bernoulli, Likelihood::Gaussian(Scale::Fixed(1.0))];
    for (likelihood, cell) in likelihoods.into_iter().zip([4.0_f32, f32::INFINITY]) {
        let mut x = vec![1.0_f32; 200];
        x[2 * 77 + 1] = cell;
        x[2 * 99 + 1] = if cell == 4.0 { 9.0 } else { 0.0 };
        let mut model = Model::<f32>::new(config(2, likelihood, Activation::Relu), Scaling::identity(2), Key(0)).unwrap();
        let mut trainer = Trainer::new(&model, 78, 50, 1).unwrap();
        // The first 78 rows alone, so that one cell is bad; the cure is of the source's column.
        let first: Vec<u32> = (0..78).rev().collect();
        let source = Matrix::new(&x, 2);
        let batch = Batch { source: &source, rows: &first[..50], weights: None, key: Key(0), position: 0, objective: weight(1.0) };
        match trainer.gradient(&model, &batch) {
            Err(Error::Support { row: 77, column: 1, cure, .. }) => assert!(cure.contains("Binomial(9)"), "{cure}"),
            Err(Error::NonFinite { argument: "x", row: 77, column: 1, value }) => assert_eq!(value, f64::INFINITY),
            other => panic!("{other:?}"),
        }
        let bad = trainer.epoch(&mut model, &source, None, 0, Key(0), Options::default(), &Interrupt::default());
        assert!(matches!(bad, Err(Error::Support { row: 77 | 99, .. } | Error::NonFinite { row: 77, .. })), "{bad:?}");
    }
}

#[test]
fn buffers_past_all_memory_are_refused_before_they_are_made() {
    let model = Model::<f32>::new(config(2, Likelihood::Bernoulli, Activation::Relu), Scaling::identity(2), Key(0)).unwrap();
    for num_particles in [1_000_000_000, u32::MAX as usize, usize::MAX] {
        let refused = Trainer::new(&model, 100, 10, num_particles).err();
        let Some(Error::Value { argument: "num_particles", cure, .. }) = refused else { panic!("{refused:?}") };
        assert!(!cure.contains("at least"), "{cure}");
    }
    let refused = Trainer::new(&model, 4_000_000_000, 4_000_000_000, 1).err();
    assert!(matches!(refused, Some(Error::Value { argument: "batch_size", .. })), "{refused:?}");
    // Two outputs a layer fill a panel.
    let wide = Config { num_features: 100_000_000, latent_dim: 1, hidden: vec![], ..model.config().clone() };
    assert!(matches!(wide.check(), Err(Error::Value { argument: "hidden", .. })));
}

/// Rows of zeros, the reading of the fourth of which asks for a stop.
struct Stopping<'a>(&'a Interrupt);

impl Source<f32> for Stopping<'_> {
    fn rows(&self) -> usize {
        1000
    }

    fn width(&self) -> usize {
        2
    }

    fn copy_row(&self, row: usize, out: &mut [f32]) {
        if row % 4 == 3 {
            self.0.raise();
        }
        out.fill(0.0);
    }
}

#[test]
fn a_stop_is_heard_within_a_step() {
    let mut model = Model::<f32>::new(config(2, Likelihood::Bernoulli, Activation::Relu), Scaling::identity(2), Key(0)).unwrap();
    let before = model.parameters().to_vec();
    let mut trainer = Trainer::new(&model, 1000, 1000, 1).unwrap();
    let interrupt = Interrupt::default();
    let stopped = trainer.epoch(&mut model, &Stopping(&interrupt), None, 0, Key(0), Options::default(), &interrupt);
    assert_eq!(stopped, Err(Error::Interrupted));
    assert_eq!(model.parameters(), before);
}

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
            gradient.iter_mut().for_each(|g| *g *= (most / norm).min(1.0));
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
    let [one, two, three] = [1, 2, 3].map(|threads| trained_by(options, threads, 300, 128, 1));
    assert_eq!(one, two);
    assert_eq!(one, three);
    assert_ne!(one, trained(1, 300, 128, 1));
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
                decode(model, &z, &mut params).unwrap();
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
        let [one, two, three] = [1, 2, 3].map(|threads| trained_by(options, threads, 300, 128, 3));
        assert_eq!(one, two);
        assert_eq!(one, three);
        assert_ne!(one, trained(1, 300, 128, 3));
    }
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
