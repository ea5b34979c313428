//! How the factors of [`matmul`](super::matmul) are packed: B in panels, the transpose of A in strips.
//!
//! [`pack_transposed`] makes panels from rows of Bᵀ, such as a layer's weights, [`pack_rows`] from rows of B, and [`pack_strips`] strips from rows of Aᵀ. What is packed is the same at every level.

use crate::float::Float;
use crate::simd::{Kernel, Simd, SimdBase, dispatch};

/// Columns of a panel of B: a logical vector, at every level, so that what is packed does not depend on it. A tile of one vector reads whole cache lines of a panel one after
/// another; with wider panels it would read some of each, and half the places of the first-level cache would hold all of what it reads.
#[must_use]
pub const fn panel<F: Float>() -> usize {
    F::LANES
}

/// Columns of a strip of Aᵀ, or rows of B that are packed together: what a thread takes of a weight gradient at a time.
#[must_use]
pub const fn strip<F: Float>() -> usize {
    2 * F::LANES
}

/// The length of a packed B of `depth` rows and `columns` columns.
#[must_use]
pub fn packed_len<F: Float>(depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(panel::<F>()) * depth
}

/// The length of an Aᵀ of `depth` rows and `columns` columns in strips.
#[must_use]
pub fn strips_len<F: Float>(depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(strip::<F>()) * depth
}

/// Packs B = Wᵀ from the row-major rows of W, each of `depth` numbers; columns that fill up the last panel are 0.
pub fn pack_transposed<F: Float>(w: &[F], depth: usize, out: &mut [F]) {
    /// A cache line of float32: each line of W is read once.
    const BLOCK: usize = 16;
    let width = panel::<F>();
    if depth == 0 {
        return;
    }
    for (rows, out) in w.chunks(width * depth).zip(out.chunks_exact_mut(width * depth)) {
        if rows.len() < out.len() {
            out.fill(F::ZERO);
        }
        for (block, out) in out.chunks_mut(BLOCK * width).enumerate() {
            for (column, row) in rows.chunks_exact(depth).enumerate() {
                for (x, out) in row[block * BLOCK..].iter().zip(out.chunks_exact_mut(width)) {
                    out[column] = *x;
                }
            }
        }
    }
}

/// Packs a B of row-major rows of `width` numbers; columns that fill up the last panel are 0. `out` may be longer than that takes.
pub fn pack_rows<F: Float>(x: &[F], width: usize, out: &mut [F]) {
    if !x.is_empty() {
        dispatch(Pack { x, width, panel: panel::<F>(), out });
    }
}

/// Packs an Aᵀ of row-major rows of `width` numbers in strips; columns that fill up the last strip are 0. `out` may be longer than that takes.
pub fn pack_strips<F: Float>(x: &[F], width: usize, out: &mut [F]) {
    if !x.is_empty() {
        dispatch(Pack { x, width, panel: strip::<F>(), out });
    }
}

struct Pack<'a, F> {
    x: &'a [F],
    width: usize,
    panel: usize,
    out: &'a mut [F],
}

impl<F: Float> Kernel for Pack<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, width, panel, out } = self;
        let depth = x.len() / width;
        for (first, out) in (0..width).step_by(panel).zip(out.chunks_exact_mut(panel * depth)) {
            let columns = panel.min(width - first);
            let whole = columns / F::LANES * F::LANES;
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(panel)) {
                let x = &x[first..first + columns];
                for (x, out) in x.chunks_exact(F::LANES).zip(out.chunks_exact_mut(F::LANES)) {
                    F::Lanes::from_slice(simd, x).store_slice(out);
                }
                for (lane, out) in out[whole..].iter_mut().enumerate() {
                    *out = x.get(whole + lane).copied().unwrap_or(F::ZERO);
                }
            }
        }
    }
}
