//! Every kind of likelihood by its formula as printed, in double-double: the terms of a cell's log probability, and of its gradient by each of its params.

use elbokit_core::Float;
use elbokit_core::likelihood::{Likelihood, Scale};

use super::double::LN_2PI;
use super::{Double, Numbers, Terms, assert_rows, bits, row_bound};

/// The first count that float32 cannot hold.
pub(crate) const PAST_F32: u32 = (1 << 24) + 1;

/// A likelihood with how to make and judge its cells.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) likelihood: Likelihood,
    /// Of the given scales, by column.
    pub(crate) scales: Vec<f64>,
    /// Those of `Columns`, with their columns.
    members: Vec<(Vec<usize>, Case)>,
}

/// Where a cell is: the case that it is of, its column and the width there, and the first of its case's params.
struct Place<'a> {
    case: &'a Case,
    column: usize,
    width: usize,
    first: usize,
}

impl Case {
    pub(crate) fn new(likelihood: Likelihood, width: usize) -> Self {
        let scales = match likelihood.scale() {
            Some(Scale::Fixed(scale)) => vec![*scale; width],
            Some(Scale::ByFeature(scales)) => scales.clone(),
            _ => vec![],
        };
        let members = match &likelihood {
            Likelihood::Columns(members) => {
                members.iter().map(|(columns, member)| (columns.clone(), Self::new(member.clone(), columns.len()))).collect()
            }
            _ => vec![],
        };
        Self { likelihood, scales, members }
    }

    /// Every kind of one kind of cell at a width; `large` adds what float32 cannot hold.
    pub(crate) fn plain(width: usize, large: bool) -> Vec<Self> {
        let by_feature = || Scale::ByFeature((0..width).map(|j| [0.3, 1.0, 7.0, 1e-3][j % 4]).collect());
        let scales = || [Scale::Fixed(0.3), by_feature(), Scale::Shared, Scale::PerFeature, Scale::Predicted];
        let mut kinds: Vec<Likelihood> = scales().map(Likelihood::Gaussian).into();
        kinds.extend(scales().map(Likelihood::Laplace));
        kinds.extend(scales().map(|scale| Likelihood::StudentT(3.5, scale)));
        kinds.extend([0.01, 1.0, 1e9].map(|df| Likelihood::StudentT(df, Scale::Fixed(2.0))));
        kinds.extend([Likelihood::Bernoulli, Likelihood::ContinuousBernoulli, Likelihood::Poisson]);
        kinds.extend([Likelihood::NegativeBinomial, Likelihood::ZeroInflatedNegativeBinomial]);
        kinds.extend([1, 16, 4096, 5000].map(Likelihood::Binomial));
        kinds.extend([1, 2, 5].map(Likelihood::Categorical));
        if large {
            kinds.push(Likelihood::Binomial(PAST_F32));
        }
        kinds.into_iter().map(|kind| Self::new(kind, width)).collect()
    }

    /// Those, and a table of mixed kinds where there are columns enough.
    pub(crate) fn all(width: usize, large: bool) -> Vec<Self> {
        let mut cases = Self::plain(width, large);
        let kinds = [
            Likelihood::NegativeBinomial,
            Likelihood::Categorical(3),
            Likelihood::Gaussian(Scale::Shared),
            Likelihood::Bernoulli,
            Likelihood::Laplace(Scale::Predicted),
            Likelihood::Binomial(16),
            Likelihood::ContinuousBernoulli,
        ];
        let count = kinds.len();
        if width >= count {
            let members =
                kinds.into_iter().enumerate().map(|(i, kind)| ((0..width).rev().filter(|j| j % count == i).collect(), kind));
            cases.push(Self::new(Likelihood::Columns(members.collect()), width));
        }
        cases
    }

    fn place(&self, column: usize, width: usize) -> Place<'_> {
        let mut first = 0;
        for (columns, case) in &self.members {
            if let Some(column) = columns.iter().position(|c| *c == column) {
                return Place { case, column, width: columns.len(), first };
            }
            first += case.likelihood.num_params(columns.len());
        }
        Place { case: self, column, width, first }
    }

    /// The columns of params that a cell reads.
    pub(crate) fn indices(&self, column: usize, width: usize) -> Vec<usize> {
        let Place { case, column, width, first } = self.place(column, width);
        let all = match &case.likelihood {
            Likelihood::Categorical(classes) => (0..*classes as usize).map(|k| column * *classes as usize + k).collect(),
            kind if kind.scale() == Some(&Scale::Shared) => vec![column, width],
            kind => (0..kind.num_params(1)).map(|block| block * width + column).collect::<Vec<_>>(),
        };
        all.into_iter().map(|index| first + index).collect()
    }

    /// A cell of x from a number in [0, 1) and a real one.
    pub(crate) fn cell<F: Float>(&self, column: usize, width: usize, share: f64, real: f64) -> f64 {
        match self.place(column, width).case.likelihood {
            Likelihood::Bernoulli => (share * 2.0).floor(),
            Likelihood::ContinuousBernoulli => F::from_f64(share).to_f64(),
            Likelihood::Binomial(total) => (share * (f64::from(total) + 1.0)).floor(),
            Likelihood::Categorical(classes) => (share * f64::from(classes)).floor(),
            Likelihood::Poisson | Likelihood::NegativeBinomial | Likelihood::ZeroInflatedNegativeBinomial => {
                let largest = [0.0, 3.0, 100.0, 1e9][(real.abs() * 1e6) as usize % 4];
                F::from_f64((share * largest).floor()).to_f64()
            }
            _ => F::from_f64(real).to_f64(),
        }
    }

    /// The terms of a cell's log probability, and its gradient's by each of the params at [`indices`](Self::indices).
    pub(crate) fn terms(&self, column: usize, width: usize, x: f64, params: &[f64]) -> (Vec<Double>, Vec<Terms>) {
        let Place { case, column, .. } = self.place(column, width);
        if x.is_nan() { (vec![], vec![Terms::of([]); params.len()]) } else { case.observed(column, x, params) }
    }

    fn observed(&self, column: usize, x: f64, params: &[f64]) -> (Vec<Double>, Vec<Terms>) {
        let p = Double::from(params[0]);
        let log_scale = match self.likelihood.scale() {
            None => Double::from(0.0),
            Some(_) if params.len() == 1 => Double::from(self.scales[column]).ln(),
            Some(_) if matches!(self.likelihood, Likelihood::Gaussian(_)) => Double::from(params[1]) * 0.5,
            Some(_) => params[1].into(),
        };
        let inverse =
            if params.len() == 1 && !self.scales.is_empty() { Double::from(1.0) / self.scales[column] } else { (-log_scale).exp() };
        let delta = (Double::from(x) - p) * inverse;
        let (value, by_loc, by_scale) = match &self.likelihood {
            Likelihood::Gaussian(_) => {
                let square = delta * delta * 0.5;
                (vec![-square, -log_scale, LN_2PI * -0.5], Terms::of([delta * inverse]), Terms::of([square, (-0.5).into()]))
            }
            Likelihood::Laplace(_) => {
                let ln_2 = Double::from(2.0).ln();
                let sign = if delta.hi == 0.0 { 0.0 } else { delta.hi.signum() };
                (vec![-delta.abs(), -log_scale, -ln_2], Terms::of([inverse * sign]), Terms::of([delta.abs(), (-1.0).into()]))
            }
            Likelihood::StudentT(df, _) => {
                let df = Double::from(*df);
                let half = df * 0.5;
                // Γ's ratio as one term: its parts are constants of the kind, of which nothing is subtracted.
                let ratio = (half + 0.5).ln_gamma() - half.ln_gamma();
                let constants = [ratio, (df.ln() + LN_2PI - Double::from(2.0).ln()) * -0.5];
                let weight = df + 1.0;
                let share = delta * delta / df;
                let tail = (share + 1.0).ln() * weight * -0.5;
                let tail = if share.hi < 1e-3 { share.ln_1p() * weight * -0.5 } else { tail };
                let below = df + delta * delta;
                let by_scale = Terms::of([weight * delta * delta / below, (-1.0).into()]);
                ([constants.to_vec(), vec![-log_scale, tail]].concat(), Terms::of([weight * delta / below * inverse]), by_scale)
            }
            _ => return self.discrete(x, params),
        };
        let gradients = if params.len() == 1 { vec![by_loc] } else { vec![by_loc, by_scale] };
        (value, gradients)
    }

    fn discrete(&self, x: f64, params: &[f64]) -> (Vec<Double>, Vec<Terms>) {
        let p = Double::from(params[0]);
        match self.likelihood {
            Likelihood::Bernoulli if x == 1.0 => (vec![-(-p).softplus()], vec![Terms::of([(-p).sigmoid()])]),
            Likelihood::Bernoulli => (vec![-p.softplus()], vec![Terms::of([-p.sigmoid()])]),
            Likelihood::ContinuousBernoulli => {
                let (normaliser, mean) = continuous_bernoulli(p);
                (vec![p * x, -normaliser], vec![Terms::of([x.into(), -mean])])
            }
            Likelihood::Binomial(total) => {
                let (coefficient, failures) = (exact_ln_choose(total, x as u32), f64::from(total) - x);
                let value = vec![coefficient, (-p).softplus() * -x, p.softplus() * -failures];
                (value, vec![Terms::of([(-p).sigmoid() * x, p.sigmoid() * -failures])])
            }
            Likelihood::Categorical(_) => {
                let largest = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<Double> = params.iter().map(|l| (Double::from(*l) - largest).exp()).collect();
                let total: Double = weights.iter().copied().sum();
                let chosen = Double::from(params[x as usize]) - largest;
                let gradient = |(k, weight): (usize, &Double)| {
                    let seen = if k == x as usize { 1.0 } else { 0.0 };
                    Terms::of([Double::from(seen), -(*weight / total)])
                };
                (vec![chosen, -total.ln()], weights.iter().enumerate().map(gradient).collect())
            }
            Likelihood::Poisson => {
                let rate = p.exp();
                (vec![p * x, -rate, -ln_factorial(x)], vec![Terms::of([x.into(), -rate])])
            }
            Likelihood::NegativeBinomial => negative_binomial(x, p, params[1].into()),
            Likelihood::ZeroInflatedNegativeBinomial => zero_inflated(x, params),
            _ => unreachable!("no such case"),
        }
    }

    /// The means of a cell.
    pub(crate) fn mean(&self, column: usize, width: usize, params: &[f64]) -> Vec<Double> {
        let case = self.place(column, width).case;
        let p = Double::from(params[0]);
        let mean = match case.likelihood {
            Likelihood::Bernoulli => p.sigmoid(),
            Likelihood::ContinuousBernoulli => continuous_bernoulli(p).1,
            Likelihood::Binomial(total) => p.sigmoid() * f64::from(total),
            Likelihood::Categorical(_) => {
                let largest = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<Double> = params.iter().map(|l| (Double::from(*l) - largest).exp()).collect();
                let total: Double = weights.iter().copied().sum();
                return weights.into_iter().map(|w| w / total).collect();
            }
            Likelihood::Poisson | Likelihood::NegativeBinomial => p.exp(),
            Likelihood::ZeroInflatedNegativeBinomial => p.exp() * (-Double::from(params[2])).sigmoid(),
            _ => p,
        };
        vec![mean]
    }
}

fn ln_factorial(x: f64) -> Double {
    (Double::from(x) + 1.0).ln_gamma()
}

pub(crate) fn exact_ln_choose(n: u32, k: u32) -> Double {
    ln_factorial(n.into()) - ln_factorial(k.into()) - ln_factorial((n - k).into())
}

/// (ln((e^η − 1)/η), its derivative).
fn continuous_bernoulli(logit: Double) -> (Double, Double) {
    if logit.hi.abs() < 1e-8 {
        // η/2 + η²/24 − …, whose next term is below 10⁻³³.
        return (logit * 0.5 + logit * logit / 24.0, Double::from(0.5) + logit / 12.0);
    }
    // From the side where the exponential is small.
    let a = logit.abs();
    let below = -(-a).exp_m1();
    let normaliser = (below / a).ln();
    let distance = Double::from(1.0) / a - (-a).exp() / below;
    if logit.hi > 0.0 { (normaliser + a, Double::from(1.0) - distance) } else { (normaliser, distance) }
}

fn negative_binomial(x: f64, m: Double, c: Double) -> (Vec<Double>, Vec<Terms>) {
    let (r, odds) = (c.exp(), m - c);
    let n = r + x;
    let (stay, leave) = (-odds.softplus(), -(-odds).softplus());
    let gammas = if x == 0.0 { vec![] } else { vec![n.ln_gamma() - r.ln_gamma(), -ln_factorial(x)] };
    let value = [gammas, vec![r * stay, leave * x]].concat();
    let (of_concentration, of_mean) = ((-odds).sigmoid(), odds.sigmoid());
    let psi = if x == 0.0 { Double::from(0.0) } else { r * (n.digamma() - r.digamma()) };
    let by_mean = Terms::of([of_concentration * x, -(r * of_mean)]);
    let by_concentration = Terms::of([psi, r * stay, -(of_concentration * x), r * of_mean]);
    (value, vec![by_mean, by_concentration])
}

fn zero_inflated(x: f64, params: &[f64]) -> (Vec<Double>, Vec<Terms>) {
    let gate = Double::from(params[2]);
    let (terms, gradients) = negative_binomial(x, params[0].into(), params[1].into());
    if x > 0.0 {
        return ([terms, vec![-gate.softplus()]].concat(), [gradients, vec![Terms::of([-gate.sigmoid()])]].concat());
    }
    let a: Double = terms.into_iter().sum();
    let lost = a.exp_m1() * (-gate).sigmoid();
    let (larger, apart) = if gate.hi >= a.hi { (gate, a - gate) } else { (a, gate - a) };
    let far = larger + apart.exp().ln_1p() - gate.softplus();
    let value = if lost.hi > -0.25 { lost.ln_1p() } else { far };
    let natural = (a - gate).sigmoid();
    // A share's exponent is a difference of logarithms, each of them rounded: a backward bound.
    let size = 1.0 + a.hi.abs() + gate.hi.abs();
    let scaled = |terms: &Terms| Terms { value: natural * terms.value, magnitude: natural.hi * size * terms.magnitude };
    let by_gate = scaled_by(-((gate - a).sigmoid() * lost), size);
    (vec![value], [gradients.iter().map(scaled).collect(), vec![by_gate]].concat())
}

fn scaled_by(value: Double, size: f64) -> Terms {
    Terms { value, magnitude: value.hi.abs() * size }
}

/// Rows of a case: x, params, and what they should give.
pub(crate) struct Rows<F> {
    pub(crate) x: Vec<F>,
    pub(crate) params: Vec<F>,
    log_prob: Vec<Terms>,
    d_params: Vec<Terms>,
    mean: Vec<Terms>,
}

impl<F: Float> Rows<F> {
    /// From rows of x and of params, as float64.
    pub(crate) fn new(case: &Case, width: usize, x: &[f64], params: &[f64]) -> Self {
        let rounded = |x: &[f64]| x.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>();
        let (x, params) = (rounded(x), rounded(params));
        let (mut log_prob, mut d_params, mut mean) = (vec![], vec![], vec![]);
        for (x, params) in x.chunks(width).zip(params.chunks(case.likelihood.num_params(width))) {
            let mut terms = vec![];
            let mut gradient = vec![Terms::of([]); params.len()];
            for (column, x) in x.iter().enumerate() {
                let indices = case.indices(column, width);
                let params: Vec<f64> = indices.iter().map(|&i| params[i].to_f64()).collect();
                let (value, by_params) = case.terms(column, width, x.to_f64(), &params);
                terms.extend(value);
                for (i, by) in indices.into_iter().zip(by_params) {
                    gradient[i].value = gradient[i].value + by.value;
                    gradient[i].magnitude += by.magnitude;
                }
                mean.extend(case.mean(column, width, &params).into_iter().map(|mean| Terms::of([mean])));
            }
            log_prob.push(Terms::of(terms));
            d_params.extend(gradient);
        }
        Self { x, params, log_prob, d_params, mean }
    }

    /// The largest errors of value and gradient; asserts that all are within the bound.
    pub(crate) fn check(&self, case: &Case, width: usize) -> [f64; 2] {
        let (bound, what) = (row_bound::<F>(), format!("{:?}", case.likelihood));
        let prepared = case.likelihood.prepare::<F>(width).unwrap();
        let mut value = vec![F::NAN; self.log_prob.len()];
        prepared.log_prob(&self.x, &self.params, &mut value).unwrap();
        let worst = assert_rows(&what, &value, &self.log_prob, bound);
        let (mut again, mut gradient) = (value.clone(), vec![F::NAN; self.params.len()]);
        prepared.log_prob_grad(&self.x, &self.params, &mut again, &mut gradient).unwrap();
        assert_eq!(bits(&again), bits(&value), "{what}: the gradient's value is another");
        let worst_gradient = assert_rows(&format!("gradient of {what}"), &gradient, &self.d_params, bound);
        let mut mean = vec![F::NAN; self.mean.len()];
        prepared.mean(&self.params, &mut mean).unwrap();
        assert_rows(&format!("mean of {what}"), &mean, &self.mean, bound);
        [worst, worst_gradient]
    }
}

/// Random rows of a case; a share of the cells is missing.
pub(crate) fn random_rows<F: Float>(case: &Case, seed: u64, rows: usize, width: usize, missing: f64) -> (Vec<f64>, Vec<f64>) {
    let mut numbers = Numbers(seed);
    let mut real = |limit: f64| {
        let size = [limit, 3.0, 0.1][(numbers.bits() % 3) as usize];
        numbers.uniform(-size, size)
    };
    let params = (0..rows * case.likelihood.num_params(width)).map(|_| real(30.0)).collect();
    let mut shares = Numbers(seed + 1);
    let x = (0..rows * width).map(|i| {
        let cell = case.cell::<F>(i % width, width, shares.uniform(0.0, 1.0), real(30.0));
        if shares.uniform(0.0, 1.0) < missing { f64::NAN } else { cell }
    });
    (x.collect(), params)
}
