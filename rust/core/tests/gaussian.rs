//! Diagonal Gaussians against the formulas in double-double: values, gradients, draws, the ends of the range, named errors, and the same bits
//! whatever the level, threads, batch or particles.

#![allow(missing_docs)]

mod reference;

use elbokit_core::gaussian::{entropy, kl, kl_grad, kl_per_dim, log_prob, rsample, rsample_and_log_prob};
use elbokit_core::random::{Draw, Key, fill_normals};
use elbokit_core::{Error, Float, Result};
use proptest::prelude::*;
use reference::double::LN_2PI;
use reference::{Double, Numbers, Terms, assert_rows, bits, property, row_bound, same_at_every_level, same_on_any_threads};

const WIDTHS: [usize; 9] = [1, 7, 8, 15, 16, 17, 30, 64, 100];

/// One latent of a row: z, its Gaussian and the prior's.
#[derive(Clone, Copy, Debug)]
struct Cell {
    z: f64,
    loc: f64,
    log_var: f64,
    prior_loc: f64,
    prior_log_var: f64,
}

impl Cell {
    /// The same numbers as type F holds them.
    fn rounded<F: Float>(self) -> Self {
        let r = |x| F::from_f64(x).to_f64();
        let Self { z, loc, log_var, prior_loc, prior_log_var } = self;
        Self { z: r(z), loc: r(loc), log_var: r(log_var), prior_loc: r(prior_loc), prior_log_var: r(prior_log_var) }
    }

    /// To the standard normal.
    fn standard(self) -> Self {
        Self { prior_loc: 0.0, prior_log_var: 0.0, ..self }
    }

    fn log_prob(self) -> [Double; 3] {
        let delta = (Double::from(self.z) - self.loc) * Double::from(-0.5 * self.log_var).exp();
        [delta * delta * -0.5, Double::from(self.log_var) * -0.5, LN_2PI * -0.5]
    }

    fn entropy(self) -> [Double; 3] {
        [Double::from(self.log_var) * 0.5, LN_2PI * 0.5, 0.5.into()]
    }

    fn v(self) -> Double {
        Double::from(self.log_var) - self.prior_log_var
    }

    fn inverse(self) -> Double {
        Double::from(-0.5 * self.prior_log_var).exp()
    }

    fn delta(self) -> Double {
        (Double::from(self.loc) - self.prior_loc) * self.inverse()
    }

    fn kl(self) -> [Double; 2] {
        [self.v().exp_excess() * 0.5, self.delta() * self.delta() * 0.5]
    }

    /// ∂KL by loc, `log_var`, `prior_loc`, `prior_log_var`.
    fn kl_grad(self) -> [Terms; 4] {
        let (d_loc, d_log_var) = (self.delta() * self.inverse(), self.v().exp_m1() * 0.5);
        let d_prior_log_var = [-d_log_var, self.delta() * self.delta() * -0.5];
        [Terms::of([d_loc]), Terms::of([d_log_var]), Terms::of([-d_loc]), Terms::of(d_prior_log_var)]
    }
}

fn column<F: Float>(cells: &[Cell], number: impl Fn(&Cell) -> f64) -> Vec<F> {
    cells.iter().map(|cell| F::from_f64(number(cell))).collect()
}

fn by_row<const N: usize>(cells: &[Cell], width: usize, terms: impl Fn(Cell) -> [Double; N]) -> Vec<Terms> {
    cells.chunks(width.max(1)).map(|row| Terms::of(row.iter().flat_map(|&cell| terms(cell)))).collect()
}

fn zeros<F: Float>(len: usize) -> Vec<F> {
    vec![F::ZERO; len]
}

/// What [`kl_grad`] fills: the divergence, then the four gradients one after another.
fn every_gradient<F: Float>(cells: &[Cell], width: usize) -> Result<(Vec<F>, [Vec<F>; 4])> {
    let [loc, log_var] = [column(cells, |c| c.loc), column(cells, |c| c.log_var)];
    let prior: [Vec<F>; 2] = [column(cells, |c| c.prior_loc), column(cells, |c| c.prior_log_var)];
    let mut value = zeros(cells.len() / width);
    let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| zeros(cells.len()));
    kl_grad(&loc, &log_var, Some((&prior[0], &prior[1])), width, &mut value, &mut a, &mut b, Some((&mut c, &mut d)))?;
    Ok((value, [a, b, c, d]))
}

/// The largest error of each function, in units of its terms' magnitudes.
fn values_and_gradients_are_right<F: Float>(cells: &[Cell], width: usize) -> [f64; 5] {
    let cells: Vec<Cell> = cells.iter().map(|cell| cell.rounded::<F>()).collect();
    let rows = cells.len() / width;
    let [z, loc, log_var] = [column::<F>(&cells, |c| c.z), column(&cells, |c| c.loc), column(&cells, |c| c.log_var)];
    let prior: [Vec<F>; 2] = [column(&cells, |c| c.prior_loc), column(&cells, |c| c.prior_log_var)];
    let prior = Some((&*prior[0], &*prior[1]));
    let bound = row_bound::<F>();
    let mut out = zeros(rows);

    log_prob(&z, &loc, &log_var, width, &mut out).unwrap();
    let worst_log_prob = assert_rows("log_prob", &out, &by_row(&cells, width, Cell::log_prob), bound);
    entropy(&log_var, width, &mut out).unwrap();
    let worst_entropy = assert_rows("entropy", &out, &by_row(&cells, width, Cell::entropy), bound);

    let standard: Vec<Cell> = cells.iter().map(|cell| cell.standard()).collect();
    kl(&loc, &log_var, None, width, &mut out).unwrap();
    let worst_standard = assert_rows("kl to N(0, I)", &out, &by_row(&standard, width, Cell::kl), bound);
    assert!(out.iter().all(|kl| *kl >= F::ZERO));
    kl(&loc, &log_var, prior, width, &mut out).unwrap();
    let worst_general = assert_rows("kl", &out, &by_row(&cells, width, Cell::kl), bound);
    assert!(out.iter().all(|kl| *kl >= F::ZERO));

    let mut each = zeros(cells.len());
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
    [worst_log_prob, worst_entropy, worst_standard, worst_general, worst_gradient]
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

/// Cells of all sizes, one a row, where nothing averages an error away.
fn single_cells(len: usize) -> Vec<Cell> {
    let mut numbers = Numbers(3);
    let mut number = |limit: f64| {
        let size = [limit, 2.0, 0.1][(numbers.bits() % 3) as usize];
        numbers.uniform(-size, size)
    };
    let mut cell = |_| Cell {
        z: number(50.0),
        loc: number(50.0),
        log_var: number(40.0),
        prior_loc: number(50.0),
        prior_log_var: number(40.0),
    };
    (0..len).map(&mut cell).collect()
}

#[test]
fn single_cells_are_within_the_bound() {
    let names = ["log_prob", "entropy", "kl to N(0, I)", "kl", "kl_grad"];
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
    for prior in [None, prior] {
        kl(&loc, &log_var, prior, width, &mut sums)?;
        all.extend_from_slice(&sums);
        kl_per_dim(&loc, &log_var, prior, width, &mut each)?;
        all.extend_from_slice(&each);
        let mut d_log_var = zeros(cells.len());
        kl_grad(&loc, &log_var, prior, width, &mut sums, &mut each, &mut d_log_var, None)?;
        all.extend(sums.iter().chain(&each).chain(&d_log_var));
    }
    let (value, gradients) = every_gradient::<F>(cells, width)?;
    all.extend(value.iter().chain(gradients.iter().flatten()));
    let mut draws = zeros(3 * cells.len());
    rsample(&loc, &log_var, Key(1), 5, width, &mut draws)?;
    all.extend_from_slice(&draws);
    let mut log_probs = zeros(3 * rows);
    rsample_and_log_prob(&loc, &log_var, Key(1), 0, 5, width, &mut draws, &mut log_probs)?;
    all.extend(draws.iter().chain(&log_probs));
    Ok(all)
}

#[test]
fn every_level_gives_the_same_bits() {
    for width in WIDTHS {
        let cells = single_cells(5 * width);
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

fn draws_are_addressed<F: Float + Draw>(width: usize) {
    let (rows, particles, first) = (60, 5, 1_000_000_007_u64);
    let cells = single_cells(rows * width);
    let [loc, log_var] = [column::<F>(&cells, |c| c.loc), column(&cells, |c| c.log_var)];
    let mut z = zeros::<F>(particles * rows * width);
    rsample(&loc, &log_var, Key(2), first, width, &mut z).unwrap();
    for (k, z) in z.chunks(rows * width).enumerate() {
        let mut eps = zeros::<F>(rows * width);
        fill_normals(Key(2), k as u32, first, width, &mut eps);
        for (i, (&z, eps)) in z.iter().zip(eps).enumerate() {
            let scale = Double::from(0.5 * log_var[i].to_f64()).exp();
            let expected = Terms::of([loc[i].to_f64().into(), scale * eps.to_f64()]);
            assert!(expected.error(z) <= row_bound::<F>(), "particle {k}, number {i}: {z} for {expected:?}");
        }
    }
    // Fewer particles, some of the rows, and the form with the density are the same draws.
    let mut fewer = zeros::<F>(2 * rows * width);
    rsample(&loc, &log_var, Key(2), first, width, &mut fewer).unwrap();
    assert_eq!(bits(&fewer), bits(&z[..2 * rows * width]));
    let (skip, rest) = (17, rows - 17);
    let mut part = zeros::<F>(particles * rest * width);
    rsample(&loc[skip * width..], &log_var[skip * width..], Key(2), first + skip as u64, width, &mut part).unwrap();
    for (part, all) in part.chunks(rest * width).zip(z.chunks(rows * width)) {
        assert_eq!(bits(part), bits(&all[skip * width..]));
    }
    let (mut again, mut density) = (zeros::<F>(z.len()), zeros(particles * rows));
    rsample_and_log_prob(&loc, &log_var, Key(2), 0, first, width, &mut again, &mut density).unwrap();
    assert_eq!(bits(&again), bits(&z));
    let (last, at) = (particles - 1, (particles - 1) * rows);
    let (mut z_alone, mut alone) = (zeros::<F>(rows * width), zeros(rows));
    rsample_and_log_prob(&loc, &log_var, Key(2), last as u32, first, width, &mut z_alone, &mut alone).unwrap();
    assert_eq!((bits(&z_alone), bits(&alone)), (bits(&z[at * width..]), bits(&density[at..])));
    // The density comes from ε, and agrees with that of z but for z's own rounding against its scale.
    let mut eps = zeros::<F>(rows * width);
    for (k, density) in density.chunks(rows).enumerate() {
        fill_normals(Key(2), k as u32, first, width, &mut eps);
        let expected: Vec<Terms> = (0..rows)
            .map(|row| {
                let cells = row * width..(row + 1) * width;
                Terms::of(cells.flat_map(|i| {
                    let e = Double::from(eps[i].to_f64());
                    [e * e * -0.5, Double::from(log_var[i].to_f64()) * -0.5, LN_2PI * -0.5]
                }))
            })
            .collect();
        assert_rows("log_prob of draws", density, &expected, row_bound::<F>());
    }
}

#[test]
fn draws_are_addressed_by_key_row_and_particle() {
    for width in WIDTHS {
        draws_are_addressed::<f32>(width);
        draws_are_addressed::<f64>(width);
    }
}

/// Numbers at the ends of the range and in its middle.
fn extremes<F: Float>() -> Vec<f64> {
    let smallest = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let positive = [F::MAX.to_f64(), 1e30, 1e5, 1e4, 200.0, 1.0, 1e-7, smallest];
    positive.into_iter().flat_map(|x| [x, -x]).chain([0.0]).map(|x| F::from_f64(x).to_f64()).collect()
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
            named(argument, rsample(loc, log_var, Key(0), 0, width, &mut each));
            named(argument, rsample_and_log_prob(loc, log_var, Key(0), 0, 0, width, &mut each, &mut sums));
        }
        named("z", log_prob(&bad, &good, &good, width, &mut sums));
        named("log_var", entropy(&bad, width, &mut sums));
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

#[test]
fn particles_past_the_last_are_refused() {
    let (loc, log_var) = ([0.0_f32; 2], [0.0_f32; 2]);
    let draw = |first: u32| {
        let (mut z, mut log_prob) = ([0.0; 6], [0.0; 3]);
        rsample_and_log_prob(&loc, &log_var, Key(0), first, 0, 2, &mut z, &mut log_prob)
    };
    assert_eq!(draw(u32::MAX - 2), Ok(()));
    assert!(matches!(draw(u32::MAX - 1), Err(Error::Value { argument: "num_particles", .. })));
}
