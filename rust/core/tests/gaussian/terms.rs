//! Diagonal Gaussians against the formulas in double-double: values, gradients, and what leaves the range.

use crate::reference::cell::{Cell, by_row, column, every_gradient, single_cells, zeros};
use crate::reference::{Numbers, Terms, assert_rows, bits, property, row_bound};
use elbokit_core::Float;
use elbokit_core::gaussian::{entropy, entropy_grad, kl, kl_grad, kl_per_dim, log_prob, log_prob_grad};
use proptest::prelude::*;

/// The largest error of each function, in units of its terms' magnitudes.
fn values_and_gradients_are_right<F: Float>(cells: &[Cell], width: usize) -> [f64; 6] {
    let cells: Vec<Cell> = cells.iter().map(|cell| cell.rounded::<F>()).collect();
    let rows = cells.len() / width;
    let [z, loc, log_var] = [column::<F>(&cells, |c| c.z), column(&cells, |c| c.loc), column(&cells, |c| c.log_var)];
    let prior: [Vec<F>; 2] = [column(&cells, |c| c.prior_loc), column(&cells, |c| c.prior_log_var)];
    let prior = Some((&*prior[0], &*prior[1]));
    let bound = row_bound::<F>();
    let mut out = zeros(rows);

    log_prob(&z, &loc, &log_var, width, &mut out).unwrap();
    let worst_log_prob = assert_rows("log_prob", &out, &by_row(&cells, width, Cell::log_prob), bound);
    let mut value = zeros(rows);
    let mut gradients = [(); 3].map(|()| zeros(cells.len()));
    let [d_z, d_loc, d_log_var] = &mut gradients;
    log_prob_grad(&z, &loc, &log_var, width, &mut value, d_z, d_loc, d_log_var).unwrap();
    assert_eq!(bits(&value), bits(&out), "log_prob_grad's value is log_prob's");
    let mut worst_log_prob_grad = 0.0_f64;
    for (i, gradient) in gradients.iter().enumerate() {
        let expected: Vec<Terms> = cells.iter().map(|cell| cell.log_prob_grad()[i]).collect();
        worst_log_prob_grad = worst_log_prob_grad.max(assert_rows(&format!("log_prob_grad {i}"), gradient, &expected, bound));
    }
    entropy(&log_var, width, &mut out).unwrap();
    let worst_entropy = assert_rows("entropy", &out, &by_row(&cells, width, Cell::entropy), bound);
    let mut each = zeros(cells.len());
    entropy_grad(&log_var, width, &mut value, &mut each).unwrap();
    assert_eq!(bits(&value), bits(&out), "entropy_grad's value is entropy's");
    assert!(each.iter().all(|d| d.to_f64() == 0.5));

    let standard: Vec<Cell> = cells.iter().map(|cell| cell.standard()).collect();
    kl(&loc, &log_var, None, width, &mut out).unwrap();
    let worst_standard = assert_rows("kl to N(0, I)", &out, &by_row(&standard, width, Cell::kl), bound);
    assert!(out.iter().all(|kl| *kl >= F::ZERO));
    kl(&loc, &log_var, prior, width, &mut out).unwrap();
    let worst_general = assert_rows("kl", &out, &by_row(&cells, width, Cell::kl), bound);
    assert!(out.iter().all(|kl| *kl >= F::ZERO));

    kl_per_dim(&loc, &log_var, None, width, &mut each).unwrap();
    assert_rows("kl_per_dim to N(0, I)", &each, &by_row(&standard, 1, Cell::kl), bound);
    kl_per_dim(&loc, &log_var, prior, width, &mut each).unwrap();
    assert_rows("kl_per_dim", &each, &by_row(&cells, 1, Cell::kl), bound);

    let (value, gradients) = every_gradient::<F>(&cells, width).unwrap();
    assert_eq!(bits(&value), bits(&out), "kl_grad's value is kl's");
    let mut worst_gradient = 0.0_f64;
    for (i, gradient) in gradients.iter().enumerate() {
        let expected: Vec<Terms> = cells.iter().map(|cell| cell.kl_grad()[i]).collect();
        worst_gradient = worst_gradient.max(assert_rows(&format!("gradient {i}"), gradient, &expected, bound));
    }
    let [mut d_loc, mut d_log_var] = [zeros(cells.len()), zeros(cells.len())];
    kl_grad(&loc, &log_var, prior, width, &mut out, &mut d_loc, &mut d_log_var, None).unwrap();
    assert_eq!((bits(&d_loc), bits(&d_log_var)), (bits(&gradients[0]), bits(&gradients[1])));
    kl(&loc, &log_var, None, width, &mut out).unwrap();
    let mut value = zeros(rows);
    kl_grad(&loc, &log_var, None, width, &mut value, &mut d_loc, &mut d_log_var, None).unwrap();
    assert_eq!(bits(&value), bits(&out));
    for (i, gradient) in [d_loc, d_log_var].iter().enumerate() {
        let expected: Vec<Terms> = standard.iter().map(|cell| cell.kl_grad()[i]).collect();
        assert_rows(&format!("gradient {i} to N(0, I)"), gradient, &expected, bound);
    }
    [worst_log_prob, worst_log_prob_grad, worst_entropy, worst_standard, worst_general, worst_gradient]
}

/// Numbers up to a limit, with some near 0 and some at it.
fn number(limit: f64) -> impl Strategy<Value = f64> {
    prop_oneof![4 => -limit..limit, 2 => -1.0..1.0, 1 => -1e-7..1e-7, 1 => Just(0.0)]
}

fn cell() -> impl Strategy<Value = Cell> {
    let gaussian = || (number(50.0), number(40.0));
    (number(50.0), gaussian(), gaussian()).prop_map(|(z, (loc, log_var), (prior_loc, prior_log_var))| Cell {
        z,
        loc,
        log_var,
        prior_loc,
        prior_log_var,
    })
}

fn rows() -> impl Strategy<Value = (usize, Vec<Cell>)> {
    (1..40_usize, 0..4_usize).prop_flat_map(|(width, rows)| (Just(width), prop::collection::vec(cell(), rows * width)))
}

proptest! {
    #![proptest_config(property(100))]
    #[test]
    fn rows_agree_with_the_formulas((width, cells) in rows()) {
        values_and_gradients_are_right::<f32>(&cells, width);
        values_and_gradients_are_right::<f64>(&cells, width);
    }
}

#[test]
fn single_cells_are_within_the_bound() {
    let names = ["log_prob", "log_prob_grad", "entropy", "kl to N(0, I)", "kl", "kl_grad"];
    let errors = (
        values_and_gradients_are_right::<f32>(&single_cells(20_000), 1),
        values_and_gradients_are_right::<f64>(&single_cells(20_000), 1),
    );
    for (i, name) in names.iter().enumerate() {
        println!("{name}: float32 {:.2e}, float64 {:.2e} of the terms' magnitudes", errors.0[i], errors.1[i]);
    }
}

/// The divergence keeps its relative accuracy where every term is tiny.
fn near_the_prior<F: Float>(bound: f64) {
    let mut numbers = Numbers(4);
    for size in [1e-2, 1e-5, 1e-7, 1e-9, 1e-12] {
        let tiny = |numbers: &mut Numbers| F::from_f64(numbers.uniform(-size, size)).to_f64();
        let cells: Vec<Cell> = (0..3000)
            .map(|_| Cell { z: 0.0, loc: tiny(&mut numbers), log_var: tiny(&mut numbers), prior_loc: 0.0, prior_log_var: 0.0 })
            .collect();
        for width in [1, 30] {
            let mut out = zeros::<F>(cells.len() / width);
            kl(&column::<F>(&cells, |c| c.loc), &column(&cells, |c| c.log_var), None, width, &mut out).unwrap();
            assert_rows(&format!("kl at {size:e}"), &out, &by_row(&cells, width, Cell::kl), bound);
        }
        // Without the mean's term, the variance's stands alone.
        let still: Vec<Cell> = cells.iter().map(|cell| Cell { loc: 0.0, ..*cell }).collect();
        let mut out = zeros::<F>(still.len());
        kl(&zeros::<F>(still.len()), &column(&still, |c| c.log_var), None, 1, &mut out).unwrap();
        assert_rows(&format!("kl of the variance at {size:e}"), &out, &by_row(&still, 1, Cell::kl), bound);
    }
}

#[test]
fn the_divergence_is_right_near_the_prior() {
    // The terms are non-negative, so their magnitude is the value.
    near_the_prior::<f32>(1e-6);
    near_the_prior::<f64>(1e-14);
}

#[test]
fn the_divergence_of_one_unknown_is_fixture_one() {
    // KL(N(1.88, 1) ‖ N(1.5, 1/3)): the evidence less the ELBO.
    let mut out = [0.0];
    kl(&[1.88], &[0.0], Some((&[1.5], &[-(3.0_f64.ln())])), 1, &mut out).unwrap();
    assert!((out[0] - (-2.397_183_210_743 + 3.064_477_066_409)).abs() < 1e-12, "{}", out[0]);
}

#[test]
fn gradients_agree_with_central_differences() {
    let nudge = |cell: &Cell, i: usize, h: f64| {
        let mut cell = *cell;
        *[&mut cell.loc, &mut cell.log_var, &mut cell.prior_loc, &mut cell.prior_log_var][i] += h;
        cell
    };
    let value = |cell: Cell| {
        let mut out = [0.0];
        kl(&[cell.loc], &[cell.log_var], Some((&[cell.prior_loc], &[cell.prior_log_var])), 1, &mut out).unwrap();
        out[0]
    };
    let mut numbers = Numbers(5);
    for _ in 0..200 {
        let mut number = || numbers.uniform(-2.0, 2.0);
        let cell = Cell { z: 0.0, loc: number(), log_var: number(), prior_loc: number(), prior_log_var: number() };
        let (at, gradients) = every_gradient::<f64>(&[cell], 1).unwrap();
        for (i, gradient) in gradients.iter().enumerate() {
            let h = 1e-5;
            let difference = (value(nudge(&cell, i, h)) - value(nudge(&cell, i, -h))) / (2.0 * h);
            assert!((gradient[0] - difference).abs() < 1e-8 * (1.0 + at[0]), "{i}: {} for {difference}, {cell:?}", gradient[0]);
        }
    }
}

#[test]
fn gradients_of_the_density_agree_with_central_differences() {
    let value = |[z, loc, log_var]: [f64; 3]| {
        let mut out = [0.0];
        log_prob(&[z], &[loc], &[log_var], 1, &mut out).unwrap();
        out[0]
    };
    let mut numbers = Numbers(8);
    for _ in 0..200 {
        let at = [(); 3].map(|()| numbers.uniform(-2.0, 2.0));
        let (mut out, mut d) = ([0.0], [[0.0]; 3]);
        let [d_z, d_loc, d_log_var] = &mut d;
        log_prob_grad(&at[..1], &at[1..2], &at[2..], 1, &mut out, d_z, d_loc, d_log_var).unwrap();
        for i in 0..3 {
            let h = 1e-5;
            let moved = |step: f64| {
                let mut at = at;
                at[i] += step;
                value(at)
            };
            let difference = (moved(h) - moved(-h)) / (2.0 * h);
            assert!((d[i][0] - difference).abs() < 1e-7 * (1.0 + out[0].abs()), "{i}: {} for {difference}, {at:?}", d[i][0]);
        }
    }
}

/// A float32 result in the range is within the bound of its terms; one past it is the infinity of its sign.
fn assert_at_the_end(what: &str, got: f32, expected: &Terms, cell: Cell) {
    let (max, epsilon) = (f64::from(f32::MAX), f64::from(f32::EPSILON));
    let value = expected.value.hi;
    let near = value.abs() > max * (1.0 - epsilon) && value.abs() < max * (1.0 + epsilon);
    let right = if value.abs() < max * (1.0 + epsilon) && got.is_finite() {
        expected.error(got) <= row_bound::<f32>()
    } else {
        (value.abs() > max || near) && got == f32::INFINITY.copysign(value as f32)
    };
    assert!(right, "{what}: {got:e} for {expected:?}, {cell:?}");
}

#[test]
fn float32_is_right_to_the_ends_of_its_range() {
    let mut numbers = Numbers(9);
    let mut signed = |exponent: f64| {
        let size = libm::exp2(numbers.uniform(-149.0, exponent));
        f64::from(if numbers.bits().is_multiple_of(2) { size as f32 } else { -size as f32 })
    };
    let (mut finite, mut capped) = (0, 0);
    for round in 0..60_000 {
        let mut cell = Cell { z: signed(127.9), loc: signed(127.9), log_var: 0.0, prior_loc: signed(127.9), prior_log_var: 0.0 };
        if round % 3 == 0 {
            // Differences that a large inverse brings back into the range.
            (cell.loc, cell.prior_loc) = (cell.z, 0.0);
            cell.z += signed(-20.0);
            cell = cell.rounded::<f32>();
        }
        let mut end = |limit: f64| f64::from(signed(8.6).clamp(-limit, limit) as f32);
        (cell.log_var, cell.prior_log_var) = (end(370.0), end(370.0));
        if round % 3 == 1 {
            // An inverse that float32 does not hold, and differences that it brings back into the range.
            cell.log_var = -178.0 - end(180.0).abs();
            (cell.loc, cell.z) = (0.0, signed(-100.0));
            cell = cell.rounded::<f32>();
        }
        let [z, loc, log_var, prior_loc, prior_log_var] =
            [cell.z, cell.loc, cell.log_var, cell.prior_loc, cell.prior_log_var].map(|x| [x as f32]);
        let mut out = [0.0];
        let [mut a, mut b, mut c, mut d] = [[0.0_f32]; 4];
        log_prob_grad(&z, &loc, &log_var, 1, &mut out, &mut a, &mut b, &mut c).unwrap();
        capped += usize::from(cell.log_var < -177.5 && out[0].is_finite() && z != loc);
        assert_at_the_end("log_prob", out[0], &Terms::of(cell.log_prob()), cell);
        for (got, expected) in [a, b, c].iter().zip(cell.log_prob_grad()) {
            assert_at_the_end("log_prob_grad", got[0], &expected, cell);
        }
        for (prior, cell) in [(None, cell.standard()), (Some((&prior_loc[..], &prior_log_var[..])), cell)] {
            let with = prior.map(|_| (&mut c[..], &mut d[..]));
            kl_grad(&loc, &log_var, prior, 1, &mut out, &mut a, &mut b, with).unwrap();
            assert_at_the_end("kl", out[0], &Terms::of(cell.kl()), cell);
            finite += usize::from(out[0].is_finite() && out[0] > 1.7e38);
            for (i, (got, expected)) in [a, b, c, d].iter().zip(cell.kl_grad()).enumerate() {
                if i < 2 || prior.is_some() {
                    assert_at_the_end("kl_grad", got[0], &expected, cell);
                }
            }
            let mut each = [0.0];
            kl_per_dim(&loc, &log_var, prior, 1, &mut each).unwrap();
            assert_at_the_end("kl_per_dim", each[0], &Terms::of(cell.kl()), cell);
        }
    }
    // Both kinds of row were met.
    assert!(finite > 20 && capped > 20, "{finite}, {capped}");
}
