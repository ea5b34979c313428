//! Against the formulas in double-double: values and gradients within the backward bound, the divergence near the prior, and the diagonal case.

use crate::batch::{Batch, WIDTHS, assert_named, zeros};
use crate::matrix::{Matrix, abs, plus};
use crate::reference::double::LN_2PI;
use crate::reference::{Double, Numbers, Terms, bits, property, row_bound};
use elbokit_core::mvn::{Tril, diagonal, entropy, kl, kl_grad, log_prob, rsample};
use elbokit_core::random::{Draw, Key};
use elbokit_core::{Error, Float, gaussian};
use proptest::prelude::*;

/// Half a unit in the last place of 1 in float64, in which everything is computed.
const U: f64 = f64::EPSILON / 2.0;

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
