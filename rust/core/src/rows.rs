//! The one loop over rows that every elementwise kernel runs in: a kernel states what happens to a vector of lanes, the loop
//! does threads, dispatch, rows' ends, the order of sums and the search for bad values.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::reduce::LaneSum;
use crate::simd::{Kernel, Select, Simd, SimdBase, SimdMask, ahead, apart, ask_for, dispatch};
use crate::threads::{Outputs, RowsMut, for_rows, row_work};
use crate::vmath::Lanes;

/// The comparison mask of an element type's lanes.
pub type Mask<F, S> = <Lanes<F, S> as SimdBase<S>>::Mask;

/// An array that a kernel reads: row r starts at `data[((first + r) mod rows) · stride]`, so one row, or every particle's batch, can be read again
/// and again.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a, F> {
    data: &'a [F],
    stride: usize,
    rows: usize,
    first: usize,
}

impl<'a, F: Float> Input<'a, F> {
    /// Rows of `width` numbers, repeated where the kernel has more rows.
    #[must_use]
    pub fn rows(data: &'a [F], width: usize) -> Self {
        Self { data, stride: width, rows: data.len().checked_div(width).unwrap_or(0).max(1), first: 0 }
    }

    /// The columns from `column` on of rows of `stride` numbers.
    #[must_use]
    pub fn columns(data: &'a [F], stride: usize, column: usize) -> Self {
        Self { data: data.get(column..).unwrap_or_default(), ..Self::rows(data, stride) }
    }

    /// The same rows from row `first` on.
    #[must_use]
    pub fn after(self, first: usize) -> Self {
        Self { first: (self.first + first) % self.rows, ..self }
    }

    /// Whether every row of the kernel reads the same.
    #[must_use]
    pub fn is_one_row(&self) -> bool {
        self.rows == 1
    }

    /// Row `row` and all that follows it in memory.
    #[inline(always)]
    #[must_use]
    pub fn from(&self, row: usize) -> &'a [F] {
        &self.data[self.at(row)..]
    }

    fn at(&self, row: usize) -> usize {
        (self.first + row) % self.rows * self.stride
    }

    /// Its rows from row `row` on, one after another.
    #[inline(always)]
    fn cursor(&self, row: usize) -> Cursor<'a, F> {
        Cursor { data: self.data, stride: self.stride, at: self.at(row), end: self.rows * self.stride }
    }
}

/// A place in an [`Input`] that starts again after the last row.
struct Cursor<'a, F> {
    data: &'a [F],
    stride: usize,
    at: usize,
    end: usize,
}

impl<'a, F> Cursor<'a, F> {
    /// The next row and all that follows it in memory.
    #[inline(always)]
    fn next(&mut self) -> &'a [F] {
        let row = &self.data[self.at..];
        self.at += self.stride;
        if self.at == self.end {
            self.at = 0;
        }
        row
    }
}

/// Where a row's sum goes.
#[derive(Debug)]
pub enum Totals<'a, F> {
    /// Nowhere: the kernel is called for its elementwise outputs.
    Nowhere,
    /// To its row, in the element type.
    Each(&'a mut [F]),
    /// To what other kernels have added for its row.
    Added(&'a mut [f64]),
}

impl<'a, F> From<Option<&'a mut [F]>> for Totals<'a, F> {
    fn from(sums: Option<&'a mut [F]>) -> Self {
        sums.map_or(Self::Nowhere, Self::Each)
    }
}

impl<F: Float> Totals<'_, F> {
    /// Takes the sum of row `row`; returns whether it is finite.
    #[inline(always)]
    pub(crate) fn put(&mut self, row: usize, sum: f64) -> bool {
        self.put_each(row, &[sum])
    }

    /// [`put`](Self::put) of the rows from `first` on.
    #[inline(always)]
    fn put_each(&mut self, first: usize, results: &[f64]) -> bool {
        let mut finite = true;
        match self {
            Self::Nowhere => {}
            Self::Each(sums) => {
                for (slot, &result) in sums[first..].iter_mut().zip(results) {
                    *slot = F::from_f64(result);
                    finite &= slot.finite();
                }
            }
            Self::Added(sums) => {
                for (slot, &result) in sums[first..].iter_mut().zip(results) {
                    *slot += result;
                    finite &= result.is_finite();
                }
            }
        }
        finite
    }
}

impl<F: Send> Outputs for Totals<'_, F> {
    fn split_at(self, row: usize) -> (Self, Self) {
        match self {
            Self::Nowhere => (Self::Nowhere, Self::Nowhere),
            Self::Each(sums) => {
                let (low, high) = sums.split_at_mut(row);
                (Self::Each(low), Self::Each(high))
            }
            Self::Added(sums) => {
                let (low, high) = sums.split_at_mut(row);
                (Self::Added(low), Self::Added(high))
            }
        }
    }
}

/// What a kernel makes of one vector of lanes.
pub struct Term<F: Float, S: Simd, const O: usize> {
    /// Each lane's term of the row's sum.
    pub sum: Lanes<F, S>,
    /// The elementwise outputs.
    pub out: [Lanes<F, S>; O],
    /// Lanes whose input the kernel has no value for.
    pub bad: Mask<F, S>,
}

/// A kernel of `I` input arrays, `O` elementwise output arrays and one sum a row.
pub trait LaneOp<F: Float, const I: usize, const O: usize>: Sync {
    /// The kernel on one vector; mark the implementation `#[inline(always)]`.
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; I]) -> Term<F, S, O>;

    /// The row's result from the sum of its terms.
    fn finish(&self, sum: f64) -> f64 {
        sum
    }
}

/// What [`LaneOp::lanes`] makes of these lanes, [`apart`].
#[inline(always)]
pub(crate) fn lanes_of<F: Float, S: Simd, Op: LaneOp<F, I, O>, const I: usize, const O: usize>(
    op: &Op,
    simd: S,
    x: [Lanes<F, S>; I],
) -> Term<F, S, O> {
    apart(
        simd,
        (op, x),
        #[inline(always)]
        |simd, (op, x): (&Op, [Lanes<F, S>; I])| op.lanes(simd, x),
    )
}

/// The elementwise outputs of a row, as slices.
pub trait RowOutputs<F, const O: usize>: Outputs {
    /// The slices of one row.
    fn row(&mut self, row: usize) -> [&mut [F]; O];
}

impl<F: Send, const O: usize> RowOutputs<F, O> for [RowsMut<'_, F>; O] {
    #[inline(always)]
    fn row(&mut self, row: usize) -> [&mut [F]; O] {
        self.each_mut().map(|rows| rows.row(row))
    }
}

/// `O` outputs of `width` numbers side by side in one array from column `first` on, as `params` holds its blocks.
#[derive(Debug)]
pub struct Blocks<'a, F> {
    /// The whole rows.
    pub rows: RowsMut<'a, F>,
    /// The first block's first column.
    pub first: usize,
    /// Columns a block.
    pub width: usize,
}

impl<F: Send> Outputs for Blocks<'_, F> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = self.rows.split_at(row);
        (Self { rows: low, ..self }, Self { rows: high, ..self })
    }
}

impl<F: Send, const O: usize> RowOutputs<F, O> for Blocks<'_, F> {
    #[inline(always)]
    fn row(&mut self, row: usize) -> [&mut [F]; O] {
        let mut rest = &mut self.rows.row(row)[self.first..];
        [(); O].map(|()| {
            let (block, after) = std::mem::take(&mut rest).split_at_mut(self.width);
            rest = after;
            block
        })
    }
}

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
        let Self { op, inputs, rows, width, mut totals, mut outputs } = self;
        let mut bad = Mask::<F, S>::splat(simd, false);
        let mut overflow = false;
        let (whole, rest) = (width / F::LANES * F::LANES, width % F::LANES);
        let live = F::Lanes::from_fn(simd, |l| F::from_f64(l as f64)).simd_lt(F::from_f64(rest as f64));
        let zero = F::Lanes::splat(simd, F::ZERO);
        let mut cursors = inputs.map(|input| input.cursor(rows.start));
        // What is read again and again is in the cache already.
        let ahead = inputs.map(|input| if input.is_one_row() { 0 } else { ahead::<F>() });
        for first in (0..rows.len()).step_by(GROUP) {
            let count = GROUP.min(rows.len() - first);
            let mut sums = [F::Sum::<S>::zero(simd); GROUP];
            for (local, row_sum) in (first..first + count).zip(&mut sums) {
                let mut inputs: [&[F]; I] = [&[]; I];
                for (x, cursor) in inputs.iter_mut().zip(&mut cursors) {
                    *x = cursor.next();
                }
                let mut outputs = outputs.row(local);
                let mut sum = F::Sum::<S>::zero(simd);
                for at in (0..whole).step_by(F::LANES) {
                    // Loops, as the closure of an array's `map` is not always inlined, and lanes then go through memory and baseline code.
                    let mut lanes = [zero; I];
                    for ((lanes, x), ahead) in lanes.iter_mut().zip(inputs).zip(ahead) {
                        ask_for(simd, x.as_ptr().wrapping_add(at + ahead));
                        *lanes = F::Lanes::from_slice(simd, &x[at..at + F::LANES]);
                    }
                    let term = lanes_of(op, simd, lanes);
                    sum = sum.add(term.sum);
                    bad |= term.bad;
                    for (out, lanes) in outputs.iter_mut().zip(term.out) {
                        lanes.store_slice(&mut out[at..at + F::LANES]);
                    }
                }
                if rest > 0 {
                    let mut parts = [zero; I];
                    for (part, x) in parts.iter_mut().zip(inputs) {
                        *part = load_part(simd, &x[whole..], rest);
                    }
                    let term = lanes_of(op, simd, parts);
                    sum = sum.add(live.select(term.sum, zero));
                    bad |= term.bad & live;
                    for (out, lanes) in outputs.iter_mut().zip(term.out) {
                        store_part(lanes.as_slice(), &mut out[whole..whole + rest]);
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
            for result in &mut results {
                *result = op.finish(*result);
            }
            overflow |= !totals.put_each(first, &results[..count]);
        }
        overflow || bad.any_true()
    }
}

/// Rows whose sums are finished together.
const GROUP: usize = 8;

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
pub(crate) fn load_part<F: Float, S: Simd>(simd: S, x: &[F], n: usize) -> Lanes<F, S> {
    if x.len() >= F::LANES {
        return F::Lanes::from_slice(simd, &x[..F::LANES]);
    }
    let mut part = [F::ZERO; 16];
    part[..n].copy_from_slice(&x[..n]);
    F::Lanes::from_slice(simd, &part[..F::LANES])
}

/// The first lanes to a row's end, in pieces whose sizes the compiler knows.
#[inline(always)]
fn store_part<F: Float>(lanes: &[F], out: &mut [F]) {
    let mut at = 0;
    for size in [8, 4, 2, 1] {
        if out.len() & size != 0 {
            out[at..at + size].copy_from_slice(&lanes[at..at + size]);
            at += size;
        }
    }
}

/// A kernel whose elementwise outputs are not wanted; the compiler drops their arithmetic.
pub struct SumOnly<'a, Op, const O: usize>(pub &'a Op);

impl<F: Float, Op: LaneOp<F, I, O>, const I: usize, const O: usize> LaneOp<F, I, 0> for SumOnly<'_, Op, O> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, x: [Lanes<F, S>; I]) -> Term<F, S, 0> {
        let term = lanes_of(self.0, simd, x);
        Term { sum: term.sum, out: [], bad: term.bad }
    }

    fn finish(&self, sum: f64) -> f64 {
        self.0.finish(sum)
    }
}

/// The outputs of [`SumOnly`].
#[must_use]
pub fn no_outputs<'a, F>() -> [RowsMut<'a, F>; 0] {
    []
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
