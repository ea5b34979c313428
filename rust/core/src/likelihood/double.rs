//! Kinds that are computed in float64 whatever the element type: float32 rows are widened block by block, and their results rounded once.
//!
//! Where a result is made of differences of many parts (concentrations, large totals), float32 arithmetic would lose the digits that it is made of, and it
//! cannot hold a Student's degrees of freedom at either end. It also halves what there is to compile of the longest kernels.

use std::any::Any;
use std::sync::Arc;

use super::Likelihood;
use super::cells::{Family, Params, ParamsMut, in_blocks};
use crate::float::Float;
use crate::random::CellWords;
use crate::rows::{Input, Totals};
use crate::threads::RowsMut;

/// Numbers of x that are widened at a time: little enough to stay in the first cache.
const BLOCK: usize = 1024;
/// The most rows of a block.
const ROWS: usize = 64;
/// About the cost of a cell, in nanoseconds on one core.
const WORK: usize = 10;

/// A float64 likelihood for rows of another element type.
#[derive(Debug)]
struct InDouble {
    family: Arc<dyn Family<f64>>,
    width: usize,
    num_params: usize,
    num_means: usize,
}

/// A likelihood computed in float64, for rows of either element type.
pub(super) fn in_double<F: Float>(likelihood: &Likelihood, width: usize, family: Arc<dyn Family<f64>>) -> Arc<dyn Family<F>> {
    // Float64 rows need no other form.
    if let Some(same) = (&family as &dyn Any).downcast_ref::<Arc<dyn Family<F>>>() {
        return same.clone();
    }
    let (num_params, num_means) = (likelihood.num_params(width), likelihood.num_means(width));
    Arc::new(InDouble { family, width, num_params, num_means })
}

fn widen<F: Float>(from: &[F], to: &mut [f64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.to_f64();
    }
}

fn narrow<F: Float>(from: &[f64], to: &mut [F]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = F::from_f64(*from);
    }
}

impl InDouble {
    fn run<F: Float>(
        &self,
        x: Input<F>,
        params: Params<F>,
        rows: usize,
        totals: Totals<F>,
        d_params: Option<ParamsMut<F>>,
    ) -> bool {
        let (width, num_params, with_gradient) = (self.width, self.num_params, d_params.is_some());
        let make = |block: usize| {
            let numbers = vec![0.0; block * num_params];
            (vec![0.0; block * width], if with_gradient { numbers.clone() } else { Vec::new() }, numbers)
        };
        let most = (BLOCK / width).min(ROWS);
        in_blocks(rows, width * WORK, most, (totals, d_params), make, |room, first, count, (mut totals, d_params)| {
            let (cells, gradient, numbers) = room;
            let x_rows = if x.is_one_row() { 1 } else { count };
            for (row, cells) in cells.chunks_exact_mut(width).take(x_rows).enumerate() {
                widen(&x.from(first + row)[..width], cells);
            }
            for (row, numbers) in numbers.chunks_exact_mut(num_params).take(count).enumerate() {
                widen(&params.row(first + row)[..num_params], numbers);
            }
            let x = Input::rows(&cells[..x_rows * width], width);
            let params = Params { data: &numbers[..count * num_params], stride: num_params, first: 0 };
            let mut sums = [0.0; ROWS];
            let added = Totals::Added(&mut sums[..count]);
            let mut odd = match d_params {
                None => self.family.log_prob(x, params, count, added),
                Some(mut d_params) => {
                    let gradient = &mut gradient[..count * num_params];
                    let inner = ParamsMut { rows: RowsMut::new(gradient, num_params), first: 0 };
                    let odd = self.family.log_prob_grad(x, params, count, added, inner);
                    for (row, gradient) in gradient.chunks_exact(num_params).enumerate() {
                        narrow(gradient, &mut d_params.row(row)[..num_params]);
                    }
                    odd
                }
            };
            for (row, &sum) in sums[..count].iter().enumerate() {
                odd |= !totals.put(row, sum);
            }
            odd
        })
    }
}

impl<F: Float> Family<F> for InDouble {
    fn log_prob(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>) -> bool {
        self.run(x, params, rows, totals, None)
    }

    fn log_prob_grad(&self, x: Input<F>, params: Params<F>, rows: usize, totals: Totals<F>, d_params: ParamsMut<F>) -> bool {
        self.run(x, params, rows, totals, Some(d_params))
    }

    fn mean(&self, params: Params<F>, rows: usize, out: ParamsMut<F>) -> bool {
        let (num_params, num_means) = (self.num_params, self.num_means);
        let make = |_: usize| (vec![0.0; num_params], vec![0.0; num_means]);
        in_blocks(rows, self.width * WORK, 1, out, make, |(numbers, means), row, _, mut out: ParamsMut<F>| {
            widen(&params.row(row)[..num_params], numbers);
            let params = Params { data: numbers, stride: num_params, first: 0 };
            let inner = ParamsMut { rows: RowsMut::new(means, num_means), first: 0 };
            let bad = self.family.mean(params, 1, inner);
            narrow(means, &mut out.row(0)[..num_means]);
            bad
        })
    }

    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64 {
        let params: Vec<f64> = params[..self.num_params].iter().map(|p| p.to_f64()).collect();
        self.family.draw(column, &params, words)
    }
}
