//! Draws that are weighed as they are made: z is that of `rsample`, the ratio that of the formula in double-double, and the rules of every kernel.

use crate::reference::cell::{Cell, column, extremes, single_cells, zeros};
use crate::reference::{Double, Numbers, Terms, assert_rows, bits, row_bound, same_at_every_level, same_on_any_threads};
use elbokit_core::gaussian::{Prior, Proposal, rsample};
use elbokit_core::random::{Draw, Key, fill_normals};
use elbokit_core::{Error, Float, Result};

const WIDTHS: [usize; 9] = [1, 7, 8, 15, 16, 17, 30, 64, 100];

/// The parameters of rows: loc, `log_var` and those of a prior.
struct Rows<F> {
    loc: Vec<F>,
    log_var: Vec<F>,
    prior_loc: Vec<F>,
    prior_log_var: Vec<F>,
    width: usize,
}

impl<F: Float + Draw> Rows<F> {
    fn of(cells: &[Cell], width: usize) -> Self {
        let (loc, log_var) = (column(cells, |c| c.loc), column(cells, |c| c.log_var));
        Self { loc, log_var, prior_loc: column(cells, |c| c.prior_loc), prior_log_var: column(cells, |c| c.prior_log_var), width }
    }

    /// N(0, I), a prior of one row, and one of every row.
    fn priors(&self) -> [Prior<'_, F>; 3] {
        let one = (&self.prior_loc[..self.width], &self.prior_log_var[..self.width]);
        [None, Some(one), Some((&self.prior_loc, &self.prior_log_var))]
    }

    /// z and the ratios of particles `first` and on.
    fn draw(&self, prior: Prior<'_, F>, first: u32, particles: usize, first_row: u64) -> Result<(Vec<F>, Vec<F>)> {
        let proposal = Proposal::new(&self.loc, &self.log_var, prior, self.width)?;
        let (mut z, mut ratio) = (zeros(particles * self.loc.len()), zeros(particles * proposal.rows()));
        proposal.draw(Key(5), first, first_row, &mut z, &mut ratio)?;
        Ok((z, ratio))
    }

    /// Everything for every prior, one after another.
    fn everything(&self, particles: usize) -> Vec<F> {
        let draws = self.priors().map(|prior| self.draw(prior, 0, particles, 7).expect("finite input is never an error"));
        draws.into_iter().flat_map(|(z, ratio)| [z, ratio].concat()).collect()
    }
}

/// ½ Σ [δ² − ε² + `prior_log_var` − `log_var`] of a row, from the rounded draw.
fn ratio<F: Float>(z: &[F], eps: &[F], log_var: &[F], prior: Option<(&[F], &[F])>) -> Terms {
    Terms::of((0..z.len()).flat_map(|j| {
        let (loc, spread) = prior.map_or((0.0, 0.0), |(a, b)| (a[j].to_f64(), b[j].to_f64()));
        // By its root twice, as the whole may leave the range.
        let root = Double::from(-0.25 * spread).exp();
        let delta = (Double::from(z[j].to_f64()) - loc) * root * root;
        let eps = Double::from(eps[j].to_f64());
        [delta * delta * 0.5, eps * eps * -0.5, (0.5 * spread).into(), (-0.5 * log_var[j].to_f64()).into()]
    }))
}

/// The largest error of the ratios, in units of their terms' magnitudes; and z by its bits.
fn draws_are_weighed<F: Float + Draw>(width: usize) -> f64 {
    let (rows, particles, first) = (60, 5, 1_000_000_007_u64);
    let r = Rows::<F>::of(&single_cells(rows * width), width);
    let mut expected = zeros::<F>(particles * rows * width);
    rsample(&r.loc, &r.log_var, Key(5), first, width, &mut expected).unwrap();
    let mut worst = 0.0_f64;
    for prior in r.priors() {
        let (z, got) = r.draw(prior, 0, particles, first).unwrap();
        assert_eq!(bits(&z), bits(&expected));
        let mut eps = zeros::<F>(rows * width);
        for (k, got) in got.chunks(rows).enumerate() {
            fill_normals(Key(5), k as u32, first, width, &mut eps);
            let terms: Vec<Terms> = (0..rows)
                .map(|row| {
                    let at = row * width..(row + 1) * width;
                    let prior = prior.map(|(a, b)| if a.len() == width { (a, b) } else { (&a[at.clone()], &b[at.clone()]) });
                    ratio(&z[k * rows * width..][at.clone()], &eps[at.clone()], &r.log_var[at], prior)
                })
                .collect();
            worst = worst.max(assert_rows("log_ratio", got, &terms, row_bound::<F>()));
        }
        // The last particles alone, and some of the rows.
        let (z_alone, alone) = r.draw(prior, 3, 2, first).unwrap();
        assert_eq!((bits(&z_alone), bits(&alone)), (bits(&z[3 * rows * width..]), bits(&got[3 * rows..])));
        let skip = 17;
        let part =
            Rows { loc: r.loc[skip * width..].to_vec(), log_var: r.log_var[skip * width..].to_vec(), ..Rows::of(&[], width) };
        let tail = prior.map(|(a, b)| if a.len() == width { (a, b) } else { (&a[skip * width..], &b[skip * width..]) });
        let (z_part, part) = part.draw(tail, 0, 1, first + skip as u64).unwrap();
        assert_eq!((bits(&z_part), bits(&part)), (bits(&z[skip * width..rows * width]), bits(&got[skip..rows])));
    }
    worst
}

#[test]
fn the_draws_are_those_of_rsample_and_the_ratios_those_of_the_formula() {
    let (mut single, mut double) = (0.0_f64, 0.0_f64);
    for width in WIDTHS {
        single = single.max(draws_are_weighed::<f32>(width));
        double = double.max(draws_are_weighed::<f64>(width));
    }
    println!("log_ratio: float32 {single:.2e}, float64 {double:.2e} of the terms' magnitudes");
}

#[test]
fn a_draw_of_the_prior_itself_weighs_nothing() {
    let mut numbers = Numbers(8);
    let (rows, width) = (50, 17);
    let mut r = Rows::<f64>::of(&[], width);
    (r.loc, r.log_var) = (zeros(rows * width), zeros(rows * width));
    assert!(r.draw(None, 0, 4, 0).unwrap().1.iter().all(|&ratio| ratio == 0.0));
    // With loc and log_var of its own, what rounding z leaves.
    (r.loc, r.log_var) = (numbers.vec(rows * width, -2.0, 2.0), numbers.vec(rows * width, -2.0, 2.0));
    assert!(r.draw(Some((&r.loc, &r.log_var)), 0, 4, 0).unwrap().1.iter().all(|ratio| ratio.abs() < 1e-13));
}

#[test]
fn every_level_gives_the_same_bits() {
    for width in WIDTHS {
        let cells = single_cells(5 * width);
        same_at_every_level(&format!("width {width}"), || Rows::<f32>::of(&cells, width).everything(3));
        same_at_every_level(&format!("width {width}"), || Rows::<f64>::of(&cells, width).everything(3));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for (rows, width) in [(1, 16), (30_000, 1), (1000, 30), (40, 700)] {
        let cells = single_cells(rows * width);
        let particles = 300_000 / cells.len();
        same_on_any_threads(&format!("width {width}"), || Rows::<f32>::of(&cells, width).everything(particles));
        same_on_any_threads(&format!("width {width}"), || Rows::<f64>::of(&cells, width).everything(particles));
    }
}

fn finite_input_gives_no_nan<F: Float + Draw>() {
    let e = extremes::<F>();
    let mut numbers = Numbers(6);
    let mut pick = || e[(numbers.bits() % e.len() as u64) as usize];
    let mut cells: Vec<Cell> =
        (0..30_000).map(|_| Cell { z: 0.0, loc: pick(), log_var: pick(), prior_loc: pick(), prior_log_var: pick() }).collect();
    // And every pair of the posterior's, where the prior is the same.
    cells.extend(
        e.iter()
            .flat_map(|&loc| e.iter().map(move |&log_var| Cell { z: 0.0, loc, log_var, prior_loc: loc, prior_log_var: log_var })),
    );
    for width in [1, 2, 17, 30, 100] {
        let cells = &cells[..cells.len() / width * width];
        let r = Rows::<F>::of(cells, width);
        assert!(r.everything(3).chunks(width).all(|row| row.iter().all(|x| !x.to_f64().is_nan())), "{} of {width}", F::NAME);
        for prior in r.priors() {
            let (z, ratios) = r.draw(prior, 0, 3, 0).unwrap();
            for (z, ratio) in z.chunks(width).zip(ratios) {
                let left = z.iter().any(|z| !z.finite());
                assert!(!left || ratio == F::INFINITY, "{ratio} for a draw that has left the range");
            }
        }
    }
}

#[test]
fn finite_input_never_gives_nan() {
    finite_input_gives_no_nan::<f32>();
    finite_input_gives_no_nan::<f64>();
}

/// Rows whose lanes overflow on the way to a finite result, against the formula.
fn lost_rows_are_found<F: Float + Draw>(far: f64) {
    let (loc, log_var) = ([0.0, 0.0].map(F::from_f64), [-far, -far].map(F::from_f64));
    let prior = (&[F::ZERO; 2][..], &log_var[..]);
    let r = Rows { loc: loc.to_vec(), log_var: log_var.to_vec(), prior_loc: vec![], prior_log_var: vec![], width: 2 };
    let (z, got) = r.draw(Some(prior), 0, 50, 0).unwrap();
    let mut eps = zeros::<F>(2);
    for (k, (z, &got)) in z.chunks(2).zip(&got).enumerate() {
        fill_normals(Key(5), k as u32, 0, 2, &mut eps);
        let expected = ratio(z, &eps, &log_var, Some(prior));
        assert!(got.finite(), "{got}");
        assert!(expected.error(got) <= row_bound::<F>(), "{got} for {expected:?}");
    }
}

#[test]
fn rows_that_overflow_on_the_way_are_weighed_again() {
    // The prior's 1 / scale has left the range, and the scale is subnormal.
    lost_rows_are_found::<f32>(180.0);
    lost_rows_are_found::<f64>(1420.0);
}

#[test]
fn what_leaves_the_range_has_the_right_sign() {
    let one = |loc: f32, log_var: f32, prior: Option<(f32, f32)>| {
        let prior = prior.map(|(a, b)| ([a], [b]));
        let proposal = Proposal::new(&[loc], &[log_var], prior.as_ref().map(|(a, b)| (&a[..], &b[..])), 1).unwrap();
        let (mut z, mut ratio) = ([0.0; 4], [0.0; 4]);
        proposal.draw(Key(1), 0, 0, &mut z, &mut ratio).unwrap();
        ratio
    };
    assert_eq!(one(f32::MAX, 0.0, None), [f32::INFINITY; 4]);
    assert_eq!(one(0.0, 1e4, None), [f32::INFINITY; 4]);
    assert_eq!(one(1.0, 0.0, Some((0.0, -1e4))), [f32::INFINITY; 4]);
    // q is a point at the prior's mean.
    assert!(one(0.0, -1e4, None).iter().all(|ratio| (ratio - 5000.0).abs() < 5.0));
    // Sums of log-variances that have left the range cancel.
    let (loc, log_var) = ([0.0_f64; 3], [-f64::MAX; 3]);
    let proposal = Proposal::new(&loc, &log_var, Some((&loc, &log_var)), 3).unwrap();
    let (mut z, mut ratio) = ([1.0; 3], [f64::NAN]);
    proposal.draw(Key(1), 0, 0, &mut z, &mut ratio).unwrap();
    assert!(z == [0.0; 3] && ratio[0].abs() < 10.0, "{z:?} {ratio:?}");
}

fn bad_numbers_are_named<F: Float + Draw>(width: usize) {
    let rows = 4;
    let good = vec![F::from_f64(0.5); rows * width];
    let (row, column) = (2, width - 1);
    for value in [f64::NAN, f64::INFINITY, -f64::INFINITY] {
        let mut bad = good.clone();
        bad[row * width + column] = F::from_f64(value);
        let named = |argument: &str, row: usize, result: Result<Proposal<F>>| match result {
            Err(Error::NonFinite { argument: a, row: r, column: c, value: v }) => {
                assert_eq!((a, r, c, v.to_bits()), (argument, row, column, value.to_bits()));
            }
            other => panic!("expected {argument} at ({row}, {column}), got {other:?}"),
        };
        for prior in [None, Some((&*good, &*good)), Some((&good[..width], &good[..width]))] {
            named("loc", row, Proposal::new(&bad, &good, prior, width));
            named("log_var", row, Proposal::new(&good, &bad, prior, width));
        }
        named("prior_loc", row, Proposal::new(&good, &good, Some((&bad, &good)), width));
        named("prior_log_var", row, Proposal::new(&good, &good, Some((&good, &bad)), width));
        let one = &bad[row * width..][..width];
        named("prior_loc", 0, Proposal::new(&good, &good, Some((one, &good[..width])), width));
        named("prior_log_var", 0, Proposal::new(&good, &good, Some((&good[..width], one)), width));
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
fn shapes_and_particles_that_do_not_fit_are_named() {
    let x = [0.0_f32; 12];
    let shape = |result: Result<()>, name: &str| match result {
        Err(Error::Shape { argument, .. }) => assert_eq!(argument, name),
        other => panic!("expected a shape error of {name}, got {other:?}"),
    };
    let new = |loc: &[f32], log_var: &[f32], prior: Prior<f32>| Proposal::new(loc, log_var, prior, 3).map(|_| ());
    shape(new(&x[..11], &x, None), "loc");
    shape(new(&x, &x[..9], None), "log_var");
    shape(new(&x, &x, Some((&x[..2], &x))), "prior_loc");
    shape(new(&x, &x, Some((&x, &x[..6]))), "prior_log_var");
    shape(new(&x, &x, Some((&x[..3], &x))), "prior_log_var");
    let proposal = Proposal::new(&x[..6], &x[..6], None, 3).unwrap();
    let (mut z, mut ratio) = ([0.0; 12], [0.0; 4]);
    shape(proposal.draw(Key(0), 0, 0, &mut z[..9], &mut ratio), "z");
    shape(proposal.draw(Key(0), 0, 0, &mut z[..9], &mut ratio[..3]), "log_ratio");
    assert_eq!(proposal.draw(Key(0), u32::MAX - 1, 0, &mut z, &mut ratio), Ok(()));
    let past = proposal.draw(Key(0), u32::MAX, 0, &mut z, &mut ratio);
    assert!(matches!(past, Err(Error::Value { argument: "num_particles", .. })));
}

#[test]
fn no_rows_and_no_latents() {
    let none: [f64; 0] = [];
    for width in [0, 1, 5] {
        for prior in [None, Some((&none[..], &none[..]))] {
            let proposal = Proposal::new(&none, &none, prior, width).unwrap();
            proposal.draw(Key(0), 0, 0, &mut [], &mut []).unwrap();
        }
    }
    // A prior of one row stands for those of no rows, too.
    let proposal = Proposal::new(&none, &none, Some((&[1.0, 2.0], &[0.0, 0.0])), 2).unwrap();
    assert_eq!(proposal.rows(), 0);
    proposal.draw(Key(0), 0, 0, &mut [], &mut []).unwrap();
    // Rows of no latents have the empty sum.
    let mut ratio = [f64::NAN; 3];
    Proposal::new(&none, &none, None, 0).unwrap().draw(Key(0), 0, 0, &mut [], &mut ratio).unwrap();
    assert_eq!(ratio, [0.0; 3]);
}
