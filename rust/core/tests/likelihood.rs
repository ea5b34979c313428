//! Likelihoods against the formulas in double-double: values, gradients, means, draws, missing cells, the ends of the range, named errors, and
//! the same bits whatever the level, threads, batch or particles.

#![allow(missing_docs)]

mod reference;

use std::sync::OnceLock;

use elbokit_core::likelihood::{Likelihood, Scale, ln_choose};
use elbokit_core::random::{Draw, Key};
use elbokit_core::threads::Interrupt;
use elbokit_core::{Error, Float};
use proptest::prelude::*;
use reference::double::LN_2PI;
use reference::{Double, Numbers, Terms, assert_rows, bits, property, row_bound, same_at_every_level, same_on_any_threads};

const WIDTHS: [usize; 9] = [1, 7, 8, 15, 16, 17, 30, 64, 100];
/// The first count that float32 cannot hold.
const PAST_F32: u32 = (1 << 24) + 1;

/// ln n! by summing logarithms, and by Stirling's series where its fifth term is below 10⁻³³.
fn ln_factorial(n: u32) -> Double {
    static TABLE: OnceLock<Vec<Double>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table = vec![Double::from(0.0)];
        for n in 1..=5000 {
            table.push(table[table.len() - 1] + Double::from(f64::from(n)).ln());
        }
        table
    });
    if let Some(&value) = table.get(n as usize) {
        return value;
    }
    let x = Double::from(f64::from(n));
    let series = [(12.0, 1), (-360.0, 3), (1260.0, 5), (-1680.0, 7)]
        .map(|(denominator, power)| (0..power).fold(Double::from(1.0) / denominator, |term, _| term / x));
    (x + 0.5) * x.ln() - x + LN_2PI * 0.5 + series.into_iter().sum::<Double>()
}

fn exact_ln_choose(n: u32, k: u32) -> Double {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// A likelihood with how to make and judge its cells.
#[derive(Clone, Debug)]
struct Case {
    likelihood: Likelihood,
    /// Of the fixed scales, by column.
    scales: Vec<f64>,
}

impl Case {
    /// Every kind at a width; `large` adds what float32 cannot hold.
    fn all(width: usize, large: bool) -> Vec<Self> {
        let scales: Vec<f64> = (0..width).map(|j| [0.3, 1.0, 7.0, 1e-3][j % 4]).collect();
        let mut likelihoods = vec![
            Likelihood::Gaussian(Scale::Fixed(0.3)),
            Likelihood::Gaussian(Scale::PerFeature(scales.clone())),
            Likelihood::Gaussian(Scale::Predicted),
            Likelihood::Bernoulli,
        ];
        likelihoods.extend([1, 16, 4096, 5000].map(Likelihood::Binomial));
        if large {
            likelihoods.push(Likelihood::Binomial(PAST_F32));
        }
        let fixed = |likelihood: &Likelihood| match likelihood {
            Likelihood::Gaussian(Scale::PerFeature(_)) => scales.clone(),
            _ => vec![0.3; width],
        };
        likelihoods.into_iter().map(|likelihood| Self { scales: fixed(&likelihood), likelihood }).collect()
    }

    /// A cell of x from a number in [0, 1) and a real one.
    fn cell<F: Float>(&self, share: f64, real: f64) -> f64 {
        match self.likelihood {
            Likelihood::Bernoulli => (share * 2.0).floor(),
            Likelihood::Binomial(total) => (share * (f64::from(total) + 1.0)).floor(),
            _ => F::from_f64(real).to_f64(),
        }
    }

    fn blocks(&self) -> usize {
        self.likelihood.blocks()
    }

    /// The terms of a cell's log probability, and its gradient's by each of its params.
    fn terms(&self, column: usize, x: f64, params: &[f64]) -> (Vec<Double>, Vec<Terms>) {
        let p = Double::from(params[0]);
        if x.is_nan() {
            return (vec![], vec![Terms::of([]); params.len()]);
        }
        let binomial = |total: u32| {
            let (coefficient, failures) = (exact_ln_choose(total, x as u32), f64::from(total) - x);
            let value = vec![coefficient, (-p).softplus() * -x, p.softplus() * -failures];
            (value, vec![Terms::of([(-p).sigmoid() * x, p.sigmoid() * -failures])])
        };
        match self.likelihood {
            Likelihood::Gaussian(Scale::Predicted) => {
                let inverse = Double::from(-0.5 * params[1]).exp();
                let delta = (Double::from(x) - p) * inverse;
                let square = delta * delta * 0.5;
                let value = vec![-square, Double::from(params[1]) * -0.5, LN_2PI * -0.5];
                (value, vec![Terms::of([delta * inverse]), Terms::of([square, (-0.5).into()])])
            }
            Likelihood::Gaussian(_) => {
                let scale = Double::from(self.scales[column]);
                let delta = (Double::from(x) - p) / scale;
                (vec![delta * delta * -0.5, -scale.ln(), LN_2PI * -0.5], vec![Terms::of([delta / scale])])
            }
            Likelihood::Bernoulli if x == 1.0 => (vec![-(-p).softplus()], vec![Terms::of([(-p).sigmoid()])]),
            Likelihood::Bernoulli => (vec![-p.softplus()], vec![Terms::of([-p.sigmoid()])]),
            Likelihood::Binomial(total) => binomial(total),
            _ => unreachable!("no such case"),
        }
    }

    fn mean(&self, p: f64) -> Double {
        match self.likelihood {
            Likelihood::Bernoulli => Double::from(p).sigmoid(),
            Likelihood::Binomial(total) => Double::from(p).sigmoid() * f64::from(total),
            _ => p.into(),
        }
    }
}

/// Rows of a case: x, params, and what they should give.
struct Rows<F> {
    x: Vec<F>,
    params: Vec<F>,
    log_prob: Vec<Terms>,
    d_params: Vec<Terms>,
    mean: Vec<Terms>,
}

impl<F: Float> Rows<F> {
    /// From x and the blocks of params, as float64, row after row.
    fn new(case: &Case, width: usize, x: &[f64], params: &[f64]) -> Self {
        let rounded = |x: &[f64]| x.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>();
        let (x, params) = (rounded(x), rounded(params));
        let (mut log_prob, mut d_params, mut mean) = (vec![], vec![], vec![]);
        let columns = width * case.blocks();
        for (x, params) in x.chunks(width).zip(params.chunks(columns)) {
            let cells: Vec<_> = (0..width)
                .map(|j| {
                    let params: Vec<f64> = params[j..].iter().step_by(width).map(|p| p.to_f64()).collect();
                    case.terms(j, x[j].to_f64(), &params)
                })
                .collect();
            log_prob.push(Terms::of(cells.iter().flat_map(|(value, _)| value.iter().copied())));
            for block in 0..case.blocks() {
                d_params.extend(cells.iter().map(|(_, gradient)| gradient[block]));
            }
            mean.extend(params[..width].iter().map(|p| Terms::of([case.mean(p.to_f64())])));
        }
        Self { x, params, log_prob, d_params, mean }
    }

    /// The largest errors of value and gradient; asserts that all are within the bound.
    fn check(&self, case: &Case, width: usize) -> [f64; 2] {
        let (bound, what) = (row_bound::<F>(), format!("{:?}", case.likelihood));
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let mut value = vec![F::NAN; self.log_prob.len()];
        prepared.log_prob(&self.x, &self.params, &mut value).unwrap();
        let worst = assert_rows(&what, &value, &self.log_prob, bound);
        let (mut again, mut gradient) = (value.clone(), vec![F::NAN; self.params.len()]);
        prepared.log_prob_grad(&self.x, &self.params, &mut again, &mut gradient).unwrap();
        assert_eq!(bits(&again), bits(&value), "{what}: the gradient's value is another");
        let worst_gradient = assert_rows(&format!("gradient of {what}"), &gradient, &self.d_params, bound);
        let mut mean = vec![F::NAN; self.x.len()];
        prepared.mean(&self.params, &mut mean).unwrap();
        assert_rows(&format!("mean of {what}"), &mean, &self.mean, bound);
        [worst, worst_gradient]
    }
}

/// Random rows of a case; a share of the cells is missing.
fn random_rows<F: Float>(case: &Case, seed: u64, rows: usize, width: usize, missing: f64) -> (Vec<f64>, Vec<f64>) {
    let mut numbers = Numbers(seed);
    let mut real = |limit: f64| {
        let size = [limit, 3.0, 0.1][(numbers.bits() % 3) as usize];
        numbers.uniform(-size, size)
    };
    let params = (0..rows * width * case.blocks()).map(|_| real(30.0)).collect();
    let mut shares = Numbers(seed + 1);
    let x = (0..rows * width).map(|_| {
        let cell = case.cell::<F>(shares.uniform(0.0, 1.0), real(30.0));
        if shares.uniform(0.0, 1.0) < missing { f64::NAN } else { cell }
    });
    (x.collect(), params)
}

proptest! {
    #![proptest_config(property(60))]
    #[test]
    fn rows_agree_with_the_formulas(seed: u64, width in 1..40_usize, rows in 0..4_usize, missing in prop_oneof![Just(0.0), Just(0.3), Just(1.0)]) {
        for case in Case::all(width, false) {
            let (x, params) = random_rows::<f32>(&case, seed, rows, width, missing);
            Rows::<f32>::new(&case, width, &x, &params).check(&case, width);
        }
        for case in Case::all(width, true) {
            let (x, params) = random_rows::<f64>(&case, seed, rows, width, missing);
            Rows::<f64>::new(&case, width, &x, &params).check(&case, width);
        }
    }
}

fn single_cells_are_right<F: Float>() {
    for case in Case::all(1, F::LANES == 8) {
        let (x, params) = random_rows::<F>(&case, 3, 5000, 1, 0.0);
        let [value, gradient] = Rows::<F>::new(&case, 1, &x, &params).check(&case, 1);
        println!("{:?}, {}: value {value:.2e}, gradient {gradient:.2e} of the terms' magnitudes", case.likelihood, F::NAME);
    }
}

#[test]
fn single_cells_are_within_the_bound() {
    single_cells_are_right::<f32>();
    single_cells_are_right::<f64>();
}

#[test]
fn coefficients_equal_exact_products() {
    let mut worst = 0.0_f64;
    for n in 1..=120_u32 {
        let mut product = 1_u128;
        for k in 0..=n / 2 {
            if k > 0 {
                product = product * u128::from(n - k + 1) / u128::from(k);
            }
            let high = (product >> 64) as f64 * 18_446_744_073_709_551_616.0;
            let exact = (Double::from(high) + f64::from((product >> 32) as u32) * 4_294_967_296.0 + f64::from(product as u32)).ln();
            for k in [k, n - k] {
                let error = (exact - ln_choose(n, k)).hi.abs() / exact.hi.max(f64::MIN_POSITIVE);
                worst = worst.max(error);
                assert!(error <= 1e-14, "ln C({n}, {k}) is off by {error:e}");
            }
        }
    }
    println!("ln_choose to n = 120: {worst:.2e}");
}

#[test]
fn coefficients_equal_differences_of_log_factorials() {
    let mut worst = 0.0_f64;
    for n in [60, 61, 100, 999, 4096, 4097, 5000, 1 << 20, PAST_F32, u32::MAX] {
        for k in [0, 1, 2, 15, 16, 17, 59, n / 100, n / 3, n / 2, n - 17, n - 1, n] {
            let exact = exact_ln_choose(n, k);
            // The reference's own rounding: 10⁻³⁰ of ln n!.
            let error = (exact - ln_choose(n, k)).hi.abs() - 1e-29 * ln_factorial(n).hi;
            worst = worst.max(error / exact.hi.max(1.0));
            assert!(error <= 1e-14 * exact.hi.abs(), "ln C({n}, {k}) is off by {error:e} of {exact:?}");
        }
    }
    println!("ln_choose to n = 2³² − 1: {worst:.2e}");
}

#[test]
fn probabilities_of_all_counts_sum_to_one() {
    for total in [1, 16, 60, 4096, 5000] {
        for logit in [-8.0, -0.3, 0.0, 2.0] {
            let x: Vec<f64> = (0..=total).map(f64::from).collect();
            let mut out = vec![0.0; x.len()];
            let prepared = Likelihood::Binomial(total).prepare::<f64>(1).unwrap();
            prepared.log_prob(&x, &vec![logit; x.len()], &mut out).unwrap();
            let sum: f64 = out.iter().map(|p| p.exp()).sum();
            // A log probability of size 10⁴ is rounded by 10⁻¹².
            assert!((sum - 1.0).abs() < 1e-12, "Binomial({total}) at {logit}: {sum}");
        }
    }
}

#[test]
fn a_single_trial_is_bernoulli() {
    let (x, logits) = ([0.0, 1.0, 1.0, 0.0], [-3.0, 0.2, 40.0, 800.0]);
    let (mut coin, mut trial) = ([0.0; 4], [0.0; 4]);
    Likelihood::Bernoulli.prepare::<f64>(1).unwrap().log_prob(&x, &logits, &mut coin).unwrap();
    Likelihood::Binomial(1).prepare::<f64>(1).unwrap().log_prob(&x, &logits, &mut trial).unwrap();
    assert_eq!(coin, trial);
    // −800 nats, where 1 − sigmoid would be 0.
    assert_eq!(coin[3], -800.0);
}

#[test]
fn gradients_agree_with_central_differences() {
    for case in Case::all(1, true) {
        let prepared = case.likelihood.prepare::<f64>(1).unwrap();
        let value = |x: f64, params: &[f64]| {
            let mut out = [0.0];
            prepared.log_prob(&[x], params, &mut out).unwrap();
            out[0]
        };
        let mut numbers = Numbers(5);
        for _ in 0..100 {
            let params: Vec<f64> = (0..case.blocks()).map(|_| numbers.uniform(-2.0, 2.0)).collect();
            let x = case.cell::<f64>(numbers.uniform(0.0, 1.0), numbers.uniform(-2.0, 2.0));
            let (mut out, mut gradient) = ([0.0], vec![0.0; case.blocks()]);
            prepared.log_prob_grad(&[x], &params, &mut out, &mut gradient).unwrap();
            for (i, gradient) in gradient.iter().enumerate() {
                let h = 1e-4;
                let nudged = |h: f64| {
                    let mut params = params.clone();
                    params[i] += h;
                    value(x, &params)
                };
                let difference = (nudged(h) - nudged(-h)) / (2.0 * h);
                // The terms that are differenced are as large as the total.
                let size = case.terms(0, x, &params).0.iter().map(|term| term.hi.abs()).sum::<f64>();
                assert!(
                    (gradient - difference).abs() < 1e-8 * (1.0 + size),
                    "{:?}, {i}: {gradient}, {difference}",
                    case.likelihood
                );
            }
        }
    }
}

fn missing_cells_add_nothing<F: Float>(width: usize) {
    for case in Case::all(width, false) {
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let (rows, columns) = (3, width * case.blocks());
        let (x, params) = random_rows::<F>(&case, 7, rows, width, 0.5);
        let x: Vec<F> = x.iter().map(|&x| F::from_f64(x)).collect();
        let run = |hidden: F| {
            let mut params: Vec<F> = params.iter().map(|&p| F::from_f64(p)).collect();
            let missing = |i: usize| x[i / columns * width + i % columns % width].to_f64().is_nan();
            (0..params.len()).filter(|&i| missing(i)).for_each(|i| params[i] = hidden);
            let (mut value, mut with_gradient, mut gradient) =
                (vec![F::NAN; rows], vec![F::NAN; rows], vec![F::NAN; rows * columns]);
            prepared.log_prob(&x, &params, &mut value).unwrap();
            prepared.log_prob_grad(&x, &params, &mut with_gradient, &mut gradient).unwrap();
            assert!((0..gradient.len()).filter(|&i| missing(i)).all(|i| gradient[i] == F::ZERO), "{:?}", case.likelihood);
            (bits(&value), bits(&with_gradient), gradient)
        };
        let expected = run(F::ZERO);
        for hidden in [F::NAN, F::INFINITY, F::ZERO - F::INFINITY, F::MAX, F::ZERO - F::MAX] {
            assert_eq!(run(hidden), expected, "{:?} of width {width} with {hidden} hidden", case.likelihood);
        }
        // A row with nothing observed.
        let mut out = [F::NAN];
        prepared.log_prob(&vec![F::NAN; width], &vec![F::NAN; columns], &mut out).unwrap();
        assert_eq!(out, [F::ZERO]);
    }
}

#[test]
fn missing_cells_add_exactly_nothing() {
    for width in WIDTHS {
        missing_cells_add_nothing::<f32>(width);
        missing_cells_add_nothing::<f64>(width);
    }
}

#[test]
fn a_hidden_number_is_not_blamed_for_another_cells_overflow() {
    let prepared = Likelihood::Gaussian(Scale::Predicted).prepare::<f32>(2).unwrap();
    // Two particles; the first column is missing and its params hold nothing.
    let one = [f32::NAN, f32::MAX, f32::INFINITY, -1e4];
    let (mut value, mut gradient) = ([0.0; 2], [f32::NAN; 8]);
    prepared.log_prob_grad(&[f32::NAN, 1.0], &[one, one].concat(), &mut value, &mut gradient).unwrap();
    assert_eq!(value, [-f32::INFINITY; 2]);
    assert_eq!(gradient, [[0.0, -f32::INFINITY, 0.0, f32::INFINITY]; 2].concat()[..]);
}

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
    let mut cells = vec![F::NAN; 2 * rows * width];
    prepared.mean(&params, &mut cells).unwrap();
    all.extend(value.iter().chain(&gradient).chain(&cells));
    if !matches!(case.likelihood, Likelihood::Binomial(100..)) {
        prepared.sample(&params, Key(1), 3, &Interrupt::default(), &mut cells).unwrap();
        all.extend_from_slice(&cells);
    }
    all
}

#[test]
fn every_level_gives_the_same_bits() {
    for width in WIDTHS {
        for case in Case::all(width, false) {
            same_at_every_level(&format!("{:?}", case.likelihood), || everything::<f32>(&case, 5, width));
            same_at_every_level(&format!("{:?}", case.likelihood), || everything::<f64>(&case, 5, width));
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for (rows, width) in [(6000, 17), (110_000, 1)] {
        for case in Case::all(width, false) {
            same_on_any_threads(&format!("{:?}", case.likelihood), || everything::<f32>(&case, rows, width));
            same_on_any_threads(&format!("{:?}", case.likelihood), || everything::<f64>(&case, rows, width));
        }
    }
}

fn rows_and_particles_stand_alone<F: Float>(width: usize) {
    for case in Case::all(width, false) {
        let (rows, particles) = (250, 4);
        let columns = width * case.blocks();
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

fn finite_input_gives_no_nan<F: Float>() {
    let smallest = if F::LANES == 16 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) };
    let positive = [F::MAX.to_f64(), 1e30, 1e5, 1e4, 200.0, 1.0, 1e-7, smallest];
    let extremes: Vec<F> = positive.into_iter().flat_map(|x| [x, -x]).chain([0.0]).map(F::from_f64).collect();
    let mut cases: Vec<Case> = Case::all(1, F::LANES == 8);
    for scale in [1e-30, 1e30] {
        cases.push(Case { likelihood: Likelihood::Gaussian(Scale::Fixed(scale)), scales: vec![scale] });
    }
    for case in cases {
        let counts = |total: u32| [0, total / 2, total].map(|x| F::from_f64(f64::from(x))).to_vec();
        let cells = match case.likelihood {
            Likelihood::Bernoulli => counts(1),
            Likelihood::Binomial(total) => counts(total),
            _ => extremes.clone(),
        };
        let mut rows: Vec<Vec<F>> = vec![];
        for &x in &cells {
            for &p in &extremes {
                match case.blocks() {
                    1 => rows.push(vec![x, p]),
                    _ => rows.extend(extremes.iter().map(|&q| vec![x, p, q])),
                }
            }
        }
        // Each alone, and all in one row, where opposite extremes meet.
        for width in [1, rows.len()] {
            let mut case = case.clone();
            if let Likelihood::Gaussian(Scale::PerFeature(scales)) = &mut case.likelihood {
                scales.resize(width, 1.0);
            }
            let prepared = case.likelihood.prepare::<F>(width).unwrap();
            let x: Vec<F> = rows.iter().map(|row| row[0]).collect();
            let mut params: Vec<F> = vec![];
            for rows in rows.chunks(width) {
                for block in 1..=case.blocks() {
                    params.extend(rows.iter().map(|row| row[block]));
                }
            }
            let (mut value, mut gradient) = (vec![F::NAN; rows.len() / width], vec![F::NAN; params.len()]);
            prepared.log_prob_grad(&x, &params, &mut value, &mut gradient).expect("finite input is never an error");
            let mut mean = vec![F::NAN; x.len()];
            prepared.mean(&params, &mut mean).expect("finite input is never an error");
            let no_nan = value.iter().chain(&gradient).chain(&mean).all(|y| !y.to_f64().is_nan());
            assert!(no_nan, "{:?} of width {width}, {}: {value:?}", case.likelihood, F::NAME);
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
        let columns = width * case.blocks();
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let (good_x, good) = (vec![F::ONE; rows * width], vec![F::from_f64(0.5); rows * columns]);
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
            for block in 0..case.blocks() {
                let at = block * width + column;
                let mut params = good.clone();
                params[row * columns + at] = F::from_f64(bad);
                assert_named(&good_x, &params, "params", (row, at), bad);
                let means = prepared.mean(&params, &mut vec![F::ZERO; rows * width]);
                assert_eq!(means.is_err(), block == 0, "the mean needs the first block alone");
            }
            let mut x = good_x.clone();
            x[row * width + column] = F::from_f64(bad);
            if !bad.is_nan() {
                assert_named(&x, &good, "x", (row, column), bad);
            }
            // The second of two particles.
            let mut params = good.clone();
            params[row * columns + column] = F::from_f64(bad);
            assert_named(&good_x[..2 * width], &params, "params", (row, column), bad);
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
    let cases: [(Likelihood, f64, &str); 8] = [
        (Likelihood::Bernoulli, 2.0, "Binomial(2)"),
        (Likelihood::Bernoulli, 0.5, "Gaussian()"),
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
        let error = prepared.log_prob(&x, &[0.0; 15], &mut [0.0; 5]).unwrap_err();
        assert_eq!(prepared.log_prob_grad(&x, &[0.0; 15], &mut [0.0; 5], &mut [0.0; 15]).unwrap_err(), error);
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
        value(Likelihood::Gaussian(Scale::PerFeature(vec![1.0, scale])).prepare::<f64>(2).map(|_| ()), "scale");
    }
    // 1 / scale must be a number of the element type.
    value(Likelihood::Gaussian(Scale::Fixed(1e-39)).prepare::<f32>(1).map(|_| ()), "scale");
    let three = Likelihood::Gaussian(Scale::PerFeature(vec![1.0; 3])).prepare::<f64>(2);
    assert!(matches!(three, Err(Error::Shape { argument: "scale", .. })));
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
    for case in Case::all(1, true) {
        for width in [1, 5] {
            let likelihood = match &case.likelihood {
                Likelihood::Gaussian(Scale::PerFeature(_)) => Likelihood::Gaussian(Scale::PerFeature(vec![1.0; width])),
                other => other.clone(),
            };
            let prepared = likelihood.prepare::<f64>(width).unwrap();
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

/// Means and variances of draws within 5 standard errors of the stated ones: by chance once in 10⁶.
fn draws_have_their_moments<F: Float + Draw>() {
    let (rows, width) = (40_000, 3);
    for likelihood in [
        Likelihood::Gaussian(Scale::Fixed(0.3)),
        Likelihood::Gaussian(Scale::PerFeature(vec![0.3, 1.0, 7.0])),
        Likelihood::Gaussian(Scale::Predicted),
        Likelihood::Bernoulli,
        Likelihood::Binomial(1),
        Likelihood::Binomial(16),
        Likelihood::Binomial(300),
    ] {
        let row = [-2.0, 0.1, 1.5, 1.0, -1.0, 0.0];
        let row: Vec<F> = row[..likelihood.num_params(width)].iter().map(|&p| F::from_f64(p)).collect();
        let mut out = vec![F::NAN; rows * width];
        let prepared = likelihood.prepare::<F>(width).unwrap();
        prepared.sample(&row.repeat(rows), Key(5), 0, &Interrupt::default(), &mut out).unwrap();
        likelihood.check_support("draws", &out, width).unwrap();
        for j in 0..width {
            let p = row[j].to_f64();
            let gaussian = |scale: f64| (p, scale * scale, 3.0 * scale.powi(4));
            let binomial = |n: f64| {
                let q = 1.0 / (1.0 + (-p).exp());
                let v = q * (1.0 - q);
                (n * q, n * v, n * v * (1.0 + 3.0 * v * (n - 2.0)))
            };
            let (mean, variance, fourth) = match &likelihood {
                Likelihood::Gaussian(Scale::Fixed(scale)) => gaussian(*scale),
                Likelihood::Gaussian(Scale::PerFeature(scales)) => gaussian(scales[j]),
                Likelihood::Gaussian(Scale::Predicted) => gaussian((0.5 * row[width + j].to_f64()).exp()),
                Likelihood::Binomial(total) => binomial(f64::from(*total)),
                _ => binomial(1.0),
            };
            let n = rows as f64;
            let draws = || out[j..].iter().step_by(width).map(|x| x.to_f64() - mean);
            let error = draws().sum::<f64>() / (variance * n).sqrt();
            assert!(error.abs() < 5.0, "mean of {likelihood:?} ({}), column {j}: {error} standard errors", F::NAME);
            let error = draws().map(|d| d * d - variance).sum::<f64>() / ((fourth - variance * variance) * n).sqrt();
            assert!(error.abs() < 5.0, "variance of {likelihood:?} ({}), column {j}: {error} standard errors", F::NAME);
        }
    }
}

#[test]
fn draws_have_the_likelihoods_moments() {
    draws_have_their_moments::<f32>();
    draws_have_their_moments::<f64>();
}

fn draws_are_addressed<F: Float + Draw>(width: usize) {
    for case in Case::all(width, false) {
        let (rows, skip) = (20, 13);
        let columns = width * case.blocks();
        let (_, params) = random_rows::<F>(&case, 31, rows, width, 0.0);
        let params: Vec<F> = params.iter().map(|&p| F::from_f64(p)).collect();
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let draw = |params: &[F], first| {
            let mut out = vec![F::NAN; params.len() / columns * width];
            prepared.sample(params, Key(6), first, &Interrupt::default(), &mut out).unwrap();
            bits(&out)
        };
        let all = draw(&params, 1000);
        assert_eq!(draw(&params[skip * columns..], 1000 + skip as u64), all[skip * width..], "{:?}", case.likelihood);
        assert_eq!(draw(&params[skip * columns..][..columns], 1000 + skip as u64), all[skip * width..][..width]);
        assert_ne!(draw(&params, 1001), all);
    }
}

#[test]
fn draws_are_addressed_by_row() {
    for width in [1, 7, 16, 30] {
        draws_are_addressed::<f32>(width);
        draws_are_addressed::<f64>(width);
    }
}

#[test]
fn a_scale_whose_inverse_is_nothing_is_refused() {
    for scale in [1e60, 1e-60] {
        let refused = Likelihood::Gaussian(Scale::Fixed(scale)).prepare::<f32>(1).err();
        assert!(matches!(refused, Some(Error::Value { argument: "scale", .. })), "{scale}");
        assert!(Likelihood::Gaussian(Scale::Fixed(scale)).prepare::<f64>(1).is_ok());
    }
}

#[test]
fn gaussian_draws_are_loc_plus_the_scale_itself_times_the_normals() {
    let scales = [0.3, 1.7, 2.0];
    let (params, mut out, mut normals) = ([0.5, -1.0, 4.0, 0.0, 1.0, 2.0], [0.0_f64; 6], [0.0_f64; 6]);
    let prepared = Likelihood::Gaussian(Scale::PerFeature(scales.to_vec())).prepare::<f64>(3).unwrap();
    prepared.sample(&params, Key(4), 9, &Interrupt::default(), &mut out).unwrap();
    elbokit_core::random::fill_normals(Key(4), 0, 9, 3, &mut normals);
    for (i, x) in out.iter().enumerate() {
        assert_eq!(*x, scales[i % 3].mul_add(normals[i], params[i]));
    }
}
