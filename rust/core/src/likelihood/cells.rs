//! What every kind of likelihood can do with rows, and the kinds whose cells are independent of each other: all but `Categorical` and `Columns`.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::float::Float;
use crate::random::CellWords;
use crate::rows::{Blocks, Input, LaneOp, Mask, SumOnly, TURN, Term, Totals, map_rows, no_outputs};
use crate::simd::{Select, Simd, SimdBase, not_unrolled};
use crate::threads::{Outputs, RowsMut, for_rows};
use crate::vmath::{Lanes, exp_minus_abs, zero_if_finite};

/// Rows of params, of which a likelihood reads the columns from `first` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Params<'a, F> {
    pub(super) data: &'a [F],
    /// Numbers a row.
    pub(super) stride: usize,
    pub(super) first: usize,
}

impl<'a, F: Float> Params<'a, F> {
    /// Block `index` of blocks of `width` columns.
    pub(super) fn block(&self, index: usize, width: usize) -> Input<'a, F> {
        Input::columns(self.data, self.stride, self.first + index * width)
    }

    /// A row's numbers from the first column on.
    pub(super) fn row(&self, row: usize) -> &'a [F] {
        &self.data[row * self.stride + self.first..]
    }

    /// The same columns from row `row` on.
    pub(super) fn after(&self, row: usize) -> Self {
        Self { data: &self.data[row * self.stride..], ..*self }
    }

    /// The same rows from column `first` of these on.
    pub(super) fn shifted(&self, first: usize) -> Self {
        Self { first: self.first + first, ..*self }
    }
}

/// Rows of results, of which a likelihood writes the columns from `first` on.
#[derive(Debug)]
pub(super) struct ParamsMut<'a, F> {
    pub(super) rows: RowsMut<'a, F>,
    pub(super) first: usize,
}

impl<'a, F: Float> ParamsMut<'a, F> {
    /// Blocks of `width` columns.
    pub(super) fn blocks(self, width: usize) -> Blocks<'a, F> {
        Blocks { rows: self.rows, first: self.first, width }
    }

    /// A row's numbers from the first column on.
    pub(super) fn row(&mut self, row: usize) -> &mut [F] {
        &mut self.rows.row(row)[self.first..]
    }

    /// The same rows from column `first` of these on, for a while.
    pub(super) fn shifted(&mut self, first: usize) -> ParamsMut<'_, F> {
        ParamsMut { rows: RowsMut::new(self.rows.data, self.rows.width), first: self.first + first }
    }
}

impl<F: Send> Outputs for ParamsMut<'_, F> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = self.rows.split_at(row);
        (Self { rows: low, first: self.first }, Self { rows: high, first: self.first })
    }
}

/// A likelihood with its tables for one element type and width. Each function returns whether anything looked bad; the caller then looks closer.
pub(super) trait Family<F: Float>: Debug + Send + Sync {
    /// log p of `rows` rows.
    fn log_prob(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>) -> bool;

    /// The same and its gradient with respect to params, in one pass.
    fn log_prob_grad(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>, d_params: ParamsMut<F>) -> bool;

    /// The mean of each cell.
    fn mean(&self, params: Params<F>, rows: usize, out: ParamsMut<F>) -> bool;

    /// A draw of the cell in column `column`, given the row's params.
    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64;
}

/// The kernel of a kind whose cells are independent: `O` blocks of params, and `I − 1 − O` tables by column. It reads x, the blocks, then the tables.
pub(super) trait CellOp<F: Float, const I: usize, const O: usize>: LaneOp<F, I, O> {
    /// About the cost of a float32 cell with its gradient, in nanoseconds on one core.
    const WORK: f64;

    /// The mean of cells with these params.
    fn mean<S: Simd>(&self, simd: S, params: [Lanes<F, S>; O]) -> Lanes<F, S>;

    /// A draw of a cell with these params.
    fn draw(&self, column: usize, params: [f64; O], words: &mut CellWords) -> f64;
}

/// The [`turn`](LaneOp::turn) of a kernel that makes its terms from its input and e^−|logit|: the exponentials of all vectors come first. The logits are input number `logits`.
#[inline(always)]
pub(super) fn exponentials_first<F: Float, S: Simd, const I: usize, const O: usize>(
    simd: S,
    vectors: usize,
    logits: usize,
    load: impl Fn(usize) -> [Lanes<F, S>; I],
    mut put: impl FnMut(usize, Term<F, S, O>),
    rest: impl Fn([Lanes<F, S>; I], Lanes<F, S>) -> Term<F, S, O>,
) {
    let mut exponentials = [F::Lanes::splat(simd, F::ZERO); TURN];
    let exponentials = not_unrolled(&mut exponentials);
    for (k, t) in exponentials.iter_mut().enumerate().take(vectors) {
        *t = exp_minus_abs::<F, S>(simd, load(k)[logits]);
    }
    for (k, t) in exponentials.iter().enumerate().take(vectors) {
        put(k, rest(load(k), *t));
    }
}

/// The cells that are not missing. A comparison, as a test for NaN would have to be turned round.
#[inline(always)]
pub(super) fn seen<F: Float, S: Simd>(x: Lanes<F, S>) -> Mask<F, S> {
    x.simd_eq(x)
}

/// The [`Term::flaw`] of cells: none where one is missing, or `inside` the support with finite params.
#[inline(always)]
pub(super) fn flaw<F: Float, S: Simd, const N: usize>(
    simd: S,
    seen: Mask<F, S>,
    inside: Mask<F, S>,
    params: [Lanes<F, S>; N],
) -> Lanes<F, S> {
    let [zero, one] = [F::ZERO, F::ONE].map(|x| F::Lanes::splat(simd, x));
    seen.select(inside.select(zero_if_finite::<F, S, N>(simd, params), one), zero)
}

/// Lanes of results, 0 where the cell is missing.
#[inline(always)]
pub(super) fn where_seen<F: Float, S: Simd, const N: usize>(
    simd: S,
    seen: Mask<F, S>,
    mut lanes: [Lanes<F, S>; N],
) -> [Lanes<F, S>; N] {
    // A loop, as the closure of an array's `map` is not always inlined, and lanes then go through memory and baseline code.
    for x in &mut lanes {
        *x = seen.select(*x, F::Lanes::splat(simd, F::ZERO));
    }
    lanes
}

/// Runs `body` on blocks of at most `most` rows: with what `make` made for blocks of so many rows, the block's first row, its number of rows and its part of
/// `out`. Returns whether any block looked bad. `work` is about the cost of a row, in nanoseconds on one core.
pub(super) fn in_blocks<O: Outputs, T>(
    rows: usize,
    work: usize,
    most: usize,
    out: O,
    make: impl Fn(usize) -> T + Sync,
    body: impl Fn(&mut T, usize, usize, O) -> bool + Sync,
) -> bool {
    let bad = AtomicBool::new(false);
    for_rows(rows, work, out, &|range, mut out: O| {
        let block = most.clamp(1, range.len().max(1));
        let mut room = make(block);
        for first in range.clone().step_by(block) {
            let count = block.min(range.end - first);
            let (part, rest) = out.split_at(count);
            out = rest;
            if body(&mut room, first, count, part) {
                bad.store(true, Ordering::Relaxed);
            }
        }
    });
    bad.into_inner()
}

/// Independent cells, `width` of them a row.
#[derive(Debug, Clone)]
pub(super) struct Cells<F, Op, const I: usize, const O: usize> {
    pub(super) op: Op,
    pub(super) tables: Vec<Vec<F>>,
    pub(super) width: usize,
}

impl<F: Float, Op: CellOp<F, I, O>, const I: usize, const O: usize> Cells<F, Op, I, O> {
    pub(super) fn new(op: Op, width: usize) -> Self {
        Self { op, tables: Vec::new(), width }
    }

    /// The mean of cells whose blocks of params are given.
    pub(super) fn mean_of(&self, blocks: [Input<F>; O], rows: usize, out: Blocks<F>) -> bool {
        map_rows(&MeanOf::<Op, I>(&self.op), blocks, rows, self.width, Op::WORK, Totals::Nowhere, out)
    }

    fn inputs<'a>(&'a self, x: Input<'a, F>, params: Params<'a, F>) -> [Input<'a, F>; I] {
        std::array::from_fn(|i| match i {
            0 => x,
            i if i <= O => params.block(i - 1, self.width),
            i => Input::rows(&self.tables[i - 1 - O], self.width),
        })
    }
}

impl<F: Float, Op: CellOp<F, I, O> + Debug + Send, const I: usize, const O: usize> Family<F> for Cells<F, Op, I, O> {
    fn log_prob(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>) -> bool {
        map_rows(&SumOnly::<_, O>(&self.op), self.inputs(x, params), rows, self.width, Op::WORK, totals, no_outputs())
    }

    fn log_prob_grad(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>, d_params: ParamsMut<F>) -> bool {
        map_rows(&self.op, self.inputs(x, params), rows, self.width, Op::WORK, totals, d_params.blocks(self.width))
    }

    fn mean(&self, params: Params<F>, rows: usize, out: ParamsMut<F>) -> bool {
        let blocks = std::array::from_fn(|i| params.block(i, self.width));
        self.mean_of(blocks, rows, out.blocks(self.width))
    }

    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64 {
        self.op.draw(column, std::array::from_fn(|block| params[block * self.width + column].to_f64()), words)
    }
}

/// The mean as a kernel of its own.
struct MeanOf<'a, Op, const I: usize>(&'a Op);

impl<F: Float, Op: CellOp<F, I, O>, const I: usize, const O: usize> LaneOp<F, O, 1> for MeanOf<'_, Op, I> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, params: [Lanes<F, S>; O]) -> Term<F, S, 1> {
        let flaw = zero_if_finite::<F, S, O>(simd, params);
        Term { sum: F::Lanes::splat(simd, F::ZERO), out: [self.0.mean(simd, params)], flaw }
    }
}
