//! Each column's part of the reconstruction: which column made a row odd.
//!
//! The draws are those of [`elbo`](super::elbo()), so the columns add up to its reconstruction to rounding.

use super::members::members;
use super::model::Model;
use super::score::check_particles;
use super::scorer::{Drawn, log_prob_of_any, over_rows, work, work_of_draw};
use super::source::Source;
use crate::bound::Running;
use crate::error::Result;
use crate::float::Float;
use crate::likelihood::Prepared;
use crate::random::{Draw, Key};
use crate::rows::check_len;
use crate::threads::{Interrupt, RowsMut};

/// A column alone.
struct Cell<F: Float> {
    column: usize,
    likelihood: Prepared<F>,
    /// The columns of params that it reads.
    params: Vec<usize>,
}

/// The particles' mean of each column's log p(x | z), (rows, columns), x as given and 0 where it is missing, by `num_particles` draws of z from q.
///
/// # Errors
/// As [`check`](super::check), and [`Error::Value`](crate::Error) for 0 particles.
pub fn elbo_per_column<F: Float + Draw>(
    model: &Model<F>,
    source: &dyn Source<F>,
    key: Key,
    num_particles: usize,
    interrupt: &Interrupt,
    out: &mut [F],
) -> Result<()> {
    check_particles(num_particles)?;
    let width = model.config().num_features;
    check_len("out", out, source.rows(), width)?;
    let cells = cells(model)?;
    let cells = cells.as_slice();
    let work = work(&model.encoder) + num_particles.saturating_mul(work_of_draw(model) + CELL * width);
    over_rows(model, source, work, interrupt, RowsMut::new(out, width), |scorer, out| {
        scorer.encode();
        // A column's params, its log probabilities, and all columns' side by side.
        let (mut params, mut log_prob, mut all): (Vec<F>, Vec<F>, Vec<F>) = Default::default();
        let push = |running: &mut Running, drawn: Drawn<F>| {
            let count = drawn.log_prob.len();
            all.clear();
            all.resize(count * width, F::ZERO);
            log_prob.resize(count, F::ZERO);
            for cell in cells.iter().filter(|cell| !drawn.x[cell.column].to_f64().is_nan()) {
                params.clear();
                for row in drawn.params.chunks_exact(drawn.params.len() / count) {
                    params.extend(cell.params.iter().map(|&param| row[param]));
                }
                log_prob_of_any(&cell.likelihood, &drawn.x[cell.column..=cell.column], &params, &mut log_prob)?;
                for (slot, log_prob) in all[cell.column..].iter_mut().step_by(width).zip(&log_prob) {
                    *slot = *log_prob;
                }
            }
            running.push(&all);
            Ok(())
        };
        let mut means: Vec<(usize, Vec<f64>)> = Vec::new();
        scorer.draw(
            key,
            num_particles,
            interrupt,
            |_| true,
            || Running::new(width),
            push,
            |row, running| means.push((row.index, running.mean().to_vec())),
        )?;
        for (index, means) in means {
            let (x, out) = (scorer.row(index), &mut out.data[index * width..][..width]);
            for (column, ((out, mean), x)) in out.iter_mut().zip(means).zip(x).enumerate() {
                let seen = !x.to_f64().is_nan();
                *out = if seen { F::from_f64(mean + model.intake.offset(column)) } else { F::ZERO };
            }
        }
        Ok(())
    })
}

/// About the nanoseconds of a cell on its own.
const CELL: usize = 20;

fn cells<F: Float + Draw>(model: &Model<F>) -> Result<Vec<Cell<F>>> {
    let members = members(&model.config().likelihood, model.config().num_features);
    let cells = members.iter().flat_map(|member| {
        member.columns.iter().enumerate().map(|(place, &column)| {
            let (likelihood, params) = member.cell(place);
            Ok(Cell { column, likelihood: likelihood.prepare(1)?, params })
        })
    });
    cells.collect()
}
