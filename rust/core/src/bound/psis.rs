//! Pareto-smoothed importance sampling (Vehtari, Simpson, Gelman, Yao and Gabry 2024): the tail of a row's weights is fitted, its shape k-hat tells
//! whether their mean can be trusted, and its quantiles take the place of the largest weights.

use super::check;
use super::pareto::Pareto;
use crate::error::Result;
use crate::float::Float;
use crate::network::lanewise;
use crate::simd::{Kernel, Simd, SimdBase, dispatch, f64x8};
use crate::threads::{RowsMut, for_rows};
use crate::vmath::{exp, expm1};

/// Fewest particles whose tail is looked at, and fewest weights of it that are fitted.
const FEWEST: (usize, usize) = (25, 5);
/// ln of the smallest normal number: weights below that share of the largest are no part of the tail.
const DEEP: f64 = -708.396_418_532_264_1;
/// Units of the last place of the largest log weight within which weights count as equal.
const ROUNDING: f64 = 8.0;

/// The k-hat of each row, and where asked for the log weights (particles, batch) with the tail's replaced by the quantiles (j − ½)/n of its fit,
/// none above the largest.
///
/// The tail is the n = min(K/5, 3 √K) largest weights, rounded up, as far as they are above the next one; k-hat is 0 where they are not, equal but for
/// rounding, and +∞ where fewer than five are or where there are fewer than 25 particles: nothing is then replaced.
///
/// # Errors
/// [`Error::Shape`](crate::Error) and, for NaN or +∞, [`Error::NonFinite`](crate::Error).
pub fn psis<F: Float>(log_weights: &[F], smoothed: Option<&mut [F]>, khat: &mut [F]) -> Result<()> {
    let batch = khat.len();
    let particles = check(log_weights, batch)?;
    let mut tails = tails(log_weights, particles, 1.0, smoothed.is_some(), khat);
    if let Some(smoothed) = smoothed {
        smoothed.copy_from_slice(log_weights);
        for (row, tail) in tails.iter_mut().enumerate() {
            for (particle, value) in tail.drain(..) {
                smoothed[particle * batch + row] = F::from_f64(value);
            }
        }
    }
    Ok(())
}

/// The k-hat of each row's weights to a finite power other than 0: above 1 the mean of that power looks infinite, above ½ its variance.
///
/// # Errors
/// As [`psis`].
pub fn khat<F: Float>(log_weights: &[F], power: f64, khat: &mut [F]) -> Result<()> {
    let particles = check(log_weights, khat.len())?;
    tails(log_weights, particles, power, false, khat);
    Ok(())
}

/// Each row's k-hat, and the particles whose log weight is replaced, with what replaces it.
fn tails<F: Float>(log_weights: &[F], particles: usize, power: f64, smooth: bool, khat: &mut [F]) -> Vec<Vec<(usize, f64)>> {
    /// Nanoseconds of a particle, and of a row beside them.
    const WORK: (usize, usize) = (10, 3000);
    let batch = khat.len();
    let mut replaced = vec![Vec::new(); batch];
    let out = (RowsMut::new(khat, 1), RowsMut::new(&mut replaced, 1));
    for_rows(batch, WORK.0 * particles + WORK.1, out, &|rows, (khat, replaced): (RowsMut<F>, RowsMut<Vec<_>>)| {
        let mut row = Row::default();
        for (batch_row, (khat, replaced)) in rows.zip(khat.data.iter_mut().zip(replaced.data)) {
            row.gather(log_weights.iter().skip(batch_row).step_by(batch).map(|w| w.to_f64()), power);
            *khat = F::from_f64(row.fit(particles, F::EPSILON.to_f64(), smooth.then_some(replaced)));
        }
    });
    replaced
}

/// Weights that are fitted at most, of so many particles.
pub(super) fn longest(particles: usize) -> usize {
    let count = particles as f64;
    (count / 5.0).min(3.0 * count.sqrt()).ceil() as usize
}

/// One row's log weights, and room to sort them.
#[derive(Default)]
pub(super) struct Row {
    weights: Vec<f64>,
    order: Vec<f64>,
    /// Particles of the tail, in rising order.
    tail: Vec<usize>,
    /// The largest log weight, before the power.
    top: f64,
    power: f64,
}

impl Row {
    /// Takes log weights, times the power, less the largest.
    pub(super) fn gather(&mut self, weights: impl Iterator<Item = f64> + Clone, power: f64) {
        self.top = if power > 0.0 {
            weights.clone().fold(f64::NEG_INFINITY, f64::max)
        } else {
            weights.clone().fold(f64::INFINITY, f64::min)
        };
        self.power = power;
        self.weights.clear();
        self.weights.extend(weights.map(|w| (w - self.top) * power));
    }

    /// k-hat of so many `particles`, of which the largest `longest + 1` at least were taken, and into `replaced` what replaces the tail.
    pub(super) fn fit(&mut self, particles: usize, epsilon: f64, replaced: Option<&mut Vec<(usize, f64)>>) -> f64 {
        let Self { weights, order, tail, .. } = self;
        // All weights are 0, or by a negative power one is infinite.
        if !self.top.is_finite() || particles < FEWEST.0 {
            return f64::INFINITY;
        }
        order.clear();
        order.extend_from_slice(weights);
        let (_, &mut cut, _) = order.select_nth_unstable_by(weights.len() - longest(particles) - 1, f64::total_cmp);
        if -cut <= ROUNDING * epsilon * self.top.abs() * self.power.abs() {
            return 0.0;
        }
        let cut = cut.max(DEEP);
        tail.clear();
        tail.extend((0..weights.len()).filter(|&i| weights[i] > cut));
        tail.sort_unstable_by(|&a, &b| weights[a].total_cmp(&weights[b]).then(a.cmp(&b)));
        if tail.len() < FEWEST.1 {
            return f64::INFINITY;
        }
        let mut exceedances: Vec<f64> = tail.iter().map(|&i| weights[i]).collect();
        dispatch(Exceedances { log_weights: &mut exceedances, cut });
        let pareto = Pareto::fit(&exceedances);
        if let Some(replaced) = replaced {
            // The cut is as small as e^DEEP beside what is added to it.
            let log = |y: f64| if cut > -30.0 { cut + libm::log1p(y * libm::exp(-cut)) } else { libm::log(libm::exp(cut) + y) };
            let smooth = |j: usize| log(pareto.quantile((j as f64 + 0.5) / tail.len() as f64)).min(0.0);
            replaced.extend(tail.iter().enumerate().map(|(j, &i)| (i, self.top + smooth(j))));
        }
        pareto.shape
    }
}

/// eʷ − e^cut of each log weight w, in the unit of the largest, without subtracting what is nearly equal.
struct Exceedances<'a> {
    log_weights: &'a mut [f64],
    cut: f64,
}

impl Kernel for Exceedances<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let cut = f64x8::splat(simd, self.cut);
        lanewise::<f64, S, 0, 1>(
            simd,
            [],
            [self.log_weights],
            #[inline(always)]
            |[], [w]| [-exp::<f64, S>(simd, w) * expm1::<f64, S>(simd, cut - w)],
        );
    }
}
