//! What holds for every function of diagonal Gaussians: the same bits whatever the level, threads or batch, no NaN from finite input, named errors.

use crate::reference::cell::{Cell, column, every_gradient, extremes, single_cells, zeros};
use crate::reference::{Numbers, bits, same_at_every_level, same_on_any_threads};
use elbokit_core::gaussian::{
    entropy, entropy_grad, kl, kl_grad, kl_per_dim, log_prob, log_prob_grad, rsample, rsample_and_log_prob, rsample_grad,
};
use elbokit_core::random::{Draw, Key};
use elbokit_core::{Error, Float, Result};

const WIDTHS: [usize; 9] = [1, 7, 8, 15, 16, 17, 30, 64, 100];

/// Everything that every function gives for these rows, one after another.
fn everything<F: Float + Draw>(cells: &[Cell], width: usize) -> Result<Vec<F>> {
    let [z, loc, log_var] = [column::<F>(cells, |c| c.z), column(cells, |c| c.loc), column(cells, |c| c.log_var)];
    let prior: [Vec<F>; 2] = [column(cells, |c| c.prior_loc), column(cells, |c| c.prior_log_var)];
    let prior = Some((&*prior[0], &*prior[1]));
    let rows = cells.len() / width;
    let mut all = Vec::new();
    let mut sums = zeros(rows);
    let mut each = zeros(cells.len());
    log_prob(&z, &loc, &log_var, width, &mut sums)?;
    all.extend_from_slice(&sums);
    entropy(&log_var, width, &mut sums)?;
    all.extend_from_slice(&sums);
    let mut gradients = [(); 3].map(|()| zeros(cells.len()));
    let [d_z, d_loc, d_log_var] = &mut gradients;
    log_prob_grad(&z, &loc, &log_var, width, &mut sums, d_z, d_loc, d_log_var)?;
    all.extend(sums.iter().chain(gradients.iter().flatten()));
    entropy_grad(&log_var, width, &mut sums, &mut each)?;
    all.extend(sums.iter().chain(&each));
    for prior in [None, prior] {
        kl(&loc, &log_var, prior, width, &mut sums)?;
        all.extend_from_slice(&sums);
        kl_per_dim(&loc, &log_var, prior, width, &mut each)?;
        all.extend_from_slice(&each);
        let mut d_log_var = zeros(cells.len());
        kl_grad(&loc, &log_var, prior, width, &mut sums, &mut each, &mut d_log_var, None)?;
        all.extend(sums.iter().chain(&each).chain(&d_log_var));
    }
    let (value, mut gradients) = every_gradient::<F>(cells, width)?;
    all.extend(value.iter().chain(gradients.iter().flatten()));
    let mut draws = zeros(3 * cells.len());
    rsample(&loc, &log_var, Key(1), 5, width, &mut draws)?;
    all.extend_from_slice(&draws);
    let mut log_probs = zeros(3 * rows);
    rsample_and_log_prob(&loc, &log_var, Key(1), 0, 5, width, &mut draws, &mut log_probs)?;
    all.extend(draws.iter().chain(&log_probs));
    let d_z = [&z[..], &loc, &log_var].concat();
    let [d_loc, d_log_var, ..] = &mut gradients;
    rsample_grad(&loc, &log_var, &d_z, Key(1), 5, width, d_loc, d_log_var)?;
    all.extend(gradients.iter().flatten());
    Ok(all)
}

#[test]
fn every_level_gives_the_same_bits() {
    for width in WIDTHS {
        let cells = single_cells(21 * width);
        same_at_every_level(&format!("width {width}"), || everything::<f32>(&cells, width).unwrap());
        same_at_every_level(&format!("width {width}"), || everything::<f64>(&cells, width).unwrap());
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for width in [1, 30, 700] {
        let cells = single_cells(210_000 / width * width);
        same_on_any_threads(&format!("width {width}"), || everything::<f32>(&cells, width).unwrap());
        same_on_any_threads(&format!("width {width}"), || everything::<f64>(&cells, width).unwrap());
    }
}

fn rows_stand_alone<F: Float + Draw>(width: usize) {
    let rows = 1000;
    let cells = single_cells(rows * width);
    let [z, loc, log_var] = [column::<F>(&cells, |c| c.z), column(&cells, |c| c.loc), column(&cells, |c| c.log_var)];
    let (mut together, mut divergence, mut draws) = (zeros::<F>(rows), zeros(rows), zeros(rows * width));
    log_prob(&z, &loc, &log_var, width, &mut together).unwrap();
    kl(&loc, &log_var, None, width, &mut divergence).unwrap();
    rsample(&loc, &log_var, Key(9), 0, width, &mut draws).unwrap();
    for row in 0..rows {
        let at = row * width..(row + 1) * width;
        let (mut alone, mut draw) = ([F::ZERO], zeros(width));
        log_prob(&z[at.clone()], &loc[at.clone()], &log_var[at.clone()], width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(&together[row..=row]));
        kl(&loc[at.clone()], &log_var[at.clone()], None, width, &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(&divergence[row..=row]));
        rsample(&loc[at.clone()], &log_var[at.clone()], Key(9), row as u64, width, &mut draw).unwrap();
        assert_eq!(bits(&draw), bits(&draws[at]), "row {row} of width {width}");
    }
}

#[test]
fn a_row_alone_equals_the_row_among_a_thousand() {
    for width in [1, 7, 16, 30, 100] {
        rows_stand_alone::<f32>(width);
        rows_stand_alone::<f64>(width);
    }
}

fn finite_input_gives_no_nan<F: Float + Draw>() {
    let e = extremes::<F>();
    let mut cells = Vec::new();
    for &loc in &e {
        for &log_var in &e {
            for &prior_loc in &e {
                cells.extend(e.iter().map(|&prior_log_var| Cell { z: prior_loc, loc, log_var, prior_loc, prior_log_var }));
            }
        }
    }
    // Each alone, and in rows that hold opposite extremes in one lane and in several.
    for width in [1, 17, 289] {
        let all = everything::<F>(&cells, width).expect("finite input is never an error");
        assert!(all.iter().all(|x| !x.to_f64().is_nan()), "{} of width {width}", F::NAME);
    }
    let mut numbers = Numbers(6);
    let mut pick = || e[(numbers.bits() % e.len() as u64) as usize];
    let cells: Vec<Cell> =
        (0..30_000).map(|_| Cell { z: pick(), loc: pick(), log_var: pick(), prior_loc: pick(), prior_log_var: pick() }).collect();
    for width in [2, 30, 100] {
        let all = everything::<F>(&cells, width).expect("finite input is never an error");
        assert!(all.iter().all(|x| !x.to_f64().is_nan()), "{} of width {width}", F::NAME);
    }
}

#[test]
fn finite_input_never_gives_nan() {
    finite_input_gives_no_nan::<f32>();
    finite_input_gives_no_nan::<f64>();
}

#[test]
fn what_leaves_the_range_has_the_right_sign() {
    let mut out = [0.0_f32];
    kl(&[0.0], &[1e4], None, 1, &mut out).unwrap();
    assert_eq!(out, [f32::INFINITY]);
    kl(&[f32::MAX], &[f32::MAX], Some((&[-f32::MAX], &[-f32::MAX])), 1, &mut out).unwrap();
    assert_eq!(out, [f32::INFINITY]);
    kl(&[0.0], &[-1e4], None, 1, &mut out).unwrap();
    assert_eq!(out, [4999.5]);
    log_prob(&[1.0], &[0.0], &[-1e4], 1, &mut out).unwrap();
    assert_eq!(out, [-f32::INFINITY]);
    // Where z is loc itself, the density is that of the scale.
    log_prob(&[1.0], &[1.0], &[-1e4], 1, &mut out).unwrap();
    assert!((out[0] - 4999.08).abs() < 0.01, "{}", out[0]);
    // No particles add up to nothing.
    let (mut d_loc, mut d_log_var) = ([1.0_f32; 3], [1.0; 3]);
    rsample_grad(&[7.0; 3], &[1e4; 3], &[], Key(0), 0, 1, &mut d_loc, &mut d_log_var).unwrap();
    assert_eq!((d_loc, d_log_var), ([0.0; 3], [0.0; 3]));
    let mut z = [0.0_f32; 3];
    rsample(&[7.0; 3], &[-1e4; 3], Key(0), 0, 1, &mut z).unwrap();
    assert_eq!(z, [7.0; 3]);
}

fn assert_non_finite(result: Result<()>, argument: &str, row: usize, column: usize, value: f64) {
    match result {
        Err(Error::NonFinite { argument: a, row: r, column: c, value: v }) => {
            assert_eq!((a, r, c, v.to_bits()), (argument, row, column, value.to_bits()));
        }
        other => panic!("expected {argument} at ({row}, {column}), got {other:?}"),
    }
}

fn bad_numbers_are_named<F: Float + Draw>(width: usize) {
    let rows = 4;
    let good = vec![F::from_f64(0.5); rows * width];
    let (row, column) = (2, width - 1);
    for value in [f64::NAN, f64::INFINITY, -f64::INFINITY] {
        let mut bad = good.clone();
        bad[row * width + column] = F::from_f64(value);
        let named = |argument, result| assert_non_finite(result, argument, row, column, value);
        let (mut sums, mut each, mut other) = (zeros::<F>(rows), zeros(rows * width), zeros(rows * width));
        for (loc, log_var, argument) in [(&bad, &good, "loc"), (&good, &bad, "log_var")] {
            named(argument, log_prob(&good, loc, log_var, width, &mut sums));
            for prior in [None, Some((&*good, &*good)), Some((&good[..width], &good[..width]))] {
                named(argument, kl(loc, log_var, prior, width, &mut sums));
                named(argument, kl_per_dim(loc, log_var, prior, width, &mut each));
                named(argument, kl_grad(loc, log_var, prior, width, &mut sums, &mut each, &mut other, None));
            }
            let mut third = zeros(rows * width);
            named(argument, log_prob_grad(&good, loc, log_var, width, &mut sums, &mut each, &mut other, &mut third));
            named(argument, rsample_grad(loc, log_var, &good, Key(0), 0, width, &mut each, &mut other));
            named(argument, rsample(loc, log_var, Key(0), 0, width, &mut each));
            named(argument, rsample_and_log_prob(loc, log_var, Key(0), 0, 0, width, &mut each, &mut sums));
        }
        named("z", log_prob(&bad, &good, &good, width, &mut sums));
        named("d_z", rsample_grad(&good, &good, &bad, Key(0), 0, width, &mut each, &mut other));
        named("log_var", entropy(&bad, width, &mut sums));
        named("log_var", entropy_grad(&bad, width, &mut sums, &mut each));
        for (prior, argument) in [((&*bad, &*good), "prior_loc"), ((&*good, &*bad), "prior_log_var")] {
            named(argument, kl(&good, &good, Some(prior), width, &mut sums));
            named(argument, kl_per_dim(&good, &good, Some(prior), width, &mut each));
            named(argument, kl_grad(&good, &good, Some(prior), width, &mut sums, &mut each, &mut other, None));
        }
        assert_non_finite(
            kl(&good, &good, Some((&bad[row * width..][..width], &good)), width, &mut sums),
            "prior_loc",
            0,
            column,
            value,
        );
    }
}

#[test]
fn bad_numbers_are_named_by_argument_row_and_column() {
    for width in [1, 5, 16, 33] {
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
    let x = [0.0_f32; 12];
    let (mut sums, mut each) = ([0.0; 4], [0.0; 12]);
    shape(kl(&x[..11], &x, None, 3, &mut sums), "loc");
    shape(kl(&x, &x[..9], None, 3, &mut sums), "log_var");
    shape(kl(&x, &x, Some((&x[..2], &x)), 3, &mut sums), "prior_loc");
    shape(kl(&x, &x, Some((&x, &x[..6])), 3, &mut sums), "prior_log_var");
    shape(entropy(&x, 5, &mut sums), "log_var");
    shape(log_prob(&x[..9], &x, &x, 3, &mut sums), "z");
    shape(log_prob(&x, &x[..6], &x, 3, &mut sums), "log_var");
    shape(log_prob(&x, &x[..8], &x[..8], 3, &mut sums), "loc");
    // Four draws cannot belong to three rows, nor to none.
    shape(log_prob(&x, &x[..9], &x[..9], 3, &mut sums), "z");
    shape(log_prob(&x, &[], &[], 3, &mut sums), "z");
    shape(rsample(&x[..9], &x[..9], Key(0), 0, 3, &mut each), "z");
    shape(rsample(&[], &[], Key(0), 0, 3, &mut each), "z");
    shape(rsample(&x[..8], &x[..8], Key(0), 0, 3, &mut each), "loc");
    shape(rsample(&x, &x[..9], Key(0), 0, 3, &mut each), "log_var");
    shape(rsample_and_log_prob(&x, &x, Key(0), 0, 0, 3, &mut each, &mut sums[..3]), "log_prob");
    let mut d = [[0.0; 12]; 2];
    let [d_loc, d_log_var] = &mut d;
    shape(rsample_grad(&x[..9], &x[..9], &x, Key(0), 0, 3, d_loc, d_log_var), "d_z");
    shape(rsample_grad(&x, &x, &x[..9], Key(0), 0, 3, d_loc, d_log_var), "d_z");
    shape(rsample_grad(&x, &x, &x, Key(0), 0, 3, d_loc, &mut d_log_var[..9]), "d_log_var");
    shape(log_prob_grad(&x, &x, &x, 3, &mut sums, d_loc, d_log_var, &mut each[..9]), "d_log_var");
    shape(log_prob_grad(&x[..9], &x, &x, 3, &mut sums, d_loc, d_log_var, &mut each), "z");
    shape(entropy_grad(&x, 3, &mut sums, &mut d_loc[..9]), "d_log_var");
    let without = kl_grad(&x, &x, None, 3, &mut sums, d_loc, d_log_var, Some((&mut each, &mut [0.0; 12])));
    assert!(matches!(without, Err(Error::Value { argument: "d_prior", .. })));
    shape(kl_grad(&x, &x, None, 3, &mut sums, &mut d_loc[..3], d_log_var, None), "d_loc");
}

#[test]
fn no_rows_no_latents_and_one_of_each() {
    let none: [f64; 0] = [];
    for width in [0, 1, 5] {
        kl(&none, &none, None, width, &mut []).unwrap();
        kl_per_dim(&none, &none, None, width, &mut []).unwrap();
        kl_grad(&none, &none, None, width, &mut [], &mut [], &mut [], None).unwrap();
        entropy(&none, width, &mut []).unwrap();
        log_prob(&none, &none, &none, width, &mut []).unwrap();
        log_prob_grad(&none, &none, &none, width, &mut [], &mut [], &mut [], &mut []).unwrap();
        entropy_grad(&none, width, &mut [], &mut []).unwrap();
        rsample_grad(&none, &none, &none, Key(0), 0, width, &mut [], &mut []).unwrap();
        rsample(&none, &none, Key(0), 0, width, &mut []).unwrap();
        rsample_and_log_prob(&none, &none, Key(0), 0, 0, width, &mut [], &mut []).unwrap();
    }
    // Rows of no latents have the empty sum.
    let mut out = [f64::NAN; 3];
    kl(&none, &none, None, 0, &mut out).unwrap();
    assert_eq!(out, [0.0; 3]);
    out = [f64::NAN; 3];
    rsample_and_log_prob(&none, &none, Key(0), 0, 0, 0, &mut [], &mut out).unwrap();
    assert_eq!(out, [0.0; 3]);
    let mut out = [f64::NAN];
    kl(&[3.0], &[0.0], None, 1, &mut out).unwrap();
    assert_eq!(out, [4.5]);
}
