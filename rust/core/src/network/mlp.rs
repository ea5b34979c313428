//! Layers in a row: y = activation(norm(x · Wᵀ + b)) + x, the norm and the sum where a hidden layer has them, and nothing but x · Wᵀ + b in the last one.
//!
//! Parameters of several networks share one flat array: a layer's weights (outputs × inputs, as `PyTorch` and model files hold
//! them), then its biases, then its norm's gains and shifts. Beside it stands a copy of the weights packed for the forward product, renewed after every change. Who goes the way
//! back keeps another, packed for that: in place each row of weights is a page of memory, or one of few places in the cache.

use super::activation::{Activation, Slope};
use super::aligned::Aligned;
use super::around::Around;
use super::layer_norm::{Normalised, back, normalise};
use super::matmul::{Finish, Left, Part, Right, multiply_parts};
use super::panels::{pack_rows, pack_transposed, packed_len, panel, strip};
use super::segment::HIGHEST;
use crate::float::Float;
use crate::network::lanewise;
use crate::simd::{Kernel, Simd, dispatch};

/// Rows that go through all layers together where the output alone is wanted, so that hidden layers stay in the caches: whole tiles.
pub(crate) const GROUP: usize = 48;
const _: () =
    assert!(GROUP.is_multiple_of(HIGHEST) && strip::<f32>().is_multiple_of(HIGHEST) && strip::<f64>().is_multiple_of(HIGHEST));

/// One dense layer, and where its parameters stand in the flat array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Width of a row that comes in.
    pub inputs: usize,
    /// Width of a row that goes out.
    pub outputs: usize,
    /// Where the weights begin.
    pub weight: usize,
    /// Where the biases begin.
    pub bias: usize,
    /// Where the packed weights begin.
    pub packed: usize,
    /// Where the weights begin in what [`Mlp::pack_back`] made.
    pub back: usize,
    /// Where the norm's gains begin, as many as outputs and followed by as many shifts.
    pub norm: Option<usize>,
    /// Whether what comes in is added to what goes out.
    pub residual: bool,
}

/// What hidden layers have beside weights, biases and an activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// A normalisation before the activation.
    pub layer_norm: bool,
    /// A connection from the layer's input to its output, where they are of one width.
    pub residual: bool,
}

/// A network's layers; the parameters stand apart, in [`Parameters`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mlp {
    /// At least one.
    pub layers: Vec<Layer>,
    /// Between layers.
    pub activation: Activation,
}

/// Numbers a flat array of parameters, and its packed copies, need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Of the flat array.
    pub parameters: usize,
    /// Of the packed copy.
    pub packed: usize,
    /// Of what [`Mlp::pack_back`] makes.
    pub back: usize,
}

impl Mlp {
    /// Layers between the given widths (two or more), placed behind `extent`, which grows by what they take.
    #[must_use]
    pub fn new<F: Float>(widths: &[usize], activation: Activation, hidden: Hidden, extent: &mut Extent) -> Self {
        let last = widths.len().saturating_sub(2);
        let layers = widths.windows(2).enumerate().map(|(l, w)| {
            let (inputs, outputs) = (w[0], w[1]);
            let (weight, packed, back) = (extent.parameters, extent.packed, extent.back);
            let bias = weight + inputs * outputs;
            extent.parameters = bias + outputs;
            extent.packed += packed_len::<F>(inputs, outputs);
            extent.back += packed_len::<F>(outputs, inputs);
            let norm = (hidden.layer_norm && l < last).then_some(extent.parameters);
            extent.parameters += if norm.is_some() { 2 * outputs } else { 0 };
            Layer { inputs, outputs, weight, bias, packed, back, norm, residual: hidden.residual && l < last && inputs == outputs }
        });
        Self { layers: layers.collect(), activation }
    }

    /// Whether what layer `layer` puts out is just relu's.
    fn output_tells_slope(&self, layer: usize) -> bool {
        layer + 1 < self.layers.len() && self.activation == Activation::Relu && !self.layers[layer].residual
    }

    /// Rows of what layer `layer` takes in, or of its derivatives, as a factor: behind relu, rows that are `alike` are 0 in the same columns.
    pub(super) fn input_of<'a, F: Float>(&self, layer: usize, x: &'a [F], alike: bool) -> Left<'a, F> {
        let make = if alike && layer > 0 && self.output_tells_slope(layer - 1) { Left::sparse_rows } else { Left::rows };
        make(x, self.layers[layer].inputs)
    }

    /// Runs `rows` rows forward; the result is [`Trace::output`].
    pub fn forward<F: Float>(&self, parameters: &Parameters<F>, x: &[F], rows: usize, trace: &mut Trace<F>) {
        self.forward_in_groups(parameters, None, x, rows, trace);
    }

    /// The same as seen from the centre that was [set](Around::set_centre), for the output alone.
    pub fn forward_around<F: Float>(
        &self,
        parameters: &Parameters<F>,
        around: &mut Around<F>,
        x: &[F],
        rows: usize,
        trace: &mut Trace<F>,
    ) {
        self.forward_in_groups(parameters, Some(around), x, rows, trace);
    }

    fn forward_in_groups<F: Float>(
        &self,
        parameters: &Parameters<F>,
        mut around: Option<&mut Around<F>>,
        x: &[F],
        rows: usize,
        trace: &mut Trace<F>,
    ) {
        let (group, inputs) = (if trace.alike || around.is_some() { GROUP } else { rows.max(1) }, self.layers[0].inputs);
        for first in (0..rows).step_by(group) {
            let rows = group.min(rows - first);
            let input = &x[first * inputs..][..rows * inputs];
            if let Some(around) = &mut around {
                around.set_offsets(input);
            }
            self.forward_group(parameters, around.as_deref(), input, first, rows, trace);
        }
    }

    /// The rows `input`, of which the first is row `first`; their hidden layers go to the front of their buffers.
    fn forward_group<F: Float>(
        &self,
        parameters: &Parameters<F>,
        around: Option<&Around<F>>,
        input: &[F],
        first: usize,
        rows: usize,
        trace: &mut Trace<F>,
    ) {
        let last = self.layers.len() - 1;
        for (l, layer) in self.layers.iter().enumerate() {
            let (before, here) = trace.outputs.split_at_mut(l);
            let x = before.last().map_or(input, |x| &x[..]);
            let at = if l == last { first * layer.outputs } else { 0 };
            let y = &mut here[0][at..][..rows * layer.outputs];
            let (mut weights, mut bias) = (&parameters.packed[layer.packed..], &parameters.flat[layer.bias..]);
            let mut straight = None;
            match (l, around) {
                (0, Some(around)) => (weights, bias) = (&around.turned, &around.turned_bias),
                (1, Some(around)) => {
                    let depth = self.layers[0].inputs;
                    straight =
                        Some(Part { a: Left::rows(&around.offsets, depth), b: Right::packed(&around.straight, depth), depth });
                    bias = &around.constant;
                }
                _ => {}
            }
            let a = self.input_of(l, x, trace.alike);
            let part = Part { a, b: Right::packed(weights, layer.inputs), depth: layer.inputs };
            let parts = [straight.unwrap_or(part), part];
            let parts = &parts[usize::from(straight.is_none())..];
            // Before the sums leave the registers, relu costs no pass over memory.
            let activated = self.output_tells_slope(l) && layer.norm.is_none();
            let finish = if activated { Finish::BiasRelu(bias) } else { Finish::Bias(bias) };
            multiply_parts(rows, layer.outputs, parts.iter().copied(), finish, y, layer.outputs);
            if let Some((gain, shift)) = layer.norm(parameters) {
                normalise(y, gain, shift, trace.norms.get_mut(l));
            }
            match trace.slopes.get_mut(l).filter(|slope| !slope.is_empty()) {
                _ if l == last || activated => {}
                Some(slope) => self.activation.apply_with_slope(y, &mut slope[..y.len()]),
                None => self.activation.apply(y),
            }
            if layer.residual {
                dispatch(Plus { x: y, by: x });
            }
        }
    }

    /// Packs the weights for the way back, by strips of each layer's outputs, into an array of [`Extent::back`]; the first layer's only for a way back to the `input`.
    pub fn pack_back<F: Float>(&self, parameters: &Parameters<F>, input: bool, back: &mut [F]) {
        for layer in self.layers.iter().skip(usize::from(!input)) {
            let weights = parameters.flat[layer.weight..layer.bias].chunks(strip::<F>() * layer.inputs);
            for (first, weights) in (0..).step_by(strip::<F>()).zip(weights) {
                let out = &mut back[layer.back + packed_len::<F>(first, layer.inputs)..];
                pack_rows(weights, layer.inputs, &mut out[..packed_len::<F>(weights.len() / layer.inputs, layer.inputs)]);
            }
        }
    }

    /// Takes the gradient with respect to the output, which stands in [`Trace::gradient`] of the last layer, back to every layer's
    /// output before norm and activation, and to the network's input where `dx` is wanted. `trace` holds what [`Mlp::forward`] left, and `packed_back` what [`Mlp::pack_back`] made;
    /// of the first layer that is read where `dx` is wanted.
    pub fn backward<F: Float>(
        &self,
        parameters: &Parameters<F>,
        packed_back: &[F],
        rows: usize,
        trace: &mut Trace<F>,
        dx: Option<&mut [F]>,
    ) {
        let through = |layer: &Layer, dy: &[F], finish: Finish<F>, dx: &mut [F]| {
            let strips = (0..layer.outputs).step_by(strip::<F>()).map(|first| {
                let depth = strip::<F>().min(layer.outputs - first);
                let weights = &packed_back[layer.back + packed_len::<F>(first, layer.inputs)..];
                Part { a: Left::rows(&dy[first..], layer.outputs), b: Right::packed(weights, depth), depth }
            });
            multiply_parts(rows, layer.inputs, strips, finish, dx, layer.inputs);
        };
        for (l, layer) in self.layers.iter().enumerate().skip(1).rev() {
            let (before, here) = trace.gradients.split_at_mut(l);
            let dx = &mut before[l - 1][..rows * layer.inputs];
            let below = &self.layers[l - 1];
            let slope = slope(&trace.slopes, &trace.outputs, l - 1);
            let apart = layer.residual || below.residual;
            through(layer, &here[0], if apart { Finish::Sums } else { Finish::Times(slope) }, dx);
            if layer.residual {
                dispatch(Plus { x: dx, by: &trace.passed[l] });
            }
            if below.residual {
                trace.passed[l - 1][..dx.len()].copy_from_slice(dx);
            }
            if apart {
                slope.times(dx);
            }
            if let Some((gain, _)) = below.norm(parameters) {
                back(dx, gain, &mut trace.norms[l - 1]);
            }
        }
        if let Some(dx) = dx {
            let layer = &self.layers[0];
            through(layer, &trace.gradients[0], Finish::Sums, dx);
            if layer.residual {
                dispatch(Plus { x: &mut dx[..rows * layer.inputs], by: &trace.passed[0] });
            }
        }
    }
}

impl Layer {
    /// (gains, shifts) of the layer's norm.
    pub(super) fn norm<'a, F: Float>(&self, parameters: &'a Parameters<F>) -> Option<(&'a [F], &'a [F])> {
        let at = self.norm?;
        Some(parameters.flat[at..][..2 * self.outputs].split_at(self.outputs))
    }
}

/// Adds `by`, which may be longer, to `x`.
pub(super) struct Plus<'a, F> {
    pub(super) x: &'a mut [F],
    pub(super) by: &'a [F],
}

impl<F: Float> Kernel for Plus<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        lanewise::<F, S, 1, 1>(
            simd,
            [self.by],
            [self.x],
            #[inline(always)]
            |[by], [x]| [x + by],
        );
    }
}

/// Weights and biases of networks, flat and packed.
#[derive(Clone, Debug)]
pub struct Parameters<F> {
    flat: Aligned<F>,
    packed: Aligned<F>,
}

impl<F: Float> Parameters<F> {
    /// All 0.
    #[must_use]
    pub fn zeros(extent: Extent) -> Self {
        Self { flat: Aligned::zeros(extent.parameters), packed: Aligned::zeros(extent.packed) }
    }

    /// The flat array.
    #[must_use]
    pub fn flat(&self) -> &[F] {
        &self.flat
    }

    /// The packed copy.
    #[must_use]
    pub fn packed(&self) -> &[F] {
        &self.packed
    }

    /// The flat array and the packed copy, for a caller that changes both alike.
    pub fn parts_mut(&mut self) -> (&mut [F], &mut [F]) {
        (&mut self.flat, &mut self.packed)
    }

    /// Packs the weights of `networks` anew, after the flat array was changed.
    pub fn pack(&mut self, networks: &[&Mlp]) {
        for layer in networks.iter().flat_map(|n| &n.layers) {
            let out = &mut self.packed[layer.packed..][..packed_len::<F>(layer.inputs, layer.outputs)];
            pack_transposed(&self.flat[layer.weight..layer.bias], layer.inputs, out);
        }
    }
}

fn slope<'a, F: Float>(slopes: &'a [Aligned<F>], outputs: &'a [Aligned<F>], layer: usize) -> Slope<'a, F> {
    if slopes[layer].is_empty() { Slope::OfRelu(&outputs[layer]) } else { Slope::Written(&slopes[layer]) }
}

/// What a network leaves behind on its way forward, and needs on its way back, for some rows.
#[derive(Clone, Debug)]
pub struct Trace<F> {
    outputs: Vec<Aligned<F>>,
    /// Empty of the last layer, and where the output tells it.
    slopes: Vec<Aligned<F>>,
    gradients: Vec<Aligned<F>>,
    /// Empty of layers without a norm.
    norms: Vec<Normalised<F>>,
    /// The gradient with respect to a layer's output, which goes to its input too; empty of layers without such a connection.
    passed: Vec<Vec<F>>,
    alike: bool,
}

impl<F: Float> Trace<F> {
    /// Buffers for up to `rows` rows on their way forward.
    #[must_use]
    pub fn forward(network: &Mlp, rows: usize) -> Self {
        // Layers' inputs are read by whole vectors when the weights' gradients are made.
        let outputs = network.layers.iter().map(|l| Aligned::zeros(rows * l.outputs + panel::<F>())).collect();
        Self { outputs, slopes: Vec::new(), gradients: Vec::new(), norms: Vec::new(), passed: Vec::new(), alike: false }
    }

    /// For the output alone of up to `rows` rows, of which many after one another lie close together.
    #[must_use]
    pub fn output_of_alike(network: &Mlp, rows: usize) -> Self {
        let mut trace = Self { alike: true, ..Self::forward(network, rows.min(GROUP)) };
        if let (Some(output), Some(layer)) = (trace.outputs.last_mut(), network.layers.last()) {
            *output = Aligned::zeros(rows * layer.outputs);
        }
        trace
    }

    /// Buffers for up to `rows` rows forward and back.
    #[must_use]
    pub fn both_ways(network: &Mlp, rows: usize) -> Self {
        let gradients = network.layers.iter().map(|l| Aligned::zeros(rows * l.outputs)).collect();
        let kept = |l: usize| l + 1 < network.layers.len() && !network.output_tells_slope(l);
        let slopes =
            network.layers.iter().enumerate().map(|(l, layer)| Aligned::zeros(if kept(l) { rows * layer.outputs } else { 0 }));
        let norm = |l: &Layer| if l.norm.is_some() { Normalised::new(rows, l.outputs) } else { Normalised::default() };
        let norms = network.layers.iter().map(norm).collect();
        let passed = network.layers.iter().map(|l| if l.residual { vec![F::ZERO; rows * l.outputs] } else { Vec::new() }).collect();
        Self { slopes: slopes.collect(), gradients, norms, passed, ..Self::forward(network, rows) }
    }

    /// What layer `layer` put out, activated and with what was added, followed by readable numbers of any value.
    #[must_use]
    pub fn activated(&self, layer: usize) -> &[F] {
        &self.outputs[layer]
    }

    /// The activation's derivative at hidden layer `layer`'s output, of a trace both ways.
    ///
    /// # Panics
    /// For the last layer, which has no activation.
    #[must_use]
    pub fn slope(&self, layer: usize) -> Slope<'_, F> {
        assert!(layer + 1 < self.outputs.len(), "the last layer has no activation");
        slope(&self.slopes, &self.outputs, layer)
    }

    /// The network's output, for the rows of the last way forward and more.
    #[must_use]
    pub fn output(&self) -> &[F] {
        &self.outputs[self.outputs.len() - 1]
    }

    /// The gradient with respect to layer `layer`'s output before norm and activation.
    #[must_use]
    pub fn gradient(&self, layer: usize) -> &[F] {
        &self.gradients[layer]
    }

    /// The gradient with respect to what layer `layer`'s norm put out, and what it multiplied by its gains.
    #[must_use]
    pub fn norm_gradient(&self, layer: usize) -> (&[F], &[F]) {
        (&self.norms[layer].gradient, &self.norms[layer].unit)
    }

    /// What layer `layer`'s norm made of its rows before its gains, and what it divided them by, inverted.
    pub(super) fn normalised(&self, layer: usize) -> (&[F], &[F]) {
        (&self.norms[layer].unit, &self.norms[layer].inverse)
    }

    /// The network's output, and the place for the gradient with respect to it.
    pub fn output_and_gradient(&mut self) -> (&[F], &mut [F]) {
        let last = self.outputs.len() - 1;
        (&self.outputs[last], &mut self.gradients[last])
    }
}
