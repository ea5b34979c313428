//! From words to numbers: uniforms, and the choice between uniforms and normals for each element type.

use super::normal;
use super::stream::{Draw, VECTORS};
use crate::simd::{Bytes, Simd, SimdBase, SimdFloat, SimdInt, f32x16, f64x8, u32x16, u64x8};

impl Draw for f32 {
    const PAIRS: [[usize; 2]; 2] = [[0, 1], [2, 3]];

    #[inline(always)]
    fn words<S: Simd>([[a, b, c, d], [e, f, g, h]]: [[u64x8<S>; 4]; 2]) -> [u32x16<S>; VECTORS] {
        // Written out: the closure of an array's `map` is not always inlined, and lanes then go through memory.
        [low_words(a, e), low_words(b, f), low_words(c, g), low_words(d, h)]
    }

    #[inline(always)]
    fn radius<S: Simd>(simd: S, words: u32x16<S>) -> f32x16<S> {
        normal::radius_f32(simd, words)
    }

    #[inline(always)]
    fn point<S: Simd>(simd: S, r: f32x16<S>, words: u32x16<S>) -> (f32x16<S>, f32x16<S>) {
        normal::point_f32(simd, r, words)
    }

    /// A word's top 24 bits over 2²⁴; they are below 2²⁴, where signed and unsigned conversions agree.
    #[inline(always)]
    fn uniform<S: Simd>(_simd: S, words: u32x16<S>) -> f32x16<S> {
        (words >> 8).to_float::<f32x16<S>>() * (1.0 / 16_777_216.0)
    }
}

/// The low halves of sixteen lanes, by one shuffle where a conversion takes several instructions.
#[inline(always)]
fn low_words<S: Simd>(a: u64x8<S>, b: u64x8<S>) -> u32x16<S> {
    let (a, b): (u32x16<S>, u32x16<S>) = (a.bitcast(), b.bitcast());
    a.unzip_low(b)
}

impl Draw for f64 {
    const PAIRS: [[usize; 2]; 2] = [[0, 2], [1, 3]];

    #[inline(always)]
    fn words<S: Simd>([first, last]: [[u64x8<S>; 4]; 2]) -> [u64x8<S>; VECTORS] {
        let ((x, y), (z, w)) = (joined(first), joined(last));
        [x, z, y, w]
    }

    #[inline(always)]
    fn radius<S: Simd>(simd: S, words: u64x8<S>) -> f64x8<S> {
        normal::radius_f64(simd, words)
    }

    #[inline(always)]
    fn point<S: Simd>(simd: S, r: f64x8<S>, words: u64x8<S>) -> (f64x8<S>, f64x8<S>) {
        normal::point_f64(simd, r, words)
    }

    /// A word's top 53 bits over 2⁵³.
    #[inline(always)]
    fn uniform<S: Simd>(simd: S, words: u64x8<S>) -> f64x8<S> {
        whole(simd, words >> 11) * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// The two 64-bit words of each block, even words high.
#[inline(always)]
fn joined<S: Simd>([a, b, c, d]: [u64x8<S>; 4]) -> (u64x8<S>, u64x8<S>) {
    (a << 32 | (b & 0xFFFF_FFFF), c << 32 | (d & 0xFFFF_FFFF))
}

/// Whole numbers as float64, rounded once: 2⁵² and 2⁸⁴ hold the low and high words in their last bits, which any processor adds exactly.
#[inline(always)]
pub(super) fn whole<S: Simd>(_simd: S, x: u64x8<S>) -> f64x8<S> {
    const LOW: u64 = 0x4330_0000_0000_0000;
    const HIGH: u64 = 0x4530_0000_0000_0000;
    let low = f64x8::from_bits((x & 0xFFFF_FFFF) | LOW);
    let high = f64x8::from_bits((x >> 32) | HIGH);
    (high - (f64::from_bits(HIGH) + f64::from_bits(LOW))) + low
}
