//! The loop over a draw's tiles, shared by everything that draws: it hands out lanes of numbers in the stream's order.

use super::{Key, Purpose, philox};
use crate::float::Float;
use crate::simd::{Simd, SimdBase, SimdFloat, not_unrolled, u64x8};
use crate::vmath::Lanes;

/// Where draws go: `at` counts from the first number asked for.
pub(crate) trait Sink<F: Float, S: Simd> {
    /// A whole vector of draws, for places `at … at + LANES`.
    fn full(&mut self, simd: S, at: usize, draws: F::Lanes<S>);
    /// The part of a vector that was asked for, at either end of the stream.
    fn part(&mut self, simd: S, at: usize, draws: &[F]);
}

/// The words of a vector of numbers.
pub(super) type Words<F, S> = <Lanes<F, S> as SimdFloat<S>>::Bits;

/// From words to numbers, in parts.
pub trait Draw: Float {
    /// The vectors of a tile that share their work as normals: r cos θ and r sin θ, r from the words of the first and θ from those of the other.
    const PAIRS: [[usize; 2]; 2];
    /// The words of the tile's vectors, in the order of its numbers.
    fn words<S: Simd>(tile: [[u64x8<S>; 4]; 2]) -> [Words<Self, S>; VECTORS];
    /// r of a pair of normals.
    fn radius<S: Simd>(simd: S, words: Words<Self, S>) -> Lanes<Self, S>;
    /// (r cos θ, r sin θ).
    fn point<S: Simd>(simd: S, r: Lanes<Self, S>, words: Words<Self, S>) -> (Lanes<Self, S>, Lanes<Self, S>);
    /// Uniforms in [0, 1).
    fn uniform<S: Simd>(simd: S, words: Words<Self, S>) -> Lanes<Self, S>;
}

/// Vectors in a tile of sixteen blocks.
pub(super) const VECTORS: usize = 4;

/// Tiles that go through each part of the work before the next: the parts' chains are short, so that a processor finds work that does not wait.
const TURN: usize = 4;

/// What the parts of the work hand on; made once for many short streams.
pub(crate) struct Parts<F: Float, S: Simd> {
    words: [[Words<F, S>; VECTORS]; TURN],
    numbers: [[F::Lanes<S>; VECTORS]; TURN],
}

impl<F: Float, S: Simd> Parts<F, S> {
    #[inline(always)]
    pub(crate) fn new(simd: S) -> Self {
        let zero = F::Lanes::splat(simd, F::ZERO);
        Self { words: [[zero.to_bits(); VECTORS]; TURN], numbers: [[zero; VECTORS]; TURN] }
    }
}

/// Hands numbers `start … start + len` of the stream to `sink`.
#[inline(always)]
pub(crate) fn stream<F: Float + Draw, S: Simd, K: Sink<F, S>, const NORMAL: bool>(
    simd: S,
    key: Key,
    particle: u32,
    start: u64,
    len: usize,
    parts: &mut Parts<F, S>,
    sink: &mut K,
) {
    let purpose = if NORMAL { Purpose::Normal } else { Purpose::Uniform } as u32;
    let tile_len = VECTORS * F::LANES;
    // Places are counted from the start of the first tile, so that a stream may run past number 2⁶⁴ − 1 to number 0.
    let start_at = (start % tile_len as u64) as usize;
    let end_at = start_at + len;
    let mut tile = start / tile_len as u64;
    let (words, numbers) = (not_unrolled(&mut parts.words), not_unrolled(&mut parts.numbers));
    for turn_at in (0..end_at).step_by(TURN * tile_len) {
        let tiles = TURN.min((end_at - turn_at).div_ceil(tile_len));
        for words in words.iter_mut().take(tiles) {
            *words = F::words(philox::tile(simd, key.0, tile, particle, purpose));
            tile = (tile + 1) & (u64::MAX / tile_len as u64);
        }
        if NORMAL {
            // Short rows of many particles often end before the second pair.
            let pairs = |t: usize| F::PAIRS.into_iter().filter(move |[x, _]| turn_at + t * tile_len + x * F::LANES < end_at);
            for (t, (numbers, words)) in numbers.iter_mut().zip(&*words).enumerate().take(tiles) {
                for [x, _] in pairs(t) {
                    numbers[x] = F::radius(simd, words[x]);
                }
            }
            for (t, (numbers, words)) in numbers.iter_mut().zip(&*words).enumerate().take(tiles) {
                for [x, y] in pairs(t) {
                    (numbers[x], numbers[y]) = F::point(simd, numbers[x], words[y]);
                }
            }
        } else {
            for (numbers, words) in numbers.iter_mut().zip(&*words).take(tiles) {
                for (number, &words) in numbers.iter_mut().zip(words) {
                    *number = F::uniform(simd, words);
                }
            }
        }
        for (t, vectors) in numbers.iter().enumerate().take(tiles) {
            for (v, &draws) in vectors.iter().enumerate() {
                let first = turn_at + t * tile_len + v * F::LANES;
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
        }
    }
}
