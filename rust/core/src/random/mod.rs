//! Counter-based random numbers: every draw is a function of a key and of where it stands, never of what was drawn before.
//!
//! Contract (final; a change of any drawn value is announced under its own heading in the changelog).
//!
//! The generator is Philox4x32-10. A [`Key`] is its two key words, low word first, unhashed. The four counter words are used so:
//!
//! | word | holds |
//! |---|---|
//! | 0, 1 | the block's number within the draw, low word first |
//! | 2 | the particle; of a cell, the block's number |
//! | 3 | the purpose: 0 [`raw`] words, 1 normals, 2 uniforms, 3 [`Key::fold_in`], 4 [`Key::split`], 5 [`permutation`], 6 [`CellWords`] |
//!
//! ([`raw`] alone counts over all 128 bits. The words of a cell are those of its own blocks: words 0, 1 of their counters are the cell's number
//! row · width + column, and samplers of counts and gammas take as many of them as they need.) A draw of rows of width w is one stream: element j of row i is number e = i·w + j. The stream is cut into
//! tiles of sixteen blocks. In float32 a block gives four numbers and number 16 v + l of tile t is number v of block 16 t + l; in float64
//! it gives two, in the same order. So a row is a function of the key, its number, the particle and the width, whatever batch, thread or chunk draws it.
//!
//! Uniforms lie in [0, 1): float32 is a word's top 24 bits over 2²⁴, float64 the top 53 bits of (word 2v, word 2v + 1) over 2⁵³, the
//! even word being the high one. Normals are Box and Muller's: with float32, words (0, 1) give numbers 0 and 1 and words (2, 3) numbers 2 and 3; with
//! float64, words (0, 1) and (2, 3), even word high, give numbers 0 and 1. Of a pair of n-bit words (x, y), r = √(−2 ln((x + ½)/2ⁿ)) and the numbers are
//! r cos(2π y/2ⁿ) and r sin(2π y/2ⁿ). All bits of x are used at both ends of its range, so float32 normals reach 6.76.
//!
//! `fold_in(data)` and `split`'s i-th key are words 0 and 1 (low, high) of the block whose counter starts with `data` or i.
//!
//! ```
//! use elbokit_core::random::{Key, fill_normals};
//!
//! let mut all = [0.0_f32; 30];
//! fill_normals(Key(7), 0, 0, 3, &mut all);
//! let mut tail = [0.0_f32; 6];
//! fill_normals(Key(7), 0, 8, 3, &mut tail); // rows 8 and 9 alone
//! assert_eq!(tail, all[24..]);
//! ```

mod binomial;
mod gamma;
mod normal;
mod philox;
mod poisson;
mod saddle;
mod stream;
mod uniform;
mod words;

pub use binomial::binomial;
pub use gamma::ln_gamma_variate;
pub use philox::block;
pub use poisson::poisson;
pub use stream::Draw;
pub(crate) use stream::{Parts, Sink, stream};
pub use words::CellWords;

use crate::error::{Error, Result};
use crate::float::Float;
use crate::simd::{Kernel, Simd, SimdBase, dispatch};
use crate::threads::{RowsMut, for_rows, row_work};

/// What a draw is for: word 3 of the counter, so that no two uses of a key meet.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Purpose {
    Normal = 1,
    Uniform = 2,
    FoldIn = 3,
    Split = 4,
    Permutation = 5,
    Cell = 6,
}

/// The generator's key: 64 bits, the low word first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    /// A key that is a function of this one and `data`, for an independent stream.
    #[must_use]
    pub fn fold_in(self, data: u64) -> Self {
        self.derive(data, Purpose::FoldIn)
    }

    /// The `index`-th of the keys that this one splits into.
    #[must_use]
    pub fn split(self, index: u64) -> Self {
        self.derive(index, Purpose::Split)
    }

    fn derive(self, data: u64, purpose: Purpose) -> Self {
        let [low, high, ..] = block([data as u32, (data >> 32) as u32, 0, purpose as u32], self.0);
        Self(u64::from(high) << 32 | u64::from(low))
    }
}

/// The generator's own words from a 128-bit block counter on: word 4 b + w is word w of block `counter + b`.
pub fn raw(key: Key, counter: u128, out: &mut [u32]) {
    dispatch(Raw { key, counter, out });
}

struct Raw<'a> {
    key: Key,
    counter: u128,
    out: &'a mut [u32],
}

impl Kernel for Raw<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut counter = self.counter;
        let (tiles, rest) = self.out.as_chunks_mut();
        for tile in tiles {
            philox::sixteen_blocks(simd, self.key.0, counter, tile);
            counter = counter.wrapping_add(philox::BLOCKS as u128);
        }
        for (b, words) in rest.chunks_mut(4).enumerate() {
            let block = block(philox::words_of(counter.wrapping_add(b as u128)), self.key.0);
            words.copy_from_slice(&block[..words.len()]);
        }
    }
}

/// Standard normals: rows `first_row …` of one particle, `out.len() / width` of them.
pub fn fill_normals<F: Float + Draw>(key: Key, particle: u32, first_row: u64, width: usize, out: &mut [F]) {
    fill::<F, true>(key, particle, first_row, width, out);
}

/// Standard normals of draws `from …` of (particles, rows), as many as `out` holds, on the calling thread: draw d is row
/// `first_row` + d mod `rows` of particle `first_particle` + d div `rows`.
pub(crate) fn fill_draws<F: Float + Draw>(
    key: Key,
    first_particle: u32,
    first_row: u64,
    rows: usize,
    from: usize,
    width: usize,
    out: &mut [F],
) {
    let particle = first_particle.wrapping_add((from / rows) as u32);
    dispatch(FillDraws { key, particle, first_row, rows, row: from % rows, width, out });
}

/// Checks that particles `first_particle` and on have numbers that a counter's word holds.
///
/// # Errors
/// [`Error::Value`] for particles past 2³² − 1.
pub(crate) fn check_particles(first_particle: u32, particles: usize) -> Result<()> {
    let left = (1_u64 << 32) - u64::from(first_particle);
    if particles as u64 <= left {
        return Ok(());
    }
    let expected = format!("at most {left} particles from particle {first_particle} on");
    Err(Error::value("num_particles", expected, particles, "draw fewer, or under another key"))
}

/// Uniforms in [0, 1): rows `first_row …` of one particle.
pub fn fill_uniforms<F: Float + Draw>(key: Key, particle: u32, first_row: u64, width: usize, out: &mut [F]) {
    fill::<F, false>(key, particle, first_row, width, out);
}

/// About what one number costs, in nanoseconds on one core.
const WORK: f64 = 0.8;

fn fill<F: Float + Draw, const NORMAL: bool>(key: Key, particle: u32, first_row: u64, width: usize, out: &mut [F]) {
    if width == 0 {
        return;
    }
    let rows = out.len() / width;
    for_rows(rows, row_work::<F>(width, WORK), RowsMut::new(out, width), &|rows, out: RowsMut<F>| {
        let start = first_row.wrapping_add(rows.start as u64).wrapping_mul(width as u64);
        dispatch(Fill::<F, NORMAL> { key, particle, start, out: out.data });
    });
}

struct Fill<'a, F, const NORMAL: bool> {
    key: Key,
    particle: u32,
    start: u64,
    out: &'a mut [F],
}

impl<F: Float + Draw, const NORMAL: bool> Kernel for Fill<'_, F, NORMAL> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let len = self.out.len();
        stream::<F, S, _, NORMAL>(simd, self.key, self.particle, self.start, len, &mut Parts::new(simd), &mut Store(self.out));
    }
}

/// From row `row` of one particle to where `out` ends.
struct FillDraws<'a, F> {
    key: Key,
    particle: u32,
    first_row: u64,
    rows: usize,
    row: usize,
    width: usize,
    out: &'a mut [F],
}

impl<F: Float + Draw> Kernel for FillDraws<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (mut particle, mut row, mut out) = (self.particle, self.row, self.out);
        let mut parts = Parts::new(simd);
        // What a particle gives is one stream.
        while !out.is_empty() {
            let (piece, rest) = out.split_at_mut(out.len().min((self.rows - row) * self.width));
            let start = self.first_row.wrapping_add(row as u64).wrapping_mul(self.width as u64);
            stream::<F, S, _, true>(simd, self.key, particle, start, piece.len(), &mut parts, &mut Store(piece));
            (particle, row, out) = (particle.wrapping_add(1), 0, rest);
        }
    }
}

/// Draws go to memory as they are.
struct Store<'a, F>(&'a mut [F]);

impl<F: Float, S: Simd> Sink<F, S> for Store<'_, F> {
    #[inline(always)]
    fn full(&mut self, _simd: S, at: usize, draws: F::Lanes<S>) {
        draws.store_slice(&mut self.0[at..at + F::LANES]);
    }
    #[inline(always)]
    fn part(&mut self, _simd: S, at: usize, draws: &[F]) {
        self.0[at..at + draws.len()].copy_from_slice(draws);
    }
}

/// Fills `out` with a random order of `0 … out.len() − 1` (Fisher and Yates), from a draw per position: words 0 and 1 of the block whose counter starts with it.
pub fn permutation(key: Key, out: &mut [u32]) {
    const BLOCKS: usize = 4 * philox::BLOCKS;
    for (i, slot) in out.iter_mut().enumerate() {
        *slot = i as u32;
    }
    let mut words = [0; 4 * BLOCKS];
    for first in (0..out.len()).step_by(BLOCKS).rev() {
        raw(key, (Purpose::Permutation as u128) << 96 | first as u128, &mut words);
        for (i, words) in (first..out.len().min(first + BLOCKS)).zip(words.as_chunks::<4>().0).rev() {
            let x = u64::from(words[1]) << 32 | u64::from(words[0]);
            // The high half of x (i + 1): uniform to within i / 2⁶⁴.
            let j = (u128::from(x) * (i as u128 + 1)) >> 64;
            out.swap(i, j as usize);
        }
    }
}
