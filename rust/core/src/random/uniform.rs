//! From words to numbers: uniforms, and the choice between uniforms and normals for each element type.

use super::normal;
use super::stream::Draw;
use crate::simd::{Simd, SimdFloat, SimdInt, SimdNarrow, f32x16, f64x8, u32x16, u64x8};

impl Draw for f32 {
    const VECTORS: usize = 4;

    #[inline(always)]
    fn tile<S: Simd, const NORMAL: bool>(simd: S, [a, b]: [[u64x8<S>; 4]; 2]) -> [f32x16<S>; 4] {
        let words: [u32x16<S>; 4] = std::array::from_fn(|w| a[w].narrow(b[w]));
        if NORMAL {
            let (x, y) = normal::pair_f32(simd, words[0], words[1]);
            let (z, w) = normal::pair_f32(simd, words[2], words[3]);
            [x, y, z, w]
        } else {
            // A word's top 24 bits are below 2²⁴, where signed and unsigned conversions agree.
            words.map(|w| (w >> 8).to_float::<f32x16<S>>() * (1.0 / 16_777_216.0))
        }
    }
}

impl Draw for f64 {
    const VECTORS: usize = 4;

    #[inline(always)]
    fn tile<S: Simd, const NORMAL: bool>(simd: S, halves: [[u64x8<S>; 4]; 2]) -> [f64x8<S>; 4] {
        let joined = halves.map(|[a, b, c, d]| [a << 32 | (b & 0xFFFF_FFFF), c << 32 | (d & 0xFFFF_FFFF)]);
        if NORMAL {
            let [(a, b), (c, d)] = joined.map(|[x, y]| normal::pair_f64(simd, x, y));
            [a, c, b, d]
        } else {
            let [[a, b], [c, d]] = joined.map(|pair| pair.map(|x| whole(simd, x >> 11) * (1.0 / 9_007_199_254_740_992.0)));
            [a, c, b, d]
        }
    }
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
