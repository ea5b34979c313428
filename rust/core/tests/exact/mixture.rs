//! Mixtures of Gaussians against the formula in double-double, and the same bits whatever the level, threads or batch.

use crate::reference::double::LN_2PI;
use crate::reference::{Double, Numbers, Terms, bits, property, row_bound, same_at_every_level, same_on_any_threads};
use elbokit_core::exact::{Covariance, Mixture};
use elbokit_core::random::{Draw, Key};
use elbokit_core::{Error, Float};
use proptest::prelude::*;

/// Parameters of a mixture with variances by column.
#[derive(Debug)]
struct Parts {
    weights: Vec<f64>,
    locs: Vec<f64>,
    variances: Vec<f64>,
    width: usize,
}

impl Parts {
    fn new(numbers: &mut Numbers, components: usize, width: usize) -> Self {
        let weights: Vec<f64> = numbers.vec(components, 0.1, 2.0);
        let total: f64 = weights.iter().sum();
        Self {
            weights: weights.iter().map(|w| w / total).collect(),
            locs: numbers.vec(components * width, -3.0, 3.0),
            variances: numbers.vec::<f64>(components * width, -5.0, 3.0).iter().map(|&v| libm::exp(v)).collect(),
            width,
        }
    }

    fn mixture(&self) -> Mixture {
        Mixture::new(&self.weights, &self.locs, self.width, Covariance::Diagonal(&self.variances)).unwrap()
    }

    /// Full covariances D (I + u uᵀ) D, with their own Cholesky factors to check.
    fn full(&self, numbers: &mut Numbers) -> Mixture {
        let d = self.width;
        let mut matrices = Vec::new();
        for variances in self.variances.chunks(d) {
            let u: Vec<f64> = numbers.vec(d, -1.0, 1.0);
            for i in 0..d {
                for j in 0..d {
                    let scale = (variances[i] * variances[j]).sqrt();
                    matrices.push(scale * (f64::from(u8::from(i == j)) + u[i] * u[j]));
                }
            }
        }
        Mixture::new(&self.weights, &self.locs, d, Covariance::Full(&matrices)).unwrap()
    }

    /// ln wₖ N(x; k) of each component, and its terms' magnitude.
    fn scores(&self, x: &[f64]) -> Vec<Terms> {
        let component = |k: usize| {
            let at = k * self.width..(k + 1) * self.width;
            let cells = x.iter().zip(&self.locs[at.clone()]).zip(&self.variances[at]);
            let cells = cells.flat_map(|((&x, &loc), &variance)| {
                let off = Double::from(x) - loc;
                [off * off / variance * -0.5, Double::from(variance).ln() * -0.5, LN_2PI * -0.5]
            });
            Terms::of(cells.chain([Double::from(self.weights[k]).ln()]))
        };
        (0..self.weights.len()).map(component).collect()
    }

    /// The log density and its gradient, with their terms' magnitudes.
    fn density(&self, x: &[f64]) -> (Terms, Vec<Terms>) {
        let scores = self.scores(x);
        let best = scores.iter().max_by(|a, b| a.value.hi.total_cmp(&b.value.hi)).unwrap();
        let shares: Vec<Double> = scores.iter().map(|score| (score.value - best.value).exp()).collect();
        let sum: Double = shares.iter().copied().sum();
        let value = Terms { value: best.value + sum.ln(), magnitude: best.magnitude };
        let gradient = (0..self.width).map(|j| {
            let pulls = shares.iter().enumerate().map(|(k, &share)| {
                let at = k * self.width + j;
                share / sum * ((Double::from(self.locs[at]) - x[j]) / self.variances[at])
            });
            let terms = Terms::of(pulls);
            // A share multiplies the rounding of the score that it is the exponential of.
            Terms { magnitude: terms.magnitude * (1.0 + best.magnitude), ..terms }
        });
        (value, gradient.collect())
    }
}

fn density_and_score_are_right<F: Float>(parts: &Parts, x: &[f64]) -> [f64; 2] {
    let x: Vec<F> = x.iter().map(|&x| F::from_f64(x)).collect();
    let rows = x.len() / parts.width;
    let (mut out, mut again, mut gradient) = (vec![F::ZERO; rows], vec![F::ZERO; rows], vec![F::ZERO; x.len()]);
    let mixture = parts.mixture();
    mixture.log_evidence(&x, &mut out).unwrap();
    mixture.log_evidence_grad(&x, &mut again, &mut gradient).unwrap();
    assert_eq!(bits(&out), bits(&again));
    let mut worst = [0.0_f64; 2];
    for (row, x) in x.chunks(parts.width).enumerate() {
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let (value, expected) = parts.density(&x);
        worst[0] = worst[0].max(value.error(out[row]));
        for (got, expected) in gradient[row * parts.width..].iter().zip(expected) {
            worst[1] = worst[1].max(expected.error(*got));
        }
    }
    assert!(worst.iter().all(|&error| error <= row_bound::<F>()), "{}: {worst:?}, {parts:?}", F::NAME);
    worst
}

#[test]
fn single_columns_are_within_the_bound() {
    let mut worst = [[0.0_f64; 2]; 2];
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let parts = Parts::new(&mut numbers, 1 + seed as usize % 4, 1 + seed as usize % 3);
        let x: Vec<f64> = numbers.vec(9 * parts.width, -6.0, 6.0);
        let errors = [density_and_score_are_right::<f32>(&parts, &x), density_and_score_are_right::<f64>(&parts, &x)];
        for (worst, error) in worst.iter_mut().flatten().zip(errors.iter().flatten()) {
            *worst = worst.max(*error);
        }
    }
    println!("density and score: float32 {:?}, float64 {:?} of the terms' magnitudes", worst[0], worst[1]);
}

proptest! {
    #![proptest_config(property(60))]
    #[test]
    fn density_and_score_agree_with_the_formula(seed in any::<u64>(), components in 1..7_usize, width in 1..20_usize, rows in 0..20_usize) {
        let mut numbers = Numbers(seed);
        let parts = Parts::new(&mut numbers, components, width);
        let x: Vec<f64> = numbers.vec(rows * width, -6.0, 6.0);
        density_and_score_are_right::<f32>(&parts, &x);
        density_and_score_are_right::<f64>(&parts, &x);
    }
}

/// Everything that a mixture gives for rows, one after another.
fn everything<F: Float + Draw>(mixture: &Mixture, x: &[F]) -> Vec<F> {
    let rows = x.len() / mixture.width();
    let (mut out, mut gradient, mut draws) = (vec![F::ZERO; rows], vec![F::ZERO; x.len()], vec![F::ZERO; x.len()]);
    mixture.log_evidence_grad(x, &mut out, &mut gradient).unwrap();
    mixture.sample(Key(3), 11, rows, &mut draws).unwrap();
    [out, gradient, draws].concat()
}

#[test]
fn every_level_and_any_threads_give_the_same_bits() {
    for (components, width) in [(1, 1), (3, 7), (5, 8), (2, 17), (4, 30)] {
        let mut numbers = Numbers(1);
        let parts = Parts::new(&mut numbers, components, width);
        for mixture in [parts.mixture(), parts.full(&mut numbers)] {
            let (single, double) = (numbers.vec::<f32>(37 * width, -5.0, 5.0), numbers.vec::<f64>(37 * width, -5.0, 5.0));
            same_at_every_level(&format!("width {width}"), || everything(&mixture, &single));
            same_at_every_level(&format!("width {width}"), || everything(&mixture, &double));
            let many: Vec<f32> = numbers.vec(20_000 * width, -5.0, 5.0);
            same_on_any_threads(&format!("width {width}"), || everything(&mixture, &many));
        }
    }
}

#[test]
fn a_row_alone_equals_the_row_among_many() {
    let mut numbers = Numbers(2);
    let parts = Parts::new(&mut numbers, 3, 5);
    for mixture in [parts.mixture(), parts.full(&mut numbers)] {
        let x: Vec<f64> = numbers.vec(100 * 5, -5.0, 5.0);
        let (mut together, mut gradients) = (vec![0.0; 100], vec![0.0; 500]);
        mixture.log_evidence_grad(&x, &mut together, &mut gradients).unwrap();
        for row in 0..100 {
            let (mut alone, mut gradient) = ([0.0], [0.0; 5]);
            mixture.log_evidence_grad(&x[row * 5..][..5], &mut alone, &mut gradient).unwrap();
            assert_eq!((alone[0], gradient.as_slice()), (together[row], &gradients[row * 5..][..5]));
        }
    }
}

#[test]
fn rows_further_than_can_be_squared_belong_to_the_nearest_component() {
    let mixture = Mixture::new(&[0.3, 0.7], &[-1e152, 1e152], 1, Covariance::Diagonal(&[1.0, 1.0])).unwrap();
    let x = [1e155, -1e155, 2e155, 1e152];
    let (mut shares, mut gap) = ([0.0; 8], [f64::NAN; 4]);
    mixture.responsibilities(&x, &mut shares).unwrap();
    assert_eq!(shares[..6], [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    mixture.gap(&x, &shares, &mut gap).unwrap();
    assert_eq!(gap, [0.0; 4]);
    // Half of it to each is half too much for the nearest, and all too much for the other.
    mixture.gap(&x[..2], &[0.5, 0.5, 0.0, 1.0], &mut gap[..2]).unwrap();
    assert_eq!(gap[..2], [f64::INFINITY; 2]);
    let alone = Mixture::new(&[1.0], &[0.0], 1, Covariance::Diagonal(&[1.0])).unwrap();
    alone.gap(&[1e160], &[1.0], &mut gap[..1]).unwrap();
    assert_eq!(gap[0], 0.0);
}

#[test]
fn what_makes_no_mixture_is_an_error() {
    let new = |weights: &[f64], locs: &[f64], covariance| Mixture::new(weights, locs, 2, covariance).map(|_| ());
    let value = |result, name: &str| assert!(matches!(result, Err(Error::Value { argument, .. }) if argument == name));
    let (half, locs) = ([0.5, 0.5], [0.0; 4]);
    let ones = Covariance::Isotropic(&[1.0, 1.0]);
    assert_eq!(new(&half, &locs, ones), Ok(()));
    value(new(&[0.5, -0.5], &locs, ones), "weights");
    value(new(&[0.5, 0.4], &locs, ones), "weights");
    value(new(&half, &locs, Covariance::Diagonal(&[1.0, 1.0, 0.0, 1.0])), "variances");
    value(new(&[1.0], &[0.0; 2], Covariance::Full(&[1.0, 0.0, 0.5, 1.0])), "variances");
    value(new(&[1.0], &[0.0; 2], Covariance::Full(&[1.0, 1.0, 1.0, 1.0])), "variances");
    assert!(matches!(new(&half, &locs[..3], ones), Err(Error::Shape { argument: "locs", .. })));
    assert!(matches!(new(&half, &locs, Covariance::Full(&[1.0; 7])), Err(Error::Shape { argument: "variances", .. })));
    assert!(matches!(new(&[], &[], Covariance::Isotropic(&[])), Err(Error::Shape { argument: "weights", .. })));
    let mixture = Mixture::new(&half, &locs, 2, ones).unwrap();
    let bad = [0.0, 0.0, 0.0, f32::INFINITY];
    let named = Error::NonFinite { argument: "X", row: 1, column: 1, value: f64::INFINITY };
    assert_eq!(mixture.log_evidence(&bad, &mut [0.0; 2]), Err(named));
    assert!(matches!(mixture.log_evidence(&bad, &mut [0.0; 3]), Err(Error::Shape { argument: "X", .. })));
}
