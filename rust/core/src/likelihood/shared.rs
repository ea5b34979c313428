//! One scale a row for all of its cells: the kernel of predicted scales, given the row's number in every column; the gradient by it is the sum of theirs.

use std::fmt::Debug;

use super::cells::{CellOp, Cells, Family, Params, ParamsMut, in_blocks};
use crate::float::Float;
use crate::random::CellWords;
use crate::reduce::ordered_sum_of;
use crate::rows::{Blocks, Input, RowOutputs, SumOnly, Totals, map_rows, no_outputs};
use crate::threads::{Outputs, RowsMut, row_work};

/// Rows whose scales are spread out at a time: little enough to stay in the first cache.
const BLOCK: usize = 16;

/// Cells of a kind with predicted scales, all of a row's the same.
#[derive(Debug, Clone)]
pub(super) struct Shared<F, Op>(pub(super) Cells<F, Op, 3, 2>);

impl<F: Float, Op: CellOp<F, 3, 2> + Debug + Send> Shared<F, Op> {
    /// Calls `body` for blocks of rows with their scales as rows of their own, and the block's part of `out`.
    fn blocks<O: Outputs>(
        &self,
        params: Params<F>,
        rows: usize,
        out: O,
        body: impl Fn([Input<F>; 2], usize, usize, O) -> bool + Sync,
    ) -> bool {
        let width = self.0.width;
        let make = |block: usize| vec![F::ZERO; block * width];
        in_blocks(rows, row_work::<F>(width, Op::WORK + 0.5), BLOCK, out, make, |scales, first, count, out| {
            for (row, scales) in (first..first + count).zip(scales.chunks_exact_mut(width)) {
                scales.fill(params.row(row)[width]);
            }
            let loc = params.after(first).block(0, width);
            body([loc, Input::rows(&scales[..count * width], width)], first, count, out)
        })
    }
}

impl<F: Float, Op: CellOp<F, 3, 2> + Debug + Send> Family<F> for Shared<F, Op> {
    fn log_prob(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>) -> bool {
        let (op, width) = (SumOnly::<_, 2>(&self.0.op), self.0.width);
        self.blocks(params, rows, totals, |[loc, scale], first, count, totals| {
            map_rows(&op, [x.after(first), loc, scale], count, width, Op::WORK, totals, no_outputs())
        })
    }

    fn log_prob_grad(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>, d_params: ParamsMut<F>) -> bool {
        let width = self.0.width;
        self.blocks(params, rows, (totals, d_params), |[loc, scale], first, count, (totals, mut d_params)| {
            let mut d_scale = vec![F::ZERO; count * width];
            let outputs = LocAndScale(d_params.shifted(0).blocks(width), RowsMut::new(&mut d_scale, width));
            let bad = map_rows(&self.0.op, [x.after(first), loc, scale], count, width, Op::WORK, totals, outputs);
            for (row, cells) in d_scale.chunks_exact(width).enumerate() {
                d_params.row(row)[width] = F::from_f64(ordered_sum_of(cells.iter().map(|d| d.to_f64())));
            }
            bad
        })
    }

    fn mean(&self, params: Params<F>, rows: usize, out: ParamsMut<F>) -> bool {
        let width = self.0.width;
        self.blocks(params, rows, out, |blocks, _, count, out| self.0.mean_of(blocks, count, out.blocks(width)))
    }

    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64 {
        self.0.op.draw(column, [params[column].to_f64(), params[self.0.width].to_f64()], words)
    }
}

/// The first block of params, and scratch for the second.
struct LocAndScale<'a, F>(Blocks<'a, F>, RowsMut<'a, F>);

impl<F: Send> Outputs for LocAndScale<'_, F> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let ((a, b), (c, d)) = (self.0.split_at(row), self.1.split_at(row));
        (Self(a, c), Self(b, d))
    }
}

impl<F: Send> RowOutputs<F, 2> for LocAndScale<'_, F> {
    #[inline(always)]
    fn row(&mut self, row: usize) -> [&mut [F]; 2] {
        let [loc]: [&mut [F]; 1] = self.0.row(row);
        [loc, self.1.row(row)]
    }
}
