//! Log weights read column by column: eight batch rows side by side, particle after particle.

use crate::float::Float;
use crate::simd::{Select, Simd, SimdBase, SimdFloat, f64x8};

/// Batch rows that run side by side.
pub(super) const COLUMNS: usize = 8;

/// Up to [`COLUMNS`] batch rows of log weights (particles, batch).
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, F> {
    log_weights: &'a [F],
    batch: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

impl<'a, F: Float> Columns<'a, F> {
    /// All batch rows, in groups.
    pub(super) fn groups(log_weights: &'a [F], batch: usize) -> impl Iterator<Item = Self> {
        (0..batch).step_by(COLUMNS).map(move |first| Self { log_weights, batch, first, count: COLUMNS.min(batch - first) })
    }

    /// The weights, particle after particle; lanes past the batch hold 0.
    #[inline(always)]
    pub(super) fn particles<S: Simd>(self, simd: S) -> impl Iterator<Item = f64x8<S>> {
        self.log_weights.chunks_exact(self.batch).map(
            #[inline(always)]
            move |row| {
                let row = &row[self.first..self.first + self.count];
                f64x8::from_fn(simd, |l| row.get(l).map_or(0.0, |w| w.to_f64()))
            },
        )
    }

    /// The largest log weight of each column; 0 where every weight is 0, so that w − shift is −∞ and not NaN.
    #[inline(always)]
    pub(super) fn largest<S: Simd>(self, simd: S) -> f64x8<S> {
        let mut largest = f64x8::splat(simd, f64::NEG_INFINITY);
        for w in self.particles(simd) {
            largest = w.simd_gt(largest).select(w, largest);
        }
        largest.is_finite().select(largest, f64x8::splat(simd, 0.0))
    }

    /// The smallest log weight of each column; 0 where a weight is 0.
    #[inline(always)]
    pub(super) fn smallest<S: Simd>(self, simd: S) -> f64x8<S> {
        let mut smallest = f64x8::splat(simd, f64::INFINITY);
        for w in self.particles(simd) {
            smallest = w.simd_lt(smallest).select(w, smallest);
        }
        smallest.is_finite().select(smallest, f64x8::splat(simd, 0.0))
    }
}
