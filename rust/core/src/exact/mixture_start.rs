//! Where a mixture's fit begins: locs drawn from the rows by k-means++, distances in units of the columns' standard deviations.
//!
//! The first loc is a row drawn evenly; each next one is a row drawn with a probability in proportion to its squared distance from the nearest so far. Number c of the
//! draws is uniform c of the key: the row is the first at which the running sum of those squares, in order of the rows, is above its share. Weights are equal, and variances the
//! columns' own times the mean squared distance from the nearest loc, so that components neither overlap entirely nor not at all.

use std::ops::Range;

use super::mixture_fit::{Form, Parameters};
use super::moments::{Moments, moments};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::{Key, fill_uniforms};
use crate::simd::{Kernel, Simd, dispatch};
use crate::threads::{RowsMut, for_rows};

/// The least variance that a component starts with, of its column's.
const LEAST: f64 = 1e-3;

pub(super) fn drawn<F: Float>(
    x: &[F],
    width: usize,
    form: Form,
    components: usize,
    key: Key,
    regularisation: f64,
) -> Result<Parameters> {
    let rows = x.len() / width;
    if components == 0 || components > rows {
        let cure = "give a number of components up to that of the rows";
        return Err(Error::value("n_components", format!("1 to {rows}, the number of rows"), components, cure));
    }
    let Moments { covariance, constant, .. } = moments(x, width)?;
    let variance: Vec<f64> = (0..width).map(|j| covariance[j * width + j]).collect();
    if regularisation == 0.0
        && form != Form::Spherical
        && let Some(j) = constant.first()
    {
        let expected = format!("a positive number, since column {j} is constant");
        return Err(Error::value("regularisation", expected, 0.0, "raise it, or leave the column out"));
    }
    let inverse: Vec<f64> = variance.iter().map(|&v| if v > 0.0 { 1.0 / v } else { 0.0 }).collect();
    let mut uniforms = vec![0.0; components];
    fill_uniforms::<f64>(key, 0, 0, components, &mut uniforms);
    let mut chosen = vec![((uniforms[0] * rows as f64) as usize).min(rows - 1)];
    let mut nearest = vec![f64::INFINITY; rows];
    let total = loop {
        let at = &x[chosen[chosen.len() - 1] * width..][..width];
        for_rows(rows, 2 + width, RowsMut::new(&mut nearest, 1), &|range, out: RowsMut<f64>| {
            dispatch(Distance { x, at, inverse: &inverse, range, nearest: out.data });
        });
        let total: f64 = nearest.iter().sum();
        if chosen.len() == components {
            break total;
        }
        if total <= 0.0 {
            let expected = format!("at most {}, the number of different rows", chosen.len());
            return Err(Error::value("n_components", expected, components, "fit fewer components"));
        }
        let aim = uniforms[chosen.len()] * total;
        let mut sum = 0.0;
        let next = nearest.iter().position(|square| {
            sum += square;
            sum > aim
        });
        // Rounding may leave the aim at the very end: a row that is no loc yet is then as good as any.
        chosen.push(next.unwrap_or_else(|| nearest.iter().rposition(|&square| square > 0.0).unwrap_or(rows - 1)));
    };
    let varying = width - constant.len();
    let share = (total / (rows * varying) as f64).max(LEAST);
    let mut variances = vec![0.0; components * form.len(width)];
    for block in variances.chunks_exact_mut(form.len(width)) {
        match form {
            Form::Spherical => block[0] = share * variance.iter().sum::<f64>() / width as f64 + regularisation,
            Form::Diagonal => {
                for (v, own) in block.iter_mut().zip(&variance) {
                    *v = share * own + regularisation;
                }
            }
            Form::Full => {
                for (j, own) in variance.iter().enumerate() {
                    block[j * width + j] = share * own + regularisation;
                }
            }
        }
    }
    let locs = chosen.iter().flat_map(|&row| x[row * width..][..width].iter().map(|x| x.to_f64())).collect();
    Ok(Parameters { weights: vec![1.0 / components as f64; components], locs, variances })
}

/// The squared distance of each row from the nearest loc, the row `at` having become one.
struct Distance<'a, F> {
    x: &'a [F],
    at: &'a [F],
    inverse: &'a [f64],
    range: Range<usize>,
    nearest: &'a mut [f64],
}

impl<F: Float> Kernel for Distance<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let width = self.at.len();
        let rows = self.x[self.range.start * width..self.range.end * width].chunks_exact(width);
        for (nearest, row) in self.nearest.iter_mut().zip(rows) {
            let cells = row.iter().zip(self.at).zip(self.inverse);
            let square = cells.fold(0.0, |sum: f64, ((x, at), inverse)| {
                let off = x.to_f64() - at.to_f64();
                (off * inverse).fused(off, sum)
            });
            *nearest = nearest.min(square);
        }
    }
}
