//! Conditional models: what both networks see beside their input, in training, scores and files.

use crate::fits::{check_gradient_of, condition_scaling, conditions, config, rows, scaled, weight};
use crate::reference::{same_at_every_level, same_on_any_threads};
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::Key;
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{
    self, AnyModel, Batch, Conditioned, Config, ElboTerms, Evidence, Matrix, Model, Objective, Options, Prior, Proposal, Scaling,
    Source, Subset, Trainer, from_bytes, to_bytes,
};
use elbokit_core::{Error, Result};

const WIDTH: usize = 5;
const BESIDE: usize = 2;

fn conditional(likelihood: Likelihood) -> Config {
    Config { condition_width: BESIDE, ..config(WIDTH, likelihood, Activation::Tanh) }
}

fn table() -> Likelihood {
    let members = [(vec![3, 0], Likelihood::Categorical(3)), (vec![1], Likelihood::Poisson)];
    Likelihood::Columns([&members[..], &[(vec![2, 4], Likelihood::Gaussian(Scale::Shared))]].concat())
}

fn model(likelihood: Likelihood) -> Model<f64> {
    let scaling = scaled(&likelihood);
    let mut model = Model::new(conditional(likelihood), scaling, Key(9)).unwrap();
    model.scale_condition(condition_scaling(BESIDE)).unwrap();
    model
}

/// elbo, reconstruction, kl, standard error.
fn elbo(model: &Model<f64>, source: &dyn Source<f64>) -> Result<Vec<Vec<f64>>> {
    let mut out = vec![vec![0.0; source.rows()]; 4];
    let [elbo, reconstruction, kl, standard_error] = out.as_mut_slice() else { unreachable!() };
    let terms = ElboTerms { elbo, reconstruction, kl, standard_error };
    vae::elbo(model, source, Key(3), 7, &Interrupt::default(), terms)?;
    Ok(out)
}

/// lower, estimate, upper, standard error, k-hat, ess.
fn evidence(model: &Model<f64>, source: &dyn Source<f64>, num_particles: usize, proposal: Proposal) -> Vec<Vec<f64>> {
    let mut out = vec![vec![0.0; source.rows()]; 6];
    let mut num_observed = vec![0; source.rows()];
    let [lower, estimate, upper, standard_error, khat, ess] = out.as_mut_slice() else { unreachable!() };
    let bounds = Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut num_observed };
    vae::log_evidence(model, source, Key(3), num_particles, proposal, &Interrupt::default(), bounds).unwrap();
    out
}

#[test]
fn gradients_agree_with_differences() {
    let gaussian = Likelihood::Gaussian(Scale::Shared);
    for (likelihood, num_particles, objective) in [
        (gaussian.clone(), 1, weight(0.7)),
        (table(), 3, weight(0.7)),
        (gaussian.clone(), 3, Objective { importance_weighted: true, ..weight(0.8) }),
        (Likelihood::Bernoulli, 1, Objective { free_bits: 0.05, ..weight(1.0) }),
    ] {
        check_gradient_of(conditional(likelihood), num_particles, objective);
    }
    // As wide as what both networks see: the first layers add what comes in.
    let residual = Config { hidden: vec![5, 7], residual: true, ..conditional(gaussian.clone()) };
    check_gradient_of(residual, 2, weight(0.7));
    check_gradient_of(Config { hidden: vec![], condition_width: 1, ..conditional(gaussian) }, 2, weight(0.7));
}

/// The model without a condition whose first biases hold what the weights make of this one.
fn absorbed(model: &Model<f64>, condition: &[f64]) -> Model<f64> {
    let config = Config { condition_width: 0, ..model.config().clone() };
    let mut out = Vec::new();
    let mut folded = Vec::new();
    for named in model.named() {
        match named.name.as_str() {
            "encoder.0.weight" | "decoder.0.weight" => {
                folded.clear();
                for row in named.values.chunks_exact(named.shape[1]) {
                    let (front, beside) = row.split_at(named.shape[1] - condition.len());
                    out.extend_from_slice(front);
                    let Scaling { shift, scale } = model.condition_scaling();
                    let by = |(j, w): (usize, &f64)| w * ((condition[j] - shift[j]) / scale[j]);
                    folded.push(beside.iter().enumerate().map(by).sum::<f64>());
                }
            }
            "encoder.0.bias" | "decoder.0.bias" => out.extend(named.values.iter().zip(&folded).map(|(b, f)| b + f)),
            _ => out.extend_from_slice(named.values),
        }
    }
    let mut plain = Model::zeros(config, model.scaling().clone()).unwrap();
    plain.set_parameters(&out).unwrap();
    plain
}

fn near(a: &[f64], b: &[f64], what: &str) {
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{what}: {a} {b}");
    }
}

#[test]
fn a_condition_that_all_rows_share_is_a_bias() {
    for likelihood in [table(), Likelihood::Gaussian(Scale::Predicted), Likelihood::Bernoulli] {
        let (model, c) = (model(likelihood.clone()), [1.7, -2.4]);
        let plain = absorbed(&model, &c);
        let (x, all) = (rows(&likelihood, 11, WIDTH), c.repeat(11));
        let (matrix, condition) = (Matrix::new(&x, WIDTH), Matrix::new(&all, BESIDE));
        let source = Conditioned::new(&matrix, &condition).unwrap();
        let encode = |model: &Model<f64>, source: &dyn Source<f64>| {
            let mut out = [vec![0.0; 33], vec![0.0; 33]];
            let [loc, log_var] = &mut out;
            vae::encode(model, source, &Interrupt::default(), loc, log_var).unwrap();
            out
        };
        let [loc, log_var] = encode(&model, &source);
        let [plain_loc, plain_log_var] = encode(&plain, &matrix);
        near(&loc, &plain_loc, "loc");
        near(&log_var, &plain_log_var, "log_var");

        let mut params = [vec![0.0; 11 * model.num_params_as_given()], vec![0.0; 11 * plain.num_params_as_given()]];
        vae::decode(&model, &loc, Some(&condition), &mut params[0]).unwrap();
        vae::decode(&plain, &loc, None, &mut params[1]).unwrap();
        near(&params[0], &params[1], "params");
        let mut means = [(); 2].map(|()| vec![0.0; 11 * model.likelihood().num_means()]);
        vae::mean(&model, &loc, Some(&condition), &mut means[0]).unwrap();
        vae::mean(&plain, &loc, None, &mut means[1]).unwrap();
        near(&means[0], &means[1], "means");

        // Training's noise hangs on the place alone.
        let order: Vec<u32> = (0..11).collect();
        let terms = |model: &Model<f64>, source: &dyn Source<f64>| {
            let batch = Batch { source, rows: &order, weights: None, key: Key(5), position: 0, objective: weight(0.5) };
            let terms = Trainer::new(model, 11, 11, 3).unwrap().gradient(model, &batch).unwrap().unwrap();
            [terms.reconstruction, terms.kl, terms.objective]
        };
        near(&terms(&model, &source), &terms(&plain, &matrix), "training");

        // Both models have their modes at one place, so the bounds differ by their noise alone.
        let [a, b] = [evidence(&model, &source, 4000, Proposal::Laplace), evidence(&plain, &matrix, 4000, Proposal::Laplace)];
        for row in 0..11 {
            let error = a[3][row].hypot(b[3][row]);
            assert!((a[1][row] - b[1][row]).abs() <= 5.0 * error + 1e-9, "{row}: {} {} ± {error}", a[1][row], b[1][row]);
        }
    }
}

#[test]
fn the_noise_of_a_row_hangs_on_its_condition() {
    let mut model = model(Likelihood::Gaussian(Scale::Fixed(1.0)));
    // Neither network looks at the condition.
    let blind: Vec<f64> = model
        .named()
        .iter()
        .flat_map(|named| {
            let inputs = *named.shape.last().unwrap();
            let blind = named.name.ends_with("0.weight");
            let values = named.values.iter().enumerate();
            values.map(move |(at, x)| if blind && at % inputs >= inputs - BESIDE { 0.0 } else { *x }).collect::<Vec<_>>()
        })
        .collect();
    model.set_parameters(&blind).unwrap();
    let x = rows(&Likelihood::Gaussian(Scale::Fixed(1.0)), 3, WIDTH);
    let matrix = Matrix::new(&x, WIDTH);
    let score = |c: &[f64]| elbo(&model, &Conditioned::new(&matrix, &Matrix::new(c, BESIDE)).unwrap()).unwrap();
    let [a, b] = [score(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), score(&[0.0, 1.0, 2.5, 3.0, 4.0, 5.0])];
    assert_eq!(a[2], b[2], "the KL has no noise");
    assert_eq!((a[0][0], a[0][2]), (b[0][0], b[0][2]));
    assert!(a[0][1] != b[0][1], "{a:?}");
    assert_eq!(a, score(&[-0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), "−0 is 0");
}

#[test]
fn a_row_scores_the_same_alone_shuffled_in_chunks_on_any_threads_and_at_every_level() {
    let (model, n) = (model(table()), 45);
    let (x, c) = (rows(&table(), n, WIDTH), conditions(n, BESIDE));
    let scores = |x: &[f64], c: &[f64]| {
        let (matrix, condition) = (Matrix::new(x, WIDTH), Matrix::new(c, BESIDE));
        let source = Conditioned::new(&matrix, &condition).unwrap();
        let mut scores = elbo(&model, &source).unwrap();
        scores.extend(evidence(&model, &source, 30, Proposal::Laplace));
        scores.extend(evidence(&model, &source, 30, Proposal::Posterior));
        let mut cells = vec![0.0; x.len() * 4];
        for (cells, proposal) in cells.chunks_exact_mut(x.len() * 2).zip([Proposal::Laplace, Proposal::Posterior]) {
            let (means, draws) = cells.split_at_mut(x.len());
            vae::impute(&model, &source, Key(4), 30, proposal, &Interrupt::default(), means).unwrap();
            vae::impute_draws(&model, &source, Key(4), 30, 1, proposal, &Interrupt::default(), draws).unwrap();
        }
        let mut columns = vec![0.0; x.len()];
        vae::elbo_per_column(&model, &source, Key(3), 7, &Interrupt::default(), &mut columns).unwrap();
        // One line a row.
        let rows = x.len() / WIDTH;
        (0..rows)
            .flat_map(|row| {
                let cells = cells.chunks_exact(rows * WIDTH).chain([columns.as_slice()]);
                let cells: Vec<f64> = cells.flat_map(|cells| cells[row * WIDTH..][..WIDTH].to_vec()).collect();
                scores.iter().map(|s| s[row]).chain(cells).collect::<Vec<_>>()
            })
            .collect::<Vec<f64>>()
    };
    same_on_any_threads("a conditional model", || scores(&x, &c));
    same_at_every_level("a conditional model", || scores(&x, &c));
    let all = scores(&x, &c);
    let line = all.len() / n;
    for size in [1, 7] {
        let chunks = x.chunks(size * WIDTH).zip(c.chunks(size * BESIDE));
        let chunked: Vec<f64> = chunks.flat_map(|(x, c)| scores(x, c)).collect();
        assert_eq!(crate::reference::bits(&all), crate::reference::bits(&chunked), "in chunks of {size}");
    }
    let reversed = |x: &[f64], width: usize| x.chunks(width).rev().flatten().copied().collect::<Vec<f64>>();
    let backward = reversed(&scores(&reversed(&x, WIDTH), &reversed(&c, BESIDE)), line);
    assert_eq!(crate::reference::bits(&all), crate::reference::bits(&backward), "reversed");
}

fn trained(n: usize) -> Vec<f32> {
    let (x, c) = (rows(&table(), n, WIDTH), conditions(n, BESIDE));
    let config = Config { hidden: vec![200, 90], ..conditional(table()) };
    let mut model = Model::<f32>::new(config, Scaling::identity(WIDTH), Key(0)).unwrap();
    model.scale_condition(condition_scaling(BESIDE)).unwrap();
    let mut trainer = Trainer::new(&model, n, 64, 2).unwrap();
    let (matrix, condition) = (Matrix::new(&x, WIDTH), Matrix::new(&c, BESIDE));
    let source = Conditioned::new(&matrix, &condition).unwrap();
    let order: Vec<u32> = (0..n as u32).rev().collect();
    for epoch in 0..2 {
        let source = Subset::new(&source, &order);
        let terms = trainer.epoch(&mut model, &source, None, epoch, Key(7), Options::default(), &Interrupt::default()).unwrap();
        assert!(n == 0 || terms.elbo.is_finite());
    }
    model.parameters().to_vec()
}

#[test]
fn training_is_the_same_bits_on_any_threads_and_level_and_of_any_size() {
    same_on_any_threads("a conditional model's training", || trained(150));
    same_at_every_level("a conditional model's training", || trained(150));
    for n in [0, 1, 63, 64, 65] {
        trained(n);
    }
}

#[test]
fn evidence_of_a_linear_model_is_the_regressions_normal_density() {
    // x ~ N(w z + a c + b, 0.5²), and the encoder is the exact posterior.
    let config = Config {
        num_features: 1,
        latent_dim: 1,
        hidden: vec![],
        likelihood: Likelihood::Gaussian(Scale::Fixed(0.5)),
        activation: Activation::Relu,
        layer_norm: false,
        residual: false,
        condition_width: 1,
        prior: Prior::Standard,
    };
    let mut model = Model::<f64>::zeros(config, Scaling { shift: vec![3.0], scale: vec![4.0] }).unwrap();
    model.scale_condition(Scaling { shift: vec![-1.0], scale: vec![2.0] }).unwrap();
    let (w, a, b, noise) = (0.8, 0.6, 0.3, 0.25);
    let gain = w / (w * w + noise);
    let log_var = f64::ln(noise / (w * w + noise));
    model.set_parameters(&[gain, -gain * a, 0.0, 0.0, -gain * b, log_var, w, a, b]).unwrap();
    let (x, c) = ([2.0, 3.5, 10.0], [0.5, -4.0, 1.0]);
    let (matrix, condition) = (Matrix::new(&x, 1), Matrix::new(&c, 1));
    let source = Conditioned::new(&matrix, &condition).unwrap();
    for (proposal, allowed) in [(Proposal::Posterior, 1e-13), (Proposal::Laplace, 0.02)] {
        let out = evidence(&model, &source, 1000, proposal);
        for (i, (x, c)) in x.iter().zip(&c).enumerate() {
            let off = (x - 3.0) / 4.0 - a * ((c + 1.0) / 2.0) - b;
            let variance = w * w + noise;
            let exact = -0.5 * (off * off / variance + (2.0 * std::f64::consts::PI * variance).ln()) - 4.0_f64.ln();
            for bound in &out[..3] {
                assert!((bound[i] - exact).abs() < allowed * (1.0 + exact.abs()), "{proposal:?}: {} {exact}", bound[i]);
            }
        }
    }
}

#[test]
fn a_file_keeps_the_condition_and_says_nothing_without_one() {
    let model = model(table());
    let bytes = to_bytes(&model).unwrap();
    let AnyModel::F64(again) = from_bytes(&bytes).unwrap() else { panic!("another dtype") };
    assert_eq!((again.config(), again.parameters()), (model.config(), model.parameters()));
    assert_eq!(again.condition_scaling(), model.condition_scaling());
    assert_eq!(to_bytes(&again).unwrap(), bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("condition_width") && text.contains("condition.scale"));
    let plain = Model::<f64>::new(config(WIDTH, table(), Activation::Tanh), scaled(&table()), Key(9)).unwrap();
    assert!(!String::from_utf8_lossy(&to_bytes(&plain).unwrap()).contains("condition"));
    for (from, to) in [("condition_width\\\":2", "condition_width\\\":0"), ("condition_width\\\":2", "condition_width\\\":3")] {
        let mut bad = bytes.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        bad[at..at + to.len()].copy_from_slice(to.as_bytes());
        assert!(matches!(from_bytes(&bad), Err(Error::ModelFile { .. })), "{to}");
    }
}

#[test]
fn what_is_wrong_with_a_condition_is_named() {
    let (model, n) = (model(Likelihood::Bernoulli), 70);
    let plain = absorbed(&model, &[0.0, 0.0]);
    let (x, c) = (rows(&Likelihood::Bernoulli, n, WIDTH), conditions(n, 3));
    let matrix = Matrix::new(&x, WIDTH);
    let beside = |c: &[f64], width: usize| {
        let condition = Matrix::new(c, width);
        Conditioned::new(&matrix, &condition).and_then(|source| elbo(&model, &source)).err()
    };
    let is_shape = |error: Option<Error>| matches!(error, Some(Error::Shape { argument: "condition", .. }));
    assert!(is_shape(beside(&c[..2 * n - 2], 2)), "rows");
    assert!(is_shape(beside(&c, 3)), "columns");
    assert!(is_shape(elbo(&model, &matrix).err()), "none");
    let good = Matrix::new(&c[..2 * n], 2);
    let source = Conditioned::new(&matrix, &good).unwrap();
    assert!(is_shape(elbo(&plain, &source).err()), "one for a model without");
    assert!(is_shape(vae::decode(&model, &[0.0; 3], None, &mut [0.0; 5]).err()), "decode without");
    assert!(is_shape(vae::decode(&model, &[0.0; 3], Some(&good), &mut [0.0; 5]).err()), "decode with other rows");
    assert!(is_shape(vae::decode(&plain, &[0.0; 3], Some(&good), &mut [0.0; 5]).err()), "decode of a model without");
    let order: Vec<u32> = (0..n as u32).rev().collect();
    let batch = |source| Batch { source, rows: &order, weights: None, key: Key(0), position: 0, objective: weight(1.0) };
    let mut trainer = Trainer::new(&model, n, n, 1).unwrap();
    assert!(is_shape(trainer.gradient(&model, &batch(&matrix)).err()), "training without");

    let mut bad = c[..2 * n].to_vec();
    bad[2 * 50 + 1] = f64::NAN;
    let named = |error: Option<Error>| matches!(error, Some(Error::NonFinite { argument: "condition", row: 50, column: 1, value }) if value.is_nan());
    assert!(named(beside(&bad, 2)));
    let condition = Matrix::new(&bad, 2);
    let source = Conditioned::new(&matrix, &condition).unwrap();
    assert!(named(trainer.gradient(&model, &batch(&source)).err()));
    let z = vec![0.0; 3 * n];
    assert!(named(vae::decode(&model, &z, Some(&condition), &mut vec![0.0; 5 * n]).err()));
    // A row that counts for nothing may hold anything.
    let weights: Vec<f64> = (0..n).map(|row| f64::from(u8::from(row != 50))).collect();
    assert!(trainer.gradient(&model, &Batch { weights: Some(&weights), ..batch(&source) }).unwrap().is_some());
}
