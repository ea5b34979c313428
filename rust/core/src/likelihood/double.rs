//! Kinds that are computed in float64 whatever the element type: float32 rows are widened block by block, and their results rounded once.
//!
//! Counts and shapes span so many magnitudes that float32 arithmetic would lose the digits that the result is made of. It also halves what there is to
//! compile of the longest kernels.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Likelihood;
use super::cells::{Family, Params, ParamsMut};
use crate::float::Float;
use crate::random::CellWords;
use crate::rows::{Input, Totals};
use crate::threads::{Outputs, RowsMut, for_rows};

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
        let (width, num_params) = (self.width, self.num_params);
        let bad = AtomicBool::new(false);
        for_rows(rows, width * WORK, (totals, d_params), &|range, mut out| {
            let block = (BLOCK / width).clamp(1, ROWS).min(range.len().max(1));
            let (mut cells, mut numbers) = (vec![0.0; block * width], vec![0.0; block * num_params]);
            let mut gradient = if out.1.is_some() { numbers.clone() } else { Vec::new() };
            for first in range.clone().step_by(block) {
                let count = block.min(range.end - first);
                let ((mut totals, d_params), rest) = out.split_at(count);
                out = rest;
                for row in 0..count {
                    widen(&x.from(first + row)[..width], &mut cells[row * width..][..width]);
                    widen(&params.row(first + row)[..num_params], &mut numbers[row * num_params..][..num_params]);
                }
                let x = Input::rows(&cells[..count * width], width);
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
                if odd {
                    bad.store(true, Ordering::Relaxed);
                }
            }
        });
        bad.into_inner()
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
        let bad = AtomicBool::new(false);
        for_rows(rows, self.width * WORK, out, &|range, mut out: ParamsMut<F>| {
            let (mut numbers, mut means) = (vec![0.0; num_params], vec![0.0; num_means]);
            for (local, row) in range.enumerate() {
                widen(&params.row(row)[..num_params], &mut numbers);
                let params = Params { data: &numbers, stride: num_params, first: 0 };
                let inner = ParamsMut { rows: RowsMut::new(&mut means, num_means), first: 0 };
                if self.family.mean(params, 1, inner) {
                    bad.store(true, Ordering::Relaxed);
                }
                narrow(&means, &mut out.row(local)[..num_means]);
            }
        });
        bad.into_inner()
    }

    fn draw(&self, column: usize, params: &[F], words: &mut CellWords) -> f64 {
        let params: Vec<f64> = params[..self.num_params].iter().map(|p| p.to_f64()).collect();
        self.family.draw(column, &params, words)
    }
}
