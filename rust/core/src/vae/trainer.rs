//! Training: an epoch of steps in one call, every step two passes over blocks and one over the parameters, in buffers made once.
//!
//! A step (1) runs blocks of rows forward and back, (2) makes the gradient of the parameters tile by tile, each element one chain over the batch's
//! rows in order, and (3) lets Adam move the parameters and packs them anew, for both ways. Blocks and tiles are shared out among threads; no sum crosses them, so
//! parameters have the same bits for any number of threads. A norm, a scale that is learned for all rows and the prior's own parameters are spared the decay, and the scale is held at its least. A step whose gradient is not finite, or has squares past the range, is not taken.

use super::condition::check_widths;
use super::data_path::{Batch, Block, block_rows};
use super::gradient_rows::SumRows;
use super::model::Model;
use super::objective::{Floor, Objective, weighted};
use super::prior::Prior;
use super::prior_path::PriorPath;
use super::source::{Source, of_whole_column};
use super::terms::{BatchTerms, EpochTerms, Sums};
use super::tiles::{Of, Tile, Tiles, tiles};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::network::Aligned;
use crate::network::matmul::{Finish, multiply_parts};
use crate::network::panels::pack_both_ways;
use crate::optimizer::{Adam, Schedule};
use crate::random::{Draw, Key, permutation};
use crate::reduce::{ordered_sum, ordered_sum_of, sum_of_squares};
use crate::simd::dispatch;
use crate::threads::{Interrupt, RowsMut, for_rows_awake, num_threads};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a step is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// By the number of steps before it, in all epochs and taken or not.
    pub learning_rate: Schedule,
    /// Of `AdamW`; 0 for Adam.
    pub weight_decay: f64,
    /// A gradient of a larger Euclidean norm, over all parameters, is shortened to it.
    pub max_grad_norm: Option<f64>,
    /// What is maximised.
    pub objective: Objective,
}

impl Default for Options {
    fn default() -> Self {
        Self { learning_rate: Schedule::constant(1e-3), weight_decay: 0.0, max_grad_norm: None, objective: Objective::default() }
    }
}

/// Nanoseconds of a step's rows, forward and back, from which on threads share them. In shorter steps what one has computed and the other needs takes longer to come than to be
/// computed: on two cores of an Intel Xeon two threads took 1.42 times as long as one at 18 µs by this count (30-64-8 batch 64), 1.1 at 36 and 72, as long at 102 and 0.79 at 193, with a pool
/// that slept earlier; with this one 1.0 to 1.1 at 18 µs.
const SHARED_STEP: usize = 100_000;

/// The largest buffers that a trainer makes, in bytes.
const MAX_BYTES: u64 = 1 << 36;

/// Everything that training needs beside the model: buffers, gradient, and Adam's moments.
#[derive(Debug)]
pub struct Trainer<F> {
    blocks: Vec<Block<F>>,
    batch_size: usize,
    num_particles: usize,
    tiles: Vec<Tile>,
    gradient: Aligned<F>,
    /// The weights packed for the way back.
    back: Aligned<F>,
    /// Of each tile's gradient, the sum of squares.
    squares: Vec<f64>,
    moments: [Aligned<F>; 2],
    steps: u64,
    order: Vec<u32>,
    terms: [Vec<f64>; 2],
    floor: Floor,
    /// Of a mixture prior.
    prior: Option<PriorPath<F>>,
    /// About what a block's data path, a tile's gradient and a tile's update cost, in nanoseconds; 0 of a step that one thread takes.
    work: [usize; 3],
}

impl<F: Float + Draw> Trainer<F> {
    /// Buffers for batches of up to `batch_size` of `rows` rows, and `num_particles` draws a row.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch or a number of particles of 0, and for buffers of more than 2³⁶ bytes.
    pub fn new(model: &Model<F>, rows: usize, batch_size: usize, num_particles: usize) -> Result<Self> {
        for (argument, n) in [("batch_size", batch_size), ("num_particles", num_particles)] {
            if n == 0 || n > u32::MAX as usize {
                let cure = if n == 0 { "give at least 1" } else { "give fewer" };
                return Err(Error::value(argument, "1 to 4294967295", n, cure));
            }
        }
        check_rows(rows)?;
        let batch_size = batch_size.min(rows.max(1));
        // A nanosecond is good for about 100 multiply-adds, one element's other work, or the update of four parameters.
        let layers = |l: &[crate::network::Layer]| l.iter().map(|l| l.inputs * l.outputs / 50 + l.outputs).sum::<usize>();
        let row = layers(&model.encoder.layers) + num_particles * layers(&model.decoder.layers);
        let shared = row.saturating_mul(batch_size) >= SHARED_STEP;
        let block = block_rows(num_particles, batch_size, if shared { num_threads() } else { 1 });
        let bytes = |rows: usize| Block::bytes(model, num_particles).saturating_mul(rows.next_multiple_of(block)) as u64;
        if bytes(batch_size) > MAX_BYTES {
            let (argument, n) = if bytes(1) > MAX_BYTES { ("num_particles", num_particles) } else { ("batch_size", batch_size) };
            let expected = format!("buffers of at most {MAX_BYTES} bytes");
            return Err(Error::value(argument, expected, n, "lower num_particles or batch_size"));
        }
        let blocks = (0..batch_size).step_by(block).map(|first| Block::new(model, first, block, num_particles)).collect();
        let parameters = model.parameters().len();
        let tiles = tiles::<F>(model);
        let work = [row * block.min(batch_size), parameters / 100 * batch_size / tiles.len(), parameters / 4 / tiles.len()];
        Ok(Self {
            blocks,
            batch_size,
            num_particles,
            gradient: Aligned::zeros(parameters),
            back: Aligned::zeros(tiles.last().map_or(0, |tile| tile.back.end)),
            squares: vec![0.0; tiles.len()],
            moments: [Aligned::zeros(parameters), Aligned::zeros(parameters)],
            steps: 0,
            order: Vec::new(),
            terms: Default::default(),
            floor: Floor::new(model.config().latent_dim),
            prior: PriorPath::new(model, shared),
            work: if shared { work } else { [0; 3] },
            tiles,
        })
    }

    /// Goes once through all rows in a random order and leaves the model at its last finished step.
    ///
    /// Epoch `epoch`'s order and noise come from `key.fold_in(epoch)`, the noise of a row by its place in that order. `weights` are one a row, of mean 1.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::Support`] for a cell that the likelihood gives no probability, and [`Error::NonFinite`] for an
    /// infinite one; [`Error::Shape`]; [`Error::Value`] for a learning rate that could lead a parameter out of the range within the epoch.
    pub fn epoch(
        &mut self,
        model: &mut Model<F>,
        source: &dyn Source<F>,
        weights: Option<&[f64]>,
        epoch: u64,
        key: Key,
        options: Options,
        interrupt: &Interrupt,
    ) -> Result<EpochTerms> {
        check_widths(model.config(), source)?;
        let rows = source.rows();
        if let Some(weights) = weights
            && weights.len() != rows
        {
            return Err(Error::shape("sample_weight", format!("{rows} numbers"), weights.len(), "give one weight a row"));
        }
        check_rows(rows)?;
        options.objective.check()?;
        options.objective.check_prior(model.config().prior)?;
        options.objective.check_particles(self.num_particles)?;
        let steps = rows.div_ceil(self.batch_size);
        check_reach(model, options, steps)?;
        let first_step = epoch.saturating_mul(steps as u64);
        let key = key.fold_in(epoch);
        let mut order = std::mem::take(&mut self.order);
        order.resize(rows, 0);
        permutation(key, &mut order);
        let objective = options.objective;
        self.pack_back(model);
        let mut run = || {
            let mut sums = Sums::default();
            for (b, rows) in order.chunks(self.batch_size).enumerate() {
                interrupt.poll()?;
                let position = (b * self.batch_size) as u64;
                let batch = Batch { source, rows, weights, key, position, objective };
                let learning_rate = options.learning_rate.at(first_step.saturating_add(b as u64));
                sums.learning_rate = learning_rate;
                sums.add(self.step(model, &batch, learning_rate, options, interrupt)?);
            }
            Ok(sums.means())
        };
        let result = run();
        model.refresh_prior();
        self.order = order;
        result
    }

    /// One step; `None` where it was not taken.
    fn step(
        &mut self,
        model: &mut Model<F>,
        batch: &Batch<F>,
        learning_rate: f64,
        options: Options,
        interrupt: &Interrupt,
    ) -> Result<Option<BatchTerms>> {
        let Some(terms) = self.gradient_unless(interrupt, model, batch)? else { return Ok(None) };
        self.steps += 1;
        let mut update = Adam { weight_decay: options.weight_decay, ..Adam::default() }.at(self.steps, learning_rate);
        if let Some(most) = options.max_grad_norm
            && terms.gradient_norm > most
        {
            update = update.shrunk(most / terms.gradient_norm);
        }
        let scales_least = &model.least;
        let passes = passes_input(model);
        let (flat, packed) = model.parameters.parts_mut();
        let [m, v] = &mut self.moments;
        let all = |data| Tiles::new(&self.tiles, data, |t| t.start..t.start + t.len);
        let back = Tiles::new(&self.tiles, &mut self.back, |t| t.back.clone());
        let copies = (Tiles::new(&self.tiles, packed, |t| t.packed.clone()), back);
        let out = ((all(flat), copies), (all(m), all(v)));
        let [.., update_work] = self.work;
        for_rows_awake(self.tiles.len(), update_work, out, &|range: Range<usize>, ((flat, (packed, back)), (m, v))| {
            let (g, tiles) = (&self.gradient, &self.tiles[range]);
            let moved = flat.zip(m).zip(v).zip(packed.zip(back)).zip(tiles);
            for ((((x, m), v), (packed, back)), tile) in moved {
                let g = &g[tile.start..][..tile.len];
                if tile.of == Of::Scales {
                    update.without_decay().update(x, m, v, g);
                    for (x, least) in x.iter_mut().zip(scales_least) {
                        *x = if *x < *least { *least } else { *x };
                    }
                    continue;
                }
                let update = if matches!(tile.of, Of::Norm | Of::Prior(_)) { update.without_decay() } else { update };
                update.update(x, m, v, g);
                if !packed.is_empty() {
                    pack_both_ways(x, tile.inputs, packed, (tile.layer > 0 || passes).then_some(back));
                }
            }
        });
        Ok(Some(terms))
    }

    /// Terms and gradient of a batch at the model as it stands, without a step: the gradient is that of
    /// −Σ wᵢ (reconstructionᵢ − β klᵢ) / batch, or of its like by the batch's [`Objective`], in [`last_gradient`](Self::last_gradient). `None` where no step could be taken by it.
    ///
    /// # Errors
    /// [`Error::Support`], [`Error::NonFinite`] for an infinite cell and for a condition that is not finite, [`Error::Shape`], and [`Error::Value`] for an objective out of its range.
    ///
    /// # Panics
    /// If the batch has more rows than the trainer was made for, or a row that its source lacks.
    pub fn gradient(&mut self, model: &Model<F>, batch: &Batch<F>) -> Result<Option<BatchTerms>> {
        check_widths(model.config(), batch.source)?;
        batch.objective.check()?;
        batch.objective.check_prior(model.config().prior)?;
        batch.objective.check_particles(self.num_particles)?;
        self.pack_back(model);
        self.gradient_unless(&Interrupt::default(), model, batch)
    }

    fn pack_back(&mut self, model: &Model<F>) {
        model.encoder.pack_back(&model.parameters, passes_input(model), &mut self.back);
        model.decoder.pack_back(&model.parameters, true, &mut self.back);
    }

    fn gradient_unless(&mut self, interrupt: &Interrupt, model: &Model<F>, batch: &Batch<F>) -> Result<Option<BatchTerms>> {
        assert!(batch.rows.len() <= self.batch_size, "the batch is larger than the trainer's");
        let [block_work, tile_work, _] = self.work;
        let blocks = self.blocks.len();
        if let Some(prior) = &mut self.prior {
            prior.forward(model);
        }
        let (components, back) = (self.prior.as_ref().map(|prior| &prior.components), &*self.back);
        if batch.objective.free_bits > 0.0 {
            // A latent's KL counts by its mean over the whole batch, which stands between the two halves.
            for_rows_awake(blocks, block_work / 3, RowsMut::new(&mut self.blocks, 1), &|_, blocks: RowsMut<Block<F>>| {
                blocks.data.iter_mut().for_each(|block| block.encode(model, batch, interrupt));
            });
            self.floor.take(&self.blocks, batch);
            let below = self.floor.below.as_slice();
            for_rows_awake(blocks, block_work, RowsMut::new(&mut self.blocks, 1), &|_, blocks: RowsMut<Block<F>>| {
                blocks.data.iter_mut().for_each(|block| block.decode_and_back(model, back, batch, None, Some(below)));
            });
        } else {
            for_rows_awake(blocks, block_work, RowsMut::new(&mut self.blocks, 1), &|_, blocks: RowsMut<Block<F>>| {
                blocks.data.iter_mut().for_each(|block| block.run(model, back, batch, components, interrupt));
            });
        }
        let mut out_of_range = false;
        for block in &mut self.blocks {
            match block.error.take() {
                // The network has left the range: no step.
                Some(Error::NonFinite { argument, .. }) if argument != "x" && argument != "condition" => out_of_range = true,
                Some(mut error) => {
                    if let Error::NonFinite { row, .. } | Error::Support { row, .. } = &mut error {
                        *row = batch.rows[block.first + *row] as usize;
                    }
                    return Err(of_whole_column(error, batch.source));
                }
                None => {}
            }
        }
        if out_of_range {
            return Ok(None);
        }
        if let Some(prior) = &mut self.prior {
            prior.backward(model, &self.back, &self.blocks);
        }
        let refused = AtomicBool::new(false);
        let prior = self.prior.as_ref();
        let gradients = Tiles::new(&self.tiles, &mut self.gradient, |t| t.start..t.start + t.len);
        let out = (gradients, RowsMut::new(&mut self.squares, 1));
        for_rows_awake(self.tiles.len(), tile_work, out, &|range: Range<usize>, (gradients, squares): (Tiles<F>, RowsMut<f64>)| {
            for ((gradient, tile), squares) in gradients.zip(&self.tiles[range]).zip(squares.data) {
                tile_gradient(model, &self.blocks, prior, tile, gradient);
                *squares = sum_of_squares(gradient);
                if !Adam::accepts(gradient, *squares) {
                    refused.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok((!refused.into_inner()).then(|| self.batch_terms(batch)))
    }

    /// The gradient that the last call of [`gradient`](Self::gradient) or the last step made, in the order of the model's parameters.
    #[must_use]
    pub fn last_gradient(&self) -> &[F] {
        &self.gradient
    }

    /// Steps taken, and Adam's moments in the order of the model's parameters: beside those, all that the next step depends on.
    #[must_use]
    pub fn moments(&self) -> (u64, [&[F]; 2]) {
        (self.steps, self.moments.each_ref().map(|moments| &**moments))
    }

    /// Goes on from what [`moments`](Self::moments) told.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of them; [`Error::NonFinite`]; [`Error::Value`] for a negative second moment.
    pub fn resume(&mut self, steps: u64, moments: [&[F]; 2]) -> Result<()> {
        for given in moments {
            if given.len() != self.gradient.len() {
                return Err(Error::shape("moments", self.gradient.len(), given.len(), "take them from a fit of this model"));
            }
            crate::rows::check_finite("moments", given, given.len())?;
        }
        if let Some(bad) = moments[1].iter().find(|v| **v < F::ZERO) {
            return Err(Error::value("moments", "second moments not below 0", bad, "take them from a fit of this model"));
        }
        for (own, given) in self.moments.iter_mut().zip(moments) {
            own.copy_from_slice(given);
        }
        self.steps = steps;
        Ok(())
    }

    fn batch_terms(&mut self, batch: &Batch<F>) -> BatchTerms {
        let [reconstructions, kls] = &mut self.terms;
        reconstructions.clear();
        kls.clear();
        for block in &self.blocks {
            for (row, (reconstruction, kl)) in block.terms().enumerate() {
                let weight = batch.weight(block.first + row);
                reconstructions.push(weighted(weight, reconstruction));
                kls.push(weighted(weight, kl));
            }
        }
        let [reconstruction, kl] = [&*reconstructions, kls].map(|terms| ordered_sum(terms));
        let rows = batch.rows.len();
        // Ones add up to their number exactly.
        let weight = if batch.weights.is_none() { rows as f64 } else { ordered_sum_of((0..rows).map(|row| batch.weight(row))) };
        let Objective { kl_weight, free_bits, importance_weighted, .. } = batch.objective;
        let objective = if importance_weighted {
            let bounds = self.blocks.iter().flat_map(Block::bounds).enumerate();
            ordered_sum_of(bounds.map(|(row, bound)| weighted(batch.weight(row), bound)))
        } else if free_bits > 0.0 {
            reconstruction - weighted(kl_weight, self.floor.kl(free_bits) * batch.rows.len() as f64)
        } else {
            reconstruction - weighted(kl_weight, kl)
        };
        BatchTerms { reconstruction, kl, objective, weight, gradient_norm: ordered_sum(&self.squares).sqrt() }
    }
}

/// Whether a gradient is asked for of the encoder's input, which pseudo-inputs are.
fn passes_input<F: Float>(model: &Model<F>) -> bool {
    matches!(model.config().prior, Prior::Vamp(_))
}

/// One tile of the gradient: rows of a layer's weights, a layer's biases, its norm, or the learned scales, whose blocks have added up their draws in float64, particle after particle.
fn tile_gradient<F: Float + Draw>(
    model: &Model<F>,
    blocks: &[Block<F>],
    prior: Option<&PriorPath<F>>,
    tile: &Tile,
    gradient: &mut [F],
) {
    let blocks = blocks.iter().filter(|b| b.rows > 0);
    let encoder = model.encoder.layers.len();
    // Pseudo-inputs have gone through the encoder alone.
    let pseudo = prior.filter(|_| tile.layer < encoder).into_iter().flat_map(|prior| &prior.blocks);
    let layer = if tile.layer < encoder { tile.layer } else { tile.layer - encoder };
    let passes = blocks.clone().map(|b| b.pass(model, tile.layer < encoder)).chain(pseudo.map(|b| b.pass(model)));
    match tile.of {
        Of::Weights(output) => {
            let parts = passes.map(|pass| pass.weight_gradient(layer, output));
            multiply_parts(tile.len / tile.inputs, tile.inputs, parts, Finish::Sums, gradient, tile.inputs);
        }
        Of::Biases => {
            gradient.fill(F::ZERO);
            for pass in passes {
                dispatch(SumRows { x: pass.output_gradient(layer), out: gradient });
            }
        }
        Of::Norm => {
            gradient.fill(F::ZERO);
            let (gain, shift) = gradient.split_at_mut(tile.len / 2);
            for (dy, unit) in passes.flat_map(|pass| pass.norm_gradient(layer)) {
                for ((gain, shift), (&dy, &unit)) in gain.iter_mut().zip(&mut *shift).zip(dy.iter().zip(unit)) {
                    *gain += dy * unit;
                    *shift += dy;
                }
            }
        }
        Of::Scales => {
            for (scale, gradient) in gradient.iter_mut().enumerate() {
                *gradient = F::from_f64(blocks.clone().flat_map(|b| b.d_learned(scale)).sum());
            }
        }
        Of::Prior(first) => {
            if let Some(prior) = prior {
                prior.gradient(first, gradient);
            }
        }
    }
}

fn check_rows(rows: usize) -> Result<()> {
    if rows > u32::MAX as usize {
        return Err(Error::value("x", "at most 4294967295 rows", rows, "fit a part of them"));
    }
    Ok(())
}

/// Refuses a learning rate by which `steps` steps could lead a parameter out of the range. With its default constants Adam moves a parameter by at
/// most 3.2 rates a step (Kingma and Ba 2015, section 2.1), and the rate corrected for bias, which must be finite too, is at most ten; a decay of at
/// most the whole parameter a step moves it toward 0.
fn check_reach<F: Float>(model: &Model<F>, options: Options, steps: usize) -> Result<()> {
    let learning_rate = options.learning_rate.rate;
    let decay = learning_rate * options.weight_decay;
    if !(0.0..=1.0).contains(&decay) && learning_rate.is_finite() {
        let expected = "a decay of 0 to 1 / learning_rate";
        return Err(Error::value("weight_decay", expected, options.weight_decay, "give a smaller one, such as 0.01"));
    }
    let largest = model.parameters().iter().fold(0.0_f64, |largest, x| largest.max(x.to_f64().abs()));
    let reach = largest / 2.0 + 10.0 * learning_rate.abs() * steps.max(1) as f64;
    if reach <= F::MAX.to_f64() / 2.0 {
        return Ok(());
    }
    let expected = format!("a rate by which parameters stay finite in {}", F::NAME);
    Err(Error::value("learning_rate", expected, format!("{learning_rate:e}"), "give a smaller one, such as 1e-3"))
}
