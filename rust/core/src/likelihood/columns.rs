//! A table of mixed kinds: each column belongs to one member, whose log probabilities add up.
//!
//! A row's result is the sum, in float64 and in the members' order, of the members' own sums of terms.

use std::sync::Arc;

use super::cells::{Family, Params, ParamsMut, in_blocks};
use crate::float::Float;
use crate::random::CellWords;
use crate::rows::{Input, Totals};
use crate::threads::{Outputs, RowsMut};

/// Rows whose cells are gathered at a time.
const BLOCK: usize = 64;
/// About the cost of a cell, in nanoseconds on one core.
const WORK: usize = 5;

/// A likelihood of some of the columns.
#[derive(Debug, Clone)]
pub(super) struct Member<F> {
    pub(super) family: Arc<dyn Family<F>>,
    /// The columns that it reads, in its own order.
    pub(super) columns: Vec<usize>,
    /// Where its params begin.
    pub(super) first: usize,
    /// Where the mean of each of its columns begins.
    pub(super) means: Vec<usize>,
    /// Numbers in the mean of a column.
    pub(super) mean_width: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Columns<F> {
    pub(super) members: Vec<Member<F>>,
    /// The member of each column, and its place there.
    pub(super) places: Vec<(usize, usize)>,
}

impl<F: Float> Columns<F> {
    /// Calls `body` for every member on blocks of gathered rows, with the block's sums and output.
    fn rows<O: Outputs>(
        &self,
        x: Input<F>,
        params: Params<F>,
        rows: usize,
        out: (Totals<F>, O),
        body: impl Fn(&Member<F>, Input<F>, Params<F>, &mut [f64], &mut O) -> bool + Sync,
    ) -> bool {
        let (width, make) = (self.places.len(), |_| Vec::new());
        in_blocks(rows, width * WORK, BLOCK, out, make, |cells, first, count, out| {
            let (mut totals, mut part): (Totals<F>, O) = out;
            let mut sums = [0.0; BLOCK];
            let sums = &mut sums[..count];
            let x_rows = if x.is_one_row() { 1 } else { count };
            let mut odd = false;
            for member in &self.members {
                cells.clear();
                cells.extend((first..first + x_rows).flat_map(|row| {
                    let x = x.from(row);
                    member.columns.iter().map(|&column| x[column])
                }));
                let cells = Input::rows(cells, member.columns.len());
                odd |= body(member, cells, params.after(first).shifted(member.first), sums, &mut part);
            }
            for (row, &sum) in sums.iter().enumerate() {
                odd |= !totals.put(row, sum);
            }
            odd
        })
    }
}

impl<F: Float> Family<F> for Columns<F> {
    fn log_prob(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>) -> bool {
        self.rows(x, params, rows, (totals, ()), |member, x, params, sums, ()| {
            member.family.log_prob(x, params, sums.len(), Totals::Added(sums))
        })
    }

    fn log_prob_grad(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>, d_params: ParamsMut<F>) -> bool {
        self.rows(x, params, rows, (totals, d_params), |member, x, params, sums, d_params| {
            let d_params = d_params.shifted(member.first);
            member.family.log_prob_grad(x, params, sums.len(), Totals::Added(sums), d_params)
        })
    }

    fn mean(&self, params: Params<F>, rows: usize, mut out: ParamsMut<F>) -> bool {
        let mut bad = false;
        for member in &self.members {
            let width = member.columns.len() * member.mean_width;
            let mut means = vec![F::ZERO; BLOCK.min(rows) * width];
            for first in (0..rows).step_by(BLOCK) {
                let count = BLOCK.min(rows - first);
                let means = &mut means[..count * width];
                let part = ParamsMut { rows: RowsMut::new(means, width), first: 0 };
                bad |= member.family.mean(params.after(first).shifted(member.first), count, part);
                for (row, means) in means.chunks_exact(width).enumerate() {
                    let out = out.row(first + row);
                    for (&place, mean) in member.means.iter().zip(means.chunks_exact(member.mean_width)) {
                        out[place..place + member.mean_width].copy_from_slice(mean);
                    }
                }
            }
        }
        bad
    }

    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64 {
        let (member, place) = self.places[column];
        let member = &self.members[member];
        member.family.draw(place, &params[member.first..], words)
    }
}
