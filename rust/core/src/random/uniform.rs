//! From words to numbers: uniforms, and the choice between uniforms and normals for each element type.

use super::normal;
use super::stream::Draw;
use crate::simd::{Simd, SimdFloat, SimdInt, SimdNarrow, f32x16, f64x8, u32x16, u64x8};

impl Draw for f32 {
    const VECTORS: usize = 4;

    #[inline(always)]
    fn tile<S: Simd, const NORMAL: bool>(simd: S, [a, b]: [[u64x8<S>; 4]; 2], wanted: usize) -> [f32x16<S>; 4] {
        // Written out: the closure of an array's `map` is not always inlined, and lanes then go through memory.
        let ([a, b, c, d], [e, f, g, h]) = (a, b);
        let (x, y, z, w): (u32x16<S>, u32x16<S>, u32x16<S>, u32x16<S>) = (a.narrow(e), b.narrow(f), c.narrow(g), d.narrow(h));
        if NORMAL {
            let (x, y) = normal::pair_f32(simd, x, y);
            // Short rows of many particles often end before the second pair.
            let (z, w) = if wanted > 2 { normal::pair_f32(simd, z, w) } else { (x, y) };
            [x, y, z, w]
        } else {
            [top_24(x), top_24(y), top_24(z), top_24(w)]
        }
    }
}

/// A word's top 24 bits over 2²⁴; they are below 2²⁴, where signed and unsigned conversions agree.
#[inline(always)]
fn top_24<S: Simd>(word: u32x16<S>) -> f32x16<S> {
    (word >> 8).to_float::<f32x16<S>>() * (1.0 / 16_777_216.0)
}

impl Draw for f64 {
    const VECTORS: usize = 4;

    #[inline(always)]
    fn tile<S: Simd, const NORMAL: bool>(simd: S, [first, last]: [[u64x8<S>; 4]; 2], wanted: usize) -> [f64x8<S>; 4] {
        let (x, y) = joined(first);
        let (z, w) = joined(last);
        if NORMAL {
            let (a, b) = normal::pair_f64(simd, x, y);
            let (c, d) = if wanted > 1 { normal::pair_f64(simd, z, w) } else { (a, b) };
            [a, c, b, d]
        } else {
            [top_53(simd, x), top_53(simd, z), top_53(simd, y), top_53(simd, w)]
        }
    }
}

/// The two 64-bit words of each block, even words high.
#[inline(always)]
fn joined<S: Simd>([a, b, c, d]: [u64x8<S>; 4]) -> (u64x8<S>, u64x8<S>) {
    (a << 32 | (b & 0xFFFF_FFFF), c << 32 | (d & 0xFFFF_FFFF))
}

/// A word's top 53 bits over 2⁵³.
#[inline(always)]
fn top_53<S: Simd>(simd: S, word: u64x8<S>) -> f64x8<S> {
    whole(simd, word >> 11) * (1.0 / 9_007_199_254_740_992.0)
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
