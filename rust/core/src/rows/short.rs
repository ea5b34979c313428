//! Short rows that lie one after another in memory, taken as one long row: no lane is idle, no vector is cut at a row's end, and their terms wait in a buffer until those of a row
//! are added, in the order that the row alone would have.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::arrays::{Cursor, Input, RowOutputs};
use super::kernel::{LaneOp, TURN, Term};
use super::{GROUP, first_lanes, load};
use crate::float::Float;
use crate::reduce::LaneSum;
use crate::simd::{Select, Simd, SimdBase, SimdFloat, ask_for};
use crate::vmath::Lanes;

/// Numbers that a block of rows has at most: what waits stays in the first cache.
const BLOCK: usize = 1024;

/// Memory for the vectors of a block, of which float64 has more, and for one behind them.
pub(super) type Memory<F, S> = [MaybeUninit<<F as Float>::Lanes<S>>; BLOCK / 8 + 1];

/// Memory that nothing is written to: most calls need none.
#[inline(always)]
pub(super) const fn memory<F: Float, S: Simd>() -> Memory<F, S> {
    [MaybeUninit::uninit(); BLOCK / 8 + 1]
}

/// Writes vectors to memory, which is numbers from then on.
#[inline(always)]
fn written<F: Float, S: Simd>(memory: &mut [MaybeUninit<F::Lanes<S>>], mut next: impl FnMut() -> F::Lanes<S>) -> &mut [F] {
    const { assert!(size_of::<F::Lanes<S>>() == F::LANES * size_of::<F>()) };
    for lanes in &mut *memory {
        lanes.write(next());
    }
    // SAFETY: every vector is written, and a vector is LANES numbers and nothing else.
    unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), memory.len() * F::LANES) }
}

/// The short rows of a kernel's loop.
pub(super) struct Short<'a, F, const I: usize> {
    width: usize,
    /// Rows that fill whole vectors.
    unit: usize,
    /// Rows in a block, a multiple of `unit`; 0 where each row is taken by itself.
    block: usize,
    /// The rows whose terms wait.
    waiting: Range<usize>,
    /// Those of a block, and a vector behind them.
    terms: &'a mut [F],
    /// Inputs of one row for all, as often as a block has rows.
    repeated: [&'a [F]; I],
}

impl<'a, F: Float, const I: usize> Short<'a, F, I> {
    /// Of `rows` rows of `width` numbers, with the room that they need. The waiting costs about what it saves where a row is some vectors and a small part of one; a row of two whole ones
    /// gains where a kernel works in parts, of which one row has too few (an Intel Xeon with AVX-512).
    #[inline(always)]
    pub(super) fn new<S: Simd>(
        simd: S,
        inputs: &[Input<F>; I],
        rows: usize,
        width: usize,
        in_parts: bool,
        terms: &'a mut Memory<F, S>,
        repeats: &'a mut [Memory<F, S>; I],
    ) -> Self {
        let widest = F::LANES
            * if !width.is_multiple_of(F::LANES) {
                8
            } else if in_parts {
                2
            } else {
                1
            };
        let unit = if width.is_multiple_of(2) { GROUP } else { 2 * GROUP };
        let block = if (1..=widest).contains(&width) { (BLOCK / width).min(rows) / unit * unit } else { 0 };
        let mut short = Self { width, unit, block, waiting: 0..0, terms: &mut [], repeated: [&[]; I] };
        if block > 0 {
            let vectors = block * width / F::LANES;
            let zero = F::Lanes::splat(simd, F::ZERO);
            short.terms = written::<F, S>(&mut terms[..=vectors], || zero);
            let all = short.repeated.iter_mut().zip(repeats).zip(inputs);
            for ((repeated, memory), input) in all.filter(|(_, input)| input.is_one_row()) {
                let (row, mut column) = (&input.from(0)[..width], 0);
                *repeated = written::<F, S>(&mut memory[..vectors], || {
                    let mut lanes = [F::ZERO; 16];
                    for x in &mut lanes[..F::LANES] {
                        *x = row[column];
                        column = if column + 1 == width { 0 } else { column + 1 };
                    }
                    F::Lanes::from_slice(simd, &lanes[..F::LANES])
                });
            }
        }
        short
    }

    /// Whether the terms of row `row` wait.
    #[inline(always)]
    pub(super) fn holds(&self, row: usize) -> bool {
        row < self.waiting.end
    }

    /// Runs the kernel over the first rows of `rows`, if enough of them lie one after another in every array.
    #[inline(always)]
    pub(super) fn take<S: Simd, Op: LaneOp<F, I, O>, R: RowOutputs<F, O>, const O: usize>(
        &mut self,
        simd: S,
        op: &Op,
        rows: Range<usize>,
        cursors: &mut [Cursor<'_, F>; I],
        ahead: [usize; I],
        outputs: &mut R,
        flaws: &mut <Lanes<F, S> as SimdFloat<S>>::Bits,
    ) {
        let count = self.block.min(rows.len()) / self.unit * self.unit;
        if count == 0 || !cursors.iter().all(|cursor| cursor.is_one_row() || cursor.have(count, self.width)) {
            return;
        }
        let Some(mut outputs) = outputs.rows(rows.start, count, self.width) else { return };
        let numbers = count * self.width;
        let mut inputs: [&[F]; I] = [&[]; I];
        for ((x, cursor), repeated) in inputs.iter_mut().zip(cursors).zip(self.repeated) {
            *x = if cursor.is_one_row() { repeated } else { cursor.take(count) };
        }
        let terms = &mut *self.terms;
        for first in (0..numbers).step_by(TURN * F::LANES) {
            let vectors = TURN.min((numbers - first) / F::LANES);
            op.turn(
                simd,
                vectors,
                #[inline(always)]
                |k| load(simd, inputs, first + k * F::LANES),
                #[inline(always)]
                |k, term: Term<F, S, O>| {
                    let at = first + k * F::LANES;
                    for (x, ahead) in inputs.iter().zip(ahead) {
                        ask_for(simd, x.as_ptr().wrapping_add(at + ahead));
                    }
                    term.sum.store_slice(&mut terms[at..at + F::LANES]);
                    *flaws |= term.flaw.to_bits();
                    for (out, lanes) in outputs.iter_mut().zip(term.out) {
                        lanes.store_slice(&mut out[at..at + F::LANES]);
                    }
                },
            );
        }
        self.waiting = rows.start..rows.start + count;
    }

    /// The sums of the eight rows from `row` on, whose terms wait.
    #[inline(always)]
    pub(super) fn sums<S: Simd>(&self, simd: S, row: usize) -> [F::Sum<S>; GROUP] {
        let zero = F::Lanes::splat(simd, F::ZERO);
        let terms = &self.terms[(row - self.waiting.start) * self.width..];
        let mut sums = [F::Sum::<S>::zero(simd); GROUP];
        for at in (0..self.width).step_by(F::LANES) {
            let live = first_lanes::<F, S>(simd, self.width - at);
            for (r, sum) in sums.iter_mut().enumerate() {
                let lanes = F::Lanes::from_slice(simd, &terms[r * self.width + at..][..F::LANES]);
                *sum = sum.add(live.select(lanes, zero));
            }
        }
        sums
    }
}
