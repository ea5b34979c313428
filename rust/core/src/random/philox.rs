//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): one block at a time,
//! and sixteen blocks on lanes.

use crate::simd::{Bytes, Simd, SimdBase, u32x16, u64x8};

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

/// The words of the first eight and of the last eight blocks of a tile.
pub(crate) type Tile<S> = [Words<S>; 2];

/// The counters of eight blocks: their number within the draw, and the words that all share.
#[inline(always)]
fn counters<S: Simd>(simd: S, first: u64, offset: u64, particle: u32, purpose: u32) -> Words<S> {
    // `first` is a multiple of 16, so the lane's number carries into no other bit.
    let lane = u64x8::from_fn(simd, |l| l as u64 + offset);
    [
        lane | (first & 0xFFFF_FFFF),
        u64x8::splat(simd, first >> 32),
        u64x8::splat(simd, u64::from(particle)),
        u64x8::splat(simd, u64::from(purpose)),
    ]
}

/// Sixteen blocks whose counters' first 64 bits are `16 tile … 16 tile + 15`.
#[inline(always)]
pub(crate) fn tile<S: Simd>(simd: S, key: u64, tile: u64, particle: u32, purpose: u32) -> Tile<S> {
    let first = tile.wrapping_mul(BLOCKS as u64);
    rounds(key, [counters(simd, first, 0, particle, purpose), counters(simd, first, 8, particle, purpose)])
}

/// Chains in flight together hide the multiplier's latency. Words live in 64-bit lanes because the multiplication of low halves is one
/// instruction there and its high half one shift.
#[inline(always)]
fn rounds<S: Simd, const N: usize>(key: u64, mut chains: [Words<S>; N]) -> [Words<S>; N] {
    let (mut low, mut high) = (key as u32, (key >> 32) as u32);
    for _ in 0..ROUNDS {
        for words in &mut chains {
            *words = round(*words, low, high);
        }
        low = low.wrapping_add(WEYL.0);
        high = high.wrapping_add(WEYL.1);
    }
    chains
}

/// The words of sixteen blocks from a 128-bit counter on, in order: block after block.
#[inline(always)]
pub(super) fn sixteen_blocks<S: Simd>(simd: S, key: u64, counter: u128, out: &mut [u32; 4 * BLOCKS]) {
    let (first, rest) = (counter as u64, (counter >> 64) as u64);
    if first > u64::MAX - BLOCKS as u64 {
        for (b, words) in out.chunks_exact_mut(4).enumerate() {
            words.copy_from_slice(&block(words_of(counter.wrapping_add(b as u128)), key));
        }
        return;
    }
    let (c, d) = (u64x8::splat(simd, rest & 0xFFFF_FFFF), u64x8::splat(simd, rest >> 32));
    let a = u64x8::from_fn(simd, |l| l as u64) + first;
    let b = a + 8;
    let [first, second] = rounds(key, [[a, a >> 32, c, d], [b, b >> 32, c, d]]);
    let (low, high) = out.split_at_mut(2 * BLOCKS);
    store(first, low);
    store(second, high);
}

/// Eight blocks, one after another.
#[inline(always)]
fn store<S: Simd>([a, b, c, d]: Words<S>, out: &mut [u32]) {
    let (low, high) = (a & 0xFFFF_FFFF | b << 32, c & 0xFFFF_FFFF | d << 32);
    let (first, last) = low.interleave(high);
    let (first, last): (u32x16<S>, u32x16<S>) = (first.bitcast(), last.bitcast());
    first.store_slice(&mut out[..BLOCKS]);
    last.store_slice(&mut out[BLOCKS..]);
}

/// A counter's words, low word first.
pub(super) fn words_of(counter: u128) -> [u32; 4] {
    [counter as u32, (counter >> 32) as u32, (counter >> 64) as u32, (counter >> 96) as u32]
}

#[inline(always)]
fn round<S: Simd>([a, b, c, d]: Words<S>, low: u32, high: u32) -> Words<S> {
    // Masks on both factors let the compiler use the 32 × 32 → 64 multiplication.
    let p = (a & 0xFFFF_FFFF) * u64::from(MULTIPLIERS.0);
    let q = (c & 0xFFFF_FFFF) * u64::from(MULTIPLIERS.1);
    [(q >> 32) ^ b ^ u64::from(low), q, (p >> 32) ^ d ^ u64::from(high), p]
}
