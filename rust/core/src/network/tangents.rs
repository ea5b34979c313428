//! The Jacobian of a network by its input, or by the first numbers of it, forward: each direction of the input goes through the layers as a row of one matrix product.
//!
//! A row's Jacobian depends, by the contract of [`matmul`](super::matmul), on that row alone.

use super::layer_norm::along;
use super::matmul::{Finish, Right, multiply};
use super::mlp::{Mlp, Parameters, Plus, Trace};
use crate::float::Float;
use crate::simd::dispatch;

/// Room for the tangents of some rows between two layers.
#[derive(Clone, Debug)]
pub struct Tangents<F> {
    here: Vec<F>,
    next: Vec<F>,
    /// How many of the network's inputs move.
    directions: usize,
    /// The first layer's weights, input by input.
    first: Vec<F>,
}

impl<F: Float> Tangents<F> {
    /// Along the first `directions` inputs, for up to `rows` rows at a time of a network whose weights stay as they are.
    #[must_use]
    pub fn new(network: &Mlp, parameters: &Parameters<F>, rows: usize, directions: usize) -> Self {
        let inputs = network.layers[0].inputs;
        let widest = network.layers.iter().map(|l| l.outputs).max().unwrap_or(0);
        let buffer = || vec![F::ZERO; rows * directions * widest];
        let layer = &network.layers[0];
        let weights = &parameters.flat()[layer.weight..layer.bias];
        let first = (0..directions).flat_map(|input| weights.iter().skip(input).step_by(inputs).copied());
        Self { here: buffer(), next: buffer(), directions, first: first.collect() }
    }
}

impl Mlp {
    /// The Jacobians at some rows of the last way forward, which `trace` holds with its slopes: number j of line t of a row's is ∂yⱼ/∂xₜ.
    pub fn jacobians<'t, F: Float>(
        &self,
        parameters: &Parameters<F>,
        trace: &Trace<F>,
        rows: &[usize],
        tangents: &'t mut Tangents<F>,
    ) -> &'t [F] {
        let Tangents { here, next, directions, first } = tangents;
        let (directions, last) = (*directions, self.layers.len() - 1);
        for (l, layer) in self.layers.iter().enumerate() {
            let y = &mut next[..rows.len() * directions * layer.outputs];
            if l == 0 {
                y.chunks_exact_mut(first.len()).for_each(|y| y.copy_from_slice(first));
            } else {
                // All directions of a row stop at the same units.
                let left = self.input_of(l, here, true);
                let right = Right::packed(&parameters.packed()[layer.packed..], layer.inputs);
                multiply(rows.len() * directions, layer.outputs, layer.inputs, left, right, Finish::Sums, y, layer.outputs);
            }
            if l < last {
                for (y, &row) in y.chunks_exact_mut(directions * layer.outputs).zip(rows) {
                    let slope = trace.slope(l).after(row * layer.outputs);
                    for y in y.chunks_exact_mut(layer.outputs) {
                        if let Some((gain, _)) = layer.norm(parameters) {
                            let (unit, inverse) = trace.normalised(l);
                            along(y, gain, &unit[row * layer.outputs..], &inverse[row..]);
                        }
                        slope.times(y);
                    }
                }
                if layer.residual && l == 0 {
                    // The first layer's input moves along one axis a line.
                    for y in y.chunks_exact_mut(directions * layer.inputs) {
                        y.iter_mut().step_by(layer.inputs + 1).for_each(|y| *y += F::ONE);
                    }
                } else if layer.residual {
                    dispatch(Plus { x: y, by: here });
                }
            }
            std::mem::swap(here, next);
        }
        &here[..rows.len() * directions * self.layers[last].outputs]
    }
}
