//! Log weights read column by column: eight batch rows side by side, particle after particle.

use std::ops::Range;

use crate::float::Float;
use crate::simd::{Select, Simd, SimdBase, SimdFloat, f64x8};
use crate::threads::{RowsMut, for_rows};

/// Batch rows that run side by side.
pub(super) const COLUMNS: usize = 8;

/// Writes each batch row's value and, where asked for, its standard error, as `body` gives them by lane: a lane's result depends on its column
/// alone. `body` is told whether errors are wanted.
pub(super) fn for_columns<F: Float>(
    log_weights: &[F],
    out: &mut [F],
    error: Option<&mut [F]>,
    body: impl Fn(Columns<F>, bool) -> [[f64; COLUMNS]; 2] + Sync,
) {
    /// Nanoseconds of a weight.
    const WORK: usize = 4;
    let batch = out.len();
    let particles = log_weights.len().checked_div(batch).unwrap_or(0);
    let outputs = (RowsMut::new(out, 1), error.map(|error| RowsMut::new(error, 1)));
    for_rows(batch, WORK * particles, outputs, &|rows: Range<usize>, (out, mut error): (RowsMut<F>, Option<RowsMut<F>>)| {
        for (group, out) in out.data.chunks_mut(COLUMNS).enumerate() {
            let columns = Columns { log_weights, batch, first: rows.start + group * COLUMNS, count: out.len() };
            let [values, errors] = body(columns, error.is_some());
            let write = |out: &mut [F], from: [f64; COLUMNS]| out.iter_mut().zip(from).for_each(|(o, x)| *o = F::from_f64(x));
            write(out, values);
            if let Some(error) = &mut error {
                write(&mut error.data[group * COLUMNS..][..out.len()], errors);
            }
        }
    });
}

/// Up to [`COLUMNS`] batch rows of log weights (particles, batch).
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, F> {
    log_weights: &'a [F],
    batch: usize,
    first: usize,
    count: usize,
}

impl<F: Float> Columns<'_, F> {
    /// The weights, particle after particle; lanes past the batch hold 0.
    #[inline(always)]
    pub(super) fn particles<S: Simd>(&self, simd: S) -> impl Iterator<Item = f64x8<S>> {
        self.log_weights.chunks_exact(self.batch).map(
            #[inline(always)]
            move |row| {
                let row = &row[self.first..self.first + self.count];
                if row.len() == COLUMNS {
                    F::widened(simd, row)
                } else {
                    f64x8::from_fn(simd, |l| row.get(l).map_or(0.0, |w| w.to_f64()))
                }
            },
        )
    }

    /// The largest log weight of each column; 0 where every weight is 0, so that w − shift is −∞ and not NaN.
    #[inline(always)]
    pub(super) fn largest<S: Simd>(&self, simd: S) -> f64x8<S> {
        let mut largest = f64x8::splat(simd, f64::NEG_INFINITY);
        for w in self.particles(simd) {
            largest = w.simd_gt(largest).select(w, largest);
        }
        largest.is_finite().select(largest, f64x8::splat(simd, 0.0))
    }

    /// The smallest log weight of each column; 0 where a weight is 0.
    #[inline(always)]
    pub(super) fn smallest<S: Simd>(&self, simd: S) -> f64x8<S> {
        let mut smallest = f64x8::splat(simd, f64::INFINITY);
        for w in self.particles(simd) {
            smallest = w.simd_lt(smallest).select(w, smallest);
        }
        smallest.is_finite().select(smallest, f64x8::splat(simd, 0.0))
    }
}
