//! The divergence of a pair of which one is diagonal: that of its triangle, and what a log-variance has beyond it.

use elbokit_core::gaussian;
use elbokit_core::mvn::{self, Tril};
use elbokit_core::{Error, Float};

use crate::reference::Numbers;

fn close<F: Float>(a: &[F], b: &[F], bound: f64) {
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.to_f64(), b.to_f64());
        assert!(a == b || (a - b).abs() <= bound * b.abs().max(1.0), "{a} and {b}");
    }
}

/// Triangles of no other entries than the diagonal's, so that `gaussian::kl` is the same pair's.
fn both_ways<F: Float>(bound: f64) {
    let (rows, width) = (20, 5);
    let mut n = Numbers(3);
    let [loc, prior_loc] = [(); 2].map(|()| n.vec::<F>(rows * width, -3.0, 3.0));
    let mut narrow = n.vec::<F>(rows * width, -4.0, 4.0);
    let known = n.vec::<F>(rows * width, -4.0, 4.0);
    let mut tril = vec![F::ZERO; rows * width * width];
    mvn::diagonal(&known, width, &mut tril).unwrap();
    let known: Vec<F> = (0..rows * width).map(|at| F::from_f64(2.0 * libm::log(tril[at * width + at % width].to_f64()))).collect();
    for (at, far) in [(3, -150.0), (17, -300.0), (40, -1400.0), (41, -1500.0), (42, -1e4), (95, -2000.0)] {
        narrow[at] = F::from_f64(far);
    }
    let [mut got, mut expected] = [(); 2].map(|()| vec![F::ZERO; rows]);
    mvn::kl_of_diagonal(&loc, &narrow, &prior_loc, Tril::ByRow(&tril), width, &mut got).unwrap();
    gaussian::kl(&loc, &narrow, Some((&prior_loc, &known)), width, &mut expected).unwrap();
    close(&got, &expected, bound);
    // As a prior what is wide adds what it has beyond the triangle.
    let wide: Vec<F> = narrow.iter().map(|x| if x.to_f64() < -100.0 { F::ZERO - *x } else { *x }).collect();
    mvn::kl_to_diagonal(&loc, Tril::ByRow(&tril), &prior_loc, &wide, width, &mut got).unwrap();
    gaussian::kl(&loc, &known, Some((&prior_loc, &wide)), width, &mut expected).unwrap();
    close(&got, &expected, bound);
    // One row and one triangle for all are as many copies.
    let [one_loc, one_wide] = [&prior_loc, &wide].map(|x| &x[..width]);
    let copies = [one_loc.repeat(rows), one_wide.repeat(rows)];
    let one_tril = &tril[..width * width];
    let mut other = vec![F::ZERO; rows];
    mvn::kl_to_diagonal(&loc, Tril::Shared(one_tril), one_loc, one_wide, width, &mut got).unwrap();
    mvn::kl_to_diagonal(&loc, Tril::ByRow(&one_tril.repeat(rows)), &copies[0], &copies[1], width, &mut other).unwrap();
    assert_eq!(got, other);
}

#[test]
fn a_diagonal_of_any_width_is_as_far_as_its_formula_says() {
    both_ways::<f32>(4e-7);
    both_ways::<f64>(4e-15);
}

#[test]
fn bad_input_is_named_by_its_own_row() {
    let rows = 600;
    let eye: Vec<f64> = [1.0, 0.0, 0.0, 1.0].repeat(rows);
    let good = vec![0.0; 2 * rows];
    let (mut bad, mut kl) = (good.clone(), vec![0.0; rows]);
    bad[2 * 500 + 1] = f64::NAN;
    let mut bent = eye.clone();
    bent[4 * 500 + 3] = 0.0;
    let (tril, one) = (Tril::ByRow(&eye), Tril::Shared(&eye[..4]));
    let of = |loc: &[f64], log_var: &[f64], p: &[f64], tril, kl: &mut [f64]| mvn::kl_of_diagonal(loc, log_var, p, tril, 2, kl);
    let to = |loc: &[f64], tril, p: &[f64], log_var: &[f64], kl: &mut [f64]| mvn::kl_to_diagonal(loc, tril, p, log_var, 2, kl);
    for (result, argument) in [
        (of(&bad, &good, &good, tril, &mut kl), "loc"),
        (of(&good, &bad, &good[..2], one, &mut kl), "log_var"),
        (of(&good, &good, &bad, one, &mut kl), "prior_loc"),
        (of(&good, &good, &good, Tril::ByRow(&bent), &mut kl), "prior_scale_tril"),
        (to(&bad, one, &good, &good, &mut kl), "loc"),
        (to(&good, Tril::ByRow(&bent), &good, &good, &mut kl), "scale_tril"),
        (to(&good, tril, &bad, &good[..2], &mut kl), "prior_loc"),
        (to(&good, tril, &good, &bad, &mut kl), "prior_log_var"),
    ] {
        match result {
            Err(Error::NonFinite { argument: named, row, .. } | Error::Support { argument: named, row, .. }) => {
                assert_eq!((named, row), (argument, 500));
            }
            other => panic!("{argument}: {other:?}"),
        }
    }
    assert!(matches!(of(&good[2..], &good, &good, one, &mut kl), Err(Error::Shape { argument: "loc", .. })));
    assert!(matches!(to(&good, one, &good, &good[..4], &mut kl), Err(Error::Shape { argument: "prior_log_var", .. })));
}

#[test]
fn what_has_no_scale_is_infinitely_far() {
    let mut kl = [0.0; 2];
    let eye = [1.0, 0.0, 0.0, 1.0];
    mvn::kl_of_diagonal(&[0.0; 4], &[0.0, 1500.0, 0.0, -1500.0], &[0.0; 2], Tril::Shared(&eye), 2, &mut kl).unwrap();
    assert_eq!(kl, [f64::INFINITY, 749.5]);
    mvn::kl_to_diagonal(&[0.0; 4], Tril::Shared(&eye), &[0.0; 2], &[0.0, -1500.0], 2, &mut kl).unwrap();
    assert_eq!(kl, [f64::INFINITY; 2]);
    mvn::kl_of_diagonal::<f64>(&[], &[], &[], Tril::Shared(&[]), 0, &mut kl).unwrap();
    assert_eq!(kl, [0.0; 2]);
}
