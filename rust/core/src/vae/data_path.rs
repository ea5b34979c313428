//! The data path of a training step: some rows of a batch from the data set to the gradients of every layer's output.
//!
//! Nothing here depends on which rows came together, so a batch is cut into blocks of a fixed size and each block is worked by one thread.

use super::components::Components;
use super::condition::append;
use super::encoder_gradient::{DrawFactors, Draws};
use super::gradient_rows::{AddRows, ScaleRows, ThroughDraw};
use super::latent::{draw, draw_with_ratios, join_heads, latent_kl, split_heads};
use super::model::Model;
use super::objective::{Estimator, Objective, shares_of, weighted};
use super::prior::Prior;
use super::source::Source;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::gaussian::kl_grad;
use crate::network::matmul::{Left, Part, Right};
use crate::network::panels::{pack_rows, packed_len, panel};
use crate::network::{Aligned, Layer, Mlp, Trace};
use crate::random::{Draw, Key, fill_normals};
use crate::reduce::ordered_sum_of;
use crate::rows::check_finite;
use crate::simd::dispatch;
use crate::threads::Interrupt;

/// A training batch: which rows, how much each counts, and where its noise stands.
#[derive(Clone, Copy)]
pub struct Batch<'a, F> {
    /// Where the rows come from.
    pub source: &'a dyn Source<F>,
    /// Which rows, in order.
    pub rows: &'a [u32],
    /// Each source row's weight; all 1 where `None`. A row of weight 0 is passed over, whatever its cells.
    pub weights: Option<&'a [f64]>,
    /// The epoch's key.
    pub key: Key,
    /// The place in the epoch of the batch's first row, by which its noise is addressed.
    pub position: u64,
    /// What is maximised.
    pub objective: Objective,
}

impl<F> Batch<'_, F> {
    pub(super) fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[self.rows[row] as usize])
    }

    /// What a row counts in the batch's mean.
    fn share(&self, row: usize) -> f64 {
        self.weight(row) / self.rows.len() as f64
    }
}

/// The buffers of a block of a batch's rows, and what the data path leaves in them for the weights' gradients.
#[derive(Debug)]
pub(super) struct Block<F> {
    /// Its first row in the batch, and how many it has.
    pub(super) first: usize,
    pub(super) rows: usize,
    most_rows: usize,
    num_particles: usize,
    latent_dim: usize,
    x: Vec<F>,
    /// As scaled.
    conditions: Vec<F>,
    view: Vec<F>,
    encoder: Trace<F>,
    loc: Vec<F>,
    log_var: Vec<F>,
    d_loc: Vec<F>,
    d_log_var: Vec<F>,
    noise: Vec<F>,
    z: Vec<F>,
    dz: Vec<F>,
    /// z and the row's condition side by side, and the gradient with respect to both; empty where there is none.
    inputs: [Vec<F>; 2],
    decoder: Trace<F>,
    /// Of each layer, the encoder's first, its inputs, packed for the product that is the weights' gradient where that pays.
    packed: Vec<Option<Aligned<F>>>,
    /// Of a likelihood with learned scales, whose params are more than the decoder's output, the params and their gradient; else empty.
    params: [Vec<F>; 2],
    /// The gradient with respect to the learned scales, unit by unit: its draws added up in order.
    d_learned: Vec<f64>,
    log_prob: Vec<F>,
    kl: Vec<F>,
    /// Each latent's part of it.
    latent_kl: Vec<F>,
    /// Each draw's log p(z) − log q(z | x), then its share of its row's weight.
    shares: Vec<f64>,
    /// Of an estimator that asks for them.
    factors: DrawFactors,
    /// Of a mixture prior, each component's share in the draws' density, and each draw's factor of −∇ log p(z).
    mixture: [Vec<f64>; 2],
    /// The gradient with respect to its components, unit by unit: draws added up in order.
    d_components: Vec<f64>,
    /// ln of the mean weight of each row as scaled.
    bounds: Vec<f64>,
    offsets: Vec<f64>,
    /// What went wrong with these rows in the last step.
    pub(super) error: Option<Error>,
}

/// Rows of a unit: enough for whole tiles of the matrix products, few enough that a small batch has work for several threads
/// and that many particles stay in the cache.
fn unit_rows(num_particles: usize) -> usize {
    (64 / num_particles).clamp(8, 32)
}

/// Weights of a layer from which on its inputs are packed for their gradient: read in place they take a page of memory a row, and every tile reads them again. A net of
/// 64 × 256 layers lost more by the copies than it gained; those of 784 × 400 and of 784 × 512 with 512 × 256 make the gradient a fifth to a quarter faster by it.
const PACKED_FROM: usize = 1 << 16;

/// Rows of a block, which has as many units as leave each of `threads` threads a block, up to eight, since a block reads all weights, which may lie far away: with half as many rows a step
/// of 784-400-20 took 1.1 times as long on two threads. Rows of one particle keep their order, and so no bit hangs on it; with more particles a block's draws come particle after particle,
/// and its unit stays one.
pub(super) fn block_rows(num_particles: usize, batch_size: usize, threads: usize) -> usize {
    let unit = unit_rows(num_particles);
    let most = if num_particles > 1 { 1 } else { batch_size / unit / threads };
    unit * match most {
        8.. => 8,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

impl<F: Float + Draw> Block<F> {
    /// Buffers for `rows` rows from the batch's row `first` on.
    pub(super) fn new(model: &Model<F>, first: usize, rows: usize, num_particles: usize) -> Self {
        let (features, latent_dim) = (model.config().num_features, model.config().latent_dim);
        let buffer = |rows: usize, width: usize| vec![F::ZERO; rows * width];
        // A layer's input is read by whole vectors when its weights' gradient is made.
        let input = |rows: usize, width: usize| vec![F::ZERO; rows * width + panel::<F>()];
        let (draws, learned) = (rows * num_particles, model.assembly.num_learned);
        let packed = |network: &Mlp, rows: usize| {
            let of = |l: &Layer| {
                let pays = l.inputs * l.outputs >= PACKED_FROM;
                pays.then(|| Aligned::zeros(packed_len::<F>(rows, l.inputs)))
            };
            network.layers.iter().map(of).collect::<Vec<_>>()
        };
        let components = model.config().prior.num_components().unwrap_or(0);
        Self {
            first,
            rows: 0,
            most_rows: rows,
            num_particles,
            latent_dim,
            x: buffer(rows, features),
            conditions: buffer(rows, model.condition.width),
            view: input(rows, model.intake.view_width),
            encoder: Trace::both_ways(&model.encoder, rows),
            loc: buffer(rows, latent_dim),
            log_var: buffer(rows, latent_dim),
            d_loc: buffer(rows, latent_dim),
            d_log_var: buffer(rows, latent_dim),
            noise: buffer(draws, latent_dim),
            z: input(draws, latent_dim),
            dz: buffer(draws, latent_dim),
            inputs: [(); 2]
                .map(|()| if model.condition.width > 0 { input(draws, model.decoder.layers[0].inputs) } else { Vec::new() }),
            decoder: Trace::both_ways(&model.decoder, draws),
            packed: [packed(&model.encoder, rows), packed(&model.decoder, draws)].concat(),
            params: [(); 2].map(|()| if learned > 0 { buffer(draws, model.assembly.num_params) } else { Vec::new() }),
            d_learned: vec![0.0; learned * rows.div_ceil(unit_rows(num_particles))],
            log_prob: buffer(draws, 1),
            kl: buffer(rows, 1),
            latent_kl: buffer(rows, latent_dim),
            shares: vec![0.0; draws],
            factors: DrawFactors::default(),
            mixture: [draws * components, if components > 0 { draws } else { 0 }].map(|len| vec![0.0; len]),
            d_components: vec![0.0; Components::num_gradient(components, latent_dim) * rows.div_ceil(unit_rows(num_particles))],
            bounds: vec![0.0; rows],
            offsets: vec![0.0; rows],
            error: None,
        }
    }

    /// What [`new`](Self::new) takes for a row, about; `usize::MAX` where that is past counting.
    pub(super) fn bytes(model: &Model<F>, num_particles: usize) -> usize {
        let outputs = |network: &Mlp| {
            let of = |l: &Layer| (4 + if l.norm.is_some() { 2 } else { 0 } + usize::from(l.residual)) * l.outputs + l.inputs;
            network.layers.iter().map(of).sum::<usize>()
        };
        let (features, latent_dim) = (model.config().num_features, model.config().latent_dim);
        let beside = model.condition.width;
        let row = features + beside + model.intake.view_width + outputs(&model.encoder) + 5 * latent_dim + 5;
        let params = if model.assembly.num_learned > 0 { 2 * model.assembly.num_params } else { 0 };
        let inputs = if beside > 0 { 2 * (latent_dim + beside) } else { 0 };
        let draw = outputs(&model.decoder) + params + inputs + 3 * latent_dim + 5;
        let components = model.config().prior.num_components().unwrap_or(0);
        let draw = draw + 2 * components;
        let numbers = draw.saturating_mul(num_particles).saturating_add(row);
        let units = 2 * Components::num_gradient(components, latent_dim) / unit_rows(num_particles);
        numbers.saturating_add(units).saturating_mul(size_of::<F>())
    }

    /// Runs the block's rows of `batch` forward and back. What goes wrong is kept in `error`.
    pub(super) fn run(
        &mut self,
        model: &Model<F>,
        back: &[F],
        batch: &Batch<F>,
        components: Option<&Components>,
        interrupt: &Interrupt,
    ) {
        self.encode(model, batch, interrupt);
        self.decode_and_back(model, back, batch, components, None);
    }

    /// The first half: through the encoder to the KL, and its parts by latent where they have a floor.
    pub(super) fn encode(&mut self, model: &Model<F>, batch: &Batch<F>, interrupt: &Interrupt) {
        self.rows = batch.rows.len().saturating_sub(self.first).min(self.most_rows);
        let done = interrupt.poll().and_then(|()| if self.rows == 0 { Ok(()) } else { self.posterior(model, batch) });
        self.error = done.err().map(|error| self.blame(model, error));
    }

    /// The second half, unless the first went wrong. `back` are the weights packed for it; a mixture prior has `components`; latents whose KL is `below` its floor get no gradient from it.
    pub(super) fn decode_and_back(
        &mut self,
        model: &Model<F>,
        back: &[F],
        batch: &Batch<F>,
        components: Option<&Components>,
        below: Option<&[bool]>,
    ) {
        if self.rows > 0 && self.error.is_none() {
            let done = self.gradients(model, back, batch, components, below);
            self.error = done.err().map(|error| self.blame(model, error));
        }
    }

    /// Of an infinite cell and the infinities that it makes in the network, the cell is to be named.
    fn blame(&self, model: &Model<F>, error: Error) -> Error {
        let width = model.config().num_features;
        match error {
            Error::NonFinite { .. } => {
                let checked = model.likelihood.likelihood().check_support("x", &self.x[..self.rows * width], width);
                checked.err().unwrap_or(error)
            }
            error => error,
        }
    }

    fn posterior(&mut self, model: &Model<F>, batch: &Batch<F>) -> Result<()> {
        let (rows, latents) = (self.rows, self.rows * self.latent_dim);
        let (width, beside) = (model.config().num_features, model.condition.width);
        let (cells, conditions) = (&mut self.x[..rows * width], &mut self.conditions[..rows * beside]);
        let chosen = &batch.rows[self.first..][..rows];
        batch.source.copy_rows(chosen, cells);
        if beside > 0 {
            for (&row, condition) in chosen.iter().zip(conditions.chunks_exact_mut(beside)) {
                batch.source.copy_condition(row as usize, condition);
            }
        }
        if batch.weights.is_some() {
            // What counts for nothing is not seen either: an infinity in the network times 0 would be NaN.
            for row in (0..rows).filter(|row| batch.weight(self.first + row) == 0.0) {
                cells[row * width..][..width].fill(F::NAN);
                conditions[row * beside..][..beside].fill(F::ZERO);
            }
        }
        model.condition.take(conditions)?;
        model.intake.take(cells, conditions, &mut self.view[..rows * model.intake.view_width], &mut self.offsets[..rows]);

        model.encoder.forward(&model.parameters, &self.view, rows, &mut self.encoder);
        let (heads, _) = self.encoder.output_and_gradient();
        let (loc, log_var) = (&mut self.loc[..latents], &mut self.log_var[..latents]);
        split_heads(&heads[..2 * latents], self.latent_dim, loc, log_var);
        if model.config().prior != Prior::Standard {
            // The KL comes with the draws.
            check_finite("loc", loc, self.latent_dim)?;
            return check_finite("log_var", log_var, self.latent_dim);
        }
        let (d_loc, d_log_var) = (&mut self.d_loc[..latents], &mut self.d_log_var[..latents]);
        kl_grad(loc, log_var, None, self.latent_dim, &mut self.kl[..rows], d_loc, d_log_var, None)?;
        if batch.objective.free_bits > 0.0 {
            latent_kl(loc, log_var, &mut self.latent_kl[..latents]);
        }
        Ok(())
    }

    /// Draws z; where draws are weighed, leaves each one's log p(z) − log q(z | x) in `shares`, and with a mixture prior each row's KL by them.
    fn draw(&mut self, batch: &Batch<F>, components: Option<&Components>) {
        let (rows, latents) = (self.rows, self.rows * self.latent_dim);
        let draws = rows * self.num_particles;
        let (loc, log_var) = (&self.loc[..latents], &self.log_var[..latents]);
        let first = batch.position + self.first as u64;
        for (particle, noise) in self.noise.chunks_mut(latents).take(self.num_particles).enumerate() {
            fill_normals(batch.key, particle as u32, first, self.latent_dim, noise);
        }
        let noise = &mut self.noise[..draws * self.latent_dim];
        let z = &mut self.z[..draws * self.latent_dim];
        if batch.objective.weighs_draws() || components.is_some() {
            // The place of z's gradient is free until the way back.
            let ratios = &mut self.dz[..draws * self.latent_dim];
            draw_with_ratios(loc, log_var, noise, z, ratios, components.is_none());
            let shares = &mut self.shares[..draws];
            for (share, ratios) in shares.iter_mut().zip(ratios.chunks_exact(self.latent_dim)) {
                *share = 0.5 * ordered_sum_of(ratios.iter().map(|x| x.to_f64()));
            }
            if let Some(components) = components {
                components.add_log_density(z, shares, Some(&mut self.mixture[0]));
                for (row, kl) in self.kl[..rows].iter_mut().enumerate() {
                    let sum: f64 = shares[row..].iter().step_by(rows).sum();
                    *kl = F::from_f64(-sum / self.num_particles as f64);
                }
            }
        } else {
            draw(loc, log_var, noise, z);
        }
    }

    fn gradients(
        &mut self,
        model: &Model<F>,
        back: &[F],
        batch: &Batch<F>,
        components: Option<&Components>,
        below: Option<&[bool]>,
    ) -> Result<()> {
        self.draw(batch, components);
        self.decode(model)?;
        self.weigh(model, batch);
        let draws = self.rows * self.num_particles;
        let (latent_dim, beside) = (self.latent_dim, model.condition.width);
        let d_inputs = if beside > 0 { &mut self.inputs[1] } else { &mut self.dz };
        model.decoder.backward(&model.parameters, back, draws, &mut self.decoder, Some(d_inputs));
        if beside > 0 {
            // No gradient is asked for of a condition.
            let d_inputs = self.inputs[1].chunks_exact(latent_dim + beside);
            for (dz, d_inputs) in self.dz[..draws * latent_dim].chunks_exact_mut(latent_dim).zip(d_inputs) {
                dz.copy_from_slice(&d_inputs[..latent_dim]);
            }
        }
        self.heads(batch, components, below);
        model.encoder.backward(&model.parameters, back, self.rows, &mut self.encoder, None);
        self.pack(model);
        Ok(())
    }

    /// From z through the decoder to log p(x | z) and its gradient with respect to the params.
    fn decode(&mut self, model: &Model<F>) -> Result<()> {
        let (rows, draws, beside) = (self.rows, self.rows * self.num_particles, model.condition.width);
        if beside > 0 {
            // Each particle has the rows in order.
            let conditions = self.conditions[..rows * beside].chunks_exact(beside).cycle();
            append(&self.z[..draws * self.latent_dim], self.latent_dim, conditions, &mut self.inputs[0]);
        }
        let inputs = if beside > 0 { &self.inputs[0] } else { &self.z };
        model.decoder.forward(&model.parameters, inputs, draws, &mut self.decoder);
        let assembly = &model.assembly;
        let (outputs, d_outputs) = self.decoder.output_and_gradient();
        let (outputs, d_outputs) = (&outputs[..draws * assembly.num_outputs], &mut d_outputs[..draws * assembly.num_outputs]);
        let x = &self.x[..rows * model.config().num_features];
        let log_prob = &mut self.log_prob[..draws];
        if assembly.num_learned == 0 {
            return model.likelihood.log_prob_grad(x, outputs, log_prob, d_outputs);
        }
        let [params, d_params] = self.params.each_mut().map(|params| &mut params[..draws * assembly.num_params]);
        assembly.put_together(outputs, model.learned(), params);
        model.likelihood.log_prob_grad(x, params, log_prob, d_params)
    }

    /// Turns the gradients of log p(x | z) into those of what is minimised, −Σ wᵢ (reconstructionᵢ − β klᵢ) / batch or the like: each draw's by its factor, on to the decoder's
    /// output and to what is learned.
    fn weigh(&mut self, model: &Model<F>, batch: &Batch<F>) {
        let (rows, draws, objective) = (self.rows, self.rows * self.num_particles, batch.objective);
        let (shares, log_prob) = (&mut self.shares[..draws], &self.log_prob[..draws]);
        let share = |row: usize| batch.share(self.first + row);
        let particles = self.num_particles as f64;
        let assembly = &model.assembly;
        let (num_params, unit) = (assembly.num_params, unit_rows(self.num_particles) * self.num_particles);
        let d_outputs = &mut self.decoder.output_and_gradient().1[..draws * assembly.num_outputs];
        let (d_params, d_learned) = (&mut self.params[1], &mut self.d_learned);
        // Rows that are `alike` have one factor, and are scaled as one.
        let mut weigh = |alike: bool, by: &dyn Fn(usize) -> F| {
            let d = if assembly.num_learned == 0 { &mut *d_outputs } else { &mut d_params[..draws * num_params] };
            let width = if alike { d.len() } else { num_params };
            dispatch(ScaleRows { x: d, width, by });
            if assembly.num_learned == 0 {
                return;
            }
            let units =
                d_params[..draws * num_params].chunks(unit * num_params).zip(d_outputs.chunks_mut(unit * assembly.num_outputs));
            for ((d_params, d_outputs), d_learned) in units.zip(d_learned.chunks_exact_mut(assembly.num_learned)) {
                assembly.take_apart(d_params, d_outputs, d_learned);
            }
        };
        if !objective.importance_weighted {
            if objective.estimator == Estimator::Score {
                self.factors.above_mean(objective, log_prob, shares, rows);
            }
            return weigh(batch.weights.is_none(), &|draw| F::from_f64(-share(draw % rows) / particles));
        }
        for (share, log_prob) in shares.iter_mut().zip(log_prob) {
            *share = log_prob.to_f64() + weighted(objective.kl_weight, *share);
        }
        self.factors.of_weights(objective, shares, rows);
        for (row, bound) in self.bounds[..rows].iter_mut().enumerate() {
            *bound = shares_of(shares, (row..draws).step_by(rows));
        }
        self.factors.of_shares(objective, shares);
        for (draw, of_row) in shares.iter_mut().enumerate() {
            *of_row *= share(draw % rows);
        }
        weigh(false, &|draw| F::from_f64(-shares[draw]));
    }

    /// Brings what has come back to z and the prior's part together at the encoder's heads.
    fn heads(&mut self, batch: &Batch<F>, components: Option<&Components>, below: Option<&[bool]>) {
        let (rows, latents, latent_dim) = (self.rows, self.rows * self.latent_dim, self.latent_dim);
        let (objective, particles) = (batch.objective, self.num_particles as f64);
        let draws = rows * self.num_particles;
        let (z, noise) = (&self.z[..draws * latent_dim], &self.noise[..draws * latent_dim]);
        let dz = &mut self.dz[..draws * latent_dim];
        let (d_loc, d_log_var) = (&mut self.d_loc[..latents], &mut self.d_log_var[..latents]);
        let share = |row: usize| batch.share(self.first + row);
        let factor = |draw: usize| {
            let of_draw = if objective.importance_weighted { self.shares[draw] } else { share(draw % rows) / particles };
            weighted(objective.kl_weight, of_draw)
        };
        let held_still = objective.estimator != Estimator::Pathwise;
        if objective.importance_weighted || components.is_some() || held_still {
            // −log p(z) pulls z to 0, or to the components, and log q(z | x) = −½ Σ (ε² + log-variance) + c hangs on the log-variance alone.
            if let Some(components) = components {
                let [shares, by] = &mut self.mixture;
                by[..draws].iter_mut().enumerate().for_each(|(draw, by)| *by = factor(draw));
                self.d_components.fill(0.0);
                let (unit, count) = (unit_rows(self.num_particles) * self.num_particles, components.len());
                let units = z.chunks(unit * latent_dim).zip(dz.chunks_mut(unit * latent_dim));
                let units = units.zip(by[..draws].chunks(unit)).zip(shares.chunks(unit * count));
                let sums = self.d_components.chunks_exact_mut(Components::num_gradient(count, latent_dim));
                for ((((z, dz), by), shares), d) in units.zip(sums) {
                    components.pull(z, shares, by, dz, d);
                }
            } else {
                let by = |draw: usize| F::from_f64(factor(draw));
                dispatch(AddRows { x: z, out: &mut *dz, width: latent_dim, by });
            }
            d_loc.fill(F::ZERO);
            d_log_var.fill(F::from_f64(-0.5));
        }
        if held_still {
            let of = Draws { width: latent_dim, log_var: &self.log_var[..latents], slope: noise };
            if objective.estimator == Estimator::Score {
                of.score(share, dz, d_log_var, &self.factors);
            } else {
                of.hold_still(objective, dz, factor, &self.factors);
            }
        }
        for (latent, _) in below.into_iter().flatten().enumerate().filter(|(_, below)| **below) {
            for d in [&mut *d_loc, &mut *d_log_var] {
                d.iter_mut().skip(latent).step_by(latent_dim).for_each(|d| *d = F::ZERO);
            }
        }
        let kl_weight = |row: usize| match objective.estimator {
            Estimator::Pathwise => F::from_f64(objective.kl_weight * share(row)),
            // The score's own part is weighed already.
            Estimator::Score => F::ONE,
            Estimator::Stl | Estimator::Dreg => F::ZERO,
        };
        let width = if batch.weights.is_none() { latents } else { latent_dim };
        for d in [&mut *d_loc, &mut *d_log_var] {
            dispatch(ScaleRows { x: d, width, by: kl_weight });
        }
        for (dz, slope) in dz.chunks_exact(latents).zip(noise.chunks_exact(latents)) {
            dispatch(ThroughDraw { dz, slope, d_loc, d_log_var });
        }
        let (_, d_heads) = self.encoder.output_and_gradient();
        join_heads(d_loc, d_log_var, latent_dim, &mut d_heads[..2 * latents]);
    }

    /// Packs layers' inputs for the weights' gradients where that pays.
    fn pack(&mut self, model: &Model<F>) {
        let encoder = model.encoder.layers.len();
        for layer in 0..self.packed.len() {
            let Some(mut packed) = self.packed[layer].take() else { continue };
            let pass = self.pass(model, layer < encoder);
            let [_, (x, inputs)] = pass.layer(if layer < encoder { layer } else { layer - encoder });
            pack_rows(&x[..pass.depth * inputs], inputs, &mut packed);
            self.packed[layer] = Some(packed);
        }
    }

    /// ln of the mean weight of each row as given, where draws are weighed by importance.
    pub(super) fn bounds(&self) -> impl Iterator<Item = f64> {
        self.bounds[..self.rows].iter().zip(&self.offsets).map(|(bound, offset)| bound + offset)
    }

    /// The gradient with respect to learned scale `scale`, unit by unit.
    pub(super) fn d_learned(&self, scale: usize) -> impl Iterator<Item = f64> {
        let (learned, units) = (
            self.d_learned.len() / self.most_rows.div_ceil(unit_rows(self.num_particles)),
            self.rows.div_ceil(unit_rows(self.num_particles)),
        );
        self.d_learned.iter().skip(scale).step_by(learned).take(units).copied()
    }

    /// The gradient with respect to a mixture prior's components, unit by unit.
    pub(super) fn d_components(&self) -> impl Iterator<Item = &[f64]> {
        let unit = unit_rows(self.num_particles);
        let width = self.d_components.len() / self.most_rows.div_ceil(unit);
        self.d_components.chunks_exact(width).take(self.rows.div_ceil(unit))
    }

    /// The KL of one latent of each row, where the first half has left it.
    pub(super) fn latent_kl(&self, latent: usize) -> impl Iterator<Item = f64> {
        self.latent_kl[..self.rows * self.latent_dim].iter().skip(latent).step_by(self.latent_dim).map(|kl| kl.to_f64())
    }

    /// (reconstruction of the row as given, KL) of each row.
    pub(super) fn terms(&self) -> impl Iterator<Item = (f64, f64)> {
        (0..self.rows).map(|row| {
            let particles = (0..self.num_particles).map(|p| self.log_prob[p * self.rows + row].to_f64());
            let mean = particles.sum::<f64>() / self.num_particles as f64;
            (mean + self.offsets[row], self.kl[row].to_f64())
        })
    }

    /// What the gradients of the encoder's layers read, or of the decoder's.
    pub(super) fn pass<'a>(&'a self, model: &'a Model<F>, encoder: bool) -> Pass<'a, F> {
        let (of_encoder, of_decoder) = self.packed.split_at(model.encoder.layers.len());
        if encoder {
            return Pass { trace: &self.encoder, network: &model.encoder, input: &self.view, depth: self.rows, packed: of_encoder };
        }
        let input = if self.inputs[0].is_empty() { &self.z } else { &self.inputs[0] };
        let depth = self.rows * self.num_particles;
        Pass { trace: &self.decoder, network: &model.decoder, input, depth, packed: of_decoder }
    }
}

/// Some rows' way through a network, forward and back, as the gradients of its layers read it.
pub(super) struct Pass<'a, F> {
    pub(super) trace: &'a Trace<F>,
    pub(super) network: &'a Mlp,
    pub(super) input: &'a [F],
    /// Rows.
    pub(super) depth: usize,
    /// Of each layer, as a block keeps it; empty where nothing is packed.
    pub(super) packed: &'a [Option<Aligned<F>>],
}

impl<'a, F: Float> Pass<'a, F> {
    /// The gradient with respect to layer `layer`'s output, and its input; by their widths.
    fn layer(&self, layer: usize) -> [(&'a [F], usize); 2] {
        let x = if layer == 0 { self.input } else { self.trace.activated(layer - 1) };
        let shape = &self.network.layers[layer];
        [(self.trace.gradient(layer), shape.outputs), (x, shape.inputs)]
    }

    /// The factors of layer `layer`'s weight gradient, dYᵀ from output `output` on, times X, summed over these rows.
    pub(super) fn weight_gradient(self, layer: usize, output: usize) -> Part<'a, F> {
        let ([(dy, outputs), (x, inputs)], depth) = (self.layer(layer), self.depth);
        let b = match self.packed.get(layer) {
            Some(Some(x)) => Right::packed(x, depth),
            _ => Right::rows(x, inputs),
        };
        Part { a: Left::transposed(dy, outputs, output), b, depth }
    }

    /// The gradient with respect to layer `layer`'s output before norm and activation, row by row.
    pub(super) fn output_gradient(self, layer: usize) -> &'a [F] {
        &self.trace.gradient(layer)[..self.depth * self.network.layers[layer].outputs]
    }

    /// Rows of the gradient with respect to what layer `layer`'s norm put out, and of what it multiplied by its gains.
    pub(super) fn norm_gradient(self, layer: usize) -> impl Iterator<Item = (&'a [F], &'a [F])> {
        let outputs = self.network.layers[layer].outputs;
        let (dy, unit) = self.trace.norm_gradient(layer);
        dy.chunks_exact(outputs).zip(unit.chunks_exact(outputs)).take(self.depth)
    }
}
