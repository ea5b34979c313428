//! Many rows around one input, the centre, through a network whose first hidden layer is just relu's: by what differs from the centre.
//!
//! Of h = W x + b, relu(h) is s ⊙ h + r: s is 1 where h is positive at the centre and 0 elsewhere, and r is relu(−h) there and relu(h) elsewhere, which is 0 wherever h has the sign that
//! it has at the centre. The second layer V relu(h) + c is then (V s W) x + (V s b + c) + V r: a product as narrow as the input, and one of far fewer columns that are not 0. Of draws from a
//! digit's posterior, 55 % of relu's units are live, in tiles of six draws 65 %; 6 % are not as at the centre, in tiles 19 %.
//!
//! Rounding is that of other sums of the same numbers: a layer's error stays within its width's ulps of Σ |V| (|W| |x| + |b|).

use super::matmul::{Finish, Left, Right, multiply};
use super::mlp::{Mlp, Parameters};
use super::panels::{pack_rows, packed_len, panel};
use super::{Activation, Aligned};
use crate::float::Float;

/// Inputs at most, as a part of the first hidden layer's width: with more, V s W costs what sparseness saves.
const NARROW: usize = 4;

/// A network's first two layers, as seen from a centre.
#[derive(Clone, Debug)]
pub struct Around<F> {
    /// W, packed, and b, by −1 where h is positive at the centre: relu makes r of what comes out.
    pub(super) turned: Aligned<F>,
    pub(super) turned_bias: Vec<F>,
    /// V s W, packed, and V s b + c.
    pub(super) straight: Aligned<F>,
    pub(super) constant: Vec<F>,
    /// h at the centre, and 0 up to a whole panel.
    h: Vec<F>,
    /// (s W)ᵀ and behind it s b, in rows of whole panels.
    kept: Aligned<F>,
    /// The product of those with Vᵀ.
    through: Vec<F>,
}

impl<F: Float> Around<F> {
    /// Room for a network that can be seen so, where that pays: its first hidden layer is relu's alone, and wide beside its input.
    #[must_use]
    pub fn new(network: &Mlp) -> Option<Self> {
        let [first, second, ..] = &network.layers[..] else { return None };
        let linear = first.norm.is_none() && !first.residual && !second.residual && network.activation == Activation::Relu;
        if !linear || first.outputs < NARROW * first.inputs {
            return None;
        }
        let (inputs, hidden, outputs) = (first.inputs, first.outputs, second.outputs);
        let width = hidden.next_multiple_of(panel::<F>());
        Some(Self {
            turned: Aligned::zeros(packed_len::<F>(inputs, hidden)),
            turned_bias: vec![F::ZERO; hidden],
            straight: Aligned::zeros(packed_len::<F>(inputs, outputs)),
            constant: vec![F::ZERO; outputs],
            h: vec![F::ZERO; width],
            kept: Aligned::zeros((inputs + 1) * width),
            through: vec![F::ZERO; (inputs + 1) * outputs],
        })
    }

    /// Looks at the network, which is the one this was made for, from a centre. False where numbers leave the range on the way: nothing can be seen from there.
    pub fn set_centre(&mut self, network: &Mlp, parameters: &Parameters<F>, centre: &[F]) -> bool {
        let (first, second) = (&network.layers[0], &network.layers[1]);
        let (inputs, hidden, outputs) = (first.inputs, first.outputs, second.outputs);
        let weights = &parameters.packed()[first.packed..][..packed_len::<F>(inputs, hidden)];
        let bias = &parameters.flat()[first.bias..][..hidden];
        let (left, right) = (Left::rows(centre, inputs), Right::packed(weights, inputs));
        multiply(1, hidden, inputs, left, right, Finish::Bias(bias), &mut self.h[..hidden], hidden);
        let (panel, width) = (panel::<F>(), self.h.len());
        let (kept, kept_bias) = self.kept.split_at_mut(inputs * width);
        let panels = weights.chunks_exact(panel * inputs).zip(self.turned.chunks_exact_mut(panel * inputs));
        for ((first, h), (weights, turned)) in (0..).step_by(panel).zip(self.h.chunks_exact(panel)).zip(panels) {
            let rows = weights.chunks_exact(panel).zip(turned.chunks_exact_mut(panel)).zip(kept.chunks_exact_mut(width));
            for ((weights, turned), kept) in rows {
                split(h, weights, turned, &mut kept[first..][..panel]);
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
        self.h.iter().chain(straight).chain(&self.constant).all(|x| x.finite())
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
