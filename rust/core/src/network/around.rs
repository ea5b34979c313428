//! Many rows around one input, the centre, through a network whose first hidden layer is just relu's: by what differs from the centre.
//!
//! Of h = W x + b, relu(h) is s ⊙ h + r: s is 1 where h is positive at the centre and 0 elsewhere, and r is relu(−h) there and relu(h) elsewhere, which is 0 wherever h has the sign that
//! it has at the centre. The second layer V relu(h) + c is then (V s W) x + (V s b + c) + V r: a product as narrow as the input, and one of far fewer columns that are not 0. Of draws from a
//! digit's posterior, 55 % of relu's units are live, in tiles of six draws 65 %; 6 % are not as at the centre, in tiles 19 %.
//!
//! Rounding is that of other sums of the same numbers. Where a unit that is positive at the centre is not in a row, V h of the one part and V r of the other cancel but for the rounding of h, while
//! the whole network has 0 there. So nothing is seen from a centre where that, on its way to the output, could come to a five-hundredth.

use super::matmul::{Finish, Left, Right, multiply};
use super::mlp::{Layer, Mlp, Parameters};
use super::panels::{pack_rows, packed_len, panel};
use super::{Activation, Aligned};
use crate::float::Float;

/// The first hidden layer has so many times its inputs at least: with more inputs V s W costs what sparseness saves.
const WIDER: usize = 4;
/// Spreads of the rows about the centre for which rounding is bounded.
const SPREADS: f64 = 4.0;
/// What one rounding of each term may do to an output at most, all of them to one side; of trained networks in float32 that is 10⁻⁶ to 10⁻³.
const ROUNDING: f64 = 1.0 / 512.0;

/// A network's first two layers, as seen from a centre.
#[derive(Clone, Debug)]
pub struct Around<F> {
    /// W, packed, and b, by −1 where h is positive at the centre: relu makes r of what comes out.
    pub(super) turned: Aligned<F>,
    pub(super) turned_bias: Vec<F>,
    /// V s W, packed, and V s b + c.
    pub(super) straight: Aligned<F>,
    pub(super) constant: Vec<F>,
    /// How much an output, at most, moves with each unit.
    lever: Vec<F>,
    /// h at the centre, and 0 up to a whole panel.
    h: Vec<F>,
    /// |W| times what the input's magnitudes reach, and |b|; as long.
    magnitude: Vec<F>,
    /// (s W)ᵀ and behind it s b, in rows of whole panels.
    kept: Aligned<F>,
    /// The product of those with Vᵀ.
    through: Vec<F>,
}

impl<F: Float> Around<F> {
    /// Room for a network with these parameters that can be seen so, where that pays: its first hidden layer is relu's alone, and wide beside its input.
    #[must_use]
    pub fn new(network: &Mlp, parameters: &Parameters<F>) -> Option<Self> {
        let [first, second, later @ ..] = &network.layers[..] else { return None };
        let linear = first.norm.is_none() && !first.residual && !second.residual && network.activation == Activation::Relu;
        if !linear || first.outputs < WIDER * first.inputs {
            return None;
        }
        let (inputs, hidden, outputs) = (first.inputs, first.outputs, second.outputs);
        let width = hidden.next_multiple_of(panel::<F>());
        let weights = |layer: &Layer| parameters.flat()[layer.weight..layer.bias].chunks_exact(layer.inputs);
        let mut lever = vec![F::ZERO; hidden];
        for row in weights(second) {
            for (lever, v) in lever.iter_mut().zip(row) {
                *lever = if *lever < abs(*v) { abs(*v) } else { *lever };
            }
        }
        // relu and what goes past a layer move no further than what moves them.
        for layer in later {
            let sums = weights(layer).map(|row| row.iter().map(|w| w.to_f64().abs()).sum::<f64>());
            let most = sums.fold(0.0, f64::max) + if layer.residual { 1.0 } else { 0.0 };
            // What is bounded at the output is to be no larger on the way.
            let most = F::from_f64(most.max(1.0));
            for lever in &mut lever {
                *lever *= most;
            }
        }
        Some(Self {
            turned: Aligned::zeros(packed_len::<F>(inputs, hidden)),
            turned_bias: vec![F::ZERO; hidden],
            straight: Aligned::zeros(packed_len::<F>(inputs, outputs)),
            constant: vec![F::ZERO; outputs],
            lever,
            h: vec![F::ZERO; width],
            magnitude: vec![F::ZERO; width],
            kept: Aligned::zeros((inputs + 1) * width),
            through: vec![F::ZERO; (inputs + 1) * outputs],
        })
    }

    /// Looks at the network, which is the one this was made for, from a centre, about which rows have a standard deviation of `spread`. False where nothing can be seen from there: numbers
    /// leave the range, or rounding might show.
    pub fn set_centre(&mut self, network: &Mlp, parameters: &Parameters<F>, centre: &[F], spread: &[F]) -> bool {
        let (first, second) = (&network.layers[0], &network.layers[1]);
        let (inputs, hidden, outputs) = (first.inputs, first.outputs, second.outputs);
        let weights = &parameters.packed()[first.packed..][..packed_len::<F>(inputs, hidden)];
        let bias = &parameters.flat()[first.bias..][..hidden];
        let (left, right) = (Left::rows(centre, inputs), Right::packed(weights, inputs));
        multiply(1, hidden, inputs, left, right, Finish::Bias(bias), &mut self.h[..hidden], hidden);
        let (panel, width) = (panel::<F>(), self.h.len());
        let (kept, kept_bias) = self.kept.split_at_mut(inputs * width);
        let panels = weights.chunks_exact(panel * inputs).zip(self.turned.chunks_exact_mut(panel * inputs));
        self.magnitude[..hidden].iter_mut().zip(bias).for_each(|(magnitude, b)| *magnitude = abs(*b));
        let units = self.h.chunks_exact(panel).zip(self.magnitude.chunks_exact_mut(panel));
        for ((first, (h, magnitude)), (weights, turned)) in (0..).step_by(panel).zip(units).zip(panels) {
            let rows = weights.chunks_exact(panel).zip(turned.chunks_exact_mut(panel)).zip(kept.chunks_exact_mut(width));
            for (((weights, turned), kept), (centre, spread)) in rows.zip(centre.iter().zip(spread)) {
                split(h, weights, turned, &mut kept[first..][..panel]);
                let reach = abs(*centre) + F::from_f64(SPREADS) * abs(*spread);
                magnitude.iter_mut().zip(weights).for_each(|(magnitude, w)| *magnitude += abs(*w) * reach);
            }
        }
        split(&self.h[..hidden], bias, &mut self.turned_bias, &mut kept_bias[..hidden]);
        let (left, right) = (Left::sparse_rows(&self.kept, width), Right::packed(&parameters.packed()[second.packed..], hidden));
        multiply(inputs + 1, outputs, hidden, left, right, Finish::Sums, &mut self.through, outputs);
        let (straight, constant) = self.through.split_at(inputs * outputs);
        pack_rows(straight, outputs, &mut self.straight);
        let bias = &parameters.flat()[second.bias..][..outputs];
        for ((out, constant), bias) in self.constant.iter_mut().zip(constant).zip(bias) {
            *out = *constant + *bias;
        }
        let live = self.h.iter().zip(&self.magnitude).zip(&self.lever).filter(|((h, _), _)| **h > F::ZERO);
        let moved: f64 = live.map(|((_, magnitude), lever)| magnitude.to_f64() * lever.to_f64()).sum();
        let finite = self.h.iter().chain(straight).chain(&self.constant).all(|x| x.finite());
        finite && F::EPSILON.to_f64() / 2.0 * moved <= ROUNDING
    }
}

/// Of numbers that belong to units, turned and kept ones by the sign of h.
fn split<F: Float>(h: &[F], numbers: &[F], turned: &mut [F], kept: &mut [F]) {
    for (((h, x), turned), kept) in h.iter().zip(numbers).zip(turned).zip(kept) {
        let positive = *h > F::ZERO;
        *turned = if positive { -*x } else { *x };
        *kept = if positive { *x } else { F::ZERO };
    }
}

fn abs<F: Float>(x: F) -> F {
    if x < F::ZERO { -x } else { x }
}
