//! The machinery behind [`score`](super::score): rows in blocks, their posteriors, and draws through the decoder.

use std::cell::OnceCell;
use std::sync::{Mutex, PoisonError};

use super::components::Components;
use super::condition::{append, check_widths};
use super::laplace::{Finder, Peak};
use super::latent::{Row, draw_and_weigh, log_ratio, scales, split_heads};
use super::model::Model;
use super::source::{Source, of_whole_column};
use crate::bound::FOLDS;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::likelihood::Prepared;
use crate::network::mlp::GROUP;
use crate::network::{Around, Mlp, Trace};
use crate::random::{Draw, Key, fill_normals};
use crate::threads::{Interrupt, Outputs, for_rows};

/// Rows that the encoder takes at a time.
const ROWS: usize = 32;
/// Draws that the decoder takes at a time: whole groups of its rows, and whole deals of the folds.
pub(super) const DRAWS: usize = 240;
const _: () = assert!(DRAWS.is_multiple_of(GROUP) && DRAWS.is_multiple_of(FOLDS));

/// A row of more particles than this has the decoder's runs to itself.
const ALONE: usize = DRAWS / 2;
/// From so many draws an input of the decoder on it pays to look at it from their centre: with 16 inputs and 256 hidden units 121 draws took as long either way, with 64 inputs 1.3 times as
/// long.
const DRAWS_AN_INPUT: usize = 12;
/// The most that rounding may add to a param beside the plain way's, in the standard deviations that one cell leaves the param: by the measure of [`Around::set_centre`], which trained networks
/// keep at 10⁻⁶ to 10⁻³ in float32.
const ROUNDING: f64 = 1.0 / 512.0;

/// About the nanoseconds of a row through a network.
pub(super) fn work(network: &Mlp) -> usize {
    network.layers.iter().map(|l| l.inputs * l.outputs / 100 + l.outputs).sum()
}

/// About the nanoseconds of a draw.
pub(super) fn work_of_draw<F: Float>(model: &Model<F>) -> usize {
    work(&model.decoder) + model.components.as_ref().map_or(0, Components::work)
}

/// Runs `body` on blocks of rows that have been read and checked, with each block's part of `out`. Of several errors, the first row's comes back.
pub(super) fn over_rows<'m, F, O, B>(
    model: &'m Model<F>,
    source: &dyn Source<F>,
    work: usize,
    interrupt: &Interrupt,
    out: O,
    body: B,
) -> Result<()>
where
    F: Float + Draw,
    O: Outputs,
    B: Fn(&mut Scorer<'m, F>, O) -> Result<()> + Sync,
{
    check_widths(model.config(), source)?;
    let width = model.config().num_features + model.condition.width;
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    // Reading a cell costs about a nanosecond.
    for_rows(source.rows(), work + width, out, &|range, mut out: O| {
        let mut scorer = Scorer::new(model, ROWS.min(range.len()));
        for first in range.clone().step_by(ROWS) {
            let rows = first..range.end.min(first + ROWS);
            let (part, rest) = out.split_at(rows.len());
            out = rest;
            let done = interrupt.poll().and_then(|()| scorer.read(source, rows)).and_then(|()| body(&mut scorer, part));
            if let Err(error) = done {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(row, _)| first < *row) {
                    *failed = Some((first, error));
                }
                return;
            }
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(of_whole_column(error, source)),
        None => Ok(()),
    }
}

/// What [`Scorer::draw`] tells of a row when its last draw is in.
pub(super) struct Scored {
    /// The row in its block.
    pub(super) index: usize,
    /// What a log density of the scaled row lacks to one of the row as given.
    pub(super) offset: f64,
    /// Cells that are not missing.
    pub(super) observed: u64,
    /// The row's own key.
    pub(super) key: Key,
}

/// Draws of one row, some at a time.
pub(super) struct Drawn<'a, F> {
    /// The row as scaled.
    pub(super) x: &'a [F],
    /// Params for the row as scaled, one row a draw.
    pub(super) params: &'a [F],
    /// log p(x | z), of the row as scaled.
    pub(super) log_prob: &'a [F],
    /// log p(z) − log of the density that z was drawn from.
    pub(super) log_ratio: &'a [f64],
}

impl<F: Float> Drawn<'_, F> {
    /// Each draw's log weight; NaN, which comes of ∞ − ∞, counts as none.
    pub(super) fn log_weights(&self) -> impl Iterator<Item = f64> {
        let weights = self.log_prob.iter().zip(self.log_ratio).map(|(p, r)| p.to_f64() + r);
        weights.map(|w| if w.is_nan() { f64::NEG_INFINITY } else { w })
    }
}

/// A block of rows and the buffers to score them in.
pub(super) struct Scorer<'m, F: Float> {
    model: &'m Model<F>,
    /// The block's first row, and how many it has.
    first: usize,
    rows: usize,
    x: Vec<F>,
    /// As scaled.
    conditions: Vec<F>,
    view: Vec<F>,
    offsets: Vec<f64>,
    hashes: Vec<u64>,
    bytes: Vec<u8>,
    encoder: Trace<F>,
    loc: Vec<F>,
    log_var: Vec<F>,
    scale: Vec<F>,
    /// Whether the row's posterior is finite; else it has been replaced by the prior.
    sound: Vec<bool>,
    /// Of rows that are drawn around their mode; empty where none is.
    peaks: Vec<Option<Peak<F>>>,
    /// Made for the first mode.
    finder: Option<Finder<'m, F>>,
    /// Made for the first draw.
    draws: Option<Draws<F>>,
}

struct Draws<F> {
    noise: Vec<F>,
    z: Vec<F>,
    /// z and the row's condition side by side; empty where there is none.
    inputs: Vec<F>,
    log_ratio: Vec<f64>,
    decoder: Trace<F>,
    /// Put together from the decoder's output and learned scales; empty where there are none.
    params: Vec<F>,
    log_prob: Vec<F>,
    /// Made for the first row of so many draws that it pays, if the decoder can be seen from their centre.
    around: OnceCell<Option<Around<F>>>,
    /// The standard deviations of a row's draws, and 0 for its condition.
    spread: Vec<F>,
}

impl<'m, F: Float + Draw> Scorer<'m, F> {
    fn new(model: &'m Model<F>, rows: usize) -> Self {
        let (features, latent_dim) = (model.config().num_features, model.config().latent_dim);
        let buffer = |width: usize| vec![F::ZERO; rows * width];
        Self {
            model,
            first: 0,
            rows: 0,
            x: buffer(features),
            conditions: buffer(model.condition.width),
            view: buffer(model.intake.view_width),
            offsets: vec![0.0; rows],
            hashes: vec![0; rows],
            bytes: Vec::new(),
            encoder: Trace::forward(&model.encoder, rows),
            loc: buffer(latent_dim),
            log_var: buffer(latent_dim),
            scale: buffer(latent_dim),
            sound: vec![true; rows],
            peaks: Vec::new(),
            finder: None,
            draws: None,
        }
    }

    /// Reads a block's rows, hashes them as given with their conditions, checks them and scales them.
    fn read(&mut self, source: &dyn Source<F>, rows: std::ops::Range<usize>) -> Result<()> {
        let (model, width, beside) = (self.model, self.model.config().num_features, self.model.condition.width);
        (self.first, self.rows) = (rows.start, rows.len());
        self.peaks.clear();
        let (x, conditions) = (&mut self.x[..self.rows * width], &mut self.conditions[..self.rows * beside]);
        for (i, ((row, x), hash)) in rows.clone().zip(x.chunks_exact_mut(width)).zip(&mut self.hashes).enumerate() {
            let condition = &mut conditions[i * beside..][..beside];
            source.copy_row(row, x);
            source.copy_condition(row, condition);
            self.bytes.clear();
            for cell in x.iter().chain(&*condition) {
                cell.canonical_bytes(&mut self.bytes);
            }
            *hash = xxhash_rust::xxh64::xxh64(&self.bytes, 0);
        }
        model.likelihood.likelihood().check_support("x", x, width).map_err(|error| error.at_row(rows.start))?;
        model.condition.take(conditions).map_err(|error| error.at_row(rows.start))?;
        let view = &mut self.view[..self.rows * model.intake.view_width];
        model.intake.take(x, conditions, view, &mut self.offsets[..self.rows]);
        Ok(())
    }

    /// Runs the encoder on the block.
    pub(super) fn encode(&mut self) {
        let latent_dim = self.model.config().latent_dim;
        let len = self.rows * latent_dim;
        self.model.encoder.forward(&self.model.parameters, &self.view, self.rows, &mut self.encoder);
        let (loc, log_var) = (&mut self.loc[..len], &mut self.log_var[..len]);
        split_heads(&self.encoder.output()[..2 * len], latent_dim, loc, log_var);
    }

    /// loc and log-variance as the encoder gave them.
    pub(super) fn posterior(&self) -> [&[F]; 2] {
        let len = self.rows * self.model.config().latent_dim;
        [&self.loc[..len], &self.log_var[..len]]
    }

    /// The hashes of the block's rows.
    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes[..self.rows]
    }

    /// A row of the block, as scaled.
    pub(super) fn row(&self, index: usize) -> &[F] {
        let width = self.model.config().num_features;
        &self.x[index * width..][..width]
    }

    /// Each row's KL to N(0, I); +∞ where the posterior is not finite.
    pub(super) fn kl(&mut self, out: &mut [F]) -> Result<()> {
        self.replace_unsound();
        let [loc, log_var] = self.posterior();
        crate::gaussian::kl(loc, log_var, None, self.model.config().latent_dim, out)?;
        for (kl, sound) in out.iter_mut().zip(&self.sound) {
            if !sound {
                *kl = F::INFINITY;
            }
        }
        Ok(())
    }

    /// Whether the row's posterior is finite, once the block has been drawn from; where it is not, draws are from N(0, I).
    pub(super) fn is_sound(&self, index: usize) -> bool {
        self.sound[index]
    }

    fn replace_unsound(&mut self) {
        let width = self.model.config().latent_dim;
        let rows = self.loc.chunks_exact_mut(width).zip(self.log_var.chunks_exact_mut(width));
        for ((loc, log_var), sound) in rows.zip(&mut self.sound).take(self.rows) {
            *sound = loc.iter().chain(&*log_var).all(|x| x.finite());
            if !*sound {
                loc.fill(F::ZERO);
                log_var.fill(F::ZERO);
            }
        }
    }

    /// Finds the mode of log p(x, z) of each `wanted` row with an observed cell, from the encoder's loc, to [`draw`](Self::draw) around it instead of from q. Returns for how many
    /// rows there was none, which stay with q.
    pub(super) fn find_modes(&mut self, wanted: impl Fn(&[F]) -> bool, interrupt: &Interrupt) -> Result<usize> {
        self.replace_unsound();
        let (model, width) = (self.model, self.model.config().num_features);
        let finder = self.finder.get_or_insert_with(|| Finder::new(model, self.sound.len()));
        let wanted = |row: &usize| {
            let x = &self.x[row * width..][..width];
            x.iter().any(|x| !x.to_f64().is_nan()) && wanted(x)
        };
        let found = finder.find(&self.x, &self.conditions, &self.loc, (0..self.rows).filter(wanted), interrupt)?;
        let without = found.iter().filter(|(_, peak)| peak.is_none()).count();
        self.peaks.resize_with(self.rows, || None);
        for (row, peak) in found {
            self.peaks[row] = peak;
        }
        Ok(without)
    }

    /// Draws `num_particles` z for each row of the block that is `wanted`, and scores them. A row's tally, fresh from `make`, gets its draws by `push`, in order and in
    /// pieces of [`DRAWS`]; then it goes to `finish`.
    pub(super) fn draw<T>(
        &mut self,
        key: Key,
        num_particles: usize,
        interrupt: &Interrupt,
        wanted: impl Fn(&[F]) -> bool,
        make: impl Fn() -> T,
        mut push: impl FnMut(&mut T, Drawn<F>) -> Result<()>,
        mut finish: impl FnMut(Scored, T),
    ) -> Result<()> {
        self.replace_unsound();
        let model = self.model;
        let (features, latent_dim, num_params) =
            (model.config().num_features, model.config().latent_dim, model.assembly.num_params);
        let beside = model.condition.width;
        let len = self.rows * latent_dim;
        scales(&self.log_var[..len], &mut self.scale[..len]);
        // Rows of few particles share the decoder's run.
        let together = (DRAWS / num_particles).clamp(1, self.rows.max(1));
        let draws = self.draws.get_or_insert_with(|| Draws::new(model, together * num_particles.min(DRAWS)));
        let wanted: Vec<usize> = (0..self.rows).filter(|row| wanted(&self.x[row * features..][..features])).collect();
        for rows in wanted.chunks(together) {
            let mut tallies: Vec<T> = rows.iter().map(|_| make()).collect();
            let around = match rows {
                &[row] if num_particles > ALONE.max(DRAWS_AN_INPUT * model.decoder.layers[0].inputs) => {
                    let at = row * latent_dim..(row + 1) * latent_dim;
                    let spread = &mut draws.spread[..latent_dim];
                    let centre = if let Some(peak) = self.peaks.get(row).and_then(Option::as_ref) {
                        peak.spread(spread);
                        peak.loc()
                    } else {
                        spread.copy_from_slice(&self.scale[at.clone()]);
                        &self.loc[at]
                    };
                    let x = &self.x[row * features..][..features];
                    draws.see_from(model, x, centre, &self.conditions[row * beside..][..beside])
                }
                _ => false,
            };
            for particle in (0..num_particles).step_by(DRAWS) {
                interrupt.poll()?;
                let count = DRAWS.min(num_particles - particle);
                for (i, &row) in rows.iter().enumerate() {
                    let noise = &mut draws.noise[..count * latent_dim];
                    fill_normals(key.fold_in(self.hashes[row]), 0, particle as u64, latent_dim, noise);
                    let at = row * latent_dim..(row + 1) * latent_dim;
                    let posterior = Row { loc: &self.loc[at.clone()], log_var: &self.log_var[at.clone()], scale: &self.scale[at] };
                    let z = &mut draws.z[i * count * latent_dim..][..count * latent_dim];
                    let log_ratio = &mut draws.log_ratio[i * count..][..count];
                    match self.peaks.get(row).and_then(Option::as_ref) {
                        Some(peak) => peak.draw_and_weigh(model.components.as_ref(), noise, z, log_ratio),
                        None => draw_and_weigh(posterior, model.components.as_ref(), noise, z, log_ratio),
                    }
                    draws.place(i * count, count, latent_dim, &self.conditions[row * beside..][..beside]);
                }
                draws.decode(model, around, rows.len() * count);
                for ((i, &row), tally) in rows.iter().enumerate().zip(&mut tallies) {
                    let x = &self.x[row * features..][..features];
                    let from = if draws.params.is_empty() { draws.decoder.output() } else { &draws.params };
                    let params = &from[i * count * num_params..][..count * num_params];
                    let log_prob = &mut draws.log_prob[..count];
                    log_prob_of_any(&model.likelihood, x, params, log_prob)?;
                    push(tally, Drawn { x, params, log_prob, log_ratio: &draws.log_ratio[i * count..][..count] })?;
                }
            }
            for (&index, tally) in rows.iter().zip(tallies) {
                let x = &self.x[index * features..][..features];
                let observed = x.iter().filter(|x| !x.to_f64().is_nan()).count() as u64;
                finish(Scored { index, offset: self.offsets[index], observed, key: key.fold_in(self.hashes[index]) }, tally);
            }
        }
        Ok(())
    }

    /// The log weight of each row's line of `z`, which has one for every row of the source, under what [`draw`](Self::draw) would draw from.
    pub(super) fn weigh(&mut self, z: &[F], out: &mut [F]) -> Result<()> {
        self.replace_unsound();
        let model = self.model;
        let (features, latent_dim, num_params) =
            (model.config().num_features, model.config().latent_dim, model.assembly.num_params);
        let len = self.rows * latent_dim;
        scales(&self.log_var[..len], &mut self.scale[..len]);
        let draws = self.draws.get_or_insert_with(|| Draws::new(model, self.sound.len()));
        draws.z[..len].copy_from_slice(&z[self.first * latent_dim..][..len]);
        let beside = model.condition.width;
        for row in 0..self.rows {
            draws.place(row, 1, latent_dim, &self.conditions[row * beside..][..beside]);
        }
        draws.decode(model, false, self.rows);
        let from = if draws.params.is_empty() { draws.decoder.output() } else { &draws.params };
        for (row, out) in out.iter_mut().enumerate() {
            let (x, params) = (&self.x[row * features..][..features], &from[row * num_params..][..num_params]);
            log_prob_of_any(&model.likelihood, x, params, std::slice::from_mut(out))?;
            let at = row * latent_dim..(row + 1) * latent_dim;
            let posterior = Row { loc: &self.loc[at.clone()], log_var: &self.log_var[at.clone()], scale: &self.scale[at.clone()] };
            let log_ratio = match self.peaks.get(row).and_then(Option::as_ref) {
                Some(peak) => peak.log_ratio(model.components.as_ref(), &draws.z[at]),
                None => log_ratio(posterior, model.components.as_ref(), &draws.z[at]),
            };
            let weight = out.to_f64() + log_ratio + self.offsets[row];
            *out = F::from_f64(if weight.is_nan() { f64::NEG_INFINITY } else { weight });
        }
        Ok(())
    }

    /// Draws the given particles of a row once more, after [`draw`](Self::draw), and hands their params to `body` in pieces, each with the number of its first.
    pub(super) fn draw_again(
        &mut self,
        index: usize,
        key: Key,
        particles: &[u64],
        mut body: impl FnMut(usize, &mut [F]) -> Result<()>,
    ) -> Result<()> {
        let model = self.model;
        let latent_dim = model.config().latent_dim;
        let Some(draws) = &mut self.draws else { return Ok(()) };
        let at = index * latent_dim..(index + 1) * latent_dim;
        let posterior = Row { loc: &self.loc[at.clone()], log_var: &self.log_var[at.clone()], scale: &self.scale[at] };
        let piece = draws.log_ratio.len();
        for (p, particles) in particles.chunks(piece).enumerate() {
            let len = particles.len() * latent_dim;
            let (noise, z) = (&mut draws.noise[..len], &mut draws.z[..len]);
            for (noise, &particle) in noise.chunks_exact_mut(latent_dim).zip(particles) {
                fill_normals(key, 0, particle, latent_dim, noise);
            }
            let log_ratio = &mut draws.log_ratio[..particles.len()];
            match self.peaks.get(index).and_then(Option::as_ref) {
                Some(peak) => peak.draw_and_weigh(None, noise, z, log_ratio),
                None => draw_and_weigh(posterior, None, noise, z, log_ratio),
            }
            let beside = model.condition.width;
            draws.place(0, particles.len(), latent_dim, &self.conditions[index * beside..][..beside]);
            // Not by differences: of few draws that does not pay, and the params of one are then the same in every call.
            draws.decode(model, false, particles.len());
            let from = if draws.params.is_empty() { draws.decoder.output() } else { &draws.params };
            body(p * piece, &mut from[..particles.len() * model.assembly.num_params].to_vec())?;
        }
        Ok(())
    }
}

impl<F: Float + Draw> Draws<F> {
    fn new(model: &Model<F>, draws: usize) -> Self {
        let latent_dim = model.config().latent_dim;
        Self {
            noise: vec![F::ZERO; draws * latent_dim],
            z: vec![F::ZERO; draws * latent_dim],
            inputs: vec![F::ZERO; if model.condition.width > 0 { draws * model.decoder.layers[0].inputs } else { 0 }],
            log_ratio: vec![0.0; draws],
            decoder: Trace::output_of_alike(&model.decoder, draws),
            params: vec![F::ZERO; if model.assembly.num_learned > 0 { draws * model.assembly.num_params } else { 0 }],
            log_prob: vec![F::ZERO; draws],
            around: OnceCell::new(),
            spread: vec![F::ZERO; model.decoder.layers[0].inputs],
        }
    }

    /// Puts a row's condition beside its `count` draws from `first` on.
    fn place(&mut self, first: usize, count: usize, latent_dim: usize, condition: &[F]) {
        if !condition.is_empty() {
            let z = &self.z[first * latent_dim..][..count * latent_dim];
            append(z, latent_dim, std::iter::repeat(condition), &mut self.inputs[first * (latent_dim + condition.len())..]);
        }
    }

    /// Looks at the decoder from the `centre` of a row's draws, whose `spread` is set; returns whether they may go through it so, as rounding will not show in their log p(x | z).
    fn see_from(&mut self, model: &Model<F>, x: &[F], centre: &[F], condition: &[F]) -> bool {
        self.z[..centre.len()].copy_from_slice(centre);
        self.place(0, 1, centre.len(), condition);
        self.around.get_or_init(|| Around::new(&model.decoder, &model.parameters));
        let Some(Some(around)) = self.around.get_mut() else { return false };
        let inputs = if self.inputs.is_empty() { &self.z } else { &self.inputs };
        let centre = &inputs[..model.decoder.layers[0].inputs];
        let rounding = around.set_centre(&model.decoder, &model.parameters, centre, &self.spread);
        // The more a cell tells of its params, the less these may be off. Where a draw lies a cell may tell more than at the centre: no less than of a number of unit variance.
        let enough = |root: f64| rounding * root.max(1.0) <= ROUNDING;
        if enough(model.likelihood.largest_fisher_root()) {
            return true;
        }
        if !enough(1.0) {
            return false;
        }
        self.decode(model, false, 1);
        let params = if self.params.is_empty() { self.decoder.output() } else { &self.params };
        let mut roots = vec![0.0; model.assembly.num_params];
        model.likelihood.fisher_roots(x, &params[..roots.len()], &mut roots);
        roots.iter().all(|root| root.is_finite()) && enough(roots.into_iter().fold(1.0, f64::max))
    }

    /// Runs the first `count` draws through the decoder, as seen from their centre where that is set, and completes their params.
    fn decode(&mut self, model: &Model<F>, around: bool, count: usize) {
        let inputs = if self.inputs.is_empty() { &self.z } else { &self.inputs };
        match self.around.get_mut() {
            Some(Some(seen)) if around => model.decoder.forward_around(&model.parameters, seen, inputs, count, &mut self.decoder),
            _ => model.decoder.forward(&model.parameters, inputs, count, &mut self.decoder),
        }
        if !self.params.is_empty() {
            let outputs = &self.decoder.output()[..count * model.assembly.num_outputs];
            model.assembly.put_together(outputs, model.learned(), &mut self.params);
        }
    }
}

/// log p(x | params) of each row of params; −∞ where the decoder has left the range.
pub(super) fn log_prob_of_any<F: Float>(likelihood: &Prepared<F>, x: &[F], params: &[F], out: &mut [F]) -> Result<()> {
    match likelihood.log_prob(x, params, out) {
        Err(Error::NonFinite { argument: "params", .. }) => {}
        done => return done,
    }
    for (params, out) in params.chunks_exact(likelihood.num_params()).zip(out) {
        match likelihood.log_prob(x, params, std::slice::from_mut(out)) {
            Err(Error::NonFinite { argument: "params", .. }) => *out = F::ZERO - F::INFINITY,
            done => done?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::config::{Config, Scaling};
    use super::super::prior::Prior;
    use super::super::source::Matrix;
    use super::*;
    use crate::likelihood::{Likelihood, Scale};
    use crate::network::Activation;

    /// A row's params as its draws got them, and by the plain way; the decoder's weights are multiplied.
    fn params(activation: Activation, scale: f64, num_particles: usize, factor: f32) -> [Vec<f32>; 2] {
        let config = Config {
            num_features: 3,
            latent_dim: 2,
            hidden: vec![24],
            likelihood: Likelihood::Gaussian(Scale::Fixed(scale)),
            activation,
            layer_norm: false,
            residual: false,
            condition_width: 0,
            prior: Prior::Standard,
        };
        let mut model = Model::<f32>::new(config, Scaling::identity(3), Key(1)).unwrap();
        let decoder = model.decoder.clone();
        for layer in &decoder.layers {
            model.parameters.parts_mut().0[layer.weight..layer.bias].iter_mut().for_each(|w| *w *= factor);
        }
        model.parameters.pack(&[&decoder]);
        let mut scorer = Scorer::new(&model, 1);
        scorer.read(&Matrix::new(&[0.3_f64, -1.0, 0.7], 3), 0..1).unwrap();
        scorer.encode();
        let mut seen = Vec::new();
        let push = |(): &mut (), drawn: Drawn<f32>| {
            seen.extend_from_slice(drawn.params);
            Ok(())
        };
        scorer.draw(Key(2), num_particles, &Interrupt::default(), |_| true, || (), push, |_, ()| {}).unwrap();
        let draws = scorer.draws.as_mut().unwrap();
        draws.decode(&model, false, num_particles);
        let plain = draws.decoder.output()[..seen.len()].to_vec();
        [seen, plain]
    }

    #[test]
    fn many_draws_are_seen_from_their_centre_unless_rounding_could_show() {
        let [seen, plain] = params(Activation::Relu, 1.0, ALONE + 1, 1.0);
        assert_ne!(seen, plain);
        assert!(seen.iter().zip(&plain).all(|(seen, plain)| (seen - plain).abs() < 1e-6));
        for (activation, scale, num_particles, factor) in [
            (Activation::Relu, 1.0, ALONE, 1.0),
            (Activation::Tanh, 1.0, ALONE + 1, 1.0),
            (Activation::Relu, 1e-6, ALONE + 1, 1.0),
            (Activation::Relu, 1.0, ALONE + 1, 1e4),
        ] {
            let [seen, plain] = params(activation, scale, num_particles, factor);
            assert_eq!(seen, plain, "{activation:?}, scale {scale}, {num_particles} draws, weights times {factor}");
        }
    }
}
