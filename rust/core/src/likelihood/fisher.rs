//! How much a cell tells of its params: the Fisher information in them, as the square roots of its diagonal.
//!
//! Exact, and all of the information, but for three kinds. `Categorical`'s is diag(p) − p pᵀ in a feature's logits: the roots are √p, and the rank that is taken off is left to the
//! caller. `NegativeBinomial`'s in log r has no closed form and is ½ (μ/(r + μ))² (1 − NB(0)) here: exact to first order for large r and μ, never above ½, and 0
//! with μ. `ZeroInflatedNegativeBinomial`'s is the information of count and gate, were it known which zeros are extra, less what not knowing takes: κ v vᵀ with κ = P(0) ρ (1 − ρ), ρ the
//! share of the zeros that are extra and v = (−a, −b, 1), a and b the slopes of ln NB(0) by log μ and log r; its diagonal is kept, its couplings of gate and count are not.

use super::kinds::Likelihood;
use super::prepared::Prepared;
use super::scale::Scale;
use crate::float::Float;

impl<F: Float> Prepared<F> {
    /// The square roots of the Fisher information's diagonal in `params`, of one row `x` with its row of params: positive or 0, and 0 for a missing cell. What leaves the range is ∞ or NaN.
    ///
    /// # Panics
    /// For another number of cells or params than a row has.
    pub fn fisher_roots(&self, x: &[F], params: &[F], roots: &mut [f64]) {
        assert_eq!(x.len(), self.num_features, "x is one row");
        assert!(params.len() == self.num_params() && roots.len() == params.len(), "params are one row");
        let seen = |column: usize| !x[column].to_f64().is_nan();
        if let Likelihood::Columns(members) = &self.likelihood {
            let mut first = 0;
            for (columns, member) in members {
                let here = first..first + member.num_params(columns.len());
                first = here.end;
                roots_of(member, columns.len(), |place| seen(columns[place]), &params[here.clone()], &mut roots[here]);
            }
        } else {
            roots_of(&self.likelihood, self.num_features, seen, params, roots);
        }
    }

    /// What none of [`fisher_roots`](Self::fisher_roots) exceeds, whatever row and params are; ∞ where there is no such number, or none that is known here.
    #[must_use]
    pub fn largest_fisher_root(&self) -> f64 {
        match self.likelihood {
            Likelihood::Gaussian(Scale::Fixed(scale)) => 1.0 / scale,
            Likelihood::Bernoulli => 0.5,
            Likelihood::Binomial(total) => 0.5 * f64::from(total).sqrt(),
            Likelihood::Categorical(_) => 1.0,
            _ => f64::INFINITY,
        }
    }
}

/// The roots of one member of `width` columns.
fn roots_of<F: Float>(likelihood: &Likelihood, width: usize, seen: impl Fn(usize) -> bool, params: &[F], roots: &mut [f64]) {
    let param = |block: usize, place: usize| params[block * width + place].to_f64();
    roots.fill(0.0);
    for place in (0..width).filter(|place| seen(*place)) {
        match likelihood {
            Likelihood::Gaussian(scale) => {
                // By a log-variance.
                by_scale(
                    scale,
                    width,
                    place,
                    params,
                    roots,
                    |log_var| libm::exp(-0.5 * log_var),
                    1.0,
                    std::f64::consts::FRAC_1_SQRT_2,
                );
            }
            Likelihood::Laplace(scale) => by_scale(scale, width, place, params, roots, |log_scale| libm::exp(-log_scale), 1.0, 1.0),
            Likelihood::StudentT(df, scale) => {
                let (of_loc, of_scale) = (((df + 1.0) / (df + 3.0)).sqrt(), (2.0 * df / (df + 3.0)).sqrt());
                by_scale(scale, width, place, params, roots, |log_scale| libm::exp(-log_scale), of_loc, of_scale);
            }
            Likelihood::Bernoulli => roots[place] = spread(param(0, place)),
            Likelihood::Binomial(total) => roots[place] = f64::from(*total).sqrt() * spread(param(0, place)),
            Likelihood::ContinuousBernoulli => roots[place] = continuous_variance(param(0, place)).sqrt(),
            Likelihood::Categorical(classes) => {
                let here = place * *classes as usize..(place + 1) * *classes as usize;
                let largest = params[here.clone()].iter().fold(f64::NEG_INFINITY, |m, p| m.max(p.to_f64()));
                let mut total = 0.0;
                for (root, logit) in roots[here.clone()].iter_mut().zip(&params[here.clone()]) {
                    *root = libm::exp(logit.to_f64() - largest);
                    total += *root;
                }
                roots[here].iter_mut().for_each(|root| *root = (*root / total).sqrt());
            }
            Likelihood::Poisson => roots[place] = libm::exp(0.5 * param(0, place)),
            Likelihood::NegativeBinomial => {
                let count = Count::new(param(0, place), param(1, place));
                roots[place] = count.of_log_mean.sqrt();
                roots[width + place] = count.of_log_concentration.sqrt();
            }
            Likelihood::ZeroInflatedNegativeBinomial => {
                let count = Count::new(param(0, place), param(1, place));
                let gate = param(2, place);
                let (extra, kept) = (sigmoid(gate), sigmoid(-gate));
                let zero = libm::exp(count.log_zero);
                // κ = π (1 − π) p₀ / P(0).
                let lost = extra * kept * zero / (extra + kept * zero).max(f64::MIN_POSITIVE);
                let [a, b] = count.zero_slopes;
                roots[place] = (kept * count.of_log_mean - lost * a * a).max(0.0).sqrt();
                roots[width + place] = (kept * count.of_log_concentration - lost * b * b).max(0.0).sqrt();
                roots[2 * width + place] = (extra * kept - lost).max(0.0).sqrt();
            }
            // No member is a table itself.
            Likelihood::Columns(_) => {}
        }
    }
}

/// The roots by loc and by the scale's block: `of_loc` / scale and `of_scale`.
fn by_scale<F: Float>(
    scale: &Scale,
    width: usize,
    place: usize,
    params: &[F],
    roots: &mut [f64],
    inverse: impl Fn(f64) -> f64,
    of_loc: f64,
    of_scale: f64,
) {
    roots[place] = of_loc
        * match scale {
            Scale::Fixed(scale) => 1.0 / scale,
            Scale::ByFeature(scales) => 1.0 / scales[place],
            Scale::Shared => inverse(params[width].to_f64()),
            Scale::PerFeature | Scale::Predicted => inverse(params[width + place].to_f64()),
        };
    match scale {
        Scale::Fixed(_) | Scale::ByFeature(_) => {}
        // Of all cells together.
        Scale::Shared => roots[width] = (roots[width] * roots[width] + of_scale * of_scale).sqrt(),
        Scale::PerFeature | Scale::Predicted => roots[width + place] = of_scale,
    }
}

fn sigmoid(logit: f64) -> f64 {
    let small = libm::exp(-logit.abs());
    if logit >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// √(p (1 − p)) of a logit.
fn spread(logit: f64) -> f64 {
    let half = libm::exp(-0.5 * logit.abs());
    half / (1.0 + half * half)
}

/// The variance of a continuous Bernoulli: 1/η² − e^−η / (1 − e^−η)², near 0 its series.
fn continuous_variance(logit: f64) -> f64 {
    let eta = logit.abs();
    let square = eta * eta;
    if eta < 0.5 {
        let series = [-7601.0 / 1_307_674_368_000.0, 1.0 / 5_322_240.0, -1.0 / 172_800.0, 1.0 / 6048.0, -1.0 / 240.0];
        return series.iter().fold(0.0, |sum, c| (sum + c) * square) + 1.0 / 12.0;
    }
    let below = -libm::expm1(-eta);
    1.0 / square - libm::exp(-eta) / (below * below)
}

/// A negative binomial count.
struct Count {
    of_log_mean: f64,
    of_log_concentration: f64,
    /// ln NB(0), and its slopes by log μ and log r.
    log_zero: f64,
    zero_slopes: [f64; 2],
}

impl Count {
    fn new(log_mean: f64, log_concentration: f64) -> Self {
        let share = sigmoid(log_mean - log_concentration);
        // r μ / (r + μ), and r ln(1 + μ/r), by whichever of the two is the smaller.
        let of_log_mean = libm::exp(log_mean.min(log_concentration)) * sigmoid((log_concentration - log_mean).abs());
        let odds = log_mean - log_concentration;
        let log_ratio = if odds > 0.0 { odds + libm::log1p(libm::exp(-odds)) } else { libm::log1p(libm::exp(odds)) };
        // r ln(1 + μ/r) is μ where r is past the range or μ/r below it.
        let spent = if odds < -40.0 { libm::exp(log_mean) } else { libm::exp(log_concentration) * log_ratio };
        let of_log_concentration = 0.5 * share * share * -libm::expm1(-spent);
        Self { of_log_mean, of_log_concentration, log_zero: -spent, zero_slopes: [-of_log_mean, of_log_mean - spent] }
    }
}
