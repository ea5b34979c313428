//! How the factor B of [`matmul`](super::matmul) is packed, in panels.
//!
//! [`pack_transposed`] makes panels from rows of Bᵀ, such as a layer's weights, [`pack_rows`] from rows of B, and [`pack_both_ways`] both of these. What is packed is the same at every level.

use crate::float::Float;
use crate::rows::first_lanes;
use crate::simd::{Kernel, Select, Simd, SimdBase, dispatch, transposed};

/// Vectors of a [`panel`].
const PANEL: usize = 1;
/// Vectors of a [`strip`].
const STRIP: usize = 3;

/// Columns of a panel of B: a logical vector, at every level, so that what is packed does not depend on it. A tile of one vector reads whole cache lines of a panel one after
/// another; with wider panels it would read some of each, and half the places of the first-level cache would hold all of what it reads. A tile of four reads four panels.
#[must_use]
pub const fn panel<F: Float>() -> usize {
    PANEL * F::LANES
}

/// Rows of B that are packed together: what a thread takes of a weight gradient at a time. Whole tiles.
#[must_use]
pub const fn strip<F: Float>() -> usize {
    STRIP * F::LANES
}

/// The length of a packed B of `depth` rows and `columns` columns.
#[must_use]
pub fn packed_len<F: Float>(depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(panel::<F>()) * depth
}

/// Packs B = Wᵀ from the row-major rows of W, each of `depth` numbers; columns that fill up the last panel are 0.
pub fn pack_transposed<F: Float>(w: &[F], depth: usize, out: &mut [F]) {
    pack_both_ways(w, depth, out, None);
}

/// What [`pack_transposed`] and, where `back` is wanted, [`pack_rows`] make of the row-major rows of W, each of `depth` numbers, in one pass.
pub fn pack_both_ways<F: Float>(w: &[F], depth: usize, packed: &mut [F], back: Option<&mut [F]>) {
    if !w.is_empty() && depth > 0 {
        dispatch(BothWays { w, depth, packed, back });
    }
}

/// Takes a square of as many rows as a panel has columns at a time, one below another: what is written for the way back then lies one after another in memory.
struct BothWays<'a, F> {
    w: &'a [F],
    depth: usize,
    packed: &'a mut [F],
    back: Option<&'a mut [F]>,
}

impl<F: Float> Kernel for BothWays<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if F::LANES == 16 { self.squares::<S, 16>(simd) } else { self.squares::<S, 8>(simd) }
    }
}

impl<F: Float> BothWays<'_, F> {
    /// N is [`Float::LANES`].
    #[inline(always)]
    fn squares<S: Simd, const N: usize>(self, simd: S) {
        const { assert!(PANEL == 1, "a square has a panel's columns") };
        let Self { w, depth, packed, mut back } = self;
        let (rows, zero) = (w.len() / depth, F::Lanes::splat(simd, F::ZERO));
        let live = first_lanes::<F, S>(simd, depth % N);
        // The last numbers and 0 behind them, two of the longest vectors, for vectors that go past the array's end.
        let (kept, mut end) = (N.min(w.len()), [F::ZERO; 32]);
        end[..kept].copy_from_slice(&w[w.len() - kept..]);
        for k in (0..depth).step_by(N) {
            for first in (0..rows).step_by(N) {
                let (filled, n) = (N.min(rows - first), N.min(depth - k));
                let packed = &mut packed[first * depth + k * N..];
                // All loops are of known length, so that the square stays in registers.
                let square: [_; N] = std::array::from_fn(
                    #[inline(always)]
                    |row| {
                        if row >= filled {
                            return zero;
                        }
                        let at = (first + row) * depth + k;
                        let from = w.get(at..at + N).unwrap_or_else(|| &end[at + kept - w.len()..][..N]);
                        let lanes = F::Lanes::from_slice(simd, from);
                        if n == N { lanes } else { live.select(lanes, zero) }
                    },
                );
                if let Some(back) = &mut back {
                    put_rows(&square, filled, &mut back[k * rows + first * N..]);
                }
                put_rows(&transposed(square), n, packed);
            }
        }
    }
}

/// Stores the first `rows` of N vectors of N numbers.
#[inline(always)]
fn put_rows<F: Float, S: Simd, V: SimdBase<S, Element = F>, const N: usize>(square: &[V; N], rows: usize, out: &mut [F]) {
    let out = &mut out[..rows * N];
    for (i, lanes) in square.iter().enumerate() {
        if i < rows {
            lanes.store_slice(&mut out[i * N..(i + 1) * N]);
        }
    }
}

/// Packs a B of row-major rows of `width` numbers; columns that fill up the last panel are 0. `out` may be longer than that takes.
pub fn pack_rows<F: Float>(x: &[F], width: usize, out: &mut [F]) {
    if !x.is_empty() {
        dispatch(Pack { x, width, out });
    }
}

/// Packs rows in panels, four at a time: what is read of a row is then some cache lines, and what is written to each panel follows on what was.
struct Pack<'a, F> {
    x: &'a [F],
    width: usize,
    out: &'a mut [F],
}

impl<F: Float> Kernel for Pack<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        const { assert!(PANEL == 1, "a panel is a vector") };
        let Self { x, width, out } = self;
        let depth = x.len() / width;
        let columns = 4 * F::LANES;
        for (first, out) in (0..width).step_by(columns).zip(out.chunks_mut(columns * depth)) {
            let filled = (width - first).min(columns).div_ceil(F::LANES);
            for (k, x) in x.chunks_exact(width).enumerate() {
                let vectors = x[first..width.min(first + columns)].chunks_exact(F::LANES);
                let (whole, rest) = (vectors.len(), vectors.remainder());
                for (v, x) in vectors.enumerate() {
                    F::Lanes::from_slice(simd, x).store_slice(&mut out[(v * depth + k) * F::LANES..][..F::LANES]);
                }
                if whole < filled {
                    let out = &mut out[(whole * depth + k) * F::LANES..][..F::LANES];
                    out[..rest.len()].copy_from_slice(rest);
                    out[rest.len()..].fill(F::ZERO);
                }
            }
        }
    }
}
