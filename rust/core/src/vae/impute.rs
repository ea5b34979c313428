//! Missing cells from the model: their mean or most probable value given the observed cells, and draws of them.
//!
//! z comes from a [`Proposal`] r and is weighed as for the evidence, wₖ ∝ p(x | zₖ) p(zₖ) / r(zₖ) with x the observed cells (Rubin 1987; Mattei and Frellsen 2019, eq. 10). The mean is Σ wₖ E[x | zₖ] / Σ wₖ, streamed
//! with a running largest weight; a draw takes one of the zₖ by its weight, then the cell from p(x | zₖ) (sampling-importance-resampling). A row's noise comes from its own key, that
//! of [`score`](super::score): normals of particle k give zₖ, uniform d chooses the z of draw d, and key `split(0)` draws row d of its cells. So a row's cells are the same
//! bits alone, shuffled, repeated or in chunks, and draw d does not depend on how many there are.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::evidence::Proposal;
use super::laplace;
use super::members::{is_real, kinds_of_columns};
use super::model::Model;
use super::score::check_particles;
use super::scorer::{Drawn, Scorer, over_rows, work, work_of_draw};
use super::source::Source;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::likelihood::Likelihood;
use crate::random::{Draw, Key, fill_uniforms};
use crate::rows::check_len;
use crate::threads::{Interrupt, Outputs, RowsMut};

/// Rows with their missing cells filled, (rows, columns): by the mean for real and count columns, by the most probable value for bits and codes. Observed cells stay. A row without
/// an observed cell, and one without a mode, is drawn from q whatever the proposal. Returns for how many rows no mode was found.
///
/// # Errors
/// As [`check`](super::check), and [`Error::Value`] for 0 particles.
pub fn impute<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    key: Key,
    num_particles: usize,
    proposal: Proposal,
    interrupt: &Interrupt,
    out: &mut [F],
) -> Result<usize> {
    check_particles(num_particles)?;
    let width = model.config().num_features;
    let mut out = RowsMut::new(out, width);
    copy(source, width, &mut out)?;
    let kinds = kinds_of_columns(&model.config().likelihood, width);
    let work = work_of_row(model, num_particles, proposal);
    let without = AtomicUsize::new(0);
    over_rows(model, source, work, interrupt, out, |scorer, mut out: RowsMut<F>| {
        without.fetch_add(start(scorer, proposal, interrupt)?, Ordering::Relaxed);
        let num_means = model.likelihood.num_means();
        let mut scratch = Vec::new();
        let push = |mean: &mut Mean, drawn: Drawn<F>| {
            mean.push(model, &drawn, &mut scratch);
            Ok(())
        };
        scorer.draw(
            key,
            num_particles,
            interrupt,
            incomplete,
            || Mean { largest: f64::NEG_INFINITY, weight: 0.0, sums: vec![0.0; num_means] },
            push,
            |row, mean| mean.fill(model, &kinds, out.row(row.index)),
        )
    })?;
    Ok(without.into_inner())
}

/// `num_draws` copies of the rows, (draws, rows, columns), with missing cells drawn given the observed ones. Observed cells stay. Returns for how many rows no mode was found.
///
/// # Errors
/// As [`impute`].
pub fn impute_draws<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    key: Key,
    num_particles: usize,
    num_draws: usize,
    proposal: Proposal,
    interrupt: &Interrupt,
    out: &mut [F],
) -> Result<usize> {
    check_particles(num_particles)?;
    let width = model.config().num_features;
    check_len("out", out, source.rows() * num_draws, width)?;
    if source.rows() == 0 || num_draws == 0 {
        return Ok(0);
    }
    let mut out = Copies(out.chunks_exact_mut(source.rows() * width).map(|copy| RowsMut::new(copy, width)).collect());
    for copied in &mut out.0 {
        copy(source, width, copied)?;
    }
    let kinds = kinds_of_columns(&model.config().likelihood, width);
    let work = work_of_row(model, num_particles.saturating_add(num_draws), proposal);
    let without = AtomicUsize::new(0);
    over_rows(model, source, work, interrupt, out, |scorer, mut out: Copies<F>| {
        without.fetch_add(start(scorer, proposal, interrupt)?, Ordering::Relaxed);
        let push = |weights: &mut Vec<f64>, drawn: Drawn<F>| {
            weights.extend(drawn.log_weights());
            Ok(())
        };
        let mut chosen = Vec::new();
        scorer.draw(key, num_particles, interrupt, incomplete, Vec::new, push, |row, weights| {
            chosen.push((row.index, row.key, choices(row.key, weights, num_draws)));
        })?;
        for (index, key, particles) in chosen {
            let missing: Vec<bool> = scorer.row(index).iter().map(is_missing).collect();
            scorer.draw_again(index, key, &particles, |first, params| {
                // A cell that nobody observed has weighed on no draw, whatever its params are.
                for param in params.iter_mut().filter(|param| !param.finite()) {
                    let largest = F::MAX.to_f64();
                    let x = param.to_f64();
                    *param = if x.is_nan() { F::ZERO } else { F::from_f64(x.clamp(-largest, largest)) };
                }
                let mut cells = vec![F::ZERO; params.len() / model.assembly.num_params * width];
                model.likelihood.sample(params, key.split(0), first as u64, interrupt, &mut cells)?;
                for (draw, cells) in cells.chunks_exact(width).enumerate() {
                    let row = out.0[first + draw].row(index);
                    for (column, (slot, cell)) in row.iter_mut().zip(cells).enumerate().filter(|(column, _)| missing[*column]) {
                        *slot = if is_real(kinds[column]) { model.intake.unscaled(column, cell.to_f64()) } else { *cell };
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(without.into_inner())
}

/// About the nanoseconds of a row.
fn work_of_row<F: Float + Draw>(model: &Model<F>, num_draws: usize, proposal: Proposal) -> usize {
    let of_decoder = work_of_draw(model);
    let of_mode = if proposal == Proposal::Laplace { laplace::work(&model.decoder, of_decoder) } else { 0 };
    work(&model.encoder) + num_draws.saturating_mul(of_decoder + model.config().num_features).saturating_add(of_mode)
}

/// Makes the block's incomplete rows ready to be drawn from; returns for how many no mode was found.
fn start<F: Float + Draw>(scorer: &mut Scorer<F>, proposal: Proposal, interrupt: &Interrupt) -> Result<usize> {
    scorer.encode();
    if proposal == Proposal::Laplace { scorer.find_modes(incomplete, interrupt) } else { Ok(0) }
}

/// Several arrays of the same rows.
struct Copies<'a, F>(Vec<RowsMut<'a, F>>);

impl<F: Send> Outputs for Copies<'_, F> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = self.0.into_iter().map(|rows| rows.split_at(row)).unzip();
        (Self(low), Self(high))
    }
}

fn is_missing<F: Float>(x: &F) -> bool {
    x.to_f64().is_nan()
}

fn incomplete<F: Float>(x: &[F]) -> bool {
    x.iter().any(is_missing)
}

fn copy<F: Float>(source: &dyn Source<F>, width: usize, out: &mut RowsMut<F>) -> Result<()> {
    if source.width() != width {
        return Err(Error::shape("x", format!("{width} columns"), source.width(), "give the columns of the model"));
    }
    check_len("out", out.data, source.rows(), width)?;
    for row in 0..source.rows() {
        source.copy_row(row, out.row(row));
    }
    Ok(())
}

/// The scale at which means are added: exact, and no row has so many draws that their sum leaves the range.
const SHRINK: f64 = 1.0 / 18_446_744_073_709_551_616.0;

/// The weighed means of a row's cells as draws come in, over exp of the largest log weight.
struct Mean {
    largest: f64,
    weight: f64,
    sums: Vec<f64>,
}

impl Mean {
    fn push<F: Float + Draw>(&mut self, model: &Model<F>, drawn: &Drawn<F>, scratch: &mut Vec<F>) {
        let largest = drawn.log_weights().fold(self.largest, f64::max);
        if largest > self.largest {
            let factor = libm::exp(self.largest - largest);
            self.weight *= factor;
            self.sums.iter_mut().for_each(|sum| *sum *= factor);
            self.largest = largest;
        }
        scratch.clear();
        scratch.resize(drawn.log_prob.len() * self.sums.len(), F::ZERO);
        // What is not finite is passed over below.
        let _ = model.likelihood.mean(drawn.params, scratch);
        for (w, means) in drawn.log_weights().zip(scratch.chunks_exact(self.sums.len())) {
            // Where no weight is finite, or one is endless, the largest count alike.
            let weight = if w == largest { 1.0 } else { libm::exp(w - largest) };
            if weight > 0.0 && means.iter().all(|mean| !is_missing(mean)) {
                self.weight += weight;
                for (sum, mean) in self.sums.iter_mut().zip(means) {
                    // The end of the range, as ∞ − ∞ would be none of the two.
                    let mean = mean.to_f64().clamp(-f64::MAX, f64::MAX);
                    *sum += weight * (mean * SHRINK);
                }
            }
        }
    }

    fn fill<F: Float + Draw>(&self, model: &Model<F>, kinds: &[&Likelihood], row: &mut [F]) {
        // Without any draw to go by, the middle of the scaled cells.
        let mean = |sum: f64| if self.weight > 0.0 { sum / self.weight / SHRINK } else { 0.0 };
        let mut sums = self.sums.as_slice();
        for (column, (slot, kind)) in row.iter_mut().zip(kinds).enumerate() {
            let (of_column, rest) = sums.split_at(kind.num_means(1));
            sums = rest;
            if !is_missing(slot) {
                continue;
            }
            *slot = match kind {
                Likelihood::Bernoulli => F::from_f64(f64::from(mean(of_column[0]) > 0.5)),
                Likelihood::Categorical(_) => {
                    let largest = of_column.iter().fold(f64::NEG_INFINITY, |largest, sum| largest.max(*sum));
                    F::from_f64(of_column.iter().position(|sum| *sum == largest).unwrap_or(0) as f64)
                }
                kind if is_real(kind) => model.intake.unscaled(column, mean(of_column[0])),
                _ => F::from_f64(mean(of_column[0])),
            };
        }
    }
}

/// The particles of a row's draws: draw d takes the first whose running sum of weights passes uniform d.
fn choices(key: Key, mut weights: Vec<f64>, num_draws: usize) -> Vec<u64> {
    let largest = weights.iter().fold(f64::NEG_INFINITY, |largest, w| largest.max(*w));
    let mut total = 0.0;
    for w in &mut weights {
        total += if *w == largest { 1.0 } else { libm::exp(*w - largest) };
        *w = total;
    }
    let mut uniforms = vec![0.0_f64; num_draws];
    fill_uniforms(key, 0, 0, 1, &mut uniforms);
    let last = weights.len() - 1;
    uniforms.iter().map(|u| weights.partition_point(|sum| *sum <= u * total).min(last) as u64).collect()
}
