//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): one block at a time,
//! and sixteen blocks on lanes.

use crate::simd::{Simd, SimdBase, u64x8};

const MULTIPLIERS: (u32, u32) = (0xD251_1F53, 0xCD9E_8D57);
/// The golden ratio and √3 − 1, as the paper's key schedule adds them.
const WEYL: (u32, u32) = (0x9E37_79B9, 0xBB67_AE85);
const ROUNDS: usize = 10;

/// The four words of one block: the plain statement of the generator.
#[must_use]
pub fn block(counter: [u32; 4], key: u64) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let (mut low, mut high) = (key as u32, (key >> 32) as u32);
    for _ in 0..ROUNDS {
        let p = u64::from(a) * u64::from(MULTIPLIERS.0);
        let q = u64::from(c) * u64::from(MULTIPLIERS.1);
        (a, b, c, d) = ((q >> 32) as u32 ^ b ^ low, q as u32, (p >> 32) as u32 ^ d ^ high, p as u32);
        low = low.wrapping_add(WEYL.0);
        high = high.wrapping_add(WEYL.1);
    }
    [a, b, c, d]
}

/// Blocks in a tile: the lanes that run at once.
pub(crate) const BLOCKS: usize = 16;

/// The words of eight blocks, each in the low half of a 64-bit lane; the high halves hold nothing of meaning.
type Words<S> = [u64x8<S>; 4];

/// Sixteen blocks whose counters' first 64 bits are `16 tile … 16 tile + 15`: the words of the first eight and of the last eight.
///
/// Words live in 64-bit lanes because the multiplication of low halves is one instruction there and its high half one shift.
#[inline(always)]
pub(crate) fn tile<S: Simd>(simd: S, key: u64, tile: u64, particle: u32, purpose: u32) -> [Words<S>; 2] {
    let first = tile.wrapping_mul(BLOCKS as u64);
    let start = |offset: u64| -> Words<S> {
        // `first` is a multiple of 16, so the lane's number carries into no other bit.
        let lane = u64x8::from_fn(simd, |l| l as u64 + offset);
        [
            lane | (first & 0xFFFF_FFFF),
            u64x8::splat(simd, first >> 32),
            u64x8::splat(simd, u64::from(particle)),
            u64x8::splat(simd, u64::from(purpose)),
        ]
    };
    // Two chains in flight hide the multiplier's latency.
    let mut halves = [start(0), start(8)];
    let (mut low, mut high) = (key as u32, (key >> 32) as u32);
    for _ in 0..ROUNDS {
        for words in &mut halves {
            *words = round(*words, low, high);
        }
        low = low.wrapping_add(WEYL.0);
        high = high.wrapping_add(WEYL.1);
    }
    halves
}

#[inline(always)]
fn round<S: Simd>([a, b, c, d]: Words<S>, low: u32, high: u32) -> Words<S> {
    // Masks on both factors let the compiler use the 32 × 32 → 64 multiplication.
    let p = (a & 0xFFFF_FFFF) * u64::from(MULTIPLIERS.0);
    let q = (c & 0xFFFF_FFFF) * u64::from(MULTIPLIERS.1);
    [(q >> 32) ^ b ^ u64::from(low), q, (p >> 32) ^ d ^ u64::from(high), p]
}
