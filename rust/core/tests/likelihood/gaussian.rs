//! Gaussian cells at the end of the range, which the lanes leave to a computation of their own, and beside what is not finite.

use crate::reference::same_at_every_level;
use elbokit_core::Error;
use elbokit_core::likelihood::{Likelihood, Scale};

/// (x, loc, scale) and the log density, at the end of float32's range.
const ENDS: [(f32, f32, f64, f32); 6] = [
    (2.5e19, 0.0, 1.0, -3.125e38),
    (0.0, 2.5e19, 1.0, -3.125e38),
    (3e19, 0.0, 1.0, f32::NEG_INFINITY),
    (1e5, 0.0, 1e-30, f32::NEG_INFINITY),
    (f32::MAX, f32::MIN, 0.3, f32::NEG_INFINITY),
    (f32::MAX, f32::MIN, 1e38, -111.575_59),
];

#[test]
fn gaussian_cells_leave_the_range_where_their_density_does() {
    for (x, loc, scale, expected) in ENDS {
        let fixed = Likelihood::Gaussian(Scale::Fixed(scale));
        let predicted = Likelihood::Gaussian(Scale::Predicted);
        let log_var = (2.0 * scale.ln()) as f32;
        for (likelihood, params, tolerance) in [(fixed, vec![loc], 1e-6), (predicted, vec![loc, log_var], 3e-5)] {
            let prepared = likelihood.prepare::<f32>(1).unwrap();
            let value = || {
                let mut out = [f32::NAN];
                prepared.log_prob(&[x], &params, &mut out).unwrap();
                out.to_vec()
            };
            same_at_every_level(&format!("{likelihood:?}"), value);
            let value = value()[0];
            let near = (value - expected).abs() <= tolerance * expected.abs();
            assert!(value == expected || near, "{likelihood:?} of {x} at {loc}: {value}, not {expected}");
        }
    }
}

#[test]
fn what_is_not_finite_is_named_whatever_stands_beside_it() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    // x, loc and log-variance of a cell, and of another in its row; the params' bad column.
    let cells = [
        ([1.0, 1.0, -inf], [3e38, -3e38, 0.0], 2),
        ([1.0, inf, 300.0], [0.0, 0.0, 0.0], 0),
        ([1.0, nan, 0.0], [nan, inf, inf], 0),
        ([0.0, 0.0, inf], [3e38, -3e38, 0.0], 2),
    ];
    let member = || Likelihood::Columns(vec![(vec![0, 1], Likelihood::Gaussian(Scale::Predicted))]);
    for likelihood in [Likelihood::Gaussian(Scale::Predicted), member()] {
        let prepared = likelihood.prepare::<f32>(2).unwrap();
        for (a, b, column) in cells {
            let params = [a[1], b[1], a[2], b[2]];
            let (mut out, mut d_params) = ([0.0], [0.0; 4]);
            for result in [
                prepared.log_prob(&[a[0], b[0]], &params, &mut out),
                prepared.log_prob_grad(&[a[0], b[0]], &params, &mut out, &mut d_params),
            ] {
                let named = matches!(result, Err(Error::NonFinite { argument: "params", row: 0, column: c, .. }) if c == column);
                assert!(named, "{likelihood:?}, {a:?} and {b:?}: {result:?}");
            }
        }
    }
    let fixed = Likelihood::Columns(vec![(vec![0, 1], Likelihood::Gaussian(Scale::Fixed(0.5)))]);
    let prepared = fixed.prepare::<f32>(2).unwrap();
    for (x, params, name) in [([0.0, 1.0], [inf, 1.0], "params"), ([inf, 1.0], [inf, 1.0], "x"), ([inf, nan], [0.0, inf], "x")] {
        let result = prepared.log_prob(&x, &params, &mut [0.0]);
        assert!(matches!(result, Err(Error::NonFinite { argument, .. }) if argument == name), "{x:?} at {params:?}: {result:?}");
    }
}

/// Three rows of params for one row of x, of which the second is at the end of the range: a Gaussian cell, a missing one of its member, and a Bernoulli cell.
#[test]
fn a_row_at_the_end_is_computed_again_among_columns_and_particles() {
    const FAR: f64 = f32::MAX as f64;
    let (scale, ln_2, half_ln_2pi) = (1e38_f64, 2_f64.ln(), 0.918_938_533_204_672_7);
    let members = vec![(vec![0, 1], Likelihood::Gaussian(Scale::Fixed(scale))), (vec![2], Likelihood::Bernoulli)];
    let prepared = Likelihood::Columns(members).prepare::<f32>(3).unwrap();
    let x = [f32::MAX, f32::NAN, 1.0];
    let params = [0.0, 0.0, 0.0, f32::MIN, 0.0, 0.0, f32::MAX, 5.0, 0.0];
    let (mut out, mut value, mut d_params) = ([f32::NAN; 3], [f32::NAN; 3], [f32::NAN; 9]);
    prepared.log_prob(&x, &params, &mut out).unwrap();
    prepared.log_prob_grad(&x, &params, &mut value, &mut d_params).unwrap();
    assert_eq!(out, value);
    for (row, distance) in [FAR, 2.0 * FAR, 0.0].into_iter().enumerate() {
        let delta = distance / scale;
        let expected = -0.5 * delta * delta - scale.ln() - half_ln_2pi - ln_2;
        assert!((f64::from(out[row]) - expected).abs() <= 4e-7 * expected.abs(), "row {row}: {}, not {expected}", out[row]);
        let [d_loc, d_missing, d_logit] = [0, 1, 2].map(|column| f64::from(d_params[3 * row + column]));
        let pull = delta / scale;
        assert!((d_loc - pull).abs() <= 1e-6 * pull.abs() && d_missing == 0.0 && d_logit == 0.5, "row {row}: {d_loc}, not {pull}");
    }
}

/// Of a standard deviation that has no float32 inverse.
#[test]
fn a_predicted_scale_of_any_size_is_taken_as_it_is() {
    let prepared = Likelihood::Gaussian(Scale::Predicted).prepare::<f32>(1).unwrap();
    for (x, log_var) in [(1e-30_f32, -200.0_f32), (0.0, -200.0), (0.0, -1e4), (1e-38, -170.0)] {
        let (mut out, mut d_params) = ([f32::NAN], [f32::NAN; 2]);
        prepared.log_prob_grad(&[x], &[0.0, log_var], &mut out, &mut d_params).unwrap();
        let (x, log_var) = (f64::from(x), f64::from(log_var));
        let delta = if x == 0.0 { 0.0 } else { x * (-0.5 * log_var).exp() };
        let near = |got: f32, expected: f64| (f64::from(got) - expected).abs() <= 1e-5 * expected.abs();
        assert!(near(out[0], -0.5 * delta * delta - 0.5 * (log_var + std::f64::consts::TAU.ln())), "{x:e}, {log_var}: {out:?}");
        let pull = if x == 0.0 { 0.0 } else { x * (-log_var).exp() };
        let loc_is_right = if pull > f64::from(f32::MAX) { d_params[0] == f32::INFINITY } else { near(d_params[0], pull) };
        assert!(loc_is_right && near(d_params[1], 0.5 * delta * delta - 0.5), "{x:e}, {log_var}: {d_params:?}, not {pull:e}");
    }
}
