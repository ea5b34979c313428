//! The loop over a draw's tiles, shared by everything that draws: it hands out lanes of numbers in the stream's order.

use super::{Key, Purpose, philox};
use crate::float::Float;
use crate::simd::{Simd, SimdBase};

/// Where draws go: `at` counts from the first number asked for.
pub(crate) trait Sink<F: Float, S: Simd> {
    /// A whole vector of draws, for places `at … at + LANES`.
    fn full(&mut self, simd: S, at: usize, draws: F::Lanes<S>);
    /// The part of a vector that was asked for, at either end of the stream.
    fn part(&mut self, simd: S, at: usize, draws: &[F]);
}

/// Turns the words of eight blocks or sixteen into lanes of numbers.
pub trait Draw: Float {
    /// Vectors in a tile of sixteen blocks.
    const VECTORS: usize;
    /// The vectors of a tile, as normals or as uniforms in [0, 1), of which the first `wanted` are looked at. Normals share their work in pairs.
    fn tile<S: Simd, const NORMAL: bool>(simd: S, words: [[crate::simd::u64x8<S>; 4]; 2], wanted: usize) -> [Self::Lanes<S>; 4];
}

/// Hands numbers `start … start + len` of the stream to `sink`.
#[inline(always)]
pub(crate) fn stream<F: Float + Draw, S: Simd, K: Sink<F, S>, const NORMAL: bool>(
    simd: S,
    key: Key,
    particle: u32,
    start: u64,
    len: usize,
    sink: &mut K,
) {
    let purpose = if NORMAL { Purpose::Normal } else { Purpose::Uniform } as u32;
    let tile_len = F::VECTORS * F::LANES;
    // Places are counted from the start of the first tile, so that a stream may run past number 2⁶⁴ − 1 to number 0.
    let start_at = (start % tile_len as u64) as usize;
    let end_at = start_at + len;
    let mut tile = start / tile_len as u64;
    for tile_at in (0..end_at).step_by(tile_len) {
        let wanted = (end_at - tile_at).div_ceil(F::LANES);
        let vectors = F::tile::<S, NORMAL>(simd, philox::tile(simd, key.0, tile, particle, purpose), wanted);
        for (v, &draws) in vectors.iter().take(F::VECTORS).enumerate() {
            let first = tile_at + v * F::LANES;
            if first >= start_at && first + F::LANES <= end_at {
                sink.full(simd, first - start_at, draws);
            } else {
                let from = start_at.clamp(first, first + F::LANES);
                let to = end_at.clamp(first, first + F::LANES);
                if from < to {
                    sink.part(simd, from - start_at, &draws.as_slice()[from - first..to - first]);
                }
            }
        }
        tile = (tile + 1) & (u64::MAX / tile_len as u64);
    }
}
