//! Dense networks: matrix products, activations, and layers that go forward and back.
//!
//! Nothing here makes threads: a caller hands each thread rows of its own, and by the contract of [`matmul`] a row's results do not depend on
//! which rows came with it.

pub mod activation;
mod aligned;
pub mod around;
pub mod layer_norm;
mod live;
pub mod matmul;
pub mod mlp;
pub mod panels;
mod segment;
pub mod tangents;
mod tile;

pub use activation::{Activation, Slope};
pub use aligned::Aligned;
pub use around::Around;
pub use mlp::{Hidden, Layer, Mlp, Parameters, Trace};

use crate::float::Float;
use crate::simd::{Simd, SimdBase, ahead, ask_for};
use crate::vmath::Lanes;

/// Replaces the numbers of `state` by what `f` makes of them and of `inputs`, vector by vector; all slices have one length.
#[inline(always)]
pub(crate) fn lanewise<F: Float, S: Simd, const I: usize, const N: usize>(
    simd: S,
    inputs: [&[F]; I],
    mut state: [&mut [F]; N],
    f: impl Fn([Lanes<F, S>; I], [Lanes<F, S>; N]) -> [Lanes<F, S>; N],
) {
    let len = state[0].len();
    let inputs = inputs.map(|x| &x[..len]);
    let zero = F::Lanes::splat(simd, F::ZERO);
    let whole = len / F::LANES * F::LANES;
    for at in (0..whole).step_by(F::LANES) {
        let at = at..at + F::LANES;
        // Loops, as the closure of an array's `map` is not always inlined, and lanes then go through memory.
        let (mut x, mut old) = ([zero; I], [zero; N]);
        for (x, from) in x.iter_mut().zip(inputs) {
            ask_for(simd, from.as_ptr().wrapping_add(at.start + ahead::<F>()));
            *x = F::Lanes::from_slice(simd, &from[at.clone()]);
        }
        for (old, from) in old.iter_mut().zip(&state) {
            ask_for(simd, from.as_ptr().wrapping_add(at.start + ahead::<F>()));
            *old = F::Lanes::from_slice(simd, &from[at.clone()]);
        }
        for (s, new) in state.iter_mut().zip(f(x, old)) {
            new.store_slice(&mut s[at.clone()]);
        }
    }
    if whole < len {
        let part = |x: &[F]| F::Lanes::from_fn(simd, |l| x.get(whole + l).copied().unwrap_or_default());
        let new = f(inputs.map(part), state.each_ref().map(|s| part(s)));
        for (s, new) in state.iter_mut().zip(new) {
            s[whole..].copy_from_slice(&new.as_slice()[..len - whole]);
        }
    }
}
