//! Every kind of likelihood in a model: what its encoder sees, its gradient, scales learned for all rows, tables of mixed kinds.

use crate::fits::{at_rate, check_gradient, config, rows, scaled, weight};
use crate::reference::{same_at_every_level, same_on_any_threads};
use elbokit_core::Error;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::{Key, fill_normals};
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{self, Batch, Config, Matrix, Model, Objective, Options, Prior, Scaling, Trainer};

/// A table of five columns, out of order, with scales of every form.
fn table() -> Likelihood {
    Likelihood::Columns(vec![
        (vec![3, 0], Likelihood::Gaussian(Scale::Shared)),
        (vec![4], Likelihood::Categorical(3)),
        (vec![1], Likelihood::NegativeBinomial),
        (vec![2], Likelihood::StudentT(4.0, Scale::PerFeature)),
    ])
}

fn all_kinds() -> Vec<Likelihood> {
    let by_feature = vec![0.5, 1.0, 2.0, 0.7, 1.3];
    vec![
        Likelihood::Gaussian(Scale::Shared),
        Likelihood::Gaussian(Scale::PerFeature),
        Likelihood::Laplace(Scale::ByFeature(by_feature.clone())),
        Likelihood::Laplace(Scale::Shared),
        Likelihood::Laplace(Scale::Predicted),
        Likelihood::StudentT(3.0, Scale::Fixed(0.8)),
        Likelihood::StudentT(3.0, Scale::PerFeature),
        Likelihood::StudentT(3.0, Scale::Predicted),
        Likelihood::ContinuousBernoulli,
        Likelihood::Categorical(4),
        Likelihood::Poisson,
        Likelihood::NegativeBinomial,
        Likelihood::ZeroInflatedNegativeBinomial,
        table(),
        Likelihood::Columns(vec![
            (vec![1], Likelihood::Bernoulli),
            (vec![2], Likelihood::Laplace(Scale::PerFeature)),
            (vec![0, 4], Likelihood::Gaussian(Scale::ByFeature(by_feature[..2].to_vec()))),
            (vec![3], Likelihood::Binomial(9)),
        ]),
    ]
}

#[test]
fn gradient_agrees_with_differences_for_every_kind() {
    for likelihood in all_kinds() {
        check_gradient(&likelihood, Activation::Tanh, 1, weight(0.7));
    }
}

#[test]
fn gradient_agrees_with_differences_for_several_particles_and_other_objectives() {
    for likelihood in [table(), Likelihood::Gaussian(Scale::Shared), Likelihood::ZeroInflatedNegativeBinomial] {
        check_gradient(&likelihood, Activation::Silu, 3, weight(0.7));
        check_gradient(&likelihood, Activation::Silu, 4, Objective { importance_weighted: true, ..weight(0.8) });
        check_gradient(&likelihood, Activation::Silu, 2, Objective { free_bits: 0.2, ..weight(1.0) });
    }
}

/// What the encoder sees of rows: loc of a model without hidden layers whose weights are the unit matrix.
fn views(likelihood: Likelihood, scaling: Scaling, x: &[f64], width: usize) -> Vec<f64> {
    let params = Config {
        num_features: 5,
        latent_dim: width,
        hidden: vec![],
        likelihood,
        activation: Activation::Relu,
        layer_norm: false,
        residual: false,
        condition_width: 0,
        prior: Prior::Standard,
    };
    let mut model = Model::<f64>::zeros(params, scaling).unwrap();
    assert_eq!(model.named()[0].shape, [2 * width, width]);
    let mut parameters = model.parameters().to_vec();
    (0..width).for_each(|i| parameters[i * width + i] = 1.0);
    model.set_parameters(&parameters).unwrap();
    let rows = x.len() / 5;
    let (mut loc, mut log_var) = (vec![0.0; rows * width], vec![0.0; rows * width]);
    vae::encode(&model, &Matrix::new(x, 5), &Interrupt::default(), &mut loc, &mut log_var).unwrap();
    loc
}

#[test]
fn the_encoder_sees_what_the_table_of_likelihoods_says() {
    let real = [0.5, -2.0, f64::NAN, 3.0, 0.0];
    for likelihood in [Likelihood::Laplace(Scale::Predicted), Likelihood::StudentT(3.0, Scale::Shared)] {
        let expected = [(0.5 - 0.1) / 1.5, (-2.0 + 0.2) / 0.7, 0.0, 1.0, -0.3 / 0.4];
        assert_eq!(views(likelihood.clone(), scaled(&likelihood), &real, 5), expected);
    }
    let shares = [0.5, 1.0, f64::NAN, 0.25, 0.0];
    assert_eq!(views(Likelihood::ContinuousBernoulli, Scaling::identity(5), &shares, 5), [0.5, 1.0, 0.0, 0.25, 0.0]);
    let counts = [0.0, 1.0, f64::NAN, 7.0, 1e9];
    for likelihood in [Likelihood::Poisson, Likelihood::NegativeBinomial, Likelihood::ZeroInflatedNegativeBinomial] {
        let seen = views(likelihood, Scaling::identity(5), &counts, 5);
        for (seen, x) in seen.iter().zip(counts) {
            let expected = if x.is_nan() { 0.0 } else { f64::ln_1p(x) };
            assert!((seen - expected).abs() <= 1e-15 * expected, "{x}: {seen} {expected}");
        }
    }
    let codes = [0.0, 2.0, f64::NAN, 1.0, 2.0];
    let seen = views(Likelihood::Categorical(3), Scaling::identity(5), &codes, 15);
    assert_eq!(seen, [1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0., 0., 0., 1.]);
    // Columns 3 and 0 scaled, the class of 4, the count of 1, column 2 as it is.
    let likelihood = table();
    let mixed = [0.4, 3.0, -1.5, 2.0, 1.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN, f64::NAN];
    let seen = views(likelihood.clone(), scaled(&likelihood), &mixed, 7);
    assert_eq!(seen[..2], [0.5, (0.4 - 0.1) / 1.5]);
    assert_eq!(seen[2..5], [0.0, 1.0, 0.0]);
    assert!((seen[5] - 4.0_f64.ln()).abs() < 1e-15);
    assert_eq!(seen[6..], [-1.5, 0., 0., 0., 0., 0., 0., 0.]);
}

/// Parameters after three epochs on rows with missing cells.
fn trained(likelihood: &Likelihood, options: Options) -> Vec<f32> {
    let x: Vec<f32> = rows(likelihood, 150, 5).iter().map(|x| *x as f32).collect();
    let config = Config { hidden: vec![200, 90], ..config(5, likelihood.clone(), Activation::Relu) };
    let mut model = Model::<f32>::new(config, scaled(likelihood), Key(0)).unwrap();
    let mut trainer = Trainer::new(&model, 150, 64, 2).unwrap();
    for epoch in 0..3 {
        let terms = trainer.epoch(&mut model, &Matrix::new(&x, 5), None, epoch, Key(7), options, &Interrupt::default()).unwrap();
        assert!(terms.skipped_steps == 0 && terms.elbo.is_finite(), "{terms:?}");
    }
    model.parameters().to_vec()
}

#[test]
fn threads_and_levels_do_not_change_a_bit_of_the_parameters() {
    for likelihood in [table(), Likelihood::Laplace(Scale::Shared), Likelihood::Poisson, Likelihood::Categorical(4)] {
        same_on_any_threads(likelihood.name(), || trained(&likelihood, Options::default()));
        same_at_every_level(likelihood.name(), || trained(&likelihood, Options::default()));
    }
}

#[test]
fn every_kind_scores_columns_that_add_up_and_params_and_means_of_rows_as_given() {
    for likelihood in all_kinds() {
        let model = Model::<f64>::new(config(5, likelihood.clone(), Activation::Tanh), scaled(&likelihood), Key(4)).unwrap();
        let x = rows(&likelihood, 40, 5);
        let matrix = Matrix::new(&x, 5);
        let mut out = [(); 4].map(|()| vec![0.0; 40]);
        let [elbo, reconstruction, kl, standard_error] = &mut out;
        let terms = vae::ElboTerms { elbo, reconstruction, kl, standard_error };
        vae::elbo(&model, &matrix, Key(3), 7, &Interrupt::default(), terms).unwrap();
        let mut columns = vec![0.0; 40 * 5];
        vae::elbo_per_column(&model, &matrix, Key(3), 7, &Interrupt::default(), &mut columns).unwrap();
        for ((columns, x), reconstruction) in columns.chunks(5).zip(x.chunks(5)).zip(&out[1]) {
            let sum: f64 = columns.iter().sum();
            let size: f64 = columns.iter().map(|c| c.abs()).sum();
            assert!((sum - reconstruction).abs() <= 1e-13 * size, "{likelihood:?}: {sum} {reconstruction}");
            assert!(columns.iter().zip(x).all(|(c, x)| (*c == 0.0) == x.is_nan()), "{likelihood:?}: {columns:?} {x:?}");
        }
        // Params as given, weighed by the likelihood as given, are the density of the row as given.
        let given = model.likelihood_as_given().prepare::<f64>(5).unwrap();
        let mut z = vec![0.0; 40 * 3];
        fill_normals(Key(6), 0, 0, 3, &mut z);
        let mut params = vec![0.0; 40 * given.num_params()];
        vae::decode(&model, &z, None, &mut params).unwrap();
        let (mut means, mut plainly) = (vec![0.0; 40 * given.num_means()], vec![0.0; 40 * given.num_means()]);
        vae::mean(&model, &z, None, &mut means).unwrap();
        given.mean(&params, &mut plainly).unwrap();
        assert_eq!(means, plainly, "{likelihood:?}");
        let identity = Model::<f64>::new(config(5, likelihood.clone(), Activation::Tanh), Scaling::identity(5), Key(4)).unwrap();
        let inner = identity.likelihood().clone();
        let mut inner_params = vec![0.0; 40 * inner.num_params()];
        vae::decode(&identity, &z, None, &mut inner_params).unwrap();
        let scaling = scaled(&likelihood);
        let targets: Vec<f64> = x.iter().enumerate().map(|(i, x)| (x - scaling.shift[i % 5]) / scaling.scale[i % 5]).collect();
        let (mut as_given, mut as_scaled) = (vec![0.0; 40], vec![0.0; 40]);
        given.log_prob(&x, &params, &mut as_given).unwrap();
        inner.log_prob(&targets, &inner_params, &mut as_scaled).unwrap();
        for (row, (a, b)) in as_given.iter().zip(&as_scaled).enumerate() {
            let seen = (0..5).filter(|c| !x[row * 5 + c].is_nan());
            let expected = b - seen.map(|c| scaling.scale[c].ln()).sum::<f64>();
            assert!((a - expected).abs() <= 1e-12 * (1.0 + expected.abs()), "{likelihood:?}: {a} {expected}");
        }
    }
}

#[test]
fn a_learned_scale_finds_the_noise_and_stands_in_params() {
    // Noise alone, of standard deviations 3 and ½: nothing for z to tell.
    let mut x = vec![0.0; 4000];
    fill_normals(Key(8), 0, 0, 2, &mut x);
    x.iter_mut().enumerate().for_each(|(i, x)| *x *= [3.0, 0.5][i % 2]);
    let deviation = |column: usize| (x.iter().skip(column).step_by(2).map(|x| x * x).sum::<f64>() / 2000.0).sqrt();
    for (scale, expected) in [(Scale::PerFeature, [0.0; 2].as_slice()), (Scale::Shared, &[0.0])] {
        let config = Config { hidden: vec![], ..config(2, Likelihood::Gaussian(scale), Activation::Relu) };
        let mut model = Model::<f64>::new(config, Scaling::identity(2), Key(0)).unwrap();
        let mut trainer = Trainer::new(&model, 2000, 2000, 1).unwrap();
        for epoch in 0..600 {
            let options = at_rate(if epoch < 400 { 0.03 } else { 0.003 });
            trainer.epoch(&mut model, &Matrix::new(&x, 2), None, epoch, Key(1), options, &Interrupt::default()).unwrap();
        }
        let named = model.named().pop().unwrap();
        assert_eq!((named.name.as_str(), named.shape.as_slice()), ("decoder.log_var", [expected.len()].as_slice()));
        let mut params = vec![0.0; 2 + expected.len()];
        vae::decode(&model, &[0.0; 3], None, &mut params).unwrap();
        assert_eq!(params[2..], *named.values);
        // What z tells and what is noise make up each column's variance, whichever takes it.
        let variances = (0..2).map(|column| {
            let told: f64 = (0..3)
                .map(|k| {
                    let mut z = [0.0; 3];
                    z[k] = 1.0;
                    let mut at = params.clone();
                    vae::decode(&model, &z, None, &mut at).unwrap();
                    (at[column] - params[column]).powi(2)
                })
                .sum();
            told + params[2 + column % expected.len()].exp()
        });
        for (column, variance) in variances.enumerate() {
            assert!((variance / deviation(column).powi(2) - 1.0).abs() < 0.1, "{column}: {variance}");
        }
        assert!(named.values.iter().all(|log_var| (log_var / 2.0).exp() < 3.2), "{:?}", named.values);
    }
}

#[test]
fn a_scale_does_not_collapse_on_a_constant_column_nor_decay() {
    for scale in [Scale::PerFeature, Scale::Shared] {
        for make in [Likelihood::Gaussian, Likelihood::Laplace, |scale| Likelihood::StudentT(3.0, scale)] {
            let likelihood = make(scale.clone());
            let factor = if likelihood.name() == "Gaussian" { 2.0 } else { 1.0 };
            // All parameters 0 and all cells too: the likelihood rises in the scale alone, and without end.
            let mut model = Model::<f32>::zeros(config(2, likelihood, Activation::Tanh), Scaling::identity(2)).unwrap();
            let x = [0.0_f32; 60];
            let mut trainer = Trainer::new(&model, 30, 30, 1).unwrap();
            for epoch in 0..400 {
                let terms = trainer
                    .epoch(&mut model, &Matrix::new(&x, 2), None, epoch, Key(1), at_rate(0.05), &Interrupt::default())
                    .unwrap();
                assert!(terms.skipped_steps == 0 && terms.elbo.is_finite(), "{terms:?}");
            }
            let named = model.named().pop().unwrap();
            let least = (factor * 1e-3_f64.ln()) as f32;
            assert!(named.values.iter().all(|x| *x == least), "{:?} {least}", named.values);
        }
    }
    // With no gradient and a decay of half of all at each step, weights go and scales stay.
    let mut model =
        Model::<f64>::new(config(2, Likelihood::Gaussian(Scale::PerFeature), Activation::Relu), Scaling::identity(2), Key(0))
            .unwrap();
    model.start_scales(&[2.0, 0.5]).unwrap();
    let before = model.parameters().to_vec();
    let options = Options { weight_decay: 5.0, ..at_rate(0.1) };
    let mut trainer = Trainer::new(&model, 4, 4, 1).unwrap();
    let missing = [f64::NAN; 8];
    let objective = weight(0.0);
    trainer
        .epoch(&mut model, &Matrix::new(&missing, 2), None, 0, Key(0), Options { objective, ..options }, &Interrupt::default())
        .unwrap();
    let (scales, weights) = (before.len() - 2.., ..before.len() - 2);
    assert_eq!(model.parameters()[scales.clone()], [2.0 * 2.0_f64.ln(), 2.0 * 0.5_f64.ln()]);
    assert_eq!(model.parameters()[scales.clone()], before[scales]);
    assert!(model.parameters()[weights].iter().zip(&before[weights]).all(|(a, b)| (a - 0.5 * b).abs() < 1e-15));
}

#[test]
fn scales_start_at_the_spread_of_their_columns() {
    let mut model = Model::<f64>::new(config(5, table(), Activation::Relu), Scaling::identity(5), Key(0)).unwrap();
    model.start_scales(&[3.0, 9.0, 0.25, 4.0, 9.0]).unwrap();
    let named = model.named();
    let [.., shared, per_feature] = named.as_slice() else { panic!("two scales") };
    assert_eq!((shared.name.as_str(), per_feature.name.as_str()), ("decoder.members.0.log_var", "decoder.members.3.log_scale"));
    assert!((shared.values[0] - 12.5_f64.ln()).abs() < 1e-15);
    assert_eq!(per_feature.values, [0.25_f64.ln()]);
    let at = shared.values[0];
    model.start_scales(&[0.0; 5]).unwrap();
    assert_eq!(model.parameters()[model.parameters().len() - 2..], [0.0, 0.0]);
    assert_ne!(at, 0.0);
    assert!(matches!(model.start_scales(&[1.0; 4]), Err(Error::Shape { argument: "spread", .. })));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(model.start_scales(&[bad; 5]), Err(Error::Value { argument: "spread", .. })));
    }
}

#[test]
fn one_scale_for_columns_of_other_units_is_one_for_each_in_params() {
    let model = |scaling: Scaling| {
        let config = config(2, Likelihood::Gaussian(Scale::Shared), Activation::Relu);
        Model::<f64>::new(config, scaling, Key(0)).unwrap()
    };
    let params = |model: &Model<f64>| {
        let mut params = vec![0.0; model.num_params_as_given()];
        vae::decode(model, &[0.3, -0.2, 0.1], None, &mut params).unwrap();
        params
    };
    let plain = params(&model(Scaling::identity(2)));
    let apart = model(Scaling { shift: vec![1.0, 0.0], scale: vec![2.0, 8.0] });
    assert_eq!(apart.likelihood_as_given(), Likelihood::Gaussian(Scale::PerFeature));
    let (ln4, ln64) = (2.0 * libm::log(2.0), 2.0 * libm::log(8.0));
    assert_eq!(params(&apart), [2.0 * plain[0] + 1.0, 8.0 * plain[1], ln4, ln64]);
    let alike = model(Scaling { shift: vec![1.0, 0.0], scale: vec![2.0, 2.0] });
    assert_eq!(alike.likelihood_as_given(), Likelihood::Gaussian(Scale::Shared));
    assert_eq!(params(&alike), [2.0 * plain[0] + 1.0, 2.0 * plain[1], ln4]);
}

#[test]
fn a_table_must_have_each_column_once_and_scales_none_of_its_codes() {
    let check = |members| config(2, Likelihood::Columns(members), Activation::Relu).check();
    let real = || Likelihood::Gaussian(Scale::Shared);
    for members in [vec![], vec![(vec![0], real())], vec![(vec![0, 0], real())], vec![(vec![0, 2], real())]] {
        assert!(matches!(check(members), Err(Error::Value { argument: "members", .. })));
    }
    let nested = vec![(vec![0], real()), (vec![1], Likelihood::Columns(vec![(vec![0], real())]))];
    assert!(matches!(check(nested), Err(Error::Value { argument: "members", .. })));
    let config = config(5, table(), Activation::Relu);
    let mut scaling = scaled(&table());
    scaling.check(&config).unwrap();
    scaling.scale[4] = 2.0;
    let Err(Error::Value { argument: "scaling", expected, .. }) = scaling.check(&config) else { panic!("codes were scaled") };
    assert!(expected.contains("Categorical"), "{expected}");
}

#[test]
fn a_cell_without_a_probability_is_named_with_a_kind_that_fits() {
    let likelihood = table();
    for (column, bad, cure) in [(4, 3.0, "Binomial(3)"), (1, -1.0, "Gaussian"), (1, 0.5, "ContinuousBernoulli")] {
        let mut x = vec![0.0_f64; 50];
        x[5 * 7 + column] = bad;
        let model = Model::<f64>::new(config(5, likelihood.clone(), Activation::Relu), Scaling::identity(5), Key(0)).unwrap();
        let source = Matrix::new(&x, 5);
        let order: Vec<u32> = (0..10).collect();
        let batch = Batch { source: &source, rows: &order, weights: None, key: Key(0), position: 0, objective: weight(1.0) };
        let trained = Trainer::new(&model, 10, 10, 1).unwrap().gradient(&model, &batch).map(|_| ());
        let scored = vae::check(&model, &source, &Interrupt::default());
        for error in [trained, scored] {
            match error {
                Err(Error::Support { argument: "x", row: 7, column: named, value, cure: fits, .. }) => {
                    assert_eq!((named, value), (column, bad));
                    assert!(fits.contains(cure), "{fits}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
