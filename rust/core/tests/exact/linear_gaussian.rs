//! The linear Gaussian model against its printed formulas in double-double, and the same bits whatever the level, threads or batch.

use crate::reference::double::LN_2PI;
use crate::reference::{Double, Numbers, property, row_bound, same_at_every_level, same_on_any_threads};
use elbokit_core::exact::{Approximation, LinearGaussian};
use elbokit_core::mvn::Tril;
use elbokit_core::random::{Draw, Key};
use elbokit_core::threads::Interrupt;
use elbokit_core::{Error, Float};
use proptest::prelude::*;

#[derive(Debug)]
struct Parts {
    weight: Vec<f64>,
    offset: Vec<f64>,
    noise_var: Vec<f64>,
    latents: usize,
}

impl Parts {
    fn new(numbers: &mut Numbers, width: usize, latents: usize) -> Self {
        Self {
            weight: numbers.vec(width * latents, -1.5, 1.5),
            offset: numbers.vec(width, -2.0, 2.0),
            noise_var: numbers.vec::<f64>(width, -2.0, 2.0).iter().map(|&v| libm::exp(v)).collect(),
            latents,
        }
    }

    fn model(&self) -> LinearGaussian {
        LinearGaussian::new(&self.weight, &self.offset, &self.noise_var, self.latents).unwrap()
    }

    /// log N of the observed cells from the marginal covariance's own factors, and the magnitude of its terms.
    fn log_evidence(&self, x: &[f64]) -> (Double, f64) {
        let seen: Vec<usize> = (0..x.len()).filter(|&j| !x[j].is_nan()).collect();
        let n = seen.len();
        // Σ = L D Lᵀ, column by column.
        let weight = |j: usize| &self.weight[j * self.latents..][..self.latents];
        let entry = |i: usize, j: usize| {
            let dot: Double = weight(i).iter().zip(weight(j)).map(|(&a, &b)| Double::from(a) * b).sum();
            if i == j { dot + self.noise_var[i] } else { dot }
        };
        let zero = Double::from(0.0);
        let (mut l, mut d, mut y) = (vec![vec![zero; n]; n], vec![zero; n], vec![zero; n]);
        let (mut square, mut logs) = (zero, zero);
        let mut magnitude = 0.0;
        for i in 0..n {
            for j in 0..=i {
                let rest = (0..j).fold(entry(seen[i], seen[j]), |rest, m| rest - l[i][m] * l[j][m] * d[m]);
                if i > j {
                    l[i][j] = rest / d[j];
                } else {
                    d[i] = rest;
                }
            }
            let off = Double::from(x[seen[i]]) - self.offset[seen[i]];
            y[i] = (0..i).fold(off, |rest, m| rest - l[i][m] * y[m]);
            square = square + y[i] * y[i] / d[i];
            logs = logs + d[i].ln() + LN_2PI;
            magnitude += Double::from(self.noise_var[seen[i]]).ln().abs().hi + LN_2PI.hi;
        }
        magnitude += square.hi + logs.hi.abs() + self.latents as f64;
        ((square + logs) * -0.5, 0.5 * magnitude)
    }
}

fn with_holes<F: Float>(numbers: &mut Numbers, rows: usize, width: usize, share: f64) -> Vec<F> {
    let cell = |_| if numbers.uniform(0.0, 1.0) < share { F::NAN } else { F::from_f64(numbers.uniform(-4.0, 4.0)) };
    (0..rows * width).map(cell).collect()
}

fn triangles<F: Float>(numbers: &mut Numbers, rows: usize, k: usize) -> Vec<F> {
    let mut tril: Vec<F> = numbers.vec(rows * k * k, -1.0, 1.0);
    for at in 0..rows * k {
        tril[at * k + at % k] = F::from_f64(numbers.uniform(0.3, 2.0));
    }
    tril
}

fn evidence_is_right<F: Float>(parts: &Parts, x: &[F]) -> f64 {
    let width = parts.offset.len();
    let rows = x.len() / width;
    let (model, k) = (parts.model(), parts.latents);
    let mut evidence = vec![F::ZERO; rows];
    model.log_evidence(x, &mut evidence).unwrap();
    let (mut loc, mut tril) = (vec![F::ZERO; rows * k], vec![F::ZERO; rows * k * k]);
    model.posterior(x, &mut loc, &mut tril).unwrap();
    let mut worst = 0.0_f64;
    for (row, x) in x.chunks(width).enumerate() {
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let (value, magnitude) = parts.log_evidence(&x);
        worst = worst.max((value - evidence[row].to_f64()).hi.abs() / magnitude);
    }
    // Whatever q is, bound and gap add up.
    let mut numbers = Numbers(rows as u64);
    let (loc, log_var): (Vec<F>, Vec<F>) = (numbers.vec(rows * k, -2.0, 2.0), numbers.vec(rows * k, -3.0, 2.0));
    let tril = triangles(&mut numbers, rows, k);
    for q in [Approximation::Diagonal(&loc, &log_var), Approximation::Full(&loc, Tril::ByRow(&tril))] {
        let (mut bound, mut gap) = (vec![F::ZERO; rows], vec![F::ZERO; rows]);
        model.elbo(x, q, &mut bound).unwrap();
        model.gap(x, q, &mut gap).unwrap();
        for ((bound, gap), evidence) in bound.iter().zip(&gap).zip(&evidence) {
            let (bound, gap, evidence) = (bound.to_f64(), gap.to_f64(), evidence.to_f64());
            assert!(gap >= 0.0 && bound <= evidence + 1e-6 * evidence.abs());
            let size = bound.abs() + gap + evidence.abs() + (width + k) as f64;
            worst = worst.max((bound + gap - evidence).abs() / size);
        }
    }
    worst
}

#[test]
fn evidence_agrees_with_the_formula_and_is_bound_and_gap() {
    let mut worst = [0.0_f64; 2];
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let (width, latents) = (1 + seed as usize % 9, 1 + seed as usize % 4);
        let parts = Parts::new(&mut numbers, width, latents);
        let share = if seed % 2 == 0 { 0.0 } else { 0.3 };
        let x: Vec<f64> = with_holes(&mut numbers, 11, width, share);
        let single: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        worst[0] = worst[0].max(evidence_is_right(&parts, &single));
        worst[1] = worst[1].max(evidence_is_right(&parts, &x));
    }
    println!("evidence, and bound + gap: float32 {:e}, float64 {:e} of the terms' magnitudes", worst[0], worst[1]);
    assert!(worst[0] <= row_bound::<f32>() && worst[1] <= row_bound::<f64>(), "{worst:?}");
}

proptest! {
    #![proptest_config(property(40))]
    #[test]
    fn evidence_agrees_with_the_formula(seed in any::<u64>(), width in 1..24_usize, latents in 1..12_usize, rows in 0..20_usize) {
        let mut numbers = Numbers(seed);
        let parts = Parts::new(&mut numbers, width, latents);
        let x: Vec<f64> = with_holes(&mut numbers, rows, width, 0.2);
        // A posterior's condition enters: weights up to 1.5 beside noise of e⁻² give one of about 10³.
        prop_assert!(evidence_is_right(&parts, &x) <= 4.0 * row_bound::<f64>());
    }
}

/// Everything that a model gives for rows, one after another.
fn everything<F: Float + Draw>(model: &LinearGaussian, x: &[F]) -> Vec<F> {
    let k = model.latents();
    let rows = x.len() / model.width();
    let mut numbers = Numbers(5);
    let (at, log_var): (Vec<F>, Vec<F>) = (numbers.vec(rows * k, -2.0, 2.0), numbers.vec(rows * k, -3.0, 2.0));
    let given = triangles(&mut numbers, rows, k);
    let (mut loc, mut tril, mut draws) = (vec![F::ZERO; rows * k], vec![F::ZERO; rows * k * k], vec![F::ZERO; x.len()]);
    let mut each = [(); 5].map(|()| vec![F::ZERO; rows]);
    let [evidence, bound, gap, full_bound, full_gap] = &mut each;
    model.log_evidence(x, evidence).unwrap();
    model.posterior(x, &mut loc, &mut tril).unwrap();
    model.elbo(x, Approximation::Diagonal(&at, &log_var), bound).unwrap();
    model.gap(x, Approximation::Diagonal(&at, &log_var), gap).unwrap();
    model.elbo(x, Approximation::Full(&at, Tril::ByRow(&given)), full_bound).unwrap();
    model.gap(x, Approximation::Full(&at, Tril::ByRow(&given)), full_gap).unwrap();
    model.sample(Key(3), 11, rows, &mut draws).unwrap();
    [each.concat(), loc, tril, draws].concat()
}

#[test]
fn every_level_and_any_threads_give_the_same_bits() {
    for (width, latents) in [(1, 1), (7, 3), (8, 8), (17, 2), (30, 5)] {
        let mut numbers = Numbers(1);
        let model = Parts::new(&mut numbers, width, latents).model();
        for share in [0.0, 0.1] {
            let double: Vec<f64> = with_holes(&mut numbers, 37, width, share);
            let single: Vec<f32> = with_holes(&mut numbers, 37, width, share);
            same_at_every_level(&format!("width {width}"), || everything(&model, &double));
            same_at_every_level(&format!("width {width}"), || everything(&model, &single));
            let many: Vec<f32> = with_holes(&mut numbers, 3000, width, share);
            same_on_any_threads(&format!("width {width}"), || everything(&model, &many));
        }
    }
}

#[test]
fn fits_have_the_same_bits_at_every_level_and_on_any_threads() {
    let mut numbers = Numbers(9);
    let x = {
        let mut x = vec![0.0; 3000 * 6];
        Parts::new(&mut numbers, 6, 2).model().sample(Key(1), 0, 3000, &mut x).unwrap();
        x
    };
    let fitted = || {
        let one = LinearGaussian::fit_isotropic(&x, 6, 2, None).unwrap();
        let other = LinearGaussian::fit_diagonal(&x, 6, 2, 1e-10, 200, &Interrupt::default()).unwrap();
        assert!(one.converged && other.converged && other.log_evidence > one.log_evidence);
        let parts = [one, other].map(|fit| {
            let mut evidence = vec![0.0; 3000];
            fit.model.log_evidence(&x, &mut evidence).unwrap();
            let mean = evidence.iter().sum::<f64>() / 3000.0;
            assert!((mean - fit.log_evidence).abs() < 1e-12, "{mean} {}", fit.log_evidence);
            [fit.model.weight(), fit.model.offset(), fit.model.noise_var()].concat()
        });
        parts.concat()
    };
    same_at_every_level("fit", fitted);
    same_on_any_threads("fit", fitted);
}

#[test]
fn pivots_that_rounding_would_break_are_held_at_one() {
    // Three equal columns of weight 1e12: I is lost beside WᵀΨ⁻¹W.
    let model = LinearGaussian::new(&[1e12; 9], &[0.0; 3], &[1e-9; 3], 3).unwrap();
    let (mut evidence, mut loc, mut tril) = ([0.0_f64], [0.0_f64; 3], [0.0_f64; 9]);
    model.log_evidence(&[1.0, 1.0, 1.0], &mut evidence).unwrap();
    model.posterior(&[1.0, 1.0, 1.0], &mut loc, &mut tril).unwrap();
    assert!(evidence.iter().chain(&loc).chain(&tril).all(|x| x.is_finite()));
}

#[test]
fn what_makes_no_model_is_an_error() {
    let value = |result: Result<LinearGaussian, Error>| matches!(result, Err(Error::Value { argument: "noise_var", .. }));
    assert!(value(LinearGaussian::new(&[1.0], &[0.0], &[0.0], 1)));
    assert!(value(LinearGaussian::new(&[1e200], &[0.0], &[1.0], 1)));
    assert!(matches!(LinearGaussian::new(&[], &[], &[], 1), Err(Error::Shape { argument: "weight", .. })));
    assert!(matches!(LinearGaussian::new(&[1.0, 2.0], &[0.0], &[1.0], 1), Err(Error::Shape { argument: "weight", .. })));
    let model = LinearGaussian::new(&[1.0, 1.0], &[0.0, 0.0], &[1.0, 1.0], 1).unwrap();
    let named = Error::NonFinite { argument: "X", row: 1, column: 0, value: f64::INFINITY };
    assert_eq!(model.log_evidence(&[0.0, 0.0, f64::INFINITY, f64::NAN], &mut [0.0; 2]), Err(named.clone()));
    let q = Approximation::Diagonal(&[0.0; 2], &[0.0; 2]);
    assert_eq!(model.gap(&[0.0, 0.0, f64::INFINITY, 0.0], q, &mut [0.0; 2]), Err(named));
    assert!(matches!(model.elbo(&[0.0; 4], q, &mut [0.0; 3]), Err(Error::Shape { .. })));
}
