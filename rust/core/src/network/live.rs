//! The columns of a sparse A that are not 0 in all rows of a tile, tile by tile: what [`Left::sparse_rows`](super::matmul::Left::sparse_rows) lets a product leave out.

use super::matmul::DEPTH;
use super::segment::{HIGHEST, Segment};
use crate::float::Float;
use crate::simd::{Simd, SimdBase, SimdFloat, SimdMask};

/// Tiles, one below another, whose columns are found before any of them is made: B is read once for all of them.
const TILES: usize = 8;
/// Columns that are looked up together.
const BYTE: usize = 8;

/// Live columns in ascending order.
pub(super) struct Live {
    columns: [[u16; DEPTH + BYTE]; TILES],
    counts: [usize; TILES],
}

impl Live {
    pub(super) fn new() -> Self {
        Self { columns: [[0; DEPTH + BYTE]; TILES], counts: [0; TILES] }
    }

    /// Finds those of tiles of [`HIGHEST`] rows from row `first` on, as many as `left` rows have, or some of them; returns the rows of those, 0 where no more such tiles fit.
    ///
    /// # Safety
    /// The segment must have been made for these rows, with A by rows.
    #[inline(never)]
    pub(super) unsafe fn find<F: Float, S: Simd>(&mut self, simd: S, s: &Segment<F>, first: usize, left: usize) -> usize {
        let tiles = (left / HIGHEST).min(TILES);
        simd.vectorize(
            #[inline(always)]
            || {
                for (t, (columns, count)) in self.columns.iter_mut().zip(&mut self.counts).take(tiles).enumerate() {
                    // SAFETY: the caller's promise.
                    let rows: [&[F]; HIGHEST] = std::array::from_fn(|i| unsafe { s.row(first + t * HIGHEST + i) });
                    *count = live_columns(simd, rows, columns);
                }
            },
        );
        tiles * HIGHEST
    }

    /// Of tile `tile` of those found.
    #[inline(always)]
    pub(super) fn of_tile(&self, tile: usize) -> &[u16] {
        &self.columns[tile][..self.counts[tile]]
    }
}

/// Those of a tile of these rows, into `columns`; returns their number.
#[inline(always)]
fn live_columns<F: Float, S: Simd>(simd: S, rows: [&[F]; HIGHEST], columns: &mut [u16; DEPTH + BYTE]) -> usize {
    let depth = rows[0].len().min(DEPTH);
    let rows = rows.map(|row| &row[..depth]);
    let whole = depth / F::LANES * F::LANES;
    let mut count = 0;
    for k in (0..whole).step_by(F::LANES) {
        // Of numbers that are all 0, of either sign, the bits together are 0 too, and of no others.
        let mut bits = F::Lanes::splat(simd, F::ZERO).to_bits();
        for row in rows {
            bits |= F::Lanes::from_slice(simd, &row[k..k + F::LANES]).to_bits();
        }
        let live = !F::Lanes::from_bits(bits).simd_eq(F::ZERO).to_bitmask();
        for byte in 0..F::LANES / BYTE {
            let set = (live >> (byte * BYTE)) as u8;
            // Eight are written whatever their number, and the next ones over those too many.
            for (column, place) in columns[count..][..BYTE].iter_mut().zip(PLACES[usize::from(set)]) {
                *column = (k + byte * BYTE) as u16 + place;
            }
            count += set.count_ones() as usize;
        }
    }
    for k in whole..depth {
        columns[count] = k as u16;
        count += usize::from(rows.iter().any(|row| row[k] != F::ZERO));
    }
    count
}

/// Where the bits of a byte that are set stand, in ascending order.
const PLACES: [[u16; BYTE]; 256] = {
    let mut table = [[0; BYTE]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut count) = (0, 0);
        while bit < BYTE {
            if byte >> bit & 1 == 1 {
                table[byte][count] = bit as u16;
                count += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};
