//! Box and Muller's transform of a pair of words into a pair of standard normals (Box and Muller 1958), on lanes.

use super::uniform::whole;
use crate::simd::{Bytes, Fused, Select, Simd, SimdBase, SimdFloat, SimdInt, f32x16, f64x8, u32x16, u64x8};
use crate::vmath::{Elementary, cos_sin_turn, ln_reduced};

/// √½ of the words' range: from here on ln is taken of 1 − (the distance to the top), which keeps all bits of the word.
const TOP_32: u32 = 0xB504_F334;
const TOP_64: u64 = 0xB504_F333_F9DE_6485;

/// r of 32-bit words.
#[inline(always)]
pub(super) fn radius_f32<S: Simd>(simd: S, x: u32x16<S>) -> f32x16<S> {
    const SCALE: f32 = 1.0 / 4_294_967_296.0;
    let top = x.simd_ge(TOP_32);
    let distance = top.select(!x, x).to_float::<f32x16<S>>().fma(SCALE, 0.5 * SCALE);
    let (m, e) = f32::split_exponent_normal(simd, distance);
    let f = top.select(-distance, m - 1.0);
    let e = top.select(f32x16::splat(simd, 0.0), e);
    (ln_reduced::<f32, S>(simd, f, e) * -2.0).sqrt()
}

/// (r cos θ, r sin θ) of 32-bit words.
#[inline(always)]
pub(super) fn point_f32<S: Simd>(simd: S, r: f32x16<S>, y: u32x16<S>) -> (f32x16<S>, f32x16<S>) {
    // The nearest quarter turn, and the signed rest of at most an eighth.
    let quarter = (y + (1 << 29)) >> 30;
    let rest: fearless_simd::i32x16<S> = (y - (quarter << 30)).bitcast();
    let (cos, sin) = cos_sin_turn::<f32, S>(simd, rest.to_float::<f32x16<S>>() * (1.0 / 4_294_967_296.0));
    let odd = (quarter & 1).simd_eq(1);
    let (c, s) = (odd.select(sin, cos), odd.select(cos, sin));
    // cos changes sign in quarters 1 and 2, sin in 2 and 3.
    let c = f32x16::from_bits(c.to_bits() ^ (((quarter + 1) & 2) << 30));
    let s = f32x16::from_bits(s.to_bits() ^ ((quarter & 2) << 30));
    (r * c, r * s)
}

/// 2⁻⁶⁴.
const SCALE_64: f64 = 1.0 / 18_446_744_073_709_551_616.0;

/// r of 64-bit words.
#[inline(always)]
pub(super) fn radius_f64<S: Simd>(simd: S, x: u64x8<S>) -> f64x8<S> {
    let top = x.simd_ge(TOP_64);
    let distance = whole(simd, top.select(!x, x)).fma(SCALE_64, 0.5 * SCALE_64);
    let (m, e) = f64::split_exponent_normal(simd, distance);
    let f = top.select(-distance, m - 1.0);
    let e = top.select(f64x8::splat(simd, 0.0), e);
    (ln_reduced::<f64, S>(simd, f, e) * -2.0).sqrt()
}

/// (r cos θ, r sin θ) of 64-bit words.
#[inline(always)]
pub(super) fn point_f64<S: Simd>(simd: S, r: f64x8<S>, y: u64x8<S>) -> (f64x8<S>, f64x8<S>) {
    let quarter = (y + (1 << 61)) >> 62;
    // Adding an eighth of a turn makes the rest unsigned, so that the conversion needs no sign.
    let rest = whole(simd, y - (quarter << 62) + (1 << 61)) - (1_u64 << 61) as f64;
    let (cos, sin) = cos_sin_turn::<f64, S>(simd, rest * SCALE_64);
    let odd = (quarter & 1).simd_eq(1);
    let (c, s) = (odd.select(sin, cos), odd.select(cos, sin));
    let c = f64x8::from_bits(c.to_bits() ^ (((quarter + 1) & 2) << 62));
    let s = f64x8::from_bits(s.to_bits() ^ ((quarter & 2) << 62));
    (r * c, r * s)
}
