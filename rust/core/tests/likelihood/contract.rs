//! What every likelihood promises: the same bits whatever the level, threads, batch or particles; no NaN; named errors.

use crate::reference::likelihood::{Case, PAST_F32, random_rows};
use crate::reference::{bits, same_at_every_level, same_on_any_threads};
use elbokit_core::likelihood::{Likelihood, Scale};
use elbokit_core::random::{Draw, Key};
use elbokit_core::threads::Interrupt;
use elbokit_core::{Error, Float};

const WIDTHS: [usize; 7] = [1, 7, 8, 16, 17, 30, 150];

/// Everything that a likelihood gives for two particles of these rows.
fn everything<F: Float + Draw>(case: &Case, rows: usize, width: usize) -> Vec<F> {
    let (x, _) = random_rows::<F>(case, 11, rows, width, 0.1);
    let (_, params) = random_rows::<F>(case, 12, 2 * rows, width, 0.0);
    let [x, params] = [x, params].map(|x| x.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>());
    let prepared = case.likelihood.prepare::<F>(width).unwrap();
    let mut all = vec![F::NAN; 2 * rows];
    prepared.log_prob(&x, &params, &mut all).unwrap();
    let (mut value, mut gradient) = (vec![F::NAN; 2 * rows], vec![F::NAN; params.len()]);
    prepared.log_prob_grad(&x, &params, &mut value, &mut gradient).unwrap();
    let mut cells = vec![F::NAN; 2 * rows * prepared.num_means()];
    prepared.mean(&params, &mut cells).unwrap();
    all.extend(value.iter().chain(&gradient).chain(&cells));
    let mut draws = vec![F::NAN; 2 * rows * width];
    prepared.sample(&params, Key(1), 3, &Interrupt::default(), &mut draws).unwrap();
    all.extend(draws);
    all
}

#[test]
fn every_level_gives_the_same_bits() {
    for width in WIDTHS {
        for case in Case::all(width, false) {
            same_at_every_level(&format!("{:?}", case.likelihood), || everything::<f32>(&case, 21, width));
            same_at_every_level(&format!("{:?}", case.likelihood), || everything::<f64>(&case, 21, width));
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for (rows, width) in [(6000, 17), (55_000, 1)] {
        for case in Case::all(width, false) {
            // Work enough for threads; the long kernels reach it sooner.
            let quick = matches!(
                case.likelihood,
                Likelihood::Gaussian(_)
                    | Likelihood::Bernoulli
                    | Likelihood::ContinuousBernoulli
                    | Likelihood::Binomial(0..=4096)
                    | Likelihood::Categorical(_)
            );
            let rows = if quick { rows } else { rows / 5 };
            same_on_any_threads(&format!("{:?}", case.likelihood), || everything::<f32>(&case, rows, width));
            same_on_any_threads(&format!("{:?}", case.likelihood), || everything::<f64>(&case, rows, width));
        }
    }
}

fn rows_and_particles_stand_alone<F: Float>(width: usize) {
    for case in Case::all(width, false) {
        let (rows, particles) = (250, 4);
        let columns = case.likelihood.num_params(width);
        let (x, _) = random_rows::<F>(&case, 21, rows, width, 0.1);
        let (_, params) = random_rows::<F>(&case, 22, particles * rows, width, 0.0);
        let [x, params] = [x, params].map(|x| x.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>());
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let (mut all, mut gradient) = (vec![F::NAN; particles * rows], vec![F::NAN; params.len()]);
        prepared.log_prob_grad(&x, &params, &mut all, &mut gradient).unwrap();
        for (r, params) in params.chunks(columns).enumerate() {
            let (mut value, mut d_params) = ([F::NAN], vec![F::NAN; columns]);
            prepared.log_prob_grad(&x[r % rows * width..][..width], params, &mut value, &mut d_params).unwrap();
            assert_eq!(bits(&value), bits(&all[r..=r]), "{:?}, row {r} of width {width}", case.likelihood);
            assert_eq!(bits(&d_params), bits(&gradient[r * columns..][..columns]));
        }
    }
}

#[test]
fn a_row_alone_equals_the_row_among_a_thousand() {
    for width in [1, 7, 16, 30] {
        rows_and_particles_stand_alone::<f32>(width);
        rows_and_particles_stand_alone::<f64>(width);
    }
}

/// All particles of one row, some of whose work is then done once; of a row without missing cells, more of it.
fn particles_of_one_row_agree<F: Float>(width: usize, missing: f64) {
    for case in Case::all(width, false) {
        let particles = 150;
        let columns = case.likelihood.num_params(width);
        let (x, _) = random_rows::<F>(&case, 31, 1, width, missing);
        let (_, params) = random_rows::<F>(&case, 32, particles, width, 0.0);
        let [x, params] = [x, params].map(|x| x.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>());
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let everything = |x: &[F]| {
            let (mut value, mut all, mut gradient) =
                (vec![F::NAN; particles], vec![F::NAN; particles], vec![F::NAN; particles * columns]);
            prepared.log_prob(x, &params, &mut value).unwrap();
            prepared.log_prob_grad(x, &params, &mut all, &mut gradient).unwrap();
            [value, all, gradient].concat()
        };
        let what = format!("{:?} of width {width}", case.likelihood);
        assert_eq!(bits(&everything(&x)), bits(&everything(&x.repeat(particles))), "{what}");
        // The widest rows are for the blocks' ends, and slow where fusion is emulated.
        if width < 100 {
            same_at_every_level(&what, || everything(&x));
        }
    }
}

#[test]
fn a_row_for_all_particles_equals_its_copies() {
    for (width, missing) in [(1, 0.1), (7, 0.1), (30, 0.1), (1100, 0.1), (1, 0.0), (7, 0.0), (30, 0.0), (1100, 0.0)] {
        particles_of_one_row_agree::<f32>(width, missing);
        particles_of_one_row_agree::<f64>(width, missing);
    }
}

/// Counts at both ends, and what is none, in a row that all particles share.
fn one_binomial_row<F: Float>() {
    let prepared = Likelihood::Binomial(3).prepare::<F>(18).unwrap();
    let of = |x: &[f64]| x.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>();
    let mut x = of(&[0.0, -0.0, 3.0].repeat(6));
    let tame = of(&[0.5, -0.5, 0.0, 1e-30, 80.0, -120.0].repeat(3 * 4));
    let mut far = tame.clone();
    for pair in far.chunks_exact_mut(6) {
        (pair[0], pair[1]) = (F::MAX, F::ZERO - F::MAX);
    }
    let value = |x: &[F], params: &[F]| {
        let mut value = [F::NAN; 4];
        prepared.log_prob(x, params, &mut value).map(|()| bits(&value))
    };
    // What leaves the range does so in either way.
    for params in [&tame, &far] {
        assert_eq!(value(&x, params).unwrap(), value(&x.repeat(4), params).unwrap());
    }
    let with = |bad: F| {
        let mut wrong = tame.clone();
        wrong[2 * 18 + 5] = bad;
        wrong
    };
    for bad in [F::NAN, F::INFINITY] {
        let error = value(&x, &with(bad));
        assert!(matches!(error, Err(Error::NonFinite { argument: "params", row: 2, column: 5, .. })), "{bad}: {error:?}");
    }
    for bad in [-1.0, 1.5, 4.0] {
        x[5] = F::from_f64(bad);
        assert!(matches!(value(&x, &tame), Err(Error::Support { row: 0, column: 5, .. })), "{bad}");
    }
    // Under a missing cell a logit may be anything.
    x[5] = F::NAN;
    for params in [&tame, &with(F::NAN), &with(F::INFINITY)] {
        assert_eq!(value(&x, params).unwrap(), value(&x.repeat(4), params).unwrap());
    }
}

#[test]
fn particles_of_one_binomial_row_name_what_is_wrong() {
    one_binomial_row::<f32>();
    one_binomial_row::<f64>();
}

fn finite_input_gives_no_nan<F: Float + Draw>() {
    let smallest = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let positive = [F::MAX.to_f64(), 1e30, 1e5, 1e4, 200.0, 1.0, 1e-7, smallest];
    let extremes: Vec<F> = positive.into_iter().flat_map(|x| [x, -x]).chain([0.0]).map(F::from_f64).collect();
    let mut cases: Vec<Case> = Case::plain(1, F::LANES == 8);
    for scale in [1e-30, 1e30].map(Scale::Fixed) {
        cases.push(Case::new(Likelihood::Gaussian(scale.clone()), 1));
        cases.push(Case::new(Likelihood::Laplace(scale.clone()), 1));
        cases.push(Case::new(Likelihood::StudentT(2.0, scale), 1));
    }
    for case in cases {
        let counts = |total: f64| [0.0, (total / 2.0).floor(), total].map(F::from_f64).to_vec();
        let cells = match case.likelihood {
            Likelihood::Bernoulli => counts(1.0),
            Likelihood::ContinuousBernoulli => [0.0, smallest, 0.5, 1.0].map(F::from_f64).to_vec(),
            Likelihood::Binomial(total) => counts(f64::from(total)),
            Likelihood::Categorical(classes) => counts(f64::from(classes - 1)),
            Likelihood::Poisson | Likelihood::NegativeBinomial | Likelihood::ZeroInflatedNegativeBinomial => {
                [0.0, 1.0, 2.0, 1e4, 1e9, F::MAX.to_f64()].map(F::from_f64).to_vec()
            }
            _ => extremes.clone(),
        };
        let num_params = case.likelihood.num_params(1);
        let few = &extremes[if num_params > 2 { 8..13 } else { 0..extremes.len() }];
        let mut rows: Vec<(F, Vec<F>)> = cells.iter().map(|&x| (x, vec![])).collect();
        for i in 0..num_params {
            let values = if i > 1 { few } else { &extremes };
            rows = rows.iter().flat_map(|(x, p)| values.iter().map(|&q| (*x, [p.as_slice(), &[q]].concat()))).collect();
        }
        // Each alone, and all in one row, where opposite extremes meet.
        for width in [1, rows.len()] {
            let mut case = case.clone();
            if case.likelihood.scale() == Some(&Scale::Shared) && width > 1 {
                continue;
            }
            if let Likelihood::Gaussian(Scale::ByFeature(scales))
            | Likelihood::Laplace(Scale::ByFeature(scales))
            | Likelihood::StudentT(_, Scale::ByFeature(scales)) = &mut case.likelihood
            {
                scales.resize(width, 1.0);
            }
            let prepared = case.likelihood.prepare::<F>(width).unwrap();
            let x: Vec<F> = rows.iter().map(|row| row.0).collect();
            let mut params = vec![F::ZERO; rows.len() * num_params];
            for (r, rows) in rows.chunks(width).enumerate() {
                for (column, (_, p)) in rows.iter().enumerate() {
                    for (&i, &p) in case.indices(column, width).iter().zip(p) {
                        params[r * width * num_params + i] = p;
                    }
                }
            }
            let (mut value, mut gradient) = (vec![F::NAN; rows.len() / width], vec![F::NAN; params.len()]);
            prepared.log_prob_grad(&x, &params, &mut value, &mut gradient).expect("finite input is never an error");
            let mut mean = vec![F::NAN; rows.len() / width * prepared.num_means()];
            prepared.mean(&params, &mut mean).expect("finite input is never an error");
            let mut draws = vec![F::NAN; x.len()];
            prepared.sample(&params, Key(3), 0, &Interrupt::default(), &mut draws).expect("finite input is never an error");
            let bad = value.iter().position(|y| y.to_f64().is_nan());
            assert!(bad.is_none(), "{:?} of width {width}, {}: {:?}", case.likelihood, F::NAME, bad.map(|r| &rows[r]));
            let bad = gradient.iter().position(|y| y.to_f64().is_nan());
            assert!(bad.is_none(), "gradient of {:?}, {}: {:?}", case.likelihood, F::NAME, bad.map(|i| &rows[i / num_params]));
            assert!(mean.iter().chain(&draws).all(|y| !y.to_f64().is_nan()), "mean or draw of {:?}, {}", case.likelihood, F::NAME);
        }
    }
}

#[test]
fn finite_input_never_gives_nan() {
    finite_input_gives_no_nan::<f32>();
    finite_input_gives_no_nan::<f64>();
}

fn bad_numbers_are_named<F: Float>(width: usize) {
    for case in Case::all(width, false) {
        let (rows, row, column) = (4, 2, width - 1);
        let columns = case.likelihood.num_params(width);
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        // A cell that every kind takes: a Categorical of one class has the code 0 alone.
        let (good_x, good) = (vec![F::ZERO; rows * width], vec![F::from_f64(0.5); rows * columns]);
        let assert_named = |x: &[F], params: &[F], name: &str, at: (usize, usize), bad: f64| {
            let (mut out, mut gradient) = (vec![F::ZERO; rows], vec![F::ZERO; params.len()]);
            for result in [prepared.log_prob(x, params, &mut out), prepared.log_prob_grad(x, params, &mut out, &mut gradient)] {
                match result {
                    Err(Error::NonFinite { argument, row, column, value }) => {
                        assert_eq!((argument, (row, column), value.to_bits()), (name, at, bad.to_bits()));
                    }
                    other => panic!("{:?}: expected {name} at {at:?}, got {other:?}", case.likelihood),
                }
            }
        };
        for bad in [f64::INFINITY, -f64::INFINITY, f64::NAN] {
            for at in case.indices(column, width) {
                let mut params = good.clone();
                params[row * columns + at] = F::from_f64(bad);
                assert_named(&good_x, &params, "params", (row, at), bad);
                let means = prepared.mean(&params, &mut vec![F::ZERO; rows * prepared.num_means()]);
                assert!(matches!(means, Err(Error::NonFinite { argument: "params", .. })), "{:?}: {means:?}", case.likelihood);
            }
            let mut x = good_x.clone();
            x[row * width + column] = F::from_f64(bad);
            if !bad.is_nan() {
                assert_named(&x, &good, "x", (row, column), bad);
            }
            // The second of two particles.
            let mut params = good.clone();
            let at = case.indices(column, width)[0];
            params[row * columns + at] = F::from_f64(bad);
            assert_named(&good_x[..2 * width], &params, "params", (row, at), bad);
        }
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
fn values_outside_the_support_are_named_with_a_likelihood_that_fits() {
    let cases: [(Likelihood, f64, &str); 16] = [
        (Likelihood::Bernoulli, 2.0, "Binomial(2)"),
        (Likelihood::Bernoulli, 0.5, "ContinuousBernoulli()"),
        (Likelihood::ContinuousBernoulli, -0.5, "Gaussian()"),
        (Likelihood::ContinuousBernoulli, 1.5, "Gaussian()"),
        (Likelihood::Categorical(3), 3.0, "Binomial(3)"),
        (Likelihood::Categorical(3), 0.5, "ContinuousBernoulli()"),
        (Likelihood::Poisson, -1.0, "Gaussian()"),
        (Likelihood::NegativeBinomial, 2.5, "Gaussian()"),
        (Likelihood::ZeroInflatedNegativeBinomial, -3.0, "Gaussian()"),
        (Likelihood::Columns(vec![(vec![0, 2], Likelihood::Poisson), (vec![1], Likelihood::Bernoulli)]), 2.0, "Binomial(2)"),
        (Likelihood::Bernoulli, -1.0, "Gaussian()"),
        (Likelihood::Binomial(16), 17.0, "Binomial(17)"),
        (Likelihood::Binomial(16), 3.5, "Gaussian()"),
        (Likelihood::Binomial(16), -1.0, "Gaussian()"),
        (Likelihood::Binomial(5000), 5001.0, "Binomial(5001)"),
        (Likelihood::Binomial(16), 1e300, "Gaussian()"),
    ];
    for (likelihood, bad, fits) in cases {
        let (rows, width, row, column) = (5, 3, 3, 1);
        let mut x = vec![1.0; rows * width];
        x[row * width + column] = bad;
        // Missing cells of the column do not count.
        x[width + column] = f64::NAN;
        let prepared = likelihood.prepare::<f64>(width).unwrap();
        let params = vec![0.0; rows * prepared.num_params()];
        let error = prepared.log_prob(&x, &params, &mut [0.0; 5]).unwrap_err();
        assert_eq!(prepared.log_prob_grad(&x, &params, &mut [0.0; 5], &mut params.clone()).unwrap_err(), error);
        assert_eq!(likelihood.check_support("x", &x, width).unwrap_err(), error);
        let message = error.to_string();
        match error {
            Error::Support { argument: "x", row: r, column: c, value, cure, .. } => {
                assert_eq!((r, c, value), (row, column, bad));
                assert!(cure.contains(fits), "{likelihood:?} of {bad}: {cure}");
            }
            other => panic!("expected a support error, got {other:?}"),
        }
        for part in ["x: ", "row 3", "column 1", fits] {
            assert!(message.contains(part), "{message}");
        }
    }
    assert_eq!(Likelihood::Binomial(16).check_support("x", &[0_f32, 16.0, f32::NAN, -0.0], 2), Ok(()));
    // A bad cell that is hidden behind a whole vector of good ones.
    let mut x = vec![1.0_f32; 100];
    x[99] = 0.25;
    let error = Likelihood::Bernoulli.prepare::<f32>(100).unwrap().log_prob(&x, &[0.0; 100], &mut [0.0]);
    assert!(matches!(error, Err(Error::Support { row: 0, column: 99, .. })), "{error:?}");
}

#[test]
fn options_are_checked() {
    let value = |result: Result<(), Error>, name: &str| match result {
        Err(Error::Value { argument, .. }) => assert_eq!(argument, name),
        other => panic!("expected a value error of {name}, got {other:?}"),
    };
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        value(Likelihood::Gaussian(Scale::Fixed(scale)).prepare::<f64>(2).map(|_| ()), "scale");
        value(Likelihood::Gaussian(Scale::ByFeature(vec![1.0, scale])).prepare::<f64>(2).map(|_| ()), "scale");
    }
    // 1 / scale must be a number of the element type.
    value(Likelihood::Gaussian(Scale::Fixed(1e-39)).prepare::<f32>(1).map(|_| ()), "scale");
    let three = Likelihood::Gaussian(Scale::ByFeature(vec![1.0; 3])).prepare::<f64>(2);
    assert!(matches!(three, Err(Error::Shape { argument: "scale", .. })));
    for df in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        value(Likelihood::StudentT(df, Scale::Predicted).prepare::<f64>(1).map(|_| ()), "df");
    }
    for classes in [0, (1 << 24) + 1] {
        value(Likelihood::Categorical(classes).prepare::<f64>(1).map(|_| ()), "num_classes");
    }
    let (coin, code) = (Likelihood::Bernoulli, Likelihood::Categorical(3));
    let tables = [
        vec![(vec![0], coin.clone())],
        vec![(vec![0, 1], coin.clone()), (vec![1], code.clone())],
        vec![(vec![0, 2], coin.clone())],
        vec![(vec![0, 1], coin.clone()), (vec![], code.clone())],
        vec![(vec![0, 1], Likelihood::Columns(vec![(vec![0, 1], coin.clone())]))],
    ];
    for members in tables {
        value(Likelihood::Columns(members).prepare::<f64>(2).map(|_| ()), "members");
    }
    value(Likelihood::Binomial(0).prepare::<f64>(1).map(|_| ()), "total_count");
    value(Likelihood::Binomial(PAST_F32).prepare::<f32>(1).map(|_| ()), "total_count");
    assert!(Likelihood::Binomial(1 << 24).prepare::<f32>(1).is_ok());
    assert!(Likelihood::Binomial(u32::MAX).prepare::<f64>(1).is_ok());
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let shape = |result: Result<(), Error>, name: &str| match result {
        Err(Error::Shape { argument, .. }) => assert_eq!(argument, name),
        other => panic!("expected a shape error of {name}, got {other:?}"),
    };
    let prepared = Likelihood::Gaussian(Scale::Predicted).prepare::<f32>(3).unwrap();
    assert_eq!(prepared.num_params(), 6);
    let (x, params) = ([0.0; 12], [0.0; 24]);
    let mut out = [0.0; 4];
    shape(prepared.log_prob(&x, &params[..23], &mut out), "params");
    shape(prepared.log_prob(&x[..11], &params, &mut out), "x");
    // Four rows of params for three rows of x, and for none.
    shape(prepared.log_prob(&x[..9], &params, &mut out), "params");
    shape(prepared.log_prob(&[], &params, &mut out), "params");
    shape(prepared.log_prob_grad(&x, &params, &mut out, &mut [0.0; 12]), "d_params");
    shape(prepared.mean(&params[..18], &mut [0.0; 12]), "params");
    shape(prepared.sample(&params[..18], Key(0), 0, &Interrupt::default(), &mut [0.0; 12]), "params");
}

#[test]
fn no_rows_and_one_cell() {
    for width in [1, 6] {
        for case in Case::all(width, true) {
            let prepared = case.likelihood.prepare::<f64>(width).unwrap();
            prepared.log_prob(&[], &[], &mut []).unwrap();
            prepared.log_prob_grad(&[], &[], &mut [], &mut []).unwrap();
            prepared.mean(&[], &mut []).unwrap();
            prepared.sample(&[], Key(0), 0, &Interrupt::default(), &mut []).unwrap();
        }
    }
    let mut out = [0.0];
    Likelihood::Bernoulli.prepare::<f64>(1).unwrap().log_prob(&[1.0], &[0.0], &mut out).unwrap();
    assert_eq!(out, [-std::f64::consts::LN_2]);
}

#[test]
fn params_have_their_widths() {
    let table = Likelihood::Columns(vec![
        (vec![3, 0], Likelihood::ZeroInflatedNegativeBinomial),
        (vec![1], Likelihood::Categorical(4)),
        (vec![2, 4], Likelihood::StudentT(4.0, Scale::Shared)),
    ]);
    let widths = [
        (Likelihood::Gaussian(Scale::Fixed(1.0)), 5, 5),
        (Likelihood::Gaussian(Scale::Shared), 6, 5),
        (Likelihood::Laplace(Scale::PerFeature), 10, 5),
        (Likelihood::StudentT(1.0, Scale::Predicted), 10, 5),
        (Likelihood::Categorical(3), 15, 15),
        (Likelihood::NegativeBinomial, 10, 5),
        (Likelihood::ZeroInflatedNegativeBinomial, 15, 5),
        (table, 6 + 4 + 3, 2 + 4 + 2),
    ];
    for (likelihood, num_params, num_means) in widths {
        assert_eq!((likelihood.num_params(5), likelihood.num_means(5)), (num_params, num_means), "{likelihood:?}");
        assert_eq!(likelihood.num_features(num_params), Some(5), "{likelihood:?}");
    }
    assert_eq!(Likelihood::NegativeBinomial.num_features(5), None);
    assert_eq!(Likelihood::Gaussian(Scale::Shared).num_features(0), None);
}

#[test]
fn a_scale_whose_inverse_is_nothing_is_refused() {
    for scale in [1e60, 1e-60] {
        let refused = Likelihood::Gaussian(Scale::Fixed(scale)).prepare::<f32>(1).err();
        assert!(matches!(refused, Some(Error::Value { argument: "scale", .. })), "{scale}");
        assert!(Likelihood::Gaussian(Scale::Fixed(scale)).prepare::<f64>(1).is_ok());
    }
}
