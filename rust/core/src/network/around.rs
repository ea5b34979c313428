//! Many rows around one input, the centre, through a network whose first hidden layer is just relu's: by what differs from the centre.
//!
//! Of h = W x + b, relu(h) is s ⊙ h + r: s is 1 where h is positive at the centre and 0 elsewhere, and r is relu(−h) there and relu(h) elsewhere, which is 0 wherever h has the sign that
//! it has at the centre. The second layer's sums V relu(h) + c are then y₀ + V s W (x − x₀) + V r, y₀ being what they are at the centre x₀: a product as narrow as the input, and one of far
//! fewer columns that are not 0. Of draws from a digit's posterior, 55 % of relu's units are live, in tiles of six draws 65 %; 6 % are not as at the centre, in tiles 19 %.
//!
//! Rounding is that of other sums of the same numbers, with one difference. Where a unit that is positive at the centre is not so in a row, its parts of y₀, V s W (x − x₀) and V r cancel
//! but for the rounding of h, while the whole network has 0 there. [`Around::set_centre`] tells how much that may be.

use super::matmul::{Finish, Left, Right, multiply};
use super::mlp::{GROUP, Layer, Mlp, Parameters, Plus};
use super::panels::{pack_rows, packed_len, panel};
use super::{Activation, Aligned};
use crate::float::Float;
use crate::reduce::LaneSum;
use crate::simd::{Kernel, Select, Simd, SimdBase, dispatch};

/// The first hidden layer has so many times its inputs at least: with more inputs V s W costs what sparseness saves.
const WIDTHS: usize = 4;
/// Standard deviations of the rows about the centre for which rounding is told.
const SPREADS: f64 = 4.0;

/// A network's first two layers, as seen from a centre.
#[derive(Clone, Debug)]
pub struct Around<F> {
    /// The centre's negative, for as many rows as go through the layers together.
    opposite: Vec<F>,
    /// Rows less the centre.
    pub(super) offsets: Vec<F>,
    /// W, packed, and b, negated where h is positive at the centre: relu makes r of what comes out. As all that follows by units, up to a whole panel.
    pub(super) turned: Aligned<F>,
    pub(super) turned_bias: Vec<F>,
    /// V s W, packed, and y₀.
    pub(super) straight: Aligned<F>,
    pub(super) constant: Vec<F>,
    /// The most that any output moves with each unit.
    lever: Vec<F>,
    /// h at the centre.
    h: Vec<F>,
    /// (s W)ᵀ.
    kept: Aligned<F>,
    /// The product of that with Vᵀ.
    through: Vec<F>,
}

impl<F: Float> Around<F> {
    /// Room for a network with these parameters that can be seen so, where that pays: no layer has a norm, the first two have no connection past them, and the first is relu's and wide
    /// beside its input.
    #[must_use]
    pub fn new(network: &Mlp, parameters: &Parameters<F>) -> Option<Self> {
        let [first, second, later @ ..] = &network.layers[..] else { return None };
        let plain = network.activation == Activation::Relu && network.layers.iter().all(|layer| layer.norm.is_none());
        if !plain || first.residual || second.residual || first.outputs < WIDTHS * first.inputs {
            return None;
        }
        let (inputs, hidden, outputs) = (first.inputs, first.outputs, second.outputs);
        let width = hidden.next_multiple_of(panel::<F>());
        let weights = |layer: &Layer| parameters.flat()[layer.weight..layer.bias].chunks_exact(layer.inputs);
        let mut lever = vec![F::ZERO; width];
        for row in weights(second) {
            for (lever, v) in lever.iter_mut().zip(row) {
                *lever = if *lever < abs(*v) { abs(*v) } else { *lever };
            }
        }
        for layer in later {
            // A layer multiplies an error by its largest row of magnitudes at most, and adds the error itself where its input goes past it. Never by less than 1 here: sums of
            // hidden layers are to stay in the range too.
            let rows = weights(layer).map(|row| row.iter().map(|w| w.to_f64().abs()).sum::<f64>());
            let most = rows.fold(1.0, f64::max) + if layer.residual { 1.0 } else { 0.0 };
            let most = F::from_f64(most);
            for lever in &mut lever {
                *lever *= most;
            }
        }
        Some(Self {
            opposite: vec![F::ZERO; GROUP * inputs],
            offsets: vec![F::ZERO; GROUP * inputs],
            turned: Aligned::zeros(packed_len::<F>(inputs, hidden)),
            turned_bias: vec![F::ZERO; width],
            straight: Aligned::zeros(packed_len::<F>(inputs, outputs)),
            constant: vec![F::ZERO; outputs],
            lever,
            h: vec![F::ZERO; width],
            kept: Aligned::zeros(inputs * width),
            through: vec![F::ZERO; inputs * outputs],
        })
    }

    /// Looks at the network, which is the one this was made for, from a centre, about which rows have a standard deviation of `spread`. Returns what one rounding of each term of h makes
    /// of an output if all go one way: a measure of what may be left where units die, neither its mean nor its bound. ∞ or NaN where numbers leave the range, and nothing can be seen.
    pub fn set_centre(&mut self, network: &Mlp, parameters: &Parameters<F>, centre: &[F], spread: &[F]) -> f64 {
        let (first, second) = (&network.layers[0], &network.layers[1]);
        let (inputs, hidden, outputs) = (first.inputs, first.outputs, second.outputs);
        let weights = &parameters.packed()[first.packed..][..packed_len::<F>(inputs, hidden)];
        let bias = &parameters.flat()[first.bias..][..hidden];
        for row in self.opposite.chunks_exact_mut(inputs) {
            row.iter_mut().zip(centre).for_each(|(opposite, centre)| *opposite = -*centre);
        }
        let (left, right) = (Left::rows(centre, inputs), Right::packed(weights, inputs));
        multiply(1, hidden, inputs, left, right, Finish::Bias(bias), &mut self.h[..hidden], hidden);
        self.turned_bias[..hidden].copy_from_slice(bias);
        let moved = dispatch(Signs { around: self, weights, centre, spread });
        let width = self.h.len();
        let right = Right::packed(&parameters.packed()[second.packed..], hidden);
        multiply(inputs, outputs, hidden, Left::sparse_rows(&self.kept, width), right, Finish::Sums, &mut self.through, outputs);
        pack_rows(&self.through, outputs, &mut self.straight);
        Activation::Relu.apply(&mut self.h[..hidden]);
        let left = Left::rows(&self.h, hidden);
        let bias = &parameters.flat()[second.bias..];
        multiply(1, outputs, hidden, left, right, Finish::Bias(bias), &mut self.constant, outputs);
        // Without a way out, which would keep the compiler from taking several at a time.
        let finite = self.through.iter().chain(&self.constant).fold(true, |finite, x| finite & x.finite());
        if finite { F::EPSILON.to_f64() / 2.0 * moved } else { f64::INFINITY }
    }

    /// Takes the centre from up to [`GROUP`] rows, into [`offsets`](Self::offsets).
    pub(super) fn set_offsets(&mut self, x: &[F]) {
        let offsets = &mut self.offsets[..x.len()];
        offsets.copy_from_slice(x);
        dispatch(Plus { x: offsets, by: &self.opposite });
    }
}

/// What [`Around::set_centre`] makes of h, W and b, which it finds in `turned_bias`. Returns the sum over live units of |W| times the magnitudes that inputs reach and |b|, times the lever;
/// NaN or ∞ where an h is not finite.
struct Signs<'a, F> {
    around: &'a mut Around<F>,
    weights: &'a [F],
    centre: &'a [F],
    spread: &'a [F],
}

impl<F: Float> Kernel for Signs<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let Self { around, weights, centre, spread } = self;
        let (width, inputs) = (around.h.len(), centre.len());
        let zero = F::Lanes::splat(simd, F::ZERO);
        let mut moved = F::Sum::<S>::zero(simd);
        for first in (0..width).step_by(F::LANES) {
            let here = first..first + F::LANES;
            let h = F::Lanes::from_slice(simd, &around.h[here.clone()]);
            let live = h.simd_gt(zero);
            let bias = F::Lanes::from_slice(simd, &around.turned_bias[here.clone()]);
            live.select(-bias, bias).store_slice(&mut around.turned_bias[here.clone()]);
            let mut magnitude = bias.abs();
            let panel = first * inputs..(first + F::LANES) * inputs;
            let panel = weights[panel.clone()].chunks_exact(F::LANES).zip(around.turned[panel].chunks_exact_mut(F::LANES));
            let kept = around.kept.chunks_exact_mut(width);
            for (((weights, turned), kept), (centre, spread)) in panel.zip(kept).zip(centre.iter().zip(spread)) {
                let w = F::Lanes::from_slice(simd, weights);
                live.select(-w, w).store_slice(turned);
                live.select(w, zero).store_slice(&mut kept[here.clone()]);
                magnitude += w.abs() * (abs(*centre) + F::from_f64(SPREADS) * abs(*spread));
            }
            let lever = F::Lanes::from_slice(simd, &around.lever[here]);
            moved = moved.add(live.select(magnitude * lever, h * F::ZERO));
        }
        moved.finish()
    }
}

fn abs<F: Float>(x: F) -> F {
    if x < F::ZERO { -x } else { x }
}
