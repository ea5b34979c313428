//! Laplace's approximation as a proposal for the evidence: exact where the posterior is Gaussian, sound for every kind, of the row alone.

use crate::fits::{config, rows, scaled};
use crate::reference::{same_at_every_level, same_on_any_threads};
use elbokit_core::exact::LinearGaussian;
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::network::mlp::{Extent, Hidden, Mlp, Trace};
use elbokit_core::network::tangents::Tangents;
use elbokit_core::network::{Activation, Parameters};
use elbokit_core::random::{Draw, Key, fill_normals};
use elbokit_core::threads::Interrupt;
use elbokit_core::vae::{self, Config, Element, Evidence, Matrix, Model, Prior, Proposal, Scaling, Source};
use elbokit_core::{Error, Float};

/// lower, estimate, upper, standard error, k-hat, ess; and for how many rows no mode was found.
fn evidence<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    num_particles: usize,
    proposal: Proposal,
) -> ([Vec<F>; 6], usize) {
    let mut out: [Vec<F>; 6] = std::array::from_fn(|_| vec![F::ZERO; source.rows()]);
    let mut num_observed = vec![0; source.rows()];
    let [lower, estimate, upper, standard_error, khat, ess] = &mut out;
    let bounds = Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut num_observed };
    let without = vae::log_evidence(model, source, Key(3), num_particles, proposal, &Interrupt::default(), bounds).unwrap();
    (out, without)
}

fn kinds() -> Vec<Likelihood> {
    let mut kinds: Vec<Likelihood> = [Scale::Fixed(0.8), Scale::Shared, Scale::PerFeature, Scale::Predicted]
        .into_iter()
        .flat_map(|scale| {
            [Likelihood::Gaussian(scale.clone()), Likelihood::Laplace(scale.clone()), Likelihood::StudentT(3.0, scale)]
        })
        .collect();
    kinds.extend([
        Likelihood::Bernoulli,
        Likelihood::ContinuousBernoulli,
        Likelihood::Binomial(9),
        Likelihood::Categorical(4),
        Likelihood::Poisson,
        Likelihood::NegativeBinomial,
        Likelihood::ZeroInflatedNegativeBinomial,
        Likelihood::Columns(vec![
            (vec![3, 0], Likelihood::Gaussian(Scale::Shared)),
            (vec![4], Likelihood::Categorical(3)),
            (vec![1], Likelihood::NegativeBinomial),
            (vec![2], Likelihood::StudentT(4.0, Scale::PerFeature)),
        ]),
    ]);
    kinds
}

/// A model whose decoder's weights are `factor` times their start: the larger, the more its latents matter.
fn model<F: Float + Draw>(likelihood: &Likelihood, factor: f64) -> Model<F> {
    let mut model = Model::<F>::new(config(5, likelihood.clone(), Activation::Tanh), scaled(likelihood), Key(4)).unwrap();
    let mut parameters = Vec::new();
    for named in model.named() {
        let factor = F::from_f64(if named.name.starts_with("decoder") && named.name.ends_with("weight") { factor } else { 1.0 });
        parameters.extend(named.values.iter().map(|x| *x * factor));
    }
    model.set_parameters(&parameters).unwrap();
    model
}

#[test]
fn a_linear_model_is_met_up_to_the_widening() {
    fn check<F: Float + Draw + Element>(rounding: f64) {
        const WIDTH: usize = 6;
        const LATENTS: usize = 3;
        let likelihood = Likelihood::Gaussian(Scale::Fixed(0.5));
        let config = Config {
            num_features: WIDTH,
            latent_dim: LATENTS,
            hidden: vec![],
            likelihood,
            activation: Activation::Relu,
            layer_norm: false,
            residual: false,
            condition_width: 0,
            prior: Prior::Standard,
        };
        // The encoder is as it comes: nothing but a start.
        let model = Model::<F>::new(config, Scaling::identity(WIDTH), Key(8)).unwrap();
        let named = model.named();
        let decoder =
            |name: &str| -> Vec<f64> { named.iter().find(|n| n.name == name).unwrap().values.iter().map(|x| x.to_f64()).collect() };
        let exact = LinearGaussian::new(&decoder("decoder.0.weight"), &decoder("decoder.0.bias"), &[0.25; WIDTH], LATENTS).unwrap();
        let mut x = vec![F::ZERO; 50 * WIDTH];
        fill_normals(Key(2), 0, 0, WIDTH, &mut x);
        x.iter_mut().step_by(7).for_each(|x| *x = F::from_f64(f64::NAN));
        let mut known = vec![F::ZERO; 50];
        exact.log_evidence(&x, &mut known).unwrap();
        let particles = 4000;
        let ([lower, estimate, upper, error, khat, ess], without) =
            evidence(&model, &Matrix::new(&x, WIDTH), particles, Proposal::Laplace);
        assert_eq!(without, 0);
        // Of a Gaussian 1.15 times as wide, E[w²] / E[w]² is s / √(2 − 1/s²) a latent.
        let share = (1.15_f64 / f64::sqrt(2.0 - 1.0 / (1.15 * 1.15))).powi(-(LATENTS as i32));
        for row in 0..50 {
            let off = estimate[row].to_f64() - known[row].to_f64();
            let error = error[row].to_f64();
            assert!(off.abs() <= 5.0 * error + rounding && error < 0.01, "{row}: off by {off}, error {error}");
            assert!(lower[row] <= estimate[row] && estimate[row] <= upper[row] && upper[row].finite());
            // The weights are bounded.
            assert!(khat[row].to_f64() < 0.3, "{row}: k-hat {}", khat[row]);
            let ess = ess[row].to_f64() / particles as f64;
            assert!((ess - share).abs() < 0.03, "{row}: {ess} {share}");
        }
    }
    check::<f64>(1e-12);
    check::<f32>(1e-5);
}

#[test]
fn every_kind_agrees_with_draws_from_q() {
    for likelihood in kinds() {
        // q knows little of these rows, and comes near only where the posterior is wide.
        let model = model::<f64>(&likelihood, 1.0);
        let x = rows(&likelihood, 40, 5);
        let matrix = Matrix::new(&x, 5);
        let ([lower, estimate, upper, error, khat, _], without) = evidence(&model, &matrix, 2000, Proposal::Laplace);
        let ([_, by_q, _, error_q, khat_q, _], _) = evidence(&model, &matrix, 20_000, Proposal::Posterior);
        assert_eq!(without, 0, "{likelihood:?}");
        let mut compared = 0;
        for row in 0..40 {
            assert!(lower[row].is_finite() && lower[row] <= estimate[row] && estimate[row] <= upper[row], "{likelihood:?} {row}");
            if khat[row] < 0.5 && khat_q[row] < 0.5 {
                let error = error[row].hypot(error_q[row]);
                let off = estimate[row] - by_q[row];
                assert!(off.abs() <= 6.0 * error + 1e-9, "{likelihood:?} {row}: {off} of {error}");
                compared += 1;
            }
        }
        assert!(compared >= 10, "{likelihood:?}: {compared} rows");
    }
}

#[test]
fn a_row_is_drawn_around_the_same_mode_in_any_company() {
    for likelihood in [Likelihood::Binomial(9), kinds().pop().unwrap()] {
        let model = model::<f32>(&likelihood, 3.0);
        let x: Vec<f32> = rows(&likelihood, 150, 5).iter().map(|x| *x as f32).collect();
        let whole = || evidence(&model, &Matrix::new(&x, 5), 30, Proposal::Laplace).0;
        same_on_any_threads(likelihood.name(), || whole().concat());
        same_at_every_level(likelihood.name(), || whole().concat());
        let all = whole();
        let reversed: Vec<f32> = x.chunks(5).rev().flatten().copied().collect();
        let mut shuffled = evidence(&model, &Matrix::new(&reversed, 5), 30, Proposal::Laplace).0;
        for scores in &mut shuffled {
            scores.reverse();
        }
        assert_eq!(all, shuffled);
        for size in [1, 7] {
            let chunks = x.chunks(size * 5).map(|x| evidence(&model, &Matrix::new(x, 5), 30, Proposal::Laplace).0[1].clone());
            assert_eq!(all[1], chunks.flatten().collect::<Vec<f32>>(), "in chunks of {size}");
        }
    }
}

fn weighed<F: Float + Draw>(model: &Model<F>, source: &dyn Source<F>, z: &[F], proposal: Proposal) -> Vec<F> {
    let mut out = vec![F::ZERO; source.rows()];
    vae::weigh(model, source, z, proposal, &Interrupt::default(), &mut out).unwrap();
    out
}

#[test]
fn given_latents_and_hashes_are_of_their_row_alone() {
    for likelihood in [Likelihood::Binomial(9), kinds().pop().unwrap()] {
        let model = model::<f32>(&likelihood, 3.0);
        let x: Vec<f32> = rows(&likelihood, 150, 5).iter().map(|x| *x as f32).collect();
        let latents = model.config().latent_dim;
        let mut z = vec![0.0_f32; 150 * latents];
        fill_normals(Key(6), 0, 0, latents, &mut z);
        for proposal in [Proposal::Posterior, Proposal::Laplace] {
            let whole = || weighed(&model, &Matrix::new(&x, 5), &z, proposal);
            same_on_any_threads(likelihood.name(), whole);
            same_at_every_level(likelihood.name(), whole);
            let alone = x.chunks(5).zip(z.chunks(latents)).flat_map(|(x, z)| weighed(&model, &Matrix::new(x, 5), z, proposal));
            assert_eq!(whole(), alone.collect::<Vec<f32>>());
        }
        let hashes = |x: &[f32]| {
            let mut out = vec![0; x.len() / 5];
            vae::hashes(&model, &Matrix::new(x, 5), &Interrupt::default(), &mut out).unwrap();
            out
        };
        assert_eq!(hashes(&x), x.chunks(5).flat_map(hashes).collect::<Vec<u64>>());
        z[7] = f32::NAN;
        let mut out = vec![0.0; 150];
        let refused = vae::weigh(&model, &Matrix::new(&x, 5), &z, Proposal::Posterior, &Interrupt::default(), &mut out);
        assert!(matches!(refused, Err(Error::NonFinite { argument: "z", .. })), "{refused:?}");
        let refused = vae::weigh(&model, &Matrix::new(&x, 5), &z[1..], Proposal::Posterior, &Interrupt::default(), &mut out);
        assert!(matches!(refused, Err(Error::Shape { argument: "z", .. })), "{refused:?}");
    }
}

#[test]
fn given_latents_of_a_linear_model_are_weighed_by_the_exact_posterior() {
    fn check<F: Float + Draw + Element>(tolerance: f64) {
        const WIDTH: usize = 6;
        const LATENTS: usize = 3;
        let config = Config {
            num_features: WIDTH,
            condition_width: 0,
            latent_dim: LATENTS,
            hidden: vec![],
            likelihood: Likelihood::Gaussian(Scale::Fixed(0.5)),
            activation: Activation::Relu,
            layer_norm: false,
            residual: false,
            prior: Prior::Standard,
        };
        let model = Model::<F>::new(config, Scaling::identity(WIDTH), Key(8)).unwrap();
        let named = model.named();
        let decoder =
            |name: &str| -> Vec<f64> { named.iter().find(|n| n.name == name).unwrap().values.iter().map(|x| x.to_f64()).collect() };
        let (weight, bias) = (decoder("decoder.0.weight"), decoder("decoder.0.bias"));
        let exact = LinearGaussian::new(&weight, &bias, &[0.25; WIDTH], LATENTS).unwrap();
        let (mut x, mut z, mut known) = (vec![F::ZERO; 40 * WIDTH], vec![F::ZERO; 40 * LATENTS], vec![F::ZERO; 40]);
        fill_normals(Key(2), 0, 0, WIDTH, &mut x);
        fill_normals(Key(3), 0, 0, LATENTS, &mut z);
        exact.log_evidence(&x, &mut known).unwrap();
        let found = weighed(&model, &Matrix::new(&x, WIDTH), &z, Proposal::Laplace);
        for row in 0..40 {
            let (x, z): (Vec<f64>, Vec<f64>) = (
                x[row * WIDTH..][..WIDTH].iter().map(|x| x.to_f64()).collect(),
                z[row * LATENTS..][..LATENTS].iter().map(|z| z.to_f64()).collect(),
            );
            // log p(x, z), of which log p(x) less the log of the exact posterior is the same; the proposal is the posterior 1.15 times as wide.
            let mut joint = -0.5 * z.iter().map(|z| z * z + libm::log(std::f64::consts::TAU)).sum::<f64>();
            for (j, x) in x.iter().enumerate() {
                let mean = bias[j] + (0..LATENTS).map(|l| weight[j * LATENTS + l] * z[l]).sum::<f64>();
                joint -= 0.5 * ((x - mean) * (x - mean) / 0.25 + libm::log(std::f64::consts::TAU * 0.25));
            }
            let posterior = joint - known[row].to_f64();
            // ½ d² of the posterior, by its density at z and at its mean, where it is |Λ|^½ / (2π)^(L/2).
            let mut precision = [[0.0; LATENTS]; LATENTS];
            for (a, line) in precision.iter_mut().enumerate() {
                for (b, entry) in line.iter_mut().enumerate() {
                    *entry = f64::from(u8::from(a == b))
                        + (0..WIDTH).map(|j| weight[j * LATENTS + a] * weight[j * LATENTS + b] / 0.25).sum::<f64>();
                }
            }
            let [[a, b, c], [d, e, f], [g, h, i]] = precision;
            let det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
            let top = 0.5 * libm::log(det) - 0.5 * LATENTS as f64 * libm::log(std::f64::consts::TAU);
            let proposal = top - LATENTS as f64 * libm::log(1.15) - (top - posterior) / (1.15 * 1.15);
            let off = found[row].to_f64() - (joint - proposal);
            assert!(off.abs() < tolerance, "{row}: {off}");
        }
    }
    check::<f64>(1e-11);
    check::<f32>(2e-4);
}

#[test]
fn rows_without_a_cell_are_certain_and_rows_without_a_mode_keep_q() {
    let likelihood = Likelihood::Poisson;
    let mut model = model::<f32>(&likelihood, 3.0);
    let nothing = [f32::NAN; 5];
    let ([lower, _, upper, _, khat, _], without) = evidence(&model, &Matrix::new(&nothing, 5), 100, Proposal::Laplace);
    assert_eq!((lower[0], upper[0], khat[0], without), (0.0, 0.0, 0.0, 0));
    // A decoder that leaves the range everywhere has no mode.
    let huge: Vec<f32> = model.parameters().iter().map(|x| x * 1e30).collect();
    model.set_parameters(&huge).unwrap();
    let x: Vec<f32> = rows(&likelihood, 9, 5).iter().map(|x| *x as f32).collect();
    let (around, without) = evidence(&model, &Matrix::new(&x, 5), 40, Proposal::Laplace);
    let (from_q, none) = evidence(&model, &Matrix::new(&x, 5), 40, Proposal::Posterior);
    assert_eq!((without, none), (9, 0));
    assert_eq!(around, from_q);
    assert!(around.iter().flatten().all(|x| !x.is_nan()), "{around:?}");
    let error = vae::log_evidence(&model, &Matrix::new(&x, 5), Key(0), 0, Proposal::Laplace, &Interrupt::default(), {
        let [lower, estimate, upper, standard_error, khat, ess] = [(); 6].map(|()| &mut [] as &mut [f32]);
        Evidence { lower, estimate, upper, standard_error, khat, ess, num_observed: &mut [] }
    });
    assert!(matches!(error, Err(Error::Value { argument: "num_particles", .. })));
}

#[test]
fn jacobians_agree_with_differences() {
    const H: f64 = 1e-6;
    let plain = Hidden::default();
    let both = Hidden { layer_norm: true, residual: true };
    let cases =
        |a| [(a, vec![3, 5], plain), (a, vec![4, 9, 7, 6], plain), (a, vec![1, 4, 2], plain), (a, vec![5, 5, 8, 8, 6], both)];
    for (activation, widths, hidden) in Activation::ALL.into_iter().flat_map(cases) {
        let mut extent = Extent::default();
        let network = Mlp::new::<f64>(&widths, activation, hidden, &mut extent);
        let mut parameters = Parameters::zeros(extent);
        fill_normals(Key(1), 0, 0, 1, parameters.parts_mut().0);
        parameters.pack(&[&network]);
        let (inputs, outputs, count) = (widths[0], widths[widths.len() - 1], 5);
        let mut x = vec![0.0; count * inputs];
        fill_normals(Key(2), 0, 0, inputs, &mut x);
        let mut trace = Trace::both_ways(&network, count);
        network.forward(&parameters, &x, count, &mut trace);
        let mut tangents = Tangents::new(&network, &parameters, 2, network.layers[0].inputs);
        for rows in [[4, 1], [0, 3]] {
            let jacobians = network.jacobians(&parameters, &trace, &rows, &mut tangents).to_vec();
            for (row, jacobian) in rows.into_iter().zip(jacobians.chunks(inputs * outputs)) {
                for (input, line) in jacobian.chunks(outputs).enumerate() {
                    let at = |h: f64| {
                        let mut moved = x[row * inputs..][..inputs].to_vec();
                        moved[input] += h;
                        let mut trace = Trace::forward(&network, 1);
                        network.forward(&parameters, &moved, 1, &mut trace);
                        trace.output()[..outputs].to_vec()
                    };
                    for ((above, below), slope) in at(H).into_iter().zip(at(-H)).zip(line) {
                        let difference = (above - below) / (2.0 * H);
                        assert!((difference - slope).abs() < 1e-7 * (1.0 + slope.abs()), "{activation:?}: {slope} {difference}");
                    }
                }
            }
        }
    }
}
