//! What the kernels of counts share: which cells are counts.

use super::cells::seen;
use crate::float::Float;
use crate::rows::Mask;
use crate::simd::{Select, Simd, SimdBase, SimdFloat};
use crate::vmath::Lanes;

/// ½ ln 2π.
pub(super) const LN_2PI_HALF: f64 = 0.918_938_533_204_672_7;

/// The cells of counts: x where it is one, else 0.
pub(super) struct Counts<F: Float, S: Simd> {
    pub(super) x: Lanes<F, S>,
    pub(super) seen: Mask<F, S>,
    /// Whole numbers from 0 on.
    pub(super) inside: Mask<F, S>,
}

impl<F: Float, S: Simd> Counts<F, S> {
    #[inline(always)]
    pub(super) fn new(simd: S, x: Lanes<F, S>) -> Self {
        let seen = seen::<F, S>(x);
        let inside = x.simd_ge(F::ZERO) & x.simd_le(F::MAX) & x.simd_eq(x.floor());
        Self { x: inside.select(x, F::Lanes::splat(simd, F::ZERO)), seen, inside }
    }
}
