//! The training step: its gradient against differences, its bits against threads, and its edges.

use crate::fits::{at_rate, check_gradient, config, rows, trained, weight};
use crate::reference::{same_on_any_threads, settings};
use elbokit_core::Error;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::Key;
use elbokit_core::threads::{Interrupt, set_num_threads};
use elbokit_core::vae::{Batch, Config, Matrix, Model, Options, Scaling, Source, Subset, Trainer};

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

#[test]
fn threads_do_not_change_a_bit_of_the_parameters() {
    for num_particles in [1, 3] {
        same_on_any_threads("training", || trained(300, 128, num_particles));
    }
}

/// Fewer threads get larger blocks; the layer of 256 × 256 has the factors of its gradient packed, the others do not; each column has a learned scale.
#[test]
fn the_size_of_blocks_does_not_change_a_bit_of_the_parameters() {
    let _alone = settings();
    let likelihood = Likelihood::Gaussian(Scale::PerFeature);
    let x = rows(&likelihood, 300, 20);
    let run = |threads| {
        set_num_threads(threads).unwrap();
        let config = Config { hidden: vec![256, 256], ..config(20, likelihood.clone(), Activation::Relu) };
        let mut model = Model::<f32>::new(config, Scaling::identity(20), Key(0)).unwrap();
        let mut trainer = Trainer::new(&model, 300, 260, 1).unwrap();
        for epoch in 0..2 {
            let source = Matrix::new(&x, 20);
            trainer.epoch(&mut model, &source, None, epoch, Key(7), Options::default(), &Interrupt::default()).unwrap();
        }
        model.parameters().to_vec()
    };
    let [large, middle, small] = [1, 3, 9].map(run);
    assert_eq!(large, middle);
    assert_eq!(large, small);
}

#[test]
fn batches_of_every_size_work() {
    for (n, batch_size) in [(0, 4), (1, 4), (4, 4), (5, 4), (33, 32), (65, 1000), (3, 1)] {
        trained(n, batch_size, 1);
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
    // Two outputs a layer fill a strip.
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
