//! Full-covariance Gaussians against their formulas in double-double: values and gradients within the backward bound, the divergence near the prior, the
//! diagonal case, draws, the ends of the range, named errors, and the same bits whatever the level, threads, batch or particles.

#![allow(missing_docs)]

mod reference;

use elbokit_core::mvn::{Tril, diagonal, entropy, kl, kl_grad, log_prob, rsample, rsample_and_log_prob};
use elbokit_core::random::{Draw, Key, fill_normals};
use elbokit_core::{Error, Float, Result, gaussian};
use proptest::prelude::*;
use reference::double::LN_2PI;
use reference::{Double, Numbers, Terms, bits, property, row_bound, same_at_every_level, same_on_any_threads};

/// On either side of a block of four rows, a vector of eight, a panel of sixteen columns and two of them.
const WIDTHS: [usize; 17] = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 50];

/// Half a unit in the last place of 1 in float64, in which everything is computed.
const U: f64 = f64::EPSILON / 2.0;

/// Rows of z, their Gaussians and the priors, as type F holds them.
#[derive(Clone, Debug)]
struct Batch<F> {
    width: usize,
    z: Vec<F>,
    loc: Vec<F>,
    tril: Vec<F>,
    prior_loc: Vec<F>,
    prior_tril: Vec<F>,
}

/// Triangles whose diagonals are within e^±`spread`, whose rows weigh about `weight` times that, and which hold NaN above the diagonal.
fn triangles<F: Float>(numbers: &mut Numbers, rows: usize, width: usize, spread: f64, weight: f64) -> Vec<F> {
    let mut all = vec![F::NAN; rows * width * width];
    for triangle in all.chunks_mut((width * width).max(1)) {
        for i in 0..width {
            let diagonal = libm::exp(numbers.uniform(-spread, spread));
            let size = weight * diagonal / libm::sqrt(width as f64);
            for j in 0..i {
                triangle[i * width + j] = F::from_f64(numbers.uniform(-size, size));
            }
            triangle[i * width + i] = F::from_f64(diagonal);
        }
    }
    all
}

impl<F: Float> Batch<F> {
    fn new(seed: u64, rows: usize, width: usize, spread: f64, weight: f64) -> Self {
        let mut n = Numbers(seed);
        let [z, loc, prior_loc] = [4.0, 2.0, 3.0].map(|size| n.vec(rows * width, -size, size));
        let [tril, prior_tril] = [(); 2].map(|()| triangles(&mut n, rows, width, spread, weight));
        Self { width, z, loc, tril, prior_loc, prior_tril }
    }

    fn rows(&self) -> usize {
        self.loc.len() / self.width
    }

    fn tril(&self) -> Tril<'_, F> {
        Tril::ByRow(&self.tril)
    }

    #[allow(clippy::unnecessary_wraps, reason = "what the divergences take")]
    fn prior(&self) -> elbokit_core::mvn::Prior<'_, F> {
        Some((&self.prior_loc, Tril::ByRow(&self.prior_tril)))
    }

    fn kl(&self) -> Vec<F> {
        let mut out = zeros(self.rows());
        kl(&self.loc, self.tril(), self.prior(), self.width, &mut out).unwrap();
        out
    }

    /// The divergence, then its four gradients.
    fn gradients(&self) -> Result<[Vec<F>; 5]> {
        let (n, d) = (self.rows(), self.width);
        let [mut value, mut a, mut b, mut c, mut e] = [n, n * d, n * d * d, n * d, n * d * d].map(zeros);
        kl_grad(&self.loc, self.tril(), self.prior(), d, &mut value, &mut a, &mut b, Some((&mut c, &mut e)))?;
        Ok([value, a, b, c, e])
    }

    fn row(&self, row: usize) -> Self {
        let d = self.width;
        let (vector, matrix) = (row * d..(row + 1) * d, row * d * d..(row + 1) * d * d);
        Self {
            width: d,
            z: self.z[vector.clone()].to_vec(),
            loc: self.loc[vector.clone()].to_vec(),
            tril: self.tril[matrix.clone()].to_vec(),
            prior_loc: self.prior_loc[vector].to_vec(),
            prior_tril: self.prior_tril[matrix].to_vec(),
        }
    }
}

fn zeros<F: Float>(len: usize) -> Vec<F> {
    vec![F::ZERO; len]
}

/// A square matrix of double-doubles.
#[derive(Clone, Debug)]
struct Matrix(usize, Vec<Double>);

impl Matrix {
    fn from_fn(d: usize, f: impl Fn(usize, usize) -> Double) -> Self {
        Self(d, (0..d * d).map(|at| f(at / d, at % d)).collect())
    }

    fn lower<F: Float>(d: usize, x: &[F]) -> Self {
        Self::from_fn(d, |i, j| if j <= i { x[i * d + j].to_f64().into() } else { 0.0.into() })
    }

    fn at(&self, i: usize, j: usize) -> Double {
        self.1[i * self.0 + j]
    }

    fn abs(&self) -> Self {
        Self(self.0, self.1.iter().map(|x| x.abs()).collect())
    }

    fn transposed(&self) -> Self {
        Self::from_fn(self.0, |i, j| self.at(j, i))
    }

    fn times(&self, other: &Self) -> Self {
        Self::from_fn(self.0, |i, j| (0..self.0).map(|k| self.at(i, k) * other.at(k, j)).sum())
    }

    fn of(&self, x: &[Double]) -> Vec<Double> {
        (0..self.0).map(|i| x.iter().enumerate().map(|(k, &x)| self.at(i, k) * x).sum()).collect()
    }

    fn plus(&self, other: &Self) -> Self {
        Self(self.0, self.1.iter().zip(&other.1).map(|(&a, &b)| a + b).collect())
    }

    fn tril(&self) -> Self {
        Self::from_fn(self.0, |i, j| if j <= i { self.at(i, j) } else { 0.0.into() })
    }

    /// A lower triangle's inverse.
    fn inverse(&self) -> Self {
        let d = self.0;
        let mut inverse = Self::from_fn(d, |_, _| 0.0.into());
        for j in 0..d {
            for i in j..d {
                let known: Double = (j..i).map(|k| self.at(i, k) * inverse.at(k, j)).sum();
                let one = if i == j { 1.0 } else { 0.0 };
                inverse.1[i * d + j] = (Double::from(one) - known) / self.at(i, i);
            }
        }
        inverse
    }
}

fn plus(a: &[Double], b: &[Double]) -> Vec<Double> {
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}

fn abs(x: &[Double]) -> Vec<Double> {
    x.iter().map(|x| x.abs()).collect()
}

/// Exact numbers, the magnitudes of their terms, and by how many units U × (width + 4) substitution may move them.
struct Expected(Vec<(Terms, f64)>);

impl Expected {
    fn one(terms: Terms, moved: Double) -> Self {
        Self(vec![(terms, moved.hi)])
    }

    /// The largest error, in units of what is allowed.
    fn check<F: Float>(&self, what: &str, width: usize, got: &[F]) -> f64 {
        assert_eq!(got.len(), self.0.len());
        let mut worst = 0.0_f64;
        for (at, (&got, (terms, moved))) in got.iter().zip(&self.0).enumerate() {
            let allowed = row_bound::<F>() * terms.magnitude + (width + 4) as f64 * U * moved;
            let error = terms.error(got) * terms.magnitude;
            if error > 0.0 {
                assert!(
                    error <= allowed,
                    "{what} ({}), {at} of width {width}: {got} for {terms:?}, {error:e} of {allowed:e}",
                    F::NAME
                );
                worst = worst.max(error / allowed);
            }
        }
        worst
    }
}

/// x − ln(m), x = m − 1.
fn excess(x: Double, m: Double) -> Double {
    if x.hi.abs() < 0.29 { x - x.ln_1p() } else { x - m.ln() }
}

/// `kl_grad`'s five results of one row, from the definitions.
fn exact_kl<F: Float>(row: &Batch<F>) -> [Expected; 5] {
    let d = row.width;
    let (q, p) = (Matrix::lower(d, &row.tril), Matrix::lower(d, &row.prior_tril));
    let difference = Matrix::from_fn(d, |i, j| q.at(i, j) - p.at(i, j));
    let delta: Vec<Double> = row.loc.iter().zip(&row.prior_loc).map(|(a, b)| Double::from(a.to_f64()) - b.to_f64()).collect();
    let inverse = p.inverse();
    let (x, y) = (inverse.times(&difference), inverse.of(&delta));
    let (inverse_abs, p_abs) = (inverse.abs(), p.abs());
    // |δX| ≤ |L₂⁻¹| (|L₂||X| + |L₁ − L₂|), in units of (width + 4) U; the same of y, and with L₂ᵀ of G and w.
    let x_moved = inverse_abs.times(&p_abs.times(&x.abs()).plus(&difference.abs()));
    let y_moved = inverse_abs.of(&plus(&p_abs.of(&abs(&y)), &abs(&delta)));
    let (back, back_abs, p_back) = (inverse.transposed(), inverse_abs.transposed(), p_abs.transposed());
    let (g, w) = (back.times(&x).tril(), back.of(&y));
    let g_moved = back_abs.times(&p_back.times(&g.abs()).plus(&x_moved)).tril();
    let w_moved = back_abs.of(&plus(&p_back.of(&abs(&w)), &y_moved));

    let half = |t: Double| t * 0.5;
    let diagonal = |i: usize| (x.at(i, i), q.at(i, i), p.at(i, i));
    let logs = (0..d).map(|i| excess(diagonal(i).0, q.at(i, i) / p.at(i, i)));
    let squares = x.1.iter().chain(&y).map(|&t| half(t * t));
    let moved = x.1.iter().zip(&x_moved.1).chain(y.iter().zip(&y_moved)).map(|(&a, &b)| a.abs() * b).sum();
    let value = Expected::one(Terms::of(squares.chain(logs)), moved);

    let vector = |sign: f64| Expected(w.iter().zip(&w_moved).map(|(&w, m)| (Terms::of([w * sign]), m.hi)).collect());
    let nothing = || (Terms::of([]), 0.0);
    let cells = |f: &dyn Fn(usize, usize) -> (Terms, f64)| {
        Expected((0..d * d).map(|at| if at % d <= at / d { f(at / d, at % d) } else { nothing() }).collect())
    };
    let d_tril = cells(&|i, j| {
        let (x, q, _) = diagonal(i);
        let of_log = if i == j { x / q } else { 0.0.into() };
        (Terms::of([g.at(i, j), of_log]), g_moved.at(i, j).hi)
    });
    let m = Matrix::from_fn(d, |i, j| x.at(i, j) + if i == j { 1.0 } else { 0.0 });
    let d_prior_tril = cells(&|i, j| {
        let (x, _, p) = diagonal(i);
        let of_log = if i == j { -x / p } else { 0.0.into() };
        let product = (0..=j).map(|k| -g.at(i, k) * m.at(j, k));
        let moved: Double =
            (0..=j).map(|k| g_moved.at(i, k) * m.at(j, k).abs() + g.at(i, k).abs() * (x_moved.at(j, k) + m.at(j, k).abs())).sum();
        let of_means = w_moved[i] * y[j].abs() + w[i].abs() * y_moved[j];
        (Terms::of(product.chain([-w[i] * y[j], of_log])), (moved + of_means).hi)
    });
    [value, vector(1.0), d_tril, vector(-1.0), d_prior_tril]
}

fn exact_log_prob<F: Float>(row: &Batch<F>) -> Expected {
    let d = row.width;
    let q = Matrix::lower(d, &row.tril);
    let delta: Vec<Double> = row.z.iter().zip(&row.loc).map(|(a, b)| Double::from(a.to_f64()) - b.to_f64()).collect();
    let inverse = q.inverse();
    let y = inverse.of(&delta);
    let y_moved = inverse.abs().of(&plus(&q.abs().of(&abs(&y)), &abs(&delta)));
    let terms = (0..d).flat_map(|i| [y[i] * y[i] * -0.5, -q.at(i, i).ln(), LN_2PI * -0.5]);
    Expected::one(Terms::of(terms), y.iter().zip(&y_moved).map(|(&a, &b)| a.abs() * b).sum())
}

fn exact_entropy<F: Float>(row: &Batch<F>) -> Expected {
    let d = row.width;
    let terms = (0..d).flat_map(|i| [Double::from(row.tril[i * d + i].to_f64()).ln(), LN_2PI * 0.5, 0.5.into()]);
    Expected::one(Terms::of(terms), 0.0.into())
}

/// The largest errors of kl, its gradients, `log_prob` and entropy, in units of what is allowed.
fn values_and_gradients_are_right<F: Float>(batch: &Batch<F>) -> [f64; 4] {
    let d = batch.width;
    let results = batch.gradients().unwrap();
    assert_eq!(bits(&results[0]), bits(&batch.kl()), "kl_grad's value is kl's");
    let [mut log_probs, mut entropies] = [(); 2].map(|()| zeros::<F>(batch.rows()));
    log_prob(&batch.z, &batch.loc, batch.tril(), d, &mut log_probs).unwrap();
    entropy(batch.tril(), d, &mut entropies).unwrap();
    let mut worst = [0.0_f64; 4];
    let mut note = |at: usize, ratio: f64| worst[at] = worst[at].max(ratio);
    for row in 0..batch.rows() {
        let one = batch.row(row);
        let names = ["kl", "d_loc", "d_scale_tril", "d_prior_loc", "d_prior_scale_tril"];
        for (i, (expected, got)) in exact_kl(&one).iter().zip(&results).enumerate() {
            let each = got.len() / batch.rows();
            note(usize::from(i > 0), expected.check(names[i], d, &got[row * each..(row + 1) * each]));
        }
        note(2, exact_log_prob(&one).check("log_prob", d, &log_probs[row..=row]));
        note(3, exact_entropy(&one).check("entropy", d, &entropies[row..=row]));
        assert!(results[0][row] >= F::ZERO);
    }
    worst
}

proptest! {
    #![proptest_config(property(60))]
    #[test]
    fn rows_agree_with_the_formulas(seed: u64, width in 1..20_usize, rows in 1..3_usize, spread in 0.0..6.0, weight in 0.0..8.0) {
        values_and_gradients_are_right(&Batch::<f32>::new(seed, rows, width, spread, weight));
        values_and_gradients_are_right(&Batch::<f64>::new(seed, rows, width, spread, weight));
    }
}

#[test]
fn every_width_is_within_the_bound() {
    let mut worst = [[0.0_f64; 4]; 2];
    for width in WIDTHS {
        // Well conditioned, and with condition numbers up to about 10⁶.
        for (seed, spread, weight) in [(1, 0.5, 1.0), (2, 3.0, 6.0)] {
            let found = [
                values_and_gradients_are_right(&Batch::<f32>::new(seed, 2, width, spread, weight)),
                values_and_gradients_are_right(&Batch::<f64>::new(seed, 2, width, spread, weight)),
            ];
            for (worst, found) in worst.iter_mut().flatten().zip(found.iter().flatten()) {
                *worst = worst.max(*found);
            }
        }
    }
    println!("of what is allowed, float32 and float64: kl, gradients, log_prob, entropy {worst:.3?}");
}

/// q a relative `size` away from p, entry by entry.
fn near<F: Float>(size: f64, width: usize) -> Batch<F> {
    let mut batch = Batch::<F>::new(7, 4, width, 0.7, 1.0);
    let mut n = Numbers(8);
    let mut moved = |x: &F| F::from_f64(x.to_f64() * (1.0 + n.uniform(-size, size)));
    batch.tril = batch.prior_tril.iter().map(&mut moved).collect();
    batch.loc = batch.prior_loc.iter().map(&mut moved).collect();
    batch
}

fn the_divergence_is_right_near_the_prior<F: Float>(sizes: &[f64], bound: f64) {
    let mut worst = 0.0_f64;
    for &size in sizes {
        for width in [1, 5, 16, 32] {
            let batch = near::<F>(size, width);
            for (row, got) in batch.kl().into_iter().enumerate() {
                let [value, ..] = exact_kl(&batch.row(row));
                let value = value.0[0].0.value;
                let error = ((value - got.to_f64()) / value).hi.abs();
                assert!(error <= bound, "width {width} at {size:e}: {got} for {value:?}, off by {error:e} of itself");
                worst = worst.max(error);
            }
            values_and_gradients_are_right(&batch);
        }
    }
    println!("near the prior, relative to itself: {} {worst:.2e}", F::NAME);
}

#[test]
fn the_divergence_keeps_its_relative_accuracy_near_the_prior() {
    the_divergence_is_right_near_the_prior::<f32>(&[1e-2, 1e-4, 2e-7], 4e-7);
    the_divergence_is_right_near_the_prior::<f64>(&[1e-3, 1e-7, 1e-11, 5e-16], 4e-15);
}

fn of_itself_it_is_nothing<F: Float>() {
    for width in WIDTHS {
        let mut batch = Batch::<F>::new(9, 3, width, 2.0, 3.0);
        batch.loc.clone_from(&batch.prior_loc);
        batch.tril.clone_from(&batch.prior_tril);
        for result in batch.gradients().unwrap() {
            assert!(result.iter().all(|&x| x == F::ZERO));
        }
    }
}

#[test]
fn the_divergence_from_itself_and_its_gradients_are_exactly_0() {
    of_itself_it_is_nothing::<f32>();
    of_itself_it_is_nothing::<f64>();
}

fn the_standard_prior_is_the_default<F: Float>() {
    for width in WIDTHS {
        let batch = Batch::<F>::new(10, 3, width, 1.0, 1.0);
        let (n, d) = (batch.rows(), width);
        let identity: Vec<F> = (0..d * d).map(|at| if at % d == at / d { F::ONE } else { F::ZERO }).collect();
        let origin = zeros(d);
        let run = |prior| {
            let [mut value, mut a, mut b] = [n, n * d, n * d * d].map(zeros::<F>);
            kl_grad(&batch.loc, batch.tril(), prior, d, &mut value, &mut a, &mut b, None).unwrap();
            [value, a, b]
        };
        // Equal as numbers: a zero's sign may differ.
        assert_eq!(run(None), run(Some((&origin, Tril::Shared(&identity)))), "width {width}");
        let mut value = zeros(n);
        kl(&batch.loc, batch.tril(), None, d, &mut value).unwrap();
        assert_eq!(value, run(None)[0]);
    }
}

#[test]
fn the_default_prior_is_the_standard_normal() {
    the_standard_prior_is_the_default::<f32>();
    the_standard_prior_is_the_default::<f64>();
}

fn the_diagonal_case_is_the_diagonal_gaussian<F: Float + Draw>(bound: f64) {
    let (rows, width) = (20, 21);
    let mut n = Numbers(11);
    let [z, loc, prior_loc] = [(); 3].map(|()| n.vec::<F>(rows * width, -3.0, 3.0));
    let [log_var, prior_log_var] = [(); 2].map(|()| n.vec::<F>(rows * width, -4.0, 4.0));
    let diagonal = |log_var: &[F]| {
        let mut all = zeros::<F>(rows * width * width);
        for (i, v) in log_var.iter().enumerate() {
            all[i / width * width * width + i % width * (width + 1)] = F::from_f64(libm::exp(v.to_f64() / 2.0));
        }
        all
    };
    let (tril, prior_tril) = (diagonal(&log_var), diagonal(&prior_log_var));
    let close = |what: &str, a: &[F], b: &[F]| {
        for (a, b) in a.iter().zip(b) {
            let off = (a.to_f64() - b.to_f64()).abs() / b.to_f64().abs().max(1.0);
            assert!(off <= bound, "{what}: {a} and {b}, {off:e} apart");
        }
    };
    let [mut a, mut b] = [(); 2].map(|()| zeros::<F>(rows));
    kl(&loc, Tril::ByRow(&tril), None, width, &mut a).unwrap();
    gaussian::kl(&loc, &log_var, None, width, &mut b).unwrap();
    close("kl to N(0, I)", &a, &b);
    kl(&loc, Tril::ByRow(&tril), Some((&prior_loc, Tril::ByRow(&prior_tril))), width, &mut a).unwrap();
    gaussian::kl(&loc, &log_var, Some((&prior_loc, &prior_log_var)), width, &mut b).unwrap();
    close("kl", &a, &b);
    log_prob(&z, &loc, Tril::ByRow(&tril), width, &mut a).unwrap();
    gaussian::log_prob(&z, &loc, &log_var, width, &mut b).unwrap();
    close("log_prob", &a, &b);
    entropy(Tril::ByRow(&tril), width, &mut a).unwrap();
    gaussian::entropy(&log_var, width, &mut b).unwrap();
    close("entropy", &a, &b);
    let [mut a, mut b] = [(); 2].map(|()| zeros::<F>(2 * rows * width));
    rsample(&loc, Tril::ByRow(&tril), Key(3), 5, width, &mut a).unwrap();
    gaussian::rsample(&loc, &log_var, Key(3), 5, width, &mut b).unwrap();
    close("rsample", &a, &b);
}

#[test]
fn the_diagonal_case_is_that_of_the_diagonal_gaussian() {
    // The triangle holds exp(log_var / 2) rounded, which moves a term by up to four roundings of its size.
    the_diagonal_case_is_the_diagonal_gaussian::<f32>(4e-7);
    the_diagonal_case_is_the_diagonal_gaussian::<f64>(1e-15);
}

fn a_diagonal_has_its_triangle<F: Float>() {
    let (rows, width) = (50, 7);
    let log_var = Numbers(21).vec::<F>(rows * width, -60.0, 60.0);
    let mut tril = vec![F::NAN; rows * width * width];
    diagonal(&log_var, width, &mut tril).unwrap();
    for (at, x) in tril.iter().enumerate() {
        let (row, i, j) = (at / (width * width), at / width % width, at % width);
        let expected = if i == j { Double::from(0.5 * log_var[row * width + i].to_f64()).exp() } else { 0.0.into() };
        assert!(Terms::of([expected]).error(*x) <= F::EPSILON.to_f64(), "{x} for {expected:?}");
    }
    let mut ends = [F::ZERO; 2];
    diagonal(&[F::MAX, F::ZERO - F::MAX], 1, &mut ends).unwrap();
    let least = if F::LANES == 16 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
    assert_eq!(ends, [F::MAX, F::from_f64(least)]);
    assert_named(diagonal(&[F::ONE, F::ONE, F::NAN, F::ONE], 2, &mut [F::ZERO; 8]), "log_var", 1, 0, f64::NAN);
    assert!(matches!(diagonal(&[F::ONE], 1, &mut ends), Err(Error::Shape { argument: "scale_tril", .. })));
    diagonal::<F>(&[], 0, &mut []).unwrap();
}

#[test]
fn a_diagonal_gaussian_has_its_triangle() {
    a_diagonal_has_its_triangle::<f32>();
    a_diagonal_has_its_triangle::<f64>();
}

#[test]
fn gradients_agree_with_central_differences() {
    let batch = Batch::<f64>::new(12, 1, 6, 0.5, 1.5);
    let [value, gradients @ ..] = batch.gradients().unwrap();
    for (i, gradient) in gradients.iter().enumerate() {
        for (at, gradient) in gradient.iter().enumerate() {
            let h = 1e-5;
            let [up, down] = [h, -h].map(|h| {
                let mut moved = batch.clone();
                let arrays = [&mut moved.loc, &mut moved.tril, &mut moved.prior_loc, &mut moved.prior_tril];
                arrays[i][at] += h;
                moved.kl()[0]
            });
            let difference = (up - down) / (2.0 * h);
            // Above the diagonal stands NaN, of which nothing depends.
            assert!((gradient - difference).abs() < 1e-8 * (1.0 + value[0]), "{i}, {at}: {gradient} for {difference}");
        }
    }
}

/// Everything that every function gives for these rows, one after another.
fn everything<F: Float + Draw>(batch: &Batch<F>) -> Result<Vec<F>> {
    let (n, d) = (batch.rows(), batch.width);
    let mut all = Vec::new();
    for result in batch.gradients()? {
        all.extend(result);
    }
    let [mut sums, mut d_loc, mut d_tril] = [n, n * d, n * d * d].map(zeros::<F>);
    for tril in [batch.tril(), Tril::Shared(&batch.tril[..d * d])] {
        kl(&batch.loc, tril, None, d, &mut sums)?;
        all.extend(&sums);
        kl(&batch.loc, tril, Some((&batch.prior_loc[..d], Tril::Shared(&batch.prior_tril[..d * d]))), d, &mut sums)?;
        all.extend(&sums);
        kl_grad(&batch.loc, tril, None, d, &mut sums, &mut d_loc, &mut d_tril, None)?;
        all.extend(sums.iter().chain(&d_loc).chain(&d_tril));
        log_prob(&batch.z, &batch.loc, tril, d, &mut sums)?;
        all.extend(&sums);
        entropy(tril, d, &mut sums)?;
        all.extend(&sums);
        let [mut z, mut log_probs] = [3 * n * d, 3 * n].map(zeros::<F>);
        rsample(&batch.loc, tril, Key(1), 5, d, &mut z)?;
        all.extend(&z);
        rsample_and_log_prob(&batch.loc, tril, Key(1), 0, 5, d, &mut z, &mut log_probs)?;
        all.extend(z.iter().chain(&log_probs));
    }
    Ok(all)
}

#[test]
fn every_level_gives_the_same_bits() {
    for width in WIDTHS {
        same_at_every_level(&format!("width {width}"), || everything(&Batch::<f32>::new(13, 13, width, 2.0, 3.0)).unwrap());
        same_at_every_level(&format!("width {width}"), || everything(&Batch::<f64>::new(13, 13, width, 2.0, 3.0)).unwrap());
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for (rows, width) in [(8000, 3), (700, 16), (200, 33)] {
        let (single, double) = (Batch::<f32>::new(14, rows, width, 1.0, 1.0), Batch::<f64>::new(14, rows, width, 1.0, 1.0));
        same_on_any_threads(&format!("width {width}"), || everything(&single).unwrap());
        same_on_any_threads(&format!("width {width}"), || everything(&double).unwrap());
    }
}

fn rows_stand_alone<F: Float + Draw>(width: usize) {
    let rows = 40;
    let batch = Batch::<F>::new(15, rows, width, 1.0, 1.0);
    let together = batch.gradients().unwrap();
    let [mut log_probs, mut entropies] = [(); 2].map(|()| zeros::<F>(rows));
    log_prob(&batch.z, &batch.loc, batch.tril(), width, &mut log_probs).unwrap();
    entropy(batch.tril(), width, &mut entropies).unwrap();
    for row in 0..rows {
        let one = batch.row(row);
        for (alone, together) in one.gradients().unwrap().iter().zip(&together) {
            assert_eq!(bits(alone), bits(&together[row * alone.len()..][..alone.len()]), "row {row} of width {width}");
        }
        let mut alone = [F::ZERO];
        log_prob(&one.z, &one.loc, one.tril(), width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(&log_probs[row..=row]));
        entropy(one.tril(), width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(&entropies[row..=row]));
    }
}

#[test]
fn a_row_alone_equals_the_row_among_others() {
    for width in [1, 4, 9, 16, 33] {
        rows_stand_alone::<f32>(width);
        rows_stand_alone::<f64>(width);
    }
}

/// What one row alone is given.
fn own<F: Float>(tril: Tril<F>, row: usize, width: usize) -> Tril<F> {
    match tril {
        Tril::Shared(all) => Tril::Shared(all),
        Tril::ByRow(all) => Tril::ByRow(&all[row * width * width..][..width * width]),
    }
}

/// `kl`, which takes rows together, against `kl_grad`, which takes them one after another, each alone.
fn rows_together_are_rows_alone<F: Float>(batch: &Batch<F>) {
    let (rows, d) = (batch.rows(), batch.width);
    let (one_tril, one_prior_tril) = (&batch.tril[..d * d], &batch.prior_tril[..d * d]);
    let priors = [
        None,
        batch.prior(),
        Some((&batch.prior_loc[..d], Tril::ByRow(&batch.prior_tril[..]))),
        Some((&batch.prior_loc[..], Tril::Shared(one_prior_tril))),
    ];
    for (prior, tril) in priors.into_iter().flat_map(|prior| [(prior, batch.tril()), (prior, Tril::Shared(one_tril))]) {
        let mut together = zeros(rows);
        kl(&batch.loc, tril, prior, d, &mut together).unwrap();
        let mut alone = zeros(rows);
        for (row, alone) in alone.chunks_mut(1).enumerate() {
            let prior = prior.map(|(loc, tril)| (if loc.len() == d { loc } else { &loc[row * d..][..d] }, own(tril, row, d)));
            let (mut d_loc, mut d_tril) = (zeros(d), zeros(d * d));
            kl_grad(&batch.loc[row * d..][..d], own(tril, row, d), prior, d, alone, &mut d_loc, &mut d_tril, None).unwrap();
        }
        assert_eq!(bits(&together), bits(&alone), "{rows} rows of width {d} ({}), prior {prior:?}", F::NAME);
    }
}

proptest! {
    #![proptest_config(property(100))]
    #[test]
    fn together_rows_have_the_bits_of_each_alone(seed: u64, width in 1..41_usize, rows in 1..20_usize, spread in 0.0..6.0) {
        rows_together_are_rows_alone(&Batch::<f32>::new(seed, rows, width, spread, spread));
        rows_together_are_rows_alone(&Batch::<f64>::new(seed, rows, width, spread, spread));
        let mut n = Numbers(seed);
        rows_together_are_rows_alone(&extreme::<f32>(&mut n, rows, width));
        rows_together_are_rows_alone(&extreme::<f64>(&mut n, rows, width));
    }
}

#[test]
fn every_width_has_the_bits_of_each_row_alone() {
    for width in WIDTHS.into_iter().chain([63, 64, 65, 100, 161]) {
        rows_together_are_rows_alone(&Batch::<f32>::new(22, 11, width, 1.0, 1.0));
        rows_together_are_rows_alone(&Batch::<f64>::new(22, 11, width, 1.0, 1.0));
    }
}

#[test]
fn a_row_that_leaves_the_range_leaves_the_next_alone() {
    for width in [1, 2, 5, 9, 18] {
        let mut batch = Batch::<f64>::new(23, 12, width, 0.5, 1.0);
        let expected = batch.gradients().unwrap();
        batch.tril[width * width] = 1e300;
        batch.prior_tril[width * width] = 1e-300;
        let results = batch.gradients().unwrap();
        assert_eq!(results[0][1], f64::INFINITY);
        assert_eq!(bits(&batch.kl()), bits(&results[0]));
        for (got, expected) in results.iter().zip(&expected) {
            let each = got.len() / 12;
            for row in (0..12).filter(|&row| row != 1) {
                let row = row * each..(row + 1) * each;
                assert_eq!(bits(&got[row.clone()]), bits(&expected[row]), "width {width}");
            }
        }
    }
}

fn a_shared_triangle_is_that_of_every_row<F: Float + Draw>(width: usize) {
    let rows = 5;
    let mut batch = Batch::<F>::new(16, rows, width, 1.0, 1.0);
    let (tril, prior) = (batch.tril[..width * width].to_vec(), batch.prior_tril[..width * width].to_vec());
    (batch.tril, batch.prior_tril) = (tril.repeat(rows), prior.repeat(rows));
    batch.prior_loc = batch.prior_loc[..width].repeat(rows);
    let expected = batch.gradients().unwrap();
    let one_loc = &batch.prior_loc[..width];
    for (ours, theirs) in [
        (Tril::Shared(&tril), Tril::Shared(&prior)),
        (Tril::Shared(&tril), Tril::ByRow(&batch.prior_tril)),
        (batch.tril(), Tril::Shared(&prior)),
    ] {
        let [mut value, mut a, mut c] = [rows, rows * width, rows * width].map(zeros::<F>);
        let [mut b, mut e] = [(); 2].map(|()| zeros::<F>(rows * width * width));
        kl(&batch.loc, ours, Some((one_loc, theirs)), width, &mut value).unwrap();
        assert_eq!(bits(&value), bits(&expected[0]));
        kl_grad(&batch.loc, ours, Some((one_loc, theirs)), width, &mut value, &mut a, &mut b, Some((&mut c, &mut e))).unwrap();
        for (got, expected) in [value, a, b, c, e].iter().zip(&expected) {
            assert_eq!(bits(got), bits(expected));
        }
    }
    let run = |tril: Tril<F>| {
        let [mut value, mut log_probs, mut entropies, mut densities] = [(); 4].map(|()| zeros::<F>(rows));
        kl(&batch.loc, tril, None, width, &mut value).unwrap();
        log_prob(&batch.z, &batch.loc, tril, width, &mut log_probs).unwrap();
        entropy(tril, width, &mut entropies).unwrap();
        let mut z = zeros::<F>(rows * width);
        rsample_and_log_prob(&batch.loc, tril, Key(4), 0, 0, width, &mut z, &mut densities).unwrap();
        [value, log_probs, entropies, densities, z].map(|x| bits(&x))
    };
    assert_eq!(run(Tril::Shared(&tril)), run(batch.tril()));
}

#[test]
fn a_shared_triangle_gives_the_bits_of_one_a_row() {
    for width in [1, 6, 17, 32] {
        a_shared_triangle_is_that_of_every_row::<f32>(width);
        a_shared_triangle_is_that_of_every_row::<f64>(width);
    }
}

fn above_the_diagonal_nothing_is_read<F: Float + Draw>() {
    for width in [2, 8, 19] {
        let batch = Batch::<F>::new(17, 13, width, 1.0, 1.0);
        let expected = everything(&batch).unwrap();
        let mut other = batch.clone();
        for x in other.tril.iter_mut().chain(&mut other.prior_tril).filter(|x| !x.finite()) {
            *x = F::from_f64(-3.0);
        }
        assert_eq!(bits(&everything(&other).unwrap()), bits(&expected));
        let [_, _, d_tril, _, d_prior_tril] = batch.gradients().unwrap();
        for gradient in [d_tril, d_prior_tril] {
            let above = gradient.iter().enumerate().filter(|(at, _)| at % width > at / width % width);
            assert!(above.into_iter().all(|(_, x)| bits(&[*x]) == [0]));
        }
    }
}

#[test]
fn above_the_diagonal_nothing_is_read_and_gradients_are_0() {
    above_the_diagonal_nothing_is_read::<f32>();
    above_the_diagonal_nothing_is_read::<f64>();
}

fn draws_are_addressed<F: Float + Draw>(width: usize) {
    let (rows, particles, first) = (50, 4, 1_000_000_007_u64);
    let batch = Batch::<F>::new(18, rows, width, 1.0, 2.0);
    let (loc, tril) = (&batch.loc, batch.tril());
    let [mut z, mut density] = [particles * rows * width, particles * rows].map(zeros::<F>);
    rsample_and_log_prob(loc, tril, Key(2), 0, first, width, &mut z, &mut density).unwrap();
    let mut eps = zeros::<F>(rows * width);
    for (k, z) in z.chunks(rows * width).enumerate() {
        fill_normals(Key(2), k as u32, first, width, &mut eps);
        for row in 0..rows {
            let e: Vec<Double> = eps[row * width..][..width].iter().map(|e| e.to_f64().into()).collect();
            let l = Matrix::lower(width, &batch.tril[row * width * width..][..width * width]);
            for i in 0..width {
                let noise = (0..=i).map(|j| l.at(i, j) * e[j]);
                let expected = Terms::of(noise.chain([Double::from(loc[row * width + i].to_f64())]));
                let error = expected.error(z[row * width + i]);
                assert!(error <= row_bound::<F>(), "particle {k}, row {row}, {i} of width {width}: off by {error:e}");
            }
            let terms = (0..width).flat_map(|i| [e[i] * e[i] * -0.5, -l.at(i, i).ln(), LN_2PI * -0.5]);
            let error = Terms::of(terms).error(density[k * rows + row]);
            assert!(error <= row_bound::<F>(), "log_prob of particle {k}, row {row}: off by {error:e}");
        }
    }
    // Fewer particles, later ones, some of the rows and the form without the density are the same draws.
    let mut again = zeros::<F>(z.len());
    rsample(loc, tril, Key(2), first, width, &mut again).unwrap();
    assert_eq!(bits(&again), bits(&z));
    let mut fewer = zeros::<F>(2 * rows * width);
    rsample(loc, tril, Key(2), first, width, &mut fewer).unwrap();
    assert_eq!(bits(&fewer), bits(&z[..2 * rows * width]));
    let [mut later, mut of_later] = [2 * rows * width, 2 * rows].map(zeros::<F>);
    rsample_and_log_prob(loc, tril, Key(2), 2, first, width, &mut later, &mut of_later).unwrap();
    assert_eq!((bits(&later), bits(&of_later)), (bits(&z[2 * rows * width..]), bits(&density[2 * rows..])));
    let (skip, rest) = (17, rows - 17);
    let mut part = zeros::<F>(particles * rest * width);
    let some = Tril::ByRow(&batch.tril[skip * width * width..]);
    rsample(&loc[skip * width..], some, Key(2), first + skip as u64, width, &mut part).unwrap();
    for (part, all) in part.chunks(rest * width).zip(z.chunks(rows * width)) {
        assert_eq!(bits(part), bits(&all[skip * width..]));
    }
    // log_prob of several particles is that of each alone.
    let mut together = zeros::<F>(particles * rows);
    log_prob(&z, loc, tril, width, &mut together).unwrap();
    let mut alone = zeros::<F>(rows);
    for (z, together) in z.chunks(rows * width).zip(together.chunks(rows)) {
        log_prob(z, loc, tril, width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(together));
    }
    // One row of many particles keeps its triangle.
    let one = Tril::ByRow(&batch.tril[..width * width]);
    let mut of_one = zeros::<F>(rows);
    log_prob(&z[..rows * width], &loc[..width], one, width, &mut of_one).unwrap();
    log_prob(&z[..rows * width], &loc[..width].repeat(rows), Tril::Shared(&batch.tril[..width * width]), width, &mut alone)
        .unwrap();
    assert_eq!(bits(&of_one), bits(&alone));
}

#[test]
fn draws_are_addressed_by_key_row_and_particle() {
    for width in [1, 3, 8, 17, 32] {
        draws_are_addressed::<f32>(width);
        draws_are_addressed::<f64>(width);
    }
}

/// Numbers from the ends of the range and between, zeros among them, but for the diagonals, which are positive.
fn extreme<F: Float>(n: &mut Numbers, rows: usize, width: usize) -> Batch<F> {
    let smallest = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let sizes = [F::MAX.to_f64(), 1e30, 1e10, 1.0, 1e-7, 1e-30, smallest];
    let mut pick = |_| {
        let size = sizes[(n.bits() % sizes.len() as u64) as usize];
        F::from_f64([size, -size, 0.0][(n.bits() % 3) as usize])
    };
    let mut vector = || (0..rows * width).map(&mut pick).collect::<Vec<F>>();
    let (z, loc, prior_loc) = (vector(), vector(), vector());
    let mut matrix = || {
        let mut all: Vec<F> = (0..rows * width * width).map(&mut pick).collect();
        for i in 0..rows * width {
            let x = &mut all[i / width * width * width + i % width * (width + 1)];
            *x = if *x == F::ZERO { F::ONE } else { F::from_f64(x.to_f64().abs()) };
        }
        all
    };
    let (tril, prior_tril) = (matrix(), matrix());
    Batch { width, z, loc, tril, prior_loc, prior_tril }
}

fn finite_input_gives_no_nan<F: Float + Draw>() {
    let mut n = Numbers(19);
    for width in [1, 2, 5, 9, 17, 32] {
        for _ in 0..40 {
            let all = everything(&extreme::<F>(&mut n, 9, width)).expect("finite input is never an error");
            assert!(all.iter().all(|x| !x.to_f64().is_nan()), "{} of width {width}", F::NAME);
        }
    }
}

#[test]
fn finite_input_never_gives_nan() {
    finite_input_gives_no_nan::<f32>();
    finite_input_gives_no_nan::<f64>();
}

#[test]
fn what_leaves_the_range_has_the_right_sign() {
    let mut out = [0.0_f64];
    let prior = |tril: &'static [f64]| Some((&[0.0][..], Tril::Shared(tril)));
    // The quotient of the diagonals lies outside the range, its logarithm does not.
    kl(&[0.0], Tril::Shared(&[1e-300]), prior(&[1e300]), 1, &mut out).unwrap();
    assert!((out[0] - (600.0 * std::f64::consts::LN_10 - 0.5)).abs() < 1e-12, "{}", out[0]);
    kl(&[0.0], Tril::Shared(&[1e300]), prior(&[1e-300]), 1, &mut out).unwrap();
    assert_eq!(out, [f64::INFINITY]);
    kl(&[1e300], Tril::Shared(&[1.0]), None, 1, &mut out).unwrap();
    assert_eq!(out, [f64::INFINITY]);
    log_prob(&[1e300], &[0.0], Tril::Shared(&[1.0]), 1, &mut out).unwrap();
    assert_eq!(out, [f64::NEG_INFINITY]);
    let (mut value, mut d_loc, mut d_tril) = ([0.0], [0.0], [0.0]);
    let mean = Some((&[1e300][..], Tril::Shared(&[1e-300][..])));
    kl_grad(&[0.0], Tril::Shared(&[1e-300]), mean, 1, &mut value, &mut d_loc, &mut d_tril, None).unwrap();
    assert_eq!((value, d_loc, d_tril), ([f64::INFINITY], [f64::NEG_INFINITY], [0.0]));
    // Parts of a draw leave the range with opposite signs; their sum does not.
    let mut eps = [0.0_f64; 2];
    fill_normals(Key(0), 0, 0, 2, &mut eps);
    let huge = f64::MAX * 0.9;
    let row = [huge.copysign(eps[0]), huge];
    let mut z = [0.0_f64; 2];
    rsample(&[0.0, 0.0], Tril::Shared(&[1.0, f64::NAN, row[0], row[1]]), Key(0), 0, 2, &mut z).unwrap();
    let expected = (row[0] * 1e-10 * eps[0] + row[1] * 1e-10 * eps[1]) * 1e10;
    assert!(z[1] == expected || (z[1] / expected - 1.0).abs() < 1e-14, "{} for {expected}", z[1]);
}

fn assert_named(result: Result<()>, argument: &str, row: usize, column: usize, value: f64) {
    match result {
        Err(Error::NonFinite { argument: a, row: r, column: c, value: v }) if !value.is_finite() => {
            assert_eq!((a, r, c, v.to_bits()), (argument, row, column, value.to_bits()));
        }
        Err(Error::Support { argument: a, row: r, column: c, value: v, .. }) if value.is_finite() => {
            assert_eq!((a, r, c, v.to_bits()), (argument, row, column, value.to_bits()));
        }
        other => panic!("expected {argument} at ({row}, {column}), got {other:?}"),
    }
}

fn bad_numbers_are_named<F: Float + Draw>(width: usize) {
    let rows = 4;
    let batch = Batch::<F>::new(20, rows, width, 0.5, 1.0);
    let run = |batch: &Batch<F>| everything(batch).map(|_| ());
    let row = 2;
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let column = width - 1;
        let spoil = |choose: &dyn Fn(&mut Batch<F>) -> &mut Vec<F>, at: usize| {
            let mut bad = batch.clone();
            choose(&mut bad)[at] = F::from_f64(value);
            bad
        };
        let vector = row * width + column;
        assert_named(run(&spoil(&|b| &mut b.loc, vector)), "loc", row, column, value);
        assert_named(run(&spoil(&|b| &mut b.prior_loc, vector)), "prior_loc", row, column, value);
        let bad = spoil(&|b| &mut b.z, vector);
        assert_named(log_prob(&bad.z, &bad.loc, bad.tril(), width, &mut zeros(rows)), "z", row, column, value);
        // The last row's first entry, and the diagonal.
        for column in [0, width - 1] {
            let at = row * width * width + (width - 1) * width + column;
            assert_named(run(&spoil(&|b| &mut b.tril, at)), "scale_tril", row, column, value);
            assert_named(run(&spoil(&|b| &mut b.prior_tril, at)), "prior_scale_tril", row, column, value);
        }
    }
    for value in [0.0, -0.0, -1.5] {
        let diagonal = row * width * width + (width - 1) * (width + 1);
        let mut bad = batch.clone();
        bad.tril[diagonal] = F::from_f64(value);
        let (n, d) = (rows, width);
        let (loc, tril) = (&bad.loc, bad.tril());
        let named = |result| assert_named(result, "scale_tril", row, width - 1, value);
        named(kl(loc, tril, None, d, &mut zeros(n)));
        named(kl(loc, tril, bad.prior(), d, &mut zeros(n)));
        named(kl_grad(loc, tril, None, d, &mut zeros(n), &mut zeros(n * d), &mut zeros(n * d * d), None));
        named(log_prob(&bad.z, loc, tril, d, &mut zeros(n)));
        named(entropy(tril, d, &mut zeros(n)));
        named(rsample(loc, tril, Key(0), 0, d, &mut zeros(n * d)));
        named(rsample_and_log_prob(loc, tril, Key(0), 0, 0, d, &mut zeros(n * d), &mut zeros(n)));
        let mut bad = batch.clone();
        bad.prior_tril[diagonal] = F::from_f64(value);
        assert_named(kl(&bad.loc, bad.tril(), bad.prior(), d, &mut zeros(n)), "prior_scale_tril", row, width - 1, value);
        // A shared triangle's place is its own row.
        let one = Tril::Shared(&bad.prior_tril[row * d * d..][..d * d]);
        assert_named(kl(&bad.loc, one, None, d, &mut zeros(n)), "scale_tril", width - 1, width - 1, value);
    }
}

#[test]
fn bad_numbers_are_named_by_argument_row_and_column() {
    for width in [1, 5, 16, 17] {
        bad_numbers_are_named::<f32>(width);
        bad_numbers_are_named::<f64>(width);
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let shape = |result: Result<()>, name: &str| match result {
        Err(Error::Shape { argument, .. }) => assert_eq!(argument, name),
        other => panic!("expected a shape error of {name}, got {other:?}"),
    };
    let (x, t) = ([0.0_f32; 12], [1.0_f32; 36]);
    let (mut sums, mut each, mut cells) = ([0.0; 4], [0.0; 12], [0.0; 36]);
    let all = Tril::ByRow(&t[..]);
    shape(kl(&x[..11], all, None, 3, &mut sums), "loc");
    shape(kl(&x, Tril::ByRow(&t[..27]), None, 3, &mut sums), "scale_tril");
    shape(kl(&x, Tril::Shared(&t[..8]), None, 3, &mut sums), "scale_tril");
    shape(kl(&x, all, Some((&x[..2], all)), 3, &mut sums), "prior_loc");
    shape(kl(&x, all, Some((&x, Tril::Shared(&t))), 3, &mut sums), "prior_scale_tril");
    shape(kl_grad(&x, all, None, 3, &mut sums, &mut each[..3], &mut cells, None), "d_loc");
    shape(kl_grad(&x, all, None, 3, &mut sums, &mut each, &mut cells[..9], None), "d_scale_tril");
    let without = kl_grad(&x, all, None, 3, &mut sums, &mut each, &mut cells, Some((&mut [0.0; 12], &mut [0.0; 36])));
    assert!(matches!(without, Err(Error::Value { argument: "d_prior", .. })));
    shape(entropy(Tril::ByRow(&t[..35]), 3, &mut sums), "scale_tril");
    shape(log_prob(&x[..9], &x, all, 3, &mut sums), "z");
    shape(log_prob(&x, &x[..9], Tril::ByRow(&t[..27]), 3, &mut sums), "z");
    shape(log_prob(&x, &[], Tril::ByRow(&[]), 3, &mut sums), "z");
    shape(rsample(&x[..9], Tril::ByRow(&t[..27]), Key(0), 0, 3, &mut each), "z");
    shape(rsample(&x, Tril::ByRow(&t[..9]), Key(0), 0, 3, &mut each), "scale_tril");
    shape(rsample_and_log_prob(&x, all, Key(0), 0, 0, 3, &mut each, &mut sums[..3]), "log_prob");
    let last = rsample_and_log_prob(&x[..3], Tril::Shared(&t[..9]), Key(0), u32::MAX - 2, 0, 3, &mut each, &mut sums);
    assert!(matches!(last, Err(Error::Value { argument: "num_particles", .. })));
}

#[test]
fn no_rows_no_latents_and_one_of_each() {
    let none: [f64; 0] = [];
    for width in [0, 1, 5] {
        let tril = Tril::ByRow(&none[..]);
        kl(&none, tril, None, width, &mut []).unwrap();
        kl(&none, tril, Some((&none, tril)), width, &mut []).unwrap();
        kl_grad(&none, tril, None, width, &mut [], &mut [], &mut [], None).unwrap();
        entropy(tril, width, &mut []).unwrap();
        log_prob(&none, &none, tril, width, &mut []).unwrap();
        rsample(&none, tril, Key(0), 0, width, &mut []).unwrap();
        rsample_and_log_prob(&none, tril, Key(0), 0, 0, width, &mut [], &mut []).unwrap();
    }
    // Rows of no latents have the empty sum.
    for tril in [Tril::ByRow(&none[..]), Tril::Shared(&none[..])] {
        let run = |f: &dyn Fn(&mut [f64])| {
            let mut out = [f64::NAN; 3];
            f(&mut out);
            assert_eq!(out, [0.0; 3]);
        };
        run(&|out| kl(&none, tril, None, 0, out).unwrap());
        run(&|out| log_prob(&none, &none, tril, 0, out).unwrap());
        run(&|out| entropy(tril, 0, out).unwrap());
        run(&|out| rsample_and_log_prob(&none, tril, Key(0), 0, 0, 0, &mut [], out).unwrap());
    }
    let mut out = [f64::NAN];
    kl(&[3.0], Tril::ByRow(&[1.0]), None, 1, &mut out).unwrap();
    assert_eq!(out, [4.5]);
}
