//! Models with normalised layers and residual connections: gradients, decay, files, threads, and depth that trains.

use crate::fits::{at_rate, check_gradient_of, config, rows, scaled, weight};
use crate::reference::{bits, settings};
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::{Key, fill_normals};
use elbokit_core::threads::{Interrupt, set_num_threads};
use elbokit_core::vae::{AnyModel, Config, Matrix, Model, Options, Scaling, Trainer, from_bytes, to_bytes};
use elbokit_core::{Error, Float};

fn deep(layer_norm: bool, residual: bool, hidden: &[usize]) -> Config {
    let likelihood = Likelihood::Gaussian(Scale::Shared);
    Config { hidden: hidden.to_vec(), layer_norm, residual, ..config(5, likelihood, Activation::Tanh) }
}

#[test]
fn gradients_agree_with_differences() {
    for (layer_norm, residual) in [(true, false), (false, true), (true, true)] {
        check_gradient_of(deep(layer_norm, residual, &[7, 7, 6]), 1, weight(0.7));
    }
    // As wide as the view: the first layer too adds what comes in.
    check_gradient_of(deep(true, true, &[5, 5]), 3, weight(0.7));
    // As wide as the latents; without a norm, which over three numbers bends too much for differences.
    check_gradient_of(Config { activation: Activation::Gelu, ..deep(false, true, &[3, 3]) }, 2, weight(1.0));
    check_gradient_of(Config { activation: Activation::Gelu, ..deep(true, true, &[7, 7]) }, 2, weight(1.0));
}

fn model(hidden: &[usize]) -> Model<f64> {
    let config = deep(true, true, hidden);
    let scaling = scaled(&config.likelihood);
    Model::new(config, scaling, Key(9)).unwrap()
}

#[test]
fn parameters_have_names_and_norms_start_at_the_identity() {
    let model = model(&[7, 6]);
    let named = model.named();
    let names: Vec<&str> = named.iter().map(|n| n.name.as_str()).collect();
    let of = |network: &str| {
        let layer = |l: usize, kinds: &[&str]| kinds.iter().map(|k| format!("{network}.{l}.{k}")).collect::<Vec<_>>();
        let hidden = ["weight", "bias", "norm.weight", "norm.bias"];
        [layer(0, &hidden), layer(1, &hidden), layer(2, &hidden[..2])].concat()
    };
    assert_eq!(names, [of("encoder"), of("decoder"), vec!["decoder.log_var".into()]].concat());
    assert_eq!(named.iter().map(|n| n.values.len()).sum::<usize>(), model.parameters().len());
    for n in &named {
        if n.name.ends_with("norm.weight") {
            assert!(n.values.iter().all(|x| *x == 1.0), "{}", n.name);
        }
        if n.name.ends_with("norm.bias") {
            assert!(n.values.iter().all(|x| *x == 0.0), "{}", n.name);
        }
    }
    // Weights and biases are drawn as those of a plain model.
    let plain = Model::<f64>::new(deep(false, false, &[7, 6]), model.scaling().clone(), Key(9)).unwrap();
    let rest: Vec<f64> = named.iter().filter(|n| !n.name.contains("norm")).flat_map(|n| n.values.to_vec()).collect();
    assert_eq!(rest, plain.parameters());
}

#[test]
fn a_file_says_which_layers_and_no_more_than_before_of_plain_ones() {
    let model = model(&[7, 6]);
    let bytes = to_bytes(&model).unwrap();
    let AnyModel::F64(again) = from_bytes(&bytes).unwrap() else { panic!("another dtype") };
    assert_eq!((again.config(), again.parameters()), (model.config(), model.parameters()));
    assert_eq!(to_bytes(&again).unwrap(), bytes);
    let plain = Model::<f64>::new(deep(false, false, &[7, 6]), model.scaling().clone(), Key(9)).unwrap();
    let plain = to_bytes(&plain).unwrap();
    let text = String::from_utf8_lossy(&plain).into_owned();
    assert!(!text.contains("layer_norm") && !text.contains("residual"));
    for (from, to) in [("\\\"layer_norm\\\":true", "\\\"layer_norm\\\":null"), ("\\\"residual\\\":true", "\\\"residual\\\":1234")] {
        let mut bad = bytes.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        bad[at..at + to.len()].copy_from_slice(to.as_bytes());
        assert!(matches!(from_bytes(&bad), Err(Error::ModelFile { .. })), "{to}");
    }
}

#[test]
fn norms_do_not_decay() {
    let mut model = model(&[7, 7]);
    let before = model.clone();
    let x = rows(&model.config().likelihood, 64, 5);
    // Rows of weight 0 have no gradient, so that a step is the decay alone.
    let options = Options { weight_decay: 0.5, ..at_rate(0.1) };
    let mut trainer = Trainer::new(&model, 64, 64, 1).unwrap();
    let weights = [0.0; 64];
    trainer.epoch(&mut model, &Matrix::new(&x, 5), Some(&weights), 0, Key(0), options, &Interrupt::default()).unwrap();
    for (now, then) in model.named().iter().zip(before.named()) {
        let kept = now.name.contains("norm") || now.name.ends_with("log_var");
        let factor = if kept { 1.0 } else { 0.95 };
        for (now, then) in now.values.iter().zip(then.values) {
            assert!((now - then * factor).abs() <= 1e-12, "{now} of {then}");
        }
    }
}

fn trained<F: Float + elbokit_core::random::Draw>(threads: usize) -> Vec<F> {
    set_num_threads(threads).unwrap();
    let config = Config { hidden: vec![90, 90, 33], ..deep(true, true, &[]) };
    let scaling = scaled(&config.likelihood);
    let x = rows(&config.likelihood, 300, 5);
    let mut model = Model::<F>::new(config, scaling, Key(0)).unwrap();
    let mut trainer = Trainer::new(&model, 300, 128, 2).unwrap();
    for epoch in 0..2 {
        let source = Matrix::new(&x, 5);
        trainer.epoch(&mut model, &source, None, epoch, Key(7), Options::default(), &Interrupt::default()).unwrap();
    }
    model.parameters().to_vec()
}

#[test]
fn training_is_the_same_bits_on_any_threads_and_level() {
    fn check<F: Float + elbokit_core::random::Draw>() {
        let one = bits(&trained::<F>(1));
        assert_eq!(one, bits(&trained::<F>(3)));
        for level in elbokit_core::simd::levels() {
            assert_eq!(one, bits(&elbokit_core::simd::with_level(level, || trained::<F>(2))), "{level:?}");
        }
    }
    let _settings = settings();
    check::<f32>();
    check::<f64>();
}

/// Rows on a curved surface of three dimensions.
fn curved(n: usize) -> Vec<f32> {
    let mut z = vec![0.0_f64; n * 3];
    fill_normals(Key(2), 0, 0, 3, &mut z);
    let mut noise = vec![0.0_f64; n * 12];
    fill_normals(Key(2), 1, 0, 12, &mut noise);
    let cell = |z: &[f64], j: usize| libm::sin(z[0] + j as f64) + z[1] * libm::cos(z[2] * (1.0 + 0.1 * j as f64));
    let clean = z.chunks_exact(3).flat_map(|z| (0..12).map(move |j| cell(z, j)));
    clean.zip(noise).map(|(x, noise)| (x + 0.1 * noise) as f32).collect()
}

/// The ELBO after training six hidden layers of 64.
fn depth(layer_norm: bool, residual: bool) -> f64 {
    let x = curved(1000);
    let likelihood = Likelihood::Gaussian(Scale::Fixed(0.3));
    let config = Config { hidden: vec![64; 6], layer_norm, residual, ..config(12, likelihood, Activation::Relu) };
    let mut model = Model::<f32>::new(config, Scaling::identity(12), Key(0)).unwrap();
    let mut trainer = Trainer::new(&model, 1000, 100, 1).unwrap();
    let mut last = 0.0;
    for epoch in 0..30 {
        let source = Matrix::new(&x, 12);
        last = trainer.epoch(&mut model, &source, None, epoch, Key(7), at_rate(1e-3), &Interrupt::default()).unwrap().elbo;
    }
    last
}

#[test]
fn six_layers_train_where_plain_ones_lag() {
    let (plain, both) = (depth(false, false), depth(true, true));
    println!("plain {plain:.3}, layer_norm {:.3}, residual {:.3}, both {both:.3}", depth(true, false), depth(false, true));
    assert!(both > plain + 1.0, "plain {plain}, both {both}");
}
