//! Laplace's approximation of the true posterior: a Gaussian around the mode of log p(x, z), found without any draw.
//!
//! The mode comes by damped Gauss-Newton steps (Levenberg 1944, Marquardt 1963) from the encoder's loc: (H + λ diag H) δ = ∇ log p(x, z), H = I + Jᵀ F J, J the decoder's Jacobian
//! and F the likelihood's Fisher information as [`fisher_roots`](crate::likelihood::Prepared::fisher_roots) has it, `Categorical`'s with its rank taken off. So H is positive definite.
//! With a mixture prior Σₖ rₖ / σₖ² stands in the place of I on the way, r the components' shares at z: the true curvature is smaller by what the shares' change takes off, and need not be
//! positive. At the mode that is taken off too where H stays positive definite. A step is taken where it raises log p(x, z); the climb ends where a full step would raise it by less than [`SMALL`], or did so, or none raises it: a network of `relu` has its
//! mode in a kink as often as not. Draws are z* + [`WIDER`] L⁻ᵀ ε, H = L Lᵀ.
//!
//! Networks are run in the model's element type, rows side by side; H, gradient and steps are float64, row by row. Nothing depends on the rows beside a row.

use super::cholesky::{factor, inverse, solve};
use super::components::Components;
use super::members::members;
use super::model::Model;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::likelihood::{Likelihood, Scale};
use crate::network::lanewise;
use crate::network::matmul::{Finish, Left, Right, multiply};
use crate::network::mlp::{Mlp, Trace};
use crate::network::panels::{pack_transposed, packed_len, panel};
use crate::network::tangents::Tangents;
use crate::random::Draw;
use crate::reduce::LaneSum;
use crate::simd::{Kernel, Simd, SimdBase, dispatch};
use crate::threads::Interrupt;

/// Of the standard deviations: tails as heavy as the posterior's or heavier keep the weights' variance finite.
const WIDER: f64 = 1.15;
/// Nats that are not worth a step.
const SMALL: f64 = 1e-3;
/// Steps that are tried at most.
const ROUNDS: usize = 60;
/// λ after the first failure, and its factor after the others; up, or down after a success.
const DAMPING: (f64, f64) = (1e-3, 8.0);
/// Lines of tangents that go through the decoder together, where one row has no more.
const LINES: usize = 128;

/// About the nanoseconds of a climb, beside those of one row through the decoder.
pub(super) fn work(decoder: &Mlp, of_decoder: usize) -> usize {
    let steps = 10;
    steps * (decoder.layers[0].inputs + 1).saturating_mul(of_decoder)
}

/// N(z*, [`WIDER`]² H⁻¹) of one row.
pub(super) struct Peak<F> {
    loc: Vec<F>,
    /// [`WIDER`] L⁻¹, and numbers that are read past its end.
    turn: Vec<F>,
    /// ln of its determinant.
    log_det: f64,
}

impl<F: Float> Peak<F> {
    fn new(loc: Vec<F>, mut h: Vec<f64>) -> Option<Self> {
        let width = loc.len();
        if !factor(&mut h, width) {
            return None;
        }
        let mut turn: Vec<F> = inverse(&h, width).into_iter().map(|x| F::from_f64(WIDER * x)).collect();
        // Of the numbers that draw, rounded as they are.
        let log_det: f64 = turn.iter().step_by(width + 1).map(|x| libm::log(x.to_f64())).sum();
        if !log_det.is_finite() || turn.iter().any(|x| !x.finite()) {
            return None;
        }
        turn.resize(width * width + panel::<F>(), F::ZERO);
        Some(Self { loc, turn, log_det })
    }

    /// Where it is.
    pub(super) fn loc(&self) -> &[F] {
        &self.loc
    }

    /// The standard deviation of each latent of its draws.
    pub(super) fn spread(&self, out: &mut [F]) {
        let width = self.loc.len();
        for (latent, out) in out.iter_mut().enumerate() {
            let column = self.turn[latent..width * width].iter().step_by(width);
            *out = F::from_f64(column.map(|t| t.to_f64() * t.to_f64()).sum::<f64>().sqrt());
        }
    }

    /// Draws z from its particles' noise, and each particle's log p(z) − log q(z), which is ½ Σ (ε − z)(ε + z) + `log_det`, or the same of another prior, from its `components`.
    pub(super) fn draw_and_weigh(&self, components: Option<&Components>, noise: &[F], z: &mut [F], log_ratio: &mut [f64]) {
        let width = self.loc.len();
        let (left, right) = (Left::rows(noise, width), Right::rows(&self.turn, width));
        multiply(log_ratio.len(), width, width, left, right, Finish::Bias(&self.loc), z, width);
        match components {
            None => dispatch(Ratios::<F, true> { noise, z, width, log_ratio: &mut *log_ratio }),
            Some(components) => {
                dispatch(Ratios::<F, false> { noise, z, width, log_ratio: &mut *log_ratio });
                components.add_log_density(z, log_ratio, None);
            }
        }
        for ratio in log_ratio {
            *ratio += self.log_det;
        }
    }

    /// log p(z) − log q(z) at a given z: its noise solves z = z* + Tᵀ ε, T lower triangular, from the last latent up.
    pub(super) fn log_ratio(&self, components: Option<&Components>, z: &[F]) -> f64 {
        let width = self.loc.len();
        let mut noise: Vec<f64> = z.iter().zip(&self.loc).map(|(z, loc)| z.to_f64() - loc.to_f64()).collect();
        let mut sum = 0.0;
        for i in (0..width).rev() {
            let line = &self.turn[i * width..][..=i];
            let e = noise[i] / line[i].to_f64();
            noise.iter_mut().zip(line).for_each(|(x, t)| *x -= t.to_f64() * e);
            let of_prior = if components.is_none() { z[i].to_f64() } else { 0.0 };
            sum += (e - of_prior) * (e + of_prior);
        }
        0.5 * sum + self.log_det + components.map_or(0.0, |components| components.log_density(z))
    }
}

struct Ratios<'a, F, const STANDARD: bool> {
    noise: &'a [F],
    z: &'a [F],
    width: usize,
    log_ratio: &'a mut [f64],
}

impl<F: Float, const STANDARD: bool> Kernel for Ratios<'_, F, STANDARD> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.noise.chunks_exact(self.width).zip(self.z.chunks_exact(self.width));
        for ((noise, z), log_ratio) in rows.zip(self.log_ratio) {
            let mut sum = F::Sum::<S>::zero(simd);
            for (noise, z) in noise.chunks(F::LANES).zip(z.chunks(F::LANES)) {
                // Lanes past the row's end hold 0 and add 0.
                let load = |x: &[F]| {
                    if x.len() == F::LANES {
                        F::Lanes::from_slice(simd, x)
                    } else {
                        F::Lanes::from_fn(simd, |l| x.get(l).copied().unwrap_or_default())
                    }
                };
                let (noise, z) = (load(noise), load(z));
                sum = sum.add(if STANDARD { (noise - z) * (noise + z) } else { noise * noise });
            }
            *log_ratio = 0.5 * sum.finish();
        }
    }
}

/// One row on its way to the mode.
struct Climb<F> {
    /// In its block.
    row: usize,
    z: Vec<F>,
    trial: Vec<F>,
    /// log p(x, z), −∞ before the first is known.
    value: f64,
    gradient: Vec<f64>,
    h: Vec<f64>,
    damping: f64,
    /// Nats that the trial is to gain.
    promised: f64,
    moved: bool,
    ended: bool,
}

impl<F: Float> Climb<F> {
    fn new(row: usize, start: &[F]) -> Self {
        Self {
            row,
            z: start.to_vec(),
            trial: start.to_vec(),
            value: f64::NEG_INFINITY,
            gradient: Vec::new(),
            h: Vec::new(),
            damping: 0.0,
            promised: f64::INFINITY,
            moved: false,
            ended: false,
        }
    }

    /// Whether the trial, of which log p(x, z) is `value`, becomes the place to go on from.
    fn takes(&mut self, value: f64) -> bool {
        if value.is_nan() || value <= self.value || value.is_infinite() {
            self.damping = (self.damping * DAMPING.1).max(DAMPING.0);
            // Not even the start is inside the range, or nothing that is left to try is worth it.
            self.ended = self.h.is_empty() || self.promised <= SMALL;
            return false;
        }
        let gain = value - self.value;
        if !self.h.is_empty() {
            self.moved = true;
            self.ended = gain <= SMALL;
            if gain > 0.75 * self.promised {
                self.damping = if self.damping <= DAMPING.0 { 0.0 } else { self.damping / DAMPING.1 };
            } else if gain < 0.25 * self.promised {
                self.damping = (self.damping * 0.5 * DAMPING.1).max(DAMPING.0);
            }
        }
        self.value = value;
        self.z.copy_from_slice(&self.trial);
        true
    }

    /// What a step δ promises, gᵀδ − ½ δᵀHδ, and δ itself; `None` where the system cannot be solved.
    fn step(&self, damping: f64) -> Option<(Vec<f64>, f64)> {
        let width = self.z.len();
        let mut system = self.h.clone();
        system.iter_mut().step_by(width + 1).for_each(|x| *x += damping * *x);
        if !factor(&mut system, width) {
            return None;
        }
        let mut step = self.gradient.clone();
        solve(&system, width, &mut step);
        let curved: f64 = self.h.chunks_exact(width).zip(&step).map(|(h, s)| s * dot(h, &step)).sum();
        Some((step.clone(), dot(&self.gradient, &step) - 0.5 * curved))
    }

    /// Sets up the next trial, or ends.
    fn plan(&mut self, fresh: bool) {
        if self.ended {
            return;
        }
        if fresh && self.damping > 0.0 && self.step(0.0).is_none_or(|(_, promised)| promised <= SMALL) {
            self.ended = true;
            return;
        }
        match self.step(self.damping) {
            Some((step, promised)) if promised.is_finite() && !(fresh && self.damping == 0.0 && promised <= SMALL) => {
                self.promised = promised;
                for ((trial, z), step) in self.trial.iter_mut().zip(&self.z).zip(step) {
                    *trial = F::from_f64(z.to_f64() + step);
                }
            }
            _ => self.ended = true,
        }
    }

    /// The Gaussian at the place that was reached; `None` where nothing was: the start is no mode, and no step led away from it.
    fn peak(self, components: Option<&Components>) -> Option<Peak<F>> {
        if self.h.is_empty() {
            return None;
        }
        let left = self.step(0.0).map(|(_, promised)| promised).filter(|promised| promised.is_finite())?;
        if !self.moved && left > 1.0 {
            return None;
        }
        if let Some(components) = components {
            let mut whole = self.h.clone();
            components.take_off(&self.z, &mut whole);
            if let Some(peak) = Peak::new(self.z.clone(), whole) {
                return Some(peak);
            }
        }
        Peak::new(self.z, self.h)
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Buffers to find modes of a block's rows in.
pub(super) struct Finder<'m, F: Float> {
    model: &'m Model<F>,
    trace: Trace<F>,
    tangents: Tangents<F>,
    /// Rows whose tangents go together.
    tile: usize,
    trials: Vec<F>,
    params: Vec<F>,
    d_params: Vec<F>,
    d_outputs: Vec<F>,
    d_learned: Vec<f64>,
    roots: Vec<f64>,
    /// The roots by the decoder's outputs, and tangents times them, as they are and packed.
    weights: Vec<f64>,
    weighed: Vec<f64>,
    packed: Vec<f64>,
    /// Where the logits of features with classes begin in the decoder's output, how many numbers, and how many classes.
    classes: Vec<(usize, usize, usize)>,
}

impl<'m, F: Float + Draw> Finder<'m, F> {
    pub(super) fn new(model: &'m Model<F>, rows: usize) -> Self {
        let (latent_dim, assembly) = (model.config().latent_dim, &model.assembly);
        let tile = (LINES / latent_dim).clamp(1, rows.max(1));
        let mut classes = Vec::new();
        let mut next = 0;
        for member in members(&model.config().likelihood, model.config().num_features) {
            let len = match member.likelihood.scale() {
                Some(Scale::Shared | Scale::PerFeature) => member.width(),
                _ => member.likelihood.num_params(member.width()),
            };
            if let Likelihood::Categorical(count) = member.likelihood {
                classes.push((next, len, *count as usize));
            }
            next += len;
        }
        Self {
            model,
            trace: Trace::both_ways(&model.decoder, rows),
            tangents: Tangents::new(&model.decoder, &model.parameters, tile, latent_dim),
            tile,
            trials: Vec::new(),
            params: vec![F::ZERO; rows * assembly.num_params],
            d_params: vec![F::ZERO; rows * assembly.num_params],
            d_outputs: vec![F::ZERO; assembly.num_outputs],
            d_learned: vec![0.0; assembly.num_learned],
            roots: vec![0.0; assembly.num_params],
            weights: vec![0.0; assembly.num_outputs],
            weighed: vec![0.0; latent_dim * assembly.num_outputs],
            packed: vec![0.0; packed_len::<f64>(assembly.num_outputs, latent_dim)],
            classes,
        }
    }

    /// The Gaussian around each wanted row's mode, from its line of `starts`; `None` for a row that has none.
    pub(super) fn find(
        &mut self,
        x: &[F],
        conditions: &[F],
        starts: &[F],
        wanted: impl Iterator<Item = usize>,
        interrupt: &Interrupt,
    ) -> Result<Vec<(usize, Option<Peak<F>>)>> {
        let (latent_dim, features) = (self.model.config().latent_dim, self.model.config().num_features);
        let mut climbs: Vec<Climb<F>> = wanted.map(|row| Climb::new(row, &starts[row * latent_dim..][..latent_dim])).collect();
        for _ in 0..ROUNDS {
            interrupt.poll()?;
            let mut active: Vec<&mut Climb<F>> = climbs.iter_mut().filter(|climb| !climb.ended).collect();
            if active.is_empty() {
                break;
            }
            self.decode(&active, conditions);
            let mut fresh = vec![false; active.len()];
            for (i, climb) in active.iter_mut().enumerate() {
                let value = self.value(i, &x[climb.row * features..][..features], &climb.trial)?;
                fresh[i] = climb.takes(value);
            }
            let taken: Vec<usize> = (0..active.len()).filter(|i| fresh[*i]).collect();
            for rows in taken.chunks(self.tile) {
                self.curve(rows, &mut active, x);
            }
            for (climb, fresh) in active.into_iter().zip(fresh) {
                climb.plan(fresh);
            }
        }
        Ok(climbs.into_iter().map(|climb| (climb.row, climb.peak(self.model.components.as_ref()))).collect())
    }

    /// Runs the trials through the decoder.
    fn decode(&mut self, active: &[&mut Climb<F>], conditions: &[F]) {
        let (model, assembly, beside) = (self.model, &self.model.assembly, self.model.condition.width);
        self.trials.clear();
        for climb in active {
            self.trials.extend_from_slice(&climb.trial);
            self.trials.extend_from_slice(&conditions[climb.row * beside..][..beside]);
        }
        model.decoder.forward(&model.parameters, &self.trials, active.len(), &mut self.trace);
        let outputs = &self.trace.output()[..active.len() * assembly.num_outputs];
        assembly.put_together(outputs, model.learned(), &mut self.params[..active.len() * assembly.num_params]);
    }

    /// log p(x, z) but for a constant, and its gradient into the trial's `d_params`; −∞ where the decoder has left the range.
    fn value(&mut self, trial: usize, x: &[F], z: &[F]) -> Result<f64> {
        let num_params = self.model.assembly.num_params;
        let here = trial * num_params..(trial + 1) * num_params;
        let mut log_prob = [F::ZERO];
        match self.model.likelihood.log_prob_grad(x, &self.params[here.clone()], &mut log_prob, &mut self.d_params[here]) {
            Err(Error::NonFinite { argument: "params", .. }) => return Ok(f64::NEG_INFINITY),
            done => done?,
        }
        let of_prior = match &self.model.components {
            None => -0.5 * z.iter().map(|z| z.to_f64() * z.to_f64()).sum::<f64>(),
            Some(components) => components.log_density(z),
        };
        Ok(log_prob[0].to_f64() + of_prior)
    }

    /// Gradient and H of the climbs `rows`, whose trials were taken.
    fn curve(&mut self, rows: &[usize], active: &mut [&mut Climb<F>], x: &[F]) {
        let model = self.model;
        let (assembly, latent_dim, features) = (&model.assembly, model.config().latent_dim, model.config().num_features);
        let outputs = assembly.num_outputs;
        let jacobians = model.decoder.jacobians(&model.parameters, &self.trace, rows, &mut self.tangents);
        for (&row, jacobian) in rows.iter().zip(jacobians.chunks_exact(latent_dim * outputs)) {
            let climb = &mut *active[row];
            let here = row * assembly.num_params..(row + 1) * assembly.num_params;
            assembly.take_apart(&self.d_params[here.clone()], &mut self.d_outputs, &mut self.d_learned);
            // Of log p(z): the gradient, and the diagonal that stands for its curvature.
            let (mut of_prior, mut diagonal) = (vec![0.0; latent_dim], vec![0.0; latent_dim]);
            if let Some(components) = &model.components {
                components.curve(&climb.z, &mut of_prior, &mut diagonal);
            } else {
                of_prior.iter_mut().zip(&climb.z).for_each(|(slope, z)| *slope = -z.to_f64());
                diagonal.fill(1.0);
            }
            let slope = |(line, of_prior): (&[F], &f64)| {
                let by_params: f64 = line.iter().zip(&self.d_outputs).map(|(j, d)| j.to_f64() * d.to_f64()).sum();
                by_params + of_prior
            };
            climb.gradient = jacobian.chunks_exact(outputs).zip(&of_prior).map(slope).collect();
            let x = &x[climb.row * features..][..features];
            model.likelihood.fisher_roots(x, &self.params[here], &mut self.roots);
            assembly.take_apart(&self.roots, &mut self.weights, &mut self.d_learned);
            self.weighed.iter_mut().zip(jacobian).for_each(|(w, j)| *w = j.to_f64());
            for line in self.weighed.chunks_exact_mut(outputs) {
                for &(first, len, count) in &self.classes {
                    let features = line[first..first + len].chunks_exact_mut(count);
                    for (line, weights) in features.zip(self.weights[first..first + len].chunks_exact(count)) {
                        let mean: f64 = line.iter().zip(weights).map(|(x, w)| x * (w * w)).sum();
                        for x in line {
                            *x -= mean;
                        }
                    }
                }
                dispatch(Times { x: line, by: &self.weights });
            }
            pack_transposed(&self.weighed, outputs, &mut self.packed);
            climb.h.resize(latent_dim * latent_dim, 0.0);
            let (left, right) = (Left::rows(&self.weighed, outputs), Right::packed(&self.packed, outputs));
            multiply(latent_dim, latent_dim, outputs, left, right, Finish::Sums, &mut climb.h, latent_dim);
            climb.h.iter_mut().step_by(latent_dim + 1).zip(&diagonal).for_each(|(h, d)| *h += d);
        }
    }
}

struct Times<'a> {
    x: &'a mut [f64],
    by: &'a [f64],
}

impl Kernel for Times<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise::<f64, S, 1, 1>(
            simd,
            [self.by],
            [self.x],
            #[inline(always)]
            |[by], [x]| [x * by],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_the_draws() {
        let h = vec![4.0, 0.0, 0.0, 1.0, 2.0, 0.0, -0.5, 0.3, 1.5];
        let peak = Peak::<f64>::new(vec![1.0, -2.0, 0.5], h).unwrap();
        // The draws of ε = e₁, e₂, e₃ are the mode and a column of what turns ε.
        let (noise, mut z) = ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [0.0; 9]);
        peak.draw_and_weigh(None, &noise, &mut z, &mut [0.0; 3]);
        let mut spread = [0.0; 3];
        peak.spread(&mut spread);
        for (latent, spread) in spread.iter().enumerate() {
            let squares = z.iter().skip(latent).step_by(3).map(|z| (z - peak.loc()[latent]).powi(2));
            assert!((spread - squares.sum::<f64>().sqrt()).abs() < 1e-15, "{latent}");
        }
    }
}
