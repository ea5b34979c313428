//! Short rows that lie one after another in memory, taken as one long row: no lane is idle, no vector is cut at a row's end, and their terms wait in a buffer until those of a row
//! are added, in the order that the row alone would have.

use std::mem::MaybeUninit;

use super::arrays::RowOutputs;
use super::kernel::{LaneOp, TURN, Term};
use super::{GROUP, Running, finish_eight, first_lanes, load};
use crate::float::Float;
use crate::reduce::LaneSum;
use crate::simd::{Kernel, Select, Simd, SimdBase, SimdFloat, ask_for, enter};

/// Numbers that a block of rows has at most: what waits stays in the first cache.
const BLOCK: usize = 1024;

/// Memory for the vectors of a block, of which float64 has more, and for one behind them.
type Memory<F, S> = [MaybeUninit<<F as Float>::Lanes<S>>; BLOCK / 8 + 1];

/// Memory that nothing is written to: most calls need none.
#[inline(always)]
const fn memory<F: Float, S: Simd>() -> Memory<F, S> {
    [MaybeUninit::uninit(); BLOCK / 8 + 1]
}

/// Fills memory with zeros; it is numbers from then on.
#[inline(always)]
fn zeros<F: Float, S: Simd>(simd: S, memory: &mut [MaybeUninit<F::Lanes<S>>]) -> &mut [F] {
    const { assert!(size_of::<F::Lanes<S>>() == F::LANES * size_of::<F>()) };
    for place in &mut *memory {
        place.write(F::Lanes::splat(simd, F::ZERO));
    }
    // SAFETY: every place is written, and a vector is LANES numbers and nothing else.
    unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), memory.len() * F::LANES) }
}

/// The width of short rows at most. The waiting costs more than it saves where a row is many vectors, and sooner for whole ones beside elementwise outputs, which wait for the same
/// stores (an Intel Xeon with AVX-512).
fn widest<F: Float>(width: usize, outputs: usize) -> usize {
    if outputs > 0 && width.is_multiple_of(F::LANES) { 2 * F::LANES } else { 8 * F::LANES }
}

impl<F, S, Op, R, const I: usize, const O: usize> Running<'_, '_, F, S, Op, R, I, O>
where
    F: Float,
    S: Simd,
    Op: LaneOp<F, I, O>,
    R: RowOutputs<F, O>,
{
    /// Runs the kernel over all `rows` rows: short ones together as far as they lie one after another, in blocks that fill whole vectors, and the others by themselves.
    #[inline(always)]
    pub(super) fn together(&mut self, rows: usize) {
        let (simd, width) = (self.simd, self.width);
        // Rows that fill whole vectors, as many as are finished together or twice as many.
        let unit = if (GROUP * width).is_multiple_of(F::LANES) { GROUP } else { 2 * GROUP };
        let short = (1..=widest::<F>(width, O)).contains(&width);
        let all = self.cursors.iter().map(|cursor| cursor.stretch(width)[0]).min().unwrap_or(0);
        let block = if short { (BLOCK / width).min(rows).min(all) / unit * unit } else { 0 };
        let (mut terms, mut repeats) = (memory::<F, S>(), [memory::<F, S>(); I]);
        let (mut waiting, mut repeated): (&mut [F], [&[F]; I]) = (&mut [], [&[]; I]);
        if block > 0 {
            let vectors = block * width / F::LANES;
            // The last row's last vector may end behind the block.
            waiting = zeros::<F, S>(simd, &mut terms[..=vectors]);
            for ((repeated, memory), input) in repeated.iter_mut().zip(&mut repeats).zip(self.inputs) {
                if input.is_one_row() {
                    *repeated = repeat(&input.from(0)[..width], zeros::<F, S>(simd, &mut memory[..vectors]));
                }
            }
        }
        let mut first = 0;
        while first < rows {
            // As far as the first array that begins again.
            let stretch = self.cursors.iter().map(|cursor| cursor.stretch(width)[1]).min().unwrap_or(0).min(rows - first);
            let count = block.min(stretch) / unit * unit;
            if count > 0 && self.terms(first, count, repeated, waiting) {
                for group in (0..count).step_by(GROUP) {
                    let add_up = AddUp { terms: &waiting[group * width..], width };
                    // Light kernels would take a twentieth longer by a call; float64's sums are three times as much code.
                    let sums = if F::LANES == 16 { add_up.run(simd) } else { enter(simd, add_up) };
                    self.put(first + group, GROUP, sums);
                }
                first += count;
            } else {
                let last = if block > 0 && count == 0 { first + stretch } else { rows };
                self.one_by_one(first..last);
                first = last;
            }
        }
    }

    /// The elementwise outputs and the terms of the next `count` rows, from row `first` on; whether the outputs' rows lie one after another too, which else are left alone.
    #[inline(always)]
    fn terms(&mut self, first: usize, count: usize, repeated: [&[F]; I], terms: &mut [F]) -> bool {
        let (simd, ahead) = (self.simd, self.ahead);
        let Some(mut outputs) = self.outputs.rows(first, count, self.width) else { return false };
        let mut inputs = repeated;
        for (x, cursor) in inputs.iter_mut().zip(&mut self.cursors).filter(|(_, cursor)| !cursor.is_one_row()) {
            *x = cursor.take(count);
        }
        let numbers = count * self.width;
        for first in (0..numbers).step_by(TURN * F::LANES) {
            let vectors = TURN.min((numbers - first) / F::LANES);
            self.op.turn(
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
                    self.flaws |= term.flaw.to_bits();
                    for (out, lanes) in outputs.iter_mut().zip(term.out) {
                        lanes.store_slice(&mut out[at..at + F::LANES]);
                    }
                },
            );
        }
        true
    }
}

/// The sums of the eight rows at the front of `terms`, behind which there is a vector more.
struct AddUp<'a, F> {
    terms: &'a [F],
    width: usize,
}

impl<F: Float> Kernel for AddUp<'_, F> {
    type Output = [f64; GROUP];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f64; GROUP] {
        let Self { terms, width } = self;
        let mut rows = [F::Sum::<S>::zero(simd); GROUP];
        let whole = width / F::LANES * F::LANES;
        for at in (0..whole).step_by(F::LANES) {
            for (r, sum) in rows.iter_mut().enumerate() {
                *sum = sum.add_first(simd, &terms[r * width + at..]);
            }
        }
        if whole < width {
            let (live, zero) = (first_lanes::<F, S>(simd, width - whole), F::Lanes::splat(simd, F::ZERO));
            for (r, sum) in rows.iter_mut().enumerate() {
                let lanes = F::Lanes::from_slice(simd, &terms[r * width + whole..][..F::LANES]);
                *sum = sum.add(live.select(lanes, zero));
            }
        }
        finish_eight::<F, S>(simd, rows)
    }
}

/// The row again and again, as often as `out` holds it.
fn repeat<'a, F: Float>(row: &[F], out: &'a mut [F]) -> &'a [F] {
    out[..row.len()].copy_from_slice(row);
    let mut filled = row.len();
    while filled < out.len() {
        let more = filled.min(out.len() - filled);
        out.copy_within(..more, filled);
        filled += more;
    }
    out
}
