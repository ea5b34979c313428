//! The ends of the range, errors that name what is wrong, and the smallest shapes.

use crate::batch::{Batch, assert_named, everything, extreme, zeros};
use crate::reference::Numbers;
use elbokit_core::mvn::{Tril, entropy, kl, kl_grad, log_prob, rsample, rsample_and_log_prob};
use elbokit_core::random::{Draw, Key, fill_normals};
use elbokit_core::{Error, Float, Result};

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
