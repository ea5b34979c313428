//! The prior's part of a training step: from the parameters to the components that the draws are weighed by, and from the draws' gradients back.
//!
//! The components of [`Prior::Vamp`] are the encoder's posteriors at the pseudo-inputs. These go through it in blocks of a fixed size, forward before the data's blocks and back after
//! them, and their part of the encoder's gradient comes behind the data's. Gradients of the data's blocks are added in order.

use super::components::Components;
use super::data_path::{Block, Pass};
use super::latent::split_heads;
use super::model::Model;
use super::prior::Prior;
use crate::float::Float;
use crate::network::Trace;
use crate::network::panels::panel;
use crate::random::Draw;
use crate::threads::{RowsMut, for_rows_awake};

/// Pseudo-inputs of a block.
pub(super) const BLOCK: usize = 32;

/// A learned mixture in training.
#[derive(Debug)]
pub(super) struct PriorPath<F> {
    pub(super) components: Components,
    /// With respect to the components.
    gradient: Vec<f64>,
    /// Empty of a mixture that is learned itself.
    pub(super) blocks: Vec<PseudoBlock<F>>,
    /// About what a block's way through the encoder costs, in nanoseconds; 0 in a step that one thread takes.
    work: usize,
}

impl<F: Float + Draw> PriorPath<F> {
    /// `None` for N(0, I). Threads share the blocks where they share the step.
    pub(super) fn new(model: &Model<F>, shared: bool) -> Option<Self> {
        let config = model.config();
        let (count, width) = (config.prior.num_components()?, config.latent_dim);
        let blocks = match config.prior {
            Prior::Vamp(_) => {
                (0..count).step_by(BLOCK).map(|first| PseudoBlock::new(model, first, BLOCK.min(count - first))).collect()
            }
            _ => Vec::new(),
        };
        let layers = model.encoder.layers.iter().map(|l| l.inputs * l.outputs / 50 + l.outputs);
        let work = if shared { BLOCK * layers.sum::<usize>() } else { 0 };
        let gradient = vec![0.0; Components::num_gradient(count, width)];
        Some(Self { components: Components::new(count, width), gradient, blocks, work })
    }

    /// Makes the components of the model's parameters as they stand.
    pub(super) fn forward(&mut self, model: &Model<F>) {
        for_rows_awake(self.blocks.len(), self.work, RowsMut::new(&mut self.blocks, 1), &|_, blocks: RowsMut<PseudoBlock<F>>| {
            blocks.data.iter_mut().for_each(|block| block.forward(model));
        });
        if self.blocks.is_empty() {
            let [loc, log_var, logits] = parts(model);
            self.components.set(loc, log_var, Some(logits));
        } else {
            let all = |of: fn(&PseudoBlock<F>) -> &Vec<F>| self.blocks.iter().flat_map(of).copied().collect::<Vec<F>>();
            self.components.set(&all(|b| &b.loc), &all(|b| &b.log_var), None);
        }
    }

    /// Adds up what the data's blocks have left, and takes it back to the pseudo-inputs.
    pub(super) fn backward(&mut self, model: &Model<F>, back: &[F], data: &[Block<F>]) {
        self.gradient.fill(0.0);
        for block in data.iter().filter(|b| b.rows > 0) {
            for unit in block.d_components() {
                self.gradient.iter_mut().zip(unit).for_each(|(sum, d)| *sum += d);
            }
        }
        let (gradient, places) = (&self.gradient, self.components.len() * model.config().latent_dim);
        for_rows_awake(
            self.blocks.len(),
            2 * self.work,
            RowsMut::new(&mut self.blocks, 1),
            &|_, blocks: RowsMut<PseudoBlock<F>>| {
                blocks.data.iter_mut().for_each(|block| block.backward(model, back, gradient, places));
            },
        );
    }

    /// The gradient of the parameters from number `first` on, of [`Prior::Vamp`] from pseudo-input `first` on.
    pub(super) fn gradient(&self, first: usize, out: &mut [F]) {
        if self.blocks.is_empty() {
            out.iter_mut().zip(&self.gradient[first..]).for_each(|(out, d)| *out = F::from_f64(*d));
        } else {
            out.copy_from_slice(&self.blocks[first / BLOCK].d_input);
        }
    }
}

/// loc, log-variances and logits of a mixture that is learned itself.
fn parts<F: Float>(model: &Model<F>) -> [&[F]; 3] {
    let all = model.prior_parameters();
    let count = model.config().prior.num_components().unwrap_or(0);
    let (loc, rest) = all.split_at(count * model.config().latent_dim);
    let (log_var, logits) = rest.split_at(loc.len());
    [loc, log_var, logits]
}

/// The components of a model as it stands; `None` for N(0, I).
pub(super) fn components<F: Float>(model: &Model<F>) -> Option<Components> {
    let (config, parameters) = (model.config(), model.prior_parameters());
    let (count, width) = (config.prior.num_components()?, config.latent_dim);
    let mut components = Components::new(count, width);
    if let Prior::Mixture(_) = config.prior {
        let [loc, log_var, logits] = parts(model);
        components.set(loc, log_var, Some(logits));
        return Some(components);
    }
    let inputs = parameters.len() / count;
    let (mut loc, mut log_var) = (vec![F::ZERO; count * width], vec![F::ZERO; count * width]);
    let mut trace = Trace::forward(&model.encoder, BLOCK.min(count));
    let blocks = parameters.chunks(BLOCK * inputs).zip(loc.chunks_mut(BLOCK * width).zip(log_var.chunks_mut(BLOCK * width)));
    for (input, (loc, log_var)) in blocks {
        model.encoder.forward(&model.parameters, input, input.len() / inputs, &mut trace);
        split_heads(&trace.output()[..2 * loc.len()], width, loc, log_var);
    }
    components.set(&loc, &log_var, None);
    Some(components)
}

/// Some pseudo-inputs on their way through the encoder.
#[derive(Debug)]
pub(super) struct PseudoBlock<F> {
    first: usize,
    rows: usize,
    /// Followed by readable numbers.
    input: Vec<F>,
    d_input: Vec<F>,
    trace: Trace<F>,
    loc: Vec<F>,
    log_var: Vec<F>,
}

impl<F: Float + Draw> PseudoBlock<F> {
    fn new(model: &Model<F>, first: usize, rows: usize) -> Self {
        let (inputs, latents) = (model.encoder.layers[0].inputs, rows * model.config().latent_dim);
        Self {
            first,
            rows,
            input: vec![F::ZERO; rows * inputs + panel::<F>()],
            d_input: vec![F::ZERO; rows * inputs],
            trace: Trace::both_ways(&model.encoder, rows),
            loc: vec![F::ZERO; latents],
            log_var: vec![F::ZERO; latents],
        }
    }

    fn forward(&mut self, model: &Model<F>) {
        let inputs = model.encoder.layers[0].inputs;
        let own = &model.prior_parameters()[self.first * inputs..][..self.rows * inputs];
        self.input[..own.len()].copy_from_slice(own);
        model.encoder.forward(&model.parameters, &self.input, self.rows, &mut self.trace);
        split_heads(&self.trace.output()[..2 * self.loc.len()], model.config().latent_dim, &mut self.loc, &mut self.log_var);
    }

    /// From the `places` gradients with respect to all locs, and as many to all log-variances.
    fn backward(&mut self, model: &Model<F>, back: &[F], gradient: &[f64], places: usize) {
        let width = model.config().latent_dim;
        let (_, d_heads) = self.trace.output_and_gradient();
        for (row, heads) in d_heads.chunks_exact_mut(2 * width).take(self.rows).enumerate() {
            let at = (self.first + row) * width;
            for (half, from) in heads.chunks_exact_mut(width).zip([at, places + at]) {
                half.iter_mut().zip(&gradient[from..]).for_each(|(half, d)| *half = F::from_f64(*d));
            }
        }
        model.encoder.backward(&model.parameters, back, self.rows, &mut self.trace, Some(&mut self.d_input));
    }

    /// What the encoder's gradients read.
    pub(super) fn pass<'a>(&'a self, model: &'a Model<F>) -> Pass<'a, F> {
        Pass { trace: &self.trace, network: &model.encoder, input: &self.input, depth: self.rows, packed: &[] }
    }
}
