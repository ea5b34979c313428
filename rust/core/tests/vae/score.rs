//! Scores are of the row alone: whatever stands beside it, whoever computes it.

use crate::reference::settings;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::Activation;
use elbokit_core::random::{Key, fill_normals};
use elbokit_core::threads::{Interrupt, set_num_threads};
use elbokit_core::vae::{self, Conditioned, Config, ElboTerms, Evidence, Matrix, Model, Prior, Proposal, Scaling, Source, Subset};
use elbokit_core::{Error, Result};

const WIDTH: usize = 9;

fn model(likelihood: Likelihood) -> Model<f32> {
    let mut scaling = Scaling::identity(WIDTH);
    if let Likelihood::Gaussian(_) = likelihood {
        scaling.scale[3] = 2.5;
        scaling.shift[4] = -1.0;
    }
    let config = Config {
        num_features: WIDTH,
        latent_dim: 5,
        hidden: vec![20, 13],
        likelihood,
        activation: Activation::Tanh,
        layer_norm: false,
        residual: false,
        condition_width: 0,
        prior: Prior::Standard,
    };
    Model::new(config, scaling, Key(1)).unwrap()
}

fn rows(n: usize) -> Vec<f32> {
    let mut x = vec![0.0; n * WIDTH];
    fill_normals(Key(2), 0, 0, WIDTH, &mut x);
    x.iter_mut().step_by(11).for_each(|x| *x = f32::NAN);
    x
}

/// elbo, reconstruction, kl, standard error.
fn elbo(model: &Model<f32>, source: &dyn Source<f32>, num_particles: usize) -> Result<[Vec<f32>; 4]> {
    let mut out: [Vec<f32>; 4] = std::array::from_fn(|_| vec![0.0; source.rows()]);
    let [elbo, reconstruction, kl, standard_error] = &mut out;
    let terms = ElboTerms { elbo, reconstruction, kl, standard_error };
    vae::elbo(model, source, Key(3), num_particles, &Interrupt::default(), terms)?;
    Ok(out)
}

/// lower, estimate, upper, standard error, k-hat, ess; and the observed cells.
fn evidence(model: &Model<f32>, source: &dyn Source<f32>, num_particles: usize) -> ([Vec<f32>; 6], Vec<u64>) {
    let mut out: [Vec<f32>; 6] = std::array::from_fn(|_| vec![0.0; source.rows()]);
    let mut num_observed = vec![0; source.rows()];
    let [lower, estimate, upper, standard_error, khat, ess] = &mut out;
    let bounds = Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut num_observed };
    vae::log_evidence(model, source, Key(3), num_particles, Proposal::Posterior, &Interrupt::default(), bounds).unwrap();
    (out, num_observed)
}

#[test]
fn a_row_scores_the_same_alone_shuffled_in_chunks_and_on_other_threads() {
    let _alone = settings();
    let model = model(Likelihood::Gaussian(Scale::Predicted));
    let x = rows(150);
    let matrix = Matrix::new(&x, WIDTH);
    for num_particles in [1, 16, 300] {
        set_num_threads(2).unwrap();
        let all = elbo(&model, &matrix, num_particles).unwrap();
        let (bounds, _) = evidence(&model, &matrix, num_particles);
        set_num_threads(1).unwrap();
        assert_eq!(all, elbo(&model, &matrix, num_particles).unwrap(), "on one thread");
        let reversed: Vec<f32> = x.chunks(WIDTH).rev().flatten().copied().collect();
        let mut shuffled = elbo(&model, &Matrix::new(&reversed, WIDTH), num_particles).unwrap();
        for scores in &mut shuffled {
            scores.reverse();
        }
        assert_eq!(all, shuffled, "reversed");
        for size in [1, 7] {
            let chunks: Vec<_> =
                x.chunks(size * WIDTH).map(|x| elbo(&model, &Matrix::new(x, WIDTH), num_particles).unwrap()).collect();
            for (i, all) in all.iter().enumerate() {
                let chunked: Vec<f32> = chunks.iter().flat_map(|c| c[i].clone()).collect();
                assert_eq!(*all, chunked, "in chunks of {size}");
            }
            let chunks = x.chunks(size * WIDTH).map(|x| evidence(&model, &Matrix::new(x, WIDTH), num_particles).0);
            let lower: Vec<f32> = chunks.flat_map(|[lower, ..]| lower).collect();
            assert_eq!(bounds[0], lower);
        }
        let twice: Vec<f32> = x.iter().chain(&x).copied().collect();
        let [twice, ..] = elbo(&model, &Matrix::new(&twice, WIDTH), num_particles).unwrap();
        assert_eq!(twice[..150], twice[150..], "repeated");
    }
}

#[test]
fn zero_and_missing_cells_are_hashed_by_what_they_mean() {
    let model = model(Likelihood::Gaussian(Scale::Fixed(1.0)));
    let mut x = rows(1);
    x[1] = 0.0;
    let plain = elbo(&model, &Matrix::new(&x, WIDTH), 4).unwrap();
    x[1] = -0.0;
    x[0] = -f32::NAN;
    assert_eq!(plain, elbo(&model, &Matrix::new(&x, WIDTH), 4).unwrap());
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    assert_eq!(plain, elbo(&model, &Matrix::new(&wide, WIDTH), 4).unwrap());
}

#[test]
fn bounds_are_ordered_and_agree_with_the_elbo() {
    let model = model(Likelihood::Gaussian(Scale::Predicted));
    let x = rows(40);
    let matrix = Matrix::new(&x, WIDTH);
    let [elbo, _, _, error] = elbo(&model, &matrix, 2000).unwrap();
    let ([lower, estimate, upper, _, khat, ess], num_observed) = evidence(&model, &matrix, 2000);
    for i in 0..40 {
        assert!(elbo[i] <= upper[i] + 5.0 * error[i], "{i}");
        assert!(elbo[i] <= lower[i] + 5.0 * error[i], "{i}");
        assert!(lower[i] <= estimate[i] && estimate[i] <= upper[i], "{i}");
        assert!(ess[i] >= 1.0 && ess[i] <= 2000.0, "{i}");
        assert_eq!(upper[i] == f32::INFINITY, f64::from(khat[i]) > 1.0 - 1.0 / 2000_f64.log10(), "{}", khat[i]);
        let seen = x[i * WIDTH..][..WIDTH].iter().filter(|x| !x.is_nan()).count();
        assert_eq!(num_observed[i], seen as u64);
    }
    assert!(khat.iter().any(|k| *k < 0.5), "{khat:?}");
    let ([_, _, upper, error, khat, _], _) = evidence(&model, &matrix, 1);
    assert!(upper.iter().chain(&error).chain(&khat).all(|x| *x == f32::INFINITY));
    let ([lower, _, upper, _, khat, _], _) = evidence(&model, &matrix, 24);
    assert!(upper.iter().chain(&khat).all(|x| *x == f32::INFINITY) && lower.iter().all(|x| x.is_finite()));
    assert!(evidence(&model, &matrix, 25).0[4].iter().all(|khat| khat.is_finite()));
}

#[test]
fn evidence_of_a_linear_model_is_its_normal_density() {
    // Without hidden layers and with a decoder of weight w and bias b: x ~ N(b, w² + scale²).
    let config = Config {
        num_features: 1,
        latent_dim: 1,
        hidden: vec![],
        likelihood: Likelihood::Gaussian(Scale::Fixed(0.5)),
        activation: Activation::Relu,
        layer_norm: false,
        residual: false,
        condition_width: 0,
        prior: Prior::Standard,
    };
    let scaling = Scaling { shift: vec![3.0], scale: vec![4.0] };
    let mut model = Model::<f64>::zeros(config, scaling).unwrap();
    let (w, b, noise) = (0.8, 0.3, 0.25);
    // The encoder is the exact posterior N(w (x − b) / (w² + noise), noise / (w² + noise)).
    let gain = w / (w * w + noise);
    let log_var = f64::ln(noise / (w * w + noise));
    model.set_parameters(&[gain, 0.0, -gain * b, log_var, w, b]).unwrap();
    let x = [2.0, 3.5, 10.0];
    let matrix = Matrix::new(&x, 1);
    let mut out = [[0.0; 3]; 6];
    let mut num_observed = [0; 3];
    let [lower, estimate, upper, standard_error, khat, ess] = &mut out;
    let bounds = Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut num_observed };
    vae::log_evidence(&model, &matrix, Key(0), 50, Proposal::Posterior, &Interrupt::default(), bounds).unwrap();
    for (i, x) in x.iter().enumerate() {
        let z = (x - 3.0) / 4.0 - b;
        let variance = w * w + noise;
        let exact = -0.5 * (z * z / variance + (2.0 * std::f64::consts::PI * variance).ln()) - 4.0_f64.ln();
        for bound in &out[..3] {
            assert!((bound[i] - exact).abs() < 1e-13 * (1.0 + exact.abs()), "{} {exact}", bound[i]);
        }
        assert!(out[4][i] == 0.0 && (out[5][i] - 50.0).abs() < 1e-9, "{out:?}");
    }
}

#[test]
fn rows_without_a_cell_have_evidence_zero_and_elbo_minus_kl() {
    let model = model(Likelihood::Bernoulli);
    let x = [f32::NAN; 2 * WIDTH];
    let matrix = Matrix::new(&x, WIDTH);
    let [elbo, reconstruction, kl, _] = elbo(&model, &matrix, 3).unwrap();
    assert_eq!(reconstruction, [0.0, 0.0]);
    assert_eq!(elbo, [-kl[0], -kl[1]]);
    let ([lower, estimate, upper, ..], num_observed) = evidence(&model, &matrix, 50);
    assert_eq!([lower, estimate, upper], [const { [0.0; 2] }; 3]);
    assert_eq!(num_observed, [0, 0]);
}

#[test]
fn bad_cells_are_named_and_no_rows_are_fine() {
    let model = model(Likelihood::Binomial(3));
    let mut x = vec![1_i64; 100 * WIDTH];
    x[77 * WIDTH + 4] = 9;
    let error = elbo(&model, &Matrix::new(&x, WIDTH), 2).unwrap_err();
    assert!(matches!(error, Error::Support { argument: "x", row: 77, column: 4, value: 9.0, .. }), "{error}");
    let error = elbo(&model, &Matrix::new(&x, WIDTH - 1), 2).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "x", .. }), "{error}");
    let none: [Vec<f32>; 4] = elbo(&model, &Matrix::new(&[0_u8; 0], WIDTH), 2).unwrap();
    assert!(none[0].is_empty());
}

#[test]
fn a_posterior_past_the_range_gives_infinities_and_never_nan() {
    let mut model = model(Likelihood::Gaussian(Scale::Predicted));
    let huge: Vec<f32> = model.parameters().iter().map(|p| p * 1e37).collect();
    model.set_parameters(&huge).unwrap();
    let x = rows(5);
    let matrix = Matrix::new(&x, WIDTH);
    let terms = elbo(&model, &matrix, 7).unwrap();
    let (bounds, _) = evidence(&model, &matrix, 7);
    assert!(terms.iter().chain(&bounds).flatten().all(|x| !x.is_nan()), "{terms:?} {bounds:?}");
    assert!(terms[0].iter().all(|x| *x == f32::NEG_INFINITY));
}

#[test]
fn posterior_of_a_row_alone_is_its_posterior_among_others() {
    let model = model(Likelihood::Gaussian(Scale::Fixed(1.0)));
    let x = rows(70);
    let encode = |x: &[f32]| {
        let len = x.len() / WIDTH * 5;
        let (mut loc, mut log_var) = (vec![0.0; len], vec![0.0; len]);
        vae::encode(&model, &Matrix::new(x, WIDTH), &Interrupt::default(), &mut loc, &mut log_var).unwrap();
        (loc, log_var)
    };
    let (loc, log_var) = encode(&x);
    assert_eq!((loc[69 * 5..].to_vec(), log_var[69 * 5..].to_vec()), encode(&x[69 * WIDTH..]));
    assert!(vae::decode(&model, &loc, None, &mut [0.0; 3]).is_err());
}

#[test]
fn params_and_means_are_of_rows_as_given() {
    let scaled = model(Likelihood::Gaussian(Scale::Predicted));
    let mut plain = Model::<f32>::zeros(scaled.config().clone(), Scaling::identity(WIDTH)).unwrap();
    plain.set_parameters(scaled.parameters()).unwrap();
    let mut z = [0.0; 200 * 5];
    fill_normals(Key(5), 0, 0, 5, &mut z);
    let decode = |model: &Model<f32>| {
        let (mut params, mut mean) = (vec![0.0; 200 * 2 * WIDTH], vec![0.0; 200 * WIDTH]);
        vae::decode(model, &z, None, &mut params).unwrap();
        vae::mean(model, &z, None, &mut mean).unwrap();
        (params, mean)
    };
    let (params, mean) = decode(&scaled);
    let (inner, _) = decode(&plain);
    let rows = params.chunks(2 * WIDTH).zip(inner.chunks(2 * WIDTH)).zip(mean.chunks(WIDTH));
    for ((params, inner), mean) in rows {
        assert_eq!(*mean, params[..WIDTH]);
        assert_eq!([params[0], params[WIDTH]], [inner[0], inner[WIDTH]]);
        assert_eq!(params[3], (f64::from(inner[3]) * 2.5) as f32);
        assert_eq!(params[4], (f64::from(inner[4]) - 1.0) as f32);
        assert!((params[WIDTH + 3] - inner[WIDTH + 3] - 2.0 * 2.5_f32.ln()).abs() < 1e-6);
    }
}

#[test]
fn a_cell_that_leaves_the_range_when_scaled_scores_minus_infinity_or_a_number() {
    for scale in [Scale::Fixed(1.0), Scale::Predicted] {
        let mut scaling = Scaling::identity(WIDTH);
        scaling.scale[3] = 1e-3;
        let plain = model(Likelihood::Gaussian(scale));
        let mut model = Model::<f32>::zeros(plain.config().clone(), scaling).unwrap();
        model.set_parameters(plain.parameters()).unwrap();
        let mut x = rows(3);
        for huge in [3e38, -3e38] {
            x[WIDTH + 3] = huge;
            let matrix = Matrix::new(&x, WIDTH);
            let terms = elbo(&model, &matrix, 4).unwrap();
            let (bounds, _) = evidence(&model, &matrix, 40);
            assert!(terms.iter().chain(&bounds).flatten().all(|x| !x.is_nan()), "{terms:?} {bounds:?}");
            assert!(terms[0][1] < -1e30 && bounds[0][1] < -1e30 && terms[0][0].is_finite() && terms[0][2].is_finite());
        }
        x[WIDTH + 3] = f32::INFINITY;
        let error = elbo(&model, &Matrix::new(&x, WIDTH), 4).unwrap_err();
        assert!(matches!(error, Error::NonFinite { argument: "x", row: 1, column: 3, .. }), "{error}");
    }
}

#[test]
fn the_cure_for_a_bad_cell_fits_its_whole_column_on_any_number_of_threads() {
    let _alone = settings();
    let model = model(Likelihood::Bernoulli);
    let mut x = vec![1_u8; 3000 * WIDTH];
    x[50 * WIDTH + 4] = 2;
    x[2990 * WIDTH + 4] = 9;
    x[2995 * WIDTH + 1] = 7;
    for threads in [1, 2] {
        set_num_threads(threads).unwrap();
        match elbo(&model, &Matrix::new(&x, WIDTH), 2) {
            Err(Error::Support { row: 50, column: 4, value: 2.0, cure, .. }) => {
                assert!(cure.starts_with("column 4 fits Binomial(9), or"), "{cure}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn integers_are_rounded_once() {
    // By way of float64 this would become a tie, and go down.
    let x = [(1_i64 << 53) + (1 << 29) + 1];
    let mut row = [0.0_f32];
    Matrix::new(&x, 1).copy_row(0, &mut row);
    assert_eq!(row, [((1_i64 << 53) + (1 << 30)) as f32]);
}

#[test]
fn rows_are_copied_in_the_order_asked_for() {
    let x: Vec<i32> = (0..50 * 33).collect();
    let beside: Vec<i32> = (0..50).collect();
    for width in [1, 3, 33] {
        let (matrix, condition) = (Matrix::new(&x[..50 * width], width), Matrix::new(&beside, 1));
        let conditioned = Conditioned::new(&matrix, &condition).unwrap();
        let chosen: Vec<u32> = (0..200).map(|i| i * 7 % 50).collect();
        let subset = Subset::new(&conditioned, &chosen);
        let sources: [(&dyn Source<f32>, usize); 3] = [(&matrix, 50), (&conditioned, 50), (&subset, 200)];
        for (source, rows) in sources {
            let order: Vec<u32> = (0..150).map(|i| i * 11 % rows as u32).collect();
            let (mut all, mut one) = (vec![0.0_f32; order.len() * width], vec![0.0_f32; width]);
            source.copy_rows(&order, &mut all);
            for (&row, copied) in order.iter().zip(all.chunks_exact(width)) {
                source.copy_row(row as usize, &mut one);
                assert_eq!(copied, one);
                let of = if rows == 200 { chosen[row as usize] } else { row } as usize;
                assert_eq!(one[0], x[of * width] as f32);
            }
        }
    }
}
