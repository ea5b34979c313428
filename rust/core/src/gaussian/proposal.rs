//! Draws that are weighed against a prior as they are made: z, and log q(z | x) − log p(z) from the ε that z was made of.
//!
//! What a row's particles share, its scale and the sum of its log-variances, is computed once, whatever the number of particles. With
//! δ = (z − `prior_loc`) / prior scale the ratio is ½ Σ [δ² − ε² + `prior_log_var` − `log_var`]: ln 2π has gone, and to N(0, I) the difference of
//! squares is (z − ε)(z + ε), which is 0 where q is the prior. z is the rounded draw, the one that a decoder gets.

use super::ends::{self, repeated};
use super::{Prior, deviation, scale};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::random::{Draw, Key, check_particles, fill_draws};
use crate::rows::{Input, LaneOp, Term, Totals, check_finite, check_len, map_rows, no_flaw};
use crate::simd::{Fused, Simd};
use crate::threads::{Outputs, RowsMut, for_rows, row_work};
use crate::vmath::{Lanes, exp, zero_if_finite};

/// About the cost of a number drawn and weighed, in nanoseconds on one core, and of its weighing alone.
const WORK: [f64; 2] = [1.2, 0.3];

/// A Gaussian for each row, ready to be drawn from and weighed against a prior.
#[derive(Debug, Clone)]
pub struct Proposal<F> {
    loc: Vec<F>,
    log_var: Vec<F>,
    scale: Vec<F>,
    prior: Option<Base<F>>,
    /// Σ [`prior_log_var` − `log_var`] of each row.
    offsets: Vec<f64>,
    width: usize,
}

/// A prior with its own loc and log-variance, of one row for all or a row for each.
#[derive(Debug, Clone)]
struct Base<F> {
    loc: Vec<F>,
    log_var: Vec<F>,
    /// exp(−`log_var` / 2), perhaps infinite.
    inverse: Vec<F>,
}

/// The scale, or the inverse scale of a prior; the sum is that of `log_var`.
struct Spread<const INVERSE: bool>;
/// z, and z² − ε².
struct Standard;
/// z, and δ² − ε².
struct General;

impl<F: Float, const INVERSE: bool> LaneOp<F, 2, 1> for Spread<INVERSE> {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [loc, log_var]: [Lanes<F, S>; 2]) -> Term<F, S, 1> {
        // The inverse is not capped: a row with an infinite one is not finite, and is computed again.
        let spread = if INVERSE { exp::<F, S>(simd, log_var * F::from_f64(-0.5)) } else { scale::<F, S>(simd, log_var, 1.0) };
        Term { sum: log_var, out: [spread], flaw: zero_if_finite::<F, S, 2>(simd, [loc, log_var]) }
    }
}

impl<F: Float> LaneOp<F, 3, 1> for Standard {
    const SHORT_ROWS: bool = F::LANES == 16;

    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [eps, loc, scale]: [Lanes<F, S>; 3]) -> Term<F, S, 1> {
        let z = scale.fma(eps, loc);
        Term { sum: (z - eps) * (z + eps), out: [z], flaw: no_flaw::<F, S>(simd) }
    }
}

impl<F: Float> LaneOp<F, 5, 1> for General {
    #[inline(always)]
    fn lanes<S: Simd>(&self, simd: S, [eps, loc, scale, prior_loc, inverse]: [Lanes<F, S>; 5]) -> Term<F, S, 1> {
        let z = scale.fma(eps, loc);
        let [delta, cross] = deviation::<F, S>(simd, z, prior_loc, inverse);
        let sum = delta.fma(delta, (-eps).fma(eps, cross));
        Term { sum, out: [z], flaw: no_flaw::<F, S>(simd) }
    }
}

impl<F: Float + Draw> Proposal<F> {
    /// Of rows of `width` latents; the prior is N(0, I) where `None`, one row for all, or a row for each.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error) and [`Error::NonFinite`](crate::Error).
    pub fn new(loc: &[F], log_var: &[F], prior: Prior<F>, width: usize) -> Result<Self> {
        let rows = loc.len().checked_div(width).unwrap_or(0);
        check_len("loc", loc, rows, width)?;
        check_len("log_var", log_var, rows, width)?;
        let (scale, sums) = spread::<F, false>(["loc", "log_var"], loc, log_var, rows, width)?;
        let mut offsets: Vec<f64> = sums.iter().map(|sum| -sum).collect();
        let prior = match prior {
            None => None,
            Some((a, b)) => {
                let prior_rows = if a.len() == width { 1 } else { rows };
                check_len("prior_loc", a, prior_rows, width)?;
                check_len("prior_log_var", b, prior_rows, width)?;
                let (inverse, sums) = spread::<F, true>(["prior_loc", "prior_log_var"], a, b, prior_rows, width)?;
                for (offset, sum) in offsets.iter_mut().zip(sums.iter().cycle()) {
                    *offset += sum;
                }
                Some(Base { loc: a.to_vec(), log_var: b.to_vec(), inverse })
            }
        };
        Ok(Self { loc: loc.to_vec(), log_var: log_var.to_vec(), scale, prior, offsets, width })
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// Draws z, (particles, rows, width), as [`rsample`](super::rsample) does, and log q(z | x) − log p(z) of each draw into `log_ratio`,
    /// (particles, rows); the particles are `first_particle` and on. A draw that has left the range has a ratio of +∞.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error), and [`Error::Value`] for particles past 2³² − 1.
    pub fn draw(&self, key: Key, first_particle: u32, first_row: u64, z: &mut [F], log_ratio: &mut [F]) -> Result<()> {
        /// Numbers of ε drawn at a time: small enough to stay in the first cache.
        const BLOCK: usize = 2048;
        let (rows, width, draws) = (self.rows(), self.width, log_ratio.len());
        check_len("z", z, draws, width)?;
        if width == 0 {
            log_ratio.fill(F::ZERO);
        }
        if z.is_empty() {
            return Ok(());
        }
        if rows == 0 || !draws.is_multiple_of(rows) {
            let expected = format!("a multiple of the {rows} rows of loc");
            return Err(Error::shape("log_ratio", expected, format!("{draws} rows"), "give each particle every row"));
        }
        check_particles(first_particle, draws / rows)?;
        let out = (RowsMut::new(z, width), RowsMut::new(log_ratio, 1));
        for_rows(draws, row_work::<F>(width, WORK[0]), out, &|range, mut out: (RowsMut<F>, RowsMut<F>)| {
            let block = (BLOCK / width).max(1).min(range.len());
            let mut eps = vec![F::ZERO; block * width];
            let mut sums = vec![0.0; block];
            for from in range.clone().step_by(block) {
                let count = (range.end - from).min(block);
                let ((z, log_ratio), rest) = out.split_at(count);
                out = rest;
                let (eps, sums) = (&mut eps[..count * width], &mut sums[..count]);
                fill_draws(key, first_particle, first_row, rows, from, width, eps);
                // A block may hold many particles of a small batch.
                let (mut at, mut row) = (0, from % rows);
                while at < count {
                    let piece = (count - at).min(rows - row);
                    sums[at..at + piece].copy_from_slice(&self.offsets[row..row + piece]);
                    (at, row) = (at + piece, 0);
                }
                self.weigh(from % rows, eps, sums, z.data, log_ratio.data);
            }
        });
        Ok(())
    }

    /// z and the ratios of rows `first` and on, particle after particle, from their ε; `sums` holds their offsets.
    fn weigh(&self, first: usize, eps: &[F], sums: &mut [f64], z: &mut [F], log_ratio: &mut [F]) {
        let (draws, width) = (sums.len(), self.width);
        let eps_rows = Input::rows(eps, width);
        let [loc, scale] = [&self.loc, &self.scale].map(|x| Input::rows(x, width).after(first));
        let totals = Totals::Added(&mut *sums);
        let out = [RowsMut::new(&mut *z, width)];
        let lost = if let Some(prior) = &self.prior {
            let [prior_loc, inverse] = [&prior.loc, &prior.inverse].map(|x| Input::rows(x, width).after(first));
            map_rows(&General, [eps_rows, loc, scale, prior_loc, inverse], draws, width, WORK[1], totals, out)
        } else {
            map_rows(&Standard, [eps_rows, loc, scale], draws, width, WORK[1], totals, out)
        };
        for (ratio, sum) in log_ratio.iter_mut().zip(&*sums) {
            *ratio = F::from_f64(0.5 * sum);
        }
        // An offset alone may have left the range, which the sum of the lanes' terms does not show.
        if lost || sums.iter().any(|sum| !sum.is_finite()) {
            for (draw, (ratio, sum)) in log_ratio.iter_mut().zip(&*sums).enumerate() {
                if !sum.is_finite() {
                    let at = draw * width..(draw + 1) * width;
                    *ratio = F::from_f64(self.lost_row((first + draw) % self.rows(), &eps[at.clone()], &z[at]));
                }
            }
        }
    }

    /// The ratio of a row at the end of the range.
    fn lost_row(&self, row: usize, eps: &[F], z: &[F]) -> f64 {
        if z.iter().any(|z| !z.finite()) {
            return f64::INFINITY;
        }
        let width = self.width;
        let prior = self.prior.as_ref().map(|p| (repeated(&p.loc, row, width), repeated(&p.log_var, row, width)));
        let log_var = &self.log_var[row * width..][..width];
        ends::sum((0..width).flat_map(|j| {
            let (prior_loc, prior_log_var) = prior.map_or((0.0, 0.0), |(a, b)| (a[j].to_f64(), b[j].to_f64()));
            let (delta, eps) = (ends::delta(z[j].to_f64(), prior_loc, prior_log_var), eps[j].to_f64());
            [0.5 * delta * delta, -0.5 * eps * eps, 0.5 * prior_log_var, -0.5 * log_var[j].to_f64()]
        }))
    }
}

/// The scales of rows, or their inverses, and the sum of each row's log-variances.
fn spread<F: Float, const INVERSE: bool>(
    names: [&'static str; 2],
    loc: &[F],
    log_var: &[F],
    rows: usize,
    width: usize,
) -> Result<(Vec<F>, Vec<f64>)> {
    let (mut spread, mut sums) = (vec![F::ZERO; loc.len()], vec![0.0; rows]);
    let out = [RowsMut::new(spread.as_mut_slice(), width)];
    let inputs = [loc, log_var].map(|x| Input::rows(x, width));
    if map_rows(&Spread::<INVERSE>, inputs, rows, width, 0.5, Totals::Added(&mut sums), out) {
        check_finite(names[0], loc, width)?;
        check_finite(names[1], log_var, width)?;
    }
    Ok((spread, sums))
}
