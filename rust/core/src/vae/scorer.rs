//! The machinery behind [`score`](super::score): rows in blocks, their posteriors, and draws through the decoder.

use std::sync::{Mutex, PoisonError};

use super::latent::{Row, draw_and_weigh, scales, split_heads};
use super::model::Model;
use super::source::{Source, of_whole_column};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::network::{Mlp, Trace};
use crate::random::{Draw, Key, fill_normals};
use crate::threads::{Interrupt, Outputs, for_rows};

/// Rows that the encoder takes at a time.
const ROWS: usize = 32;
/// Draws that the decoder takes at a time: whole deals of the folds, and whole tiles of the matrix products but for one.
pub(super) const DRAWS: usize = 160;

/// About the nanoseconds of a row through a network.
pub(super) fn work(network: &Mlp) -> usize {
    network.layers.iter().map(|l| l.inputs * l.outputs / 100 + l.outputs).sum()
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
    let width = model.config().num_features;
    if source.width() != width {
        return Err(Error::shape("x", format!("{width} columns"), source.width(), "give the columns of the model"));
    }
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
}

/// A block of rows and the buffers to score them in.
pub(super) struct Scorer<'m, F: Float> {
    model: &'m Model<F>,
    rows: usize,
    x: Vec<F>,
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
    /// Made for the first draw.
    draws: Option<Draws<F>>,
}

struct Draws<F> {
    noise: Vec<F>,
    z: Vec<F>,
    log_ratio: Vec<f64>,
    decoder: Trace<F>,
    log_prob: Vec<F>,
}

impl<'m, F: Float + Draw> Scorer<'m, F> {
    fn new(model: &'m Model<F>, rows: usize) -> Self {
        let (features, latent_dim) = (model.config().num_features, model.config().latent_dim);
        let buffer = |width: usize| vec![F::ZERO; rows * width];
        Self {
            model,
            rows: 0,
            x: buffer(features),
            view: buffer(features),
            offsets: vec![0.0; rows],
            hashes: vec![0; rows],
            bytes: Vec::new(),
            encoder: Trace::forward(&model.encoder, rows),
            loc: buffer(latent_dim),
            log_var: buffer(latent_dim),
            scale: buffer(latent_dim),
            sound: vec![true; rows],
            draws: None,
        }
    }

    /// Reads a block's rows, hashes them as given, checks them and scales them.
    fn read(&mut self, source: &dyn Source<F>, rows: std::ops::Range<usize>) -> Result<()> {
        let width = self.model.config().num_features;
        self.rows = rows.len();
        let x = &mut self.x[..self.rows * width];
        for ((row, x), hash) in rows.clone().zip(x.chunks_exact_mut(width)).zip(&mut self.hashes) {
            source.copy_row(row, x);
            self.bytes.clear();
            for cell in &*x {
                cell.canonical_bytes(&mut self.bytes);
            }
            *hash = xxhash_rust::xxh64::xxh64(&self.bytes, 0);
        }
        self.model.likelihood.likelihood().check_support("x", x, width).map_err(|error| error.at_row(rows.start))?;
        self.model.intake.take(x, &mut self.view[..x.len()], &mut self.offsets[..self.rows]);
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

    /// Each row's KL to the prior; +∞ where the posterior is not finite.
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

    /// Draws `num_particles` z for each row of the block and scores them. A row's tally, fresh from `make`, gets its draws' log p(x | z) and
    /// log p(z) − log q(z | x) by `push`, in order and in pieces of [`DRAWS`]; then it goes to `finish`.
    pub(super) fn draw<T>(
        &mut self,
        key: Key,
        num_particles: usize,
        interrupt: &Interrupt,
        make: impl Fn() -> T,
        push: impl Fn(&mut T, &[F], &[f64]),
        mut finish: impl FnMut(Scored, T),
    ) -> Result<()> {
        self.replace_unsound();
        let model = self.model;
        let (features, latent_dim, num_params) =
            (model.config().num_features, model.config().latent_dim, model.likelihood.num_params());
        let len = self.rows * latent_dim;
        scales(&self.log_var[..len], &mut self.scale[..len]);
        // Rows of few particles share the decoder's run.
        let together = (DRAWS / num_particles).clamp(1, self.rows.max(1));
        let draws = self.draws.get_or_insert_with(|| Draws::new(model, together * num_particles.min(DRAWS)));
        for first in (0..self.rows).step_by(together) {
            let rows = first..self.rows.min(first + together);
            let mut tallies: Vec<T> = rows.clone().map(|_| make()).collect();
            for particle in (0..num_particles).step_by(DRAWS) {
                interrupt.poll()?;
                let count = DRAWS.min(num_particles - particle);
                for (i, row) in rows.clone().enumerate() {
                    let noise = &mut draws.noise[..count * latent_dim];
                    fill_normals(key.fold_in(self.hashes[row]), 0, particle as u64, latent_dim, noise);
                    let at = row * latent_dim..(row + 1) * latent_dim;
                    let posterior = Row { loc: &self.loc[at.clone()], log_var: &self.log_var[at.clone()], scale: &self.scale[at] };
                    let z = &mut draws.z[i * count * latent_dim..][..count * latent_dim];
                    draw_and_weigh(posterior, noise, z, &mut draws.log_ratio[i * count..][..count]);
                }
                model.decoder.forward(&model.parameters, &draws.z, rows.len() * count, &mut draws.decoder);
                for ((i, row), tally) in rows.clone().enumerate().zip(&mut tallies) {
                    let x = &self.x[row * features..][..features];
                    let params = &draws.decoder.output()[i * count * num_params..][..count * num_params];
                    let log_prob = &mut draws.log_prob[..count];
                    log_prob_of_any(model, x, params, log_prob)?;
                    push(tally, log_prob, &draws.log_ratio[i * count..][..count]);
                }
            }
            for (index, tally) in rows.zip(tallies) {
                let x = &self.x[index * features..][..features];
                let observed = x.iter().filter(|x| !x.to_f64().is_nan()).count() as u64;
                finish(Scored { index, offset: self.offsets[index], observed }, tally);
            }
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
            log_ratio: vec![0.0; draws],
            decoder: Trace::forward(&model.decoder, draws),
            log_prob: vec![F::ZERO; draws],
        }
    }
}

/// log p(x | params) of each row of params; −∞ where the decoder has left the range.
fn log_prob_of_any<F: Float>(model: &Model<F>, x: &[F], params: &[F], out: &mut [F]) -> Result<()> {
    match model.likelihood.log_prob(x, params, out) {
        Err(Error::NonFinite { argument: "params", .. }) => {}
        done => return done,
    }
    for (params, out) in params.chunks_exact(model.likelihood.num_params()).zip(out) {
        match model.likelihood.log_prob(x, params, std::slice::from_mut(out)) {
            Err(Error::NonFinite { argument: "params", .. }) => *out = F::ZERO - F::INFINITY,
            done => done?,
        }
    }
    Ok(())
}
