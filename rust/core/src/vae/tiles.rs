//! How the parameters are cut for the threads: strips of a layer's outputs, each layer's biases, its norm, what is learned for all rows, and the prior's own.

use super::model::Model;
use super::prior::Prior;
use super::prior_path::BLOCK;
use crate::float::Float;
use crate::network::panels::{packed_len, strip};
use crate::threads::Outputs;
use std::ops::Range;

/// A stretch of the flat parameters.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) start: usize,
    pub(super) len: usize,
    /// Of the encoder's layers, then the decoder's.
    pub(super) layer: usize,
    pub(super) inputs: usize,
    pub(super) of: Of,
    /// The packed copy of these weights.
    pub(super) packed: Range<usize>,
    /// Their copy packed for the way back.
    pub(super) back: Range<usize>,
}

/// Which parameters these are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    /// The layer's weights from this output on.
    Weights(usize),
    /// The layer's biases.
    Biases,
    /// The gains of the layer's norm, then its shifts.
    Norm,
    /// Scales of the likelihood, of no layer.
    Scales,
    /// The prior's own from this number on, of pseudo-inputs from this one on.
    Prior(usize),
}

/// The tiles of a model's parameters, in order and without gaps.
pub(super) fn tiles<F: Float>(model: &Model<F>) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for (layer, l) in model.encoder.layers.iter().chain(&model.decoder.layers).enumerate() {
        let (mut packed, mut back) = (l.packed, l.back);
        for output in (0..l.outputs).step_by(strip::<F>()) {
            let outputs = strip::<F>().min(l.outputs - output);
            let ends = [packed + packed_len::<F>(l.inputs, outputs), back + packed_len::<F>(outputs, l.inputs)];
            let (start, len, of) = (l.weight + output * l.inputs, outputs * l.inputs, Of::Weights(output));
            tiles.push(Tile { start, len, layer, inputs: l.inputs, of, packed: packed..ends[0], back: back..ends[1] });
            [packed, back] = ends;
        }
        let without = |start, len, inputs, of| Tile { start, len, layer, inputs, of, packed: packed..packed, back: back..back };
        tiles.push(without(l.bias, l.outputs, l.inputs, Of::Biases));
        if let Some(start) = l.norm {
            tiles.push(without(start, 2 * l.outputs, 1, Of::Norm));
        }
    }
    let [packed, back] = tiles.last().map_or([0; 2], |tile: &Tile| [tile.packed.end, tile.back.end]);
    let without = |start, len, of| Tile { start, len, layer: 0, inputs: 1, of, packed: packed..packed, back: back..back };
    let (start, len) = (model.learned_at(), model.learned().len());
    if len > 0 {
        tiles.push(without(start, len, Of::Scales));
    }
    let (at, all) = (model.prior_at(), model.prior_parameters().len());
    // Pseudo-inputs in the blocks in which they go through the encoder.
    let (each, number) = match model.config().prior {
        Prior::Vamp(_) => (BLOCK * model.encoder.layers[0].inputs, BLOCK),
        _ => (all.max(1), 0),
    };
    for (block, first) in (0..all).step_by(each).enumerate() {
        tiles.push(without(at + first, each.min(all - first), Of::Prior(block * number)));
    }
    tiles
}

/// Each tile's part of an array in which the tiles lie one after another: what threads share out, and then an iterator over
/// the parts.
pub(super) struct Tiles<'a, F> {
    rest: &'a [Tile],
    data: &'a mut [F],
    place: fn(&Tile) -> Range<usize>,
}

impl<'a, F> Tiles<'a, F> {
    /// `place` says where a tile's part lies in `data`.
    pub(super) fn new(tiles: &'a [Tile], data: &'a mut [F], place: fn(&Tile) -> Range<usize>) -> Self {
        Self { rest: tiles, data, place }
    }
}

impl<F: Send> Outputs for Tiles<'_, F> {
    fn split_at(self, tile: usize) -> (Self, Self) {
        let (low, high) = self.rest.split_at(tile);
        let len = low.iter().map(|t| (self.place)(t).len()).sum();
        let (low_data, high_data) = self.data.split_at_mut(len);
        (Self { rest: low, data: low_data, ..self }, Self { rest: high, data: high_data, place: self.place })
    }
}

impl<'a, F> Iterator for Tiles<'a, F> {
    type Item = &'a mut [F];

    fn next(&mut self) -> Option<&'a mut [F]> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.data.split_off_mut(..(self.place)(first).len())
    }
}
