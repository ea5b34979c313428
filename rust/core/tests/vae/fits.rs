//! Small models and rows to train on, and a gradient's check against differences.

use elbokit_core::likelihood::Likelihood;
use elbokit_core::network::Activation;
use elbokit_core::optimizer::Schedule;
use elbokit_core::random::{Key, fill_normals, fill_uniforms};
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{Batch, Conditioned, Config, Matrix, Model, Objective, Options, Prior, Scaling, Source, Trainer};

pub(crate) fn weight(kl_weight: f64) -> Objective {
    Objective { kl_weight, ..Objective::default() }
}

pub(crate) fn at_rate(learning_rate: f64) -> Options {
    Options { learning_rate: Schedule::constant(learning_rate), ..Options::default() }
}

pub(crate) fn config(num_features: usize, likelihood: Likelihood, activation: Activation) -> Config {
    Config {
        num_features,
        latent_dim: 3,
        hidden: vec![7, 6],
        likelihood,
        activation,
        layer_norm: false,
        residual: false,
        condition_width: 0,
        prior: Prior::Standard,
    }
}

/// The kind of each column.
pub(crate) fn kinds(likelihood: &Likelihood, width: usize) -> Vec<&Likelihood> {
    let mut kinds = vec![likelihood; width];
    if let Likelihood::Columns(members) = likelihood {
        for (columns, member) in members {
            for &column in columns {
                kinds[column] = member;
            }
        }
    }
    kinds
}

/// Rows in the support of a likelihood, about one cell in nine missing.
pub(crate) fn rows(likelihood: &Likelihood, rows: usize, width: usize) -> Vec<f64> {
    let (mut x, mut normals) = (vec![0.0; rows * width], vec![0.0; rows * width]);
    fill_uniforms(Key(1), 0, 0, width, &mut x);
    fill_normals(Key(1), 0, 0, width, &mut normals);
    for (x, normals) in x.chunks_exact_mut(width).zip(normals.chunks_exact(width)) {
        for ((x, normal), kind) in x.iter_mut().zip(normals).zip(kinds(likelihood, width)) {
            *x = match kind {
                Likelihood::Bernoulli => f64::from(*x < 0.4),
                Likelihood::ContinuousBernoulli => *x,
                Likelihood::Binomial(total) => (*x * f64::from(*total + 1)).floor(),
                Likelihood::Categorical(classes) => (*x * f64::from(*classes)).floor(),
                Likelihood::Poisson => (*x * 6.0).floor(),
                Likelihood::NegativeBinomial | Likelihood::ZeroInflatedNegativeBinomial => {
                    (40.0 * (*x - 0.4).max(0.0).powi(2)).floor()
                }
                _ => *normal,
            };
        }
    }
    x.iter_mut().step_by(9).for_each(|x| *x = f64::NAN);
    x
}

/// Five columns' scales, where cells are real numbers.
pub(crate) fn scaled(likelihood: &Likelihood) -> Scaling {
    let mut scaling = Scaling { shift: vec![0.1, -0.2, 0.0, 1.0, 0.3], scale: vec![1.5, 0.7, 1.0, 2.0, 0.4] };
    for (column, kind) in kinds(likelihood, 5).into_iter().enumerate() {
        if kind.scale().is_none() {
            (scaling.shift[column], scaling.scale[column]) = (0.0, 1.0);
        }
    }
    scaling
}

/// Conditions of rows, each number of another size.
pub(crate) fn conditions(rows: usize, width: usize) -> Vec<f64> {
    let mut c = vec![0.0; rows * width];
    fill_normals(Key(21), 0, 0, width, &mut c);
    for (at, c) in c.iter_mut().enumerate() {
        *c = *c * (at % width + 1) as f64 + 0.5;
    }
    c
}

/// Brings them to about one size.
pub(crate) fn condition_scaling(width: usize) -> Scaling {
    Scaling { shift: vec![0.5; width], scale: (1..=width).map(|scale| scale as f64).collect() }
}

/// |g − fd| ≤ 1e-6 · max |g| of the tensor, for every parameter.
pub(crate) fn check_gradient(likelihood: &Likelihood, activation: Activation, num_particles: usize, objective: Objective) {
    check_gradient_of(config(5, likelihood.clone(), activation), num_particles, objective);
}

/// The same of any model of five columns, conditional or not.
pub(crate) fn check_gradient_of(config: Config, num_particles: usize, objective: Objective) {
    const H: f64 = 1e-5;
    let (n, width) = (37, 5);
    let (likelihood, activation) = (&config.likelihood.clone(), config.activation);
    let mut model = Model::<f64>::new(config, scaled(likelihood), Key(3)).unwrap();
    let beside = model.config().condition_width;
    model.scale_condition(condition_scaling(beside)).unwrap();
    let (x, c) = (rows(likelihood, n, width), conditions(n, beside));
    let (matrix, condition) = (Matrix::new(&x, width), Matrix::new(&c, beside));
    let conditioned;
    let source: &dyn Source<f64> = if beside > 0 {
        conditioned = Conditioned::new(&matrix, &condition).unwrap();
        &conditioned
    } else {
        &matrix
    };
    let order: Vec<u32> = (0..n as u32).rev().collect();
    let weights: Vec<f64> = (0..n).map(|i| 0.5 + i as f64 / (n - 1) as f64).collect();
    let batch = Batch { source, rows: &order, weights: Some(&weights), key: Key(5), position: 11, objective };
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

pub(crate) fn trained(n: usize, batch_size: usize, num_particles: usize) -> Vec<f32> {
    trained_by(Options::default(), n, batch_size, num_particles)
}

pub(crate) fn trained_by(options: Options, n: usize, batch_size: usize, num_particles: usize) -> Vec<f32> {
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
