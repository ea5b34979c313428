//! The one loop over rows that every elementwise kernel runs in: a kernel states what happens to a vector of lanes, the loop
//! does threads, dispatch, rows' ends, the order of sums and the search for bad values.

mod arrays;
mod kernel;
mod short;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::reduce::LaneSum;
use crate::simd::{Kernel, Select, Simd, SimdBase, SimdFloat, SimdMask, ahead, apart, ask_for, dispatch, fuses};
use crate::threads::{for_rows, row_work};
use crate::vmath::Lanes;

use arrays::Cursor;
pub use arrays::{Blocks, Input, RowOutputs, Totals};
pub use kernel::{LaneOp, Mask, SumOnly, Term, no_outputs};
pub(crate) use kernel::{TURN, lanes_of, no_flaw};

/// Runs a kernel over `rows` rows of `width` elements. Returns whether anything looked bad: an input outside the kernel's domain, or a row's result
/// that is not finite. The caller then looks closer, at no cost to good input. `work` is about the cost of a float32 element, in nanoseconds on one core.
pub fn map_rows<'a, F, Op, R, const I: usize, const O: usize>(
    op: &Op,
    inputs: [Input<F>; I],
    rows: usize,
    width: usize,
    work: f64,
    totals: impl Into<Totals<'a, F>>,
    outputs: R,
) -> bool
where
    F: Float,
    Op: LaneOp<F, I, O>,
    R: RowOutputs<F, O>,
{
    let bad = AtomicBool::new(false);
    for_rows(rows, row_work::<F>(width, work), (totals.into(), outputs), &|rows, (totals, outputs)| {
        let pass = Pass { op, inputs: &inputs, rows, width, totals, outputs };
        if dispatch(pass) {
            bad.store(true, Ordering::Relaxed);
        }
    });
    bad.into_inner()
}

struct Pass<'a, 'd, F, Op, R, const I: usize, const O: usize> {
    op: &'a Op,
    inputs: &'a [Input<'d, F>; I],
    rows: Range<usize>,
    width: usize,
    totals: Totals<'a, F>,
    outputs: R,
}

impl<F, Op, R, const I: usize, const O: usize> Kernel for Pass<'_, '_, F, Op, R, I, O>
where
    F: Float,
    Op: LaneOp<F, I, O>,
    R: RowOutputs<F, O>,
{
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> bool {
        let Self { op, inputs, rows, width, totals, mut outputs } = self;
        let outputs = &mut outputs;
        // What is read again and again is in the cache already.
        let ahead = inputs.map(|input| if input.is_one_row() { 0 } else { ahead::<F>() });
        let cursors = inputs.map(|input| input.cursor(rows.start));
        let flaws = no_flaw::<F, S>(simd).to_bits();
        let mut pass =
            Running { simd, op, inputs, start: rows.start, width, totals, outputs, cursors, ahead, flaws, overflow: false };
        // Not where fusion is emulated, for the sake of the binary's size.
        if Op::SHORT_ROWS && fuses::<S>() {
            pass.together(rows.len());
        } else {
            pass.one_by_one(0..rows.len());
        }
        pass.overflow || !pass.flaws.simd_eq(no_flaw::<F, S>(simd).to_bits()).all_true()
    }
}

/// What a pass has done and where it is; rows are counted from its first.
struct Running<'a, 'd, F: Float, S: Simd, Op, R, const I: usize, const O: usize> {
    simd: S,
    op: &'a Op,
    inputs: &'a [Input<'d, F>; I],
    /// The first row, as the inputs count.
    start: usize,
    width: usize,
    totals: Totals<'a, F>,
    /// By reference, which a function that is not inlined is given: the rest may then stay in registers.
    outputs: &'a mut R,
    cursors: [Cursor<'d, F>; I],
    /// How far ahead each input is asked for.
    ahead: [usize; I],
    /// As bits, which are gathered in one operation a vector; masks would leave the vector unit.
    flaws: <Lanes<F, S> as SimdFloat<S>>::Bits,
    overflow: bool,
}

impl<F, S, Op, R, const I: usize, const O: usize> Running<'_, '_, F, S, Op, R, I, O>
where
    F: Float,
    S: Simd,
    Op: LaneOp<F, I, O>,
    R: RowOutputs<F, O>,
{
    /// Runs the kernel over these rows, the next ones, each by itself.
    #[inline(always)]
    fn one_by_one(&mut self, rows: Range<usize>) {
        let (simd, op, width, ahead) = (self.simd, self.op, self.width, self.ahead);
        let (whole, rest) = (width / F::LANES * F::LANES, width % F::LANES);
        // A row's vectors in turns of about one size.
        let turn = (whole / F::LANES).div_ceil((whole / F::LANES).div_ceil(TURN).max(1)).max(1);
        let live = first_lanes::<F, S>(simd, rest);
        let zero = F::Lanes::splat(simd, F::ZERO);
        let ends = if rest > 0 && !rows.is_empty() { row_ends(self.inputs, whole, rest) } else { [const { [F::ZERO; 16] }; I] };
        let mut flaws = self.flaws;
        for first in rows.clone().step_by(GROUP) {
            let count = GROUP.min(rows.end - first);
            let mut sums = [F::Sum::<S>::zero(simd); GROUP];
            for (row, row_sum) in (first..first + count).zip(&mut sums) {
                let mut inputs: [&[F]; I] = [&[]; I];
                for (x, cursor) in inputs.iter_mut().zip(&mut self.cursors) {
                    *x = cursor.next();
                }
                let mut outputs = self.outputs.row(row);
                let mut sum = F::Sum::<S>::zero(simd);
                let mut put = Put { simd, inputs, ahead, outputs: &mut outputs, sum: &mut sum, flaws: &mut flaws };
                if Op::IN_PARTS && turn > 1 {
                    for first in (0..whole).step_by(turn * F::LANES) {
                        let vectors = turn.min((whole - first) / F::LANES);
                        op.turn(
                            simd,
                            vectors,
                            #[inline(always)]
                            |k| load(simd, inputs, first + k * F::LANES),
                            #[inline(always)]
                            |k, term| put.at(first + k * F::LANES, term),
                        );
                    }
                } else {
                    for at in (0..whole).step_by(F::LANES) {
                        put.at(at, lanes_of(op, simd, load(simd, inputs, at)));
                    }
                }
                if rest > 0 {
                    let mut parts = [zero; I];
                    for (i, part) in parts.iter_mut().enumerate() {
                        *part = load_part(simd, if self.inputs[i].is_one_row() { &ends[i] } else { &inputs[i][whole..] }, rest);
                    }
                    let term = lanes_of(op, simd, parts);
                    sum = sum.add(live.select(term.sum, zero));
                    flaws |= live.select(term.flaw, zero).to_bits();
                    for (out, lanes) in outputs.iter_mut().zip(term.out) {
                        copy_few(&lanes.as_slice()[..rest], &mut out[whole..whole + rest]);
                    }
                }
                *row_sum = sum;
            }
            let mut results = [0.0; GROUP];
            // One or two rows cost less alone.
            if count > 2 {
                results = finish_eight::<F, S>(simd, sums);
            } else {
                for (result, sum) in results.iter_mut().zip(sums).take(count) {
                    *result = sum.finish();
                }
            }
            self.put(first, count, results);
        }
        self.flaws = flaws;
    }

    /// Takes the finished sums of `count` rows from row `first` on.
    #[inline(always)]
    fn put(&mut self, first: usize, count: usize, mut results: [f64; GROUP]) {
        for result in &mut results {
            *result = self.op.finish(*result);
        }
        if Op::MENDS && results[..count].iter().any(|result| !result.is_finite()) {
            mend(self.op, self.inputs, self.start, self.width, first, self.outputs, &mut results[..count]);
        }
        self.overflow |= !self.totals.put_each(first, &results[..count]);
    }
}

/// [`LaneOp::mend`] of the rows from row `first` of a pass on that need it.
#[cold]
#[inline(never)]
fn mend<F: Float, Op: LaneOp<F, I, O>, R: RowOutputs<F, O>, const I: usize, const O: usize>(
    op: &Op,
    inputs: &[Input<F>; I],
    start: usize,
    width: usize,
    first: usize,
    outputs: &mut R,
    results: &mut [f64],
) {
    for (row, result) in (first..).zip(results).filter(|(_, result)| !result.is_finite()) {
        let x = inputs.each_ref().map(|input| &input.from(start + row)[..width]);
        *result = op.mend(x, &mut outputs.row(row), *result);
    }
}

/// Rows whose sums are finished together.
const GROUP: usize = 8;

/// Where the terms of a row's vectors go.
struct Put<'a, 'd, F: Float, S: Simd, const I: usize, const O: usize> {
    simd: S,
    inputs: [&'d [F]; I],
    /// How far ahead each input is asked for.
    ahead: [usize; I],
    outputs: &'a mut [&'d mut [F]; O],
    sum: &'a mut F::Sum<S>,
    flaws: &'a mut <Lanes<F, S> as SimdFloat<S>>::Bits,
}

impl<F: Float, S: Simd, const I: usize, const O: usize> Put<'_, '_, F, S, I, O> {
    /// Takes the vector that begins at column `at`.
    #[inline(always)]
    fn at(&mut self, at: usize, term: Term<F, S, O>) {
        for (x, ahead) in self.inputs.iter().zip(self.ahead) {
            ask_for(self.simd, x.as_ptr().wrapping_add(at + ahead));
        }
        *self.sum = self.sum.add(term.sum);
        *self.flaws |= term.flaw.to_bits();
        for (out, lanes) in self.outputs.iter_mut().zip(term.out) {
            lanes.store_slice(&mut out[at..at + F::LANES]);
        }
    }
}

/// The vector of each input that begins at column `at`. A loop, as the closure of an array's `map` is not always inlined, and lanes then go through memory and baseline code.
#[inline(always)]
fn load<F: Float, S: Simd, const I: usize>(simd: S, inputs: [&[F]; I], at: usize) -> [Lanes<F, S>; I] {
    let mut lanes = [no_flaw::<F, S>(simd); I];
    for (lanes, x) in lanes.iter_mut().zip(inputs) {
        *lanes = F::Lanes::from_slice(simd, &x[at..at + F::LANES]);
    }
    lanes
}

/// [`LaneSum::finish_eight`], [`apart`].
#[inline(always)]
fn finish_eight<F: Float, S: Simd>(simd: S, sums: [F::Sum<S>; GROUP]) -> [f64; GROUP] {
    apart(
        simd,
        sums,
        #[inline(always)]
        |_, sums: [F::Sum<S>; GROUP]| F::Sum::<S>::finish_eight(sums),
    )
}

/// The last `n` elements of a row; the lanes behind them hold whatever follows in memory, or 0, and are masked by the caller.
#[inline(always)]
fn load_part<F: Float, S: Simd>(simd: S, x: &[F], n: usize) -> Lanes<F, S> {
    if x.len() >= F::LANES {
        return F::Lanes::from_slice(simd, &x[..F::LANES]);
    }
    F::Lanes::from_slice(simd, &padded(x, n)[..F::LANES])
}

/// The first `n` of these numbers, and zeros.
#[inline(never)]
fn padded<F: Float>(x: &[F], n: usize) -> [F; 16] {
    let mut part = [F::ZERO; 16];
    part[..n].copy_from_slice(&x[..n]);
    part
}

/// Of inputs of one row for all the `rest` numbers behind the whole vectors, [`padded`] once: where the array ends with them, each row would wait for them to be copied.
fn row_ends<F: Float, const I: usize>(inputs: &[Input<F>; I], whole: usize, rest: usize) -> [[F; 16]; I] {
    inputs.each_ref().map(|input| if input.is_one_row() { padded(&input.from(0)[whole..], rest) } else { [F::ZERO; 16] })
}

/// The mask of the first `n` lanes.
#[inline(always)]
pub(crate) fn first_lanes<F: Float, S: Simd>(simd: S, n: usize) -> Mask<F, S> {
    F::Lanes::from_fn(simd, |l| F::from_f64(l as f64)).simd_lt(F::from_f64(n as f64))
}

/// Copies numbers; fewer than 32 of them in pieces whose sizes the compiler knows, without a call.
#[inline(always)]
pub(crate) fn copy_few<F: Copy>(from: &[F], out: &mut [F]) {
    if out.len() >= 32 {
        return out.copy_from_slice(from);
    }
    let mut at = 0;
    for size in [16, 8, 4, 2, 1] {
        if out.len() & size != 0 {
            out[at..at + size].copy_from_slice(&from[at..at + size]);
            at += size;
        }
    }
}

/// Names the first NaN or infinity of an array of rows.
///
/// # Errors
/// [`Error::NonFinite`] with its row and column.
pub fn check_finite<F: Float>(argument: &'static str, data: &[F], width: usize) -> Result<()> {
    match data.iter().position(|x| !x.finite()) {
        Some(at) => {
            let width = width.max(1);
            Err(Error::NonFinite { argument, row: at / width, column: at % width, value: data[at].to_f64() })
        }
        None => Ok(()),
    }
}

/// Checks that an array holds `rows` rows of `width` numbers.
///
/// # Errors
/// [`Error::Shape`] that names the argument.
pub fn check_len<T>(argument: &'static str, data: &[T], rows: usize, width: usize) -> Result<()> {
    if data.len() == rows * width {
        return Ok(());
    }
    Err(Error::shape(argument, format!("{rows} rows of {width}"), format!("{} numbers", data.len()), "give arrays of one shape"))
}
