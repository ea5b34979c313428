//! What the kernels of counts share: which cells are counts.

use crate::rows::Mask;
use crate::simd::{Select, Simd, SimdBase, SimdFloat, f64x8};

/// ½ ln 2π.
pub(super) const LN_2PI_HALF: f64 = 0.918_938_533_204_672_7;

/// The cells of counts: x where it is one, else 0.
pub(super) struct Counts<S: Simd> {
    pub(super) x: f64x8<S>,
    pub(super) seen: Mask<f64, S>,
    /// Whole numbers from 0 on.
    pub(super) inside: Mask<f64, S>,
}

impl<S: Simd> Counts<S> {
    #[inline(always)]
    pub(super) fn new(simd: S, x: f64x8<S>) -> Self {
        let seen = !x.is_nan();
        let inside = x.simd_ge(0.0) & x.simd_le(f64::MAX) & x.simd_eq(x.floor());
        Self { x: inside.select(x, f64x8::splat(simd, 0.0)), seen, inside }
    }
}
